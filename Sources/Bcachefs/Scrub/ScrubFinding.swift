// SPDX-License-Identifier: GPL-2.0
// What a scrub finds: for each thing that is damaged its bad copies, what can be done, and whose it
// is.

public import BcachefsFormat

/// Something of which at least one copy is bad.
public struct ScrubFinding: Sendable, Equatable {
  /// What is damaged.
  public enum Kind: String, Sendable, CaseIterable {
    case superblock
    case journal
    case node
    case extent
    /// An extent that reflinks share.
    case indirectExtent = "indirect-extent"
    case stripe
  }

  /// What the damage means.
  public enum Outcome: String, Sendable, CaseIterable {
    /// Nothing depends on it: a cached copy, the journal of a volume that was unmounted in order.
    case harmless
    /// Another copy, or the rest of the stripe, is good.
    case repairable
    /// Nothing gives what was there.
    case lost
  }

  /// One copy that cannot be read, or is not what was written.
  public struct BadCopy: Sendable, Equatable {
    /// Index of the member.
    public let device: UInt8
    /// Where it starts on the device.
    public let sector: UInt64
    /// Sectors of the whole copy.
    public let sectorCount: UInt32
    /// A cached copy: what it holds is elsewhere too.
    public let isCached: Bool
    /// What is wrong, for people.
    public let problem: String
  }

  /// What is damaged.
  public let kind: Kind
  /// What that means.
  public let outcome: Outcome
  /// Which btree: of the node, or of the extent's key; nil for superblocks, journals and stripes.
  public let btree: BTreeID?
  /// Of the node.
  public let level: Int
  /// The first position that it covers.
  public let start: BPos
  /// The last one; for extents and stripes that of the key.
  public let end: BPos
  /// The bad ones; empty where no copy could be looked at.
  public let copies: [BadCopy]
  /// What else there is to say; empty for nothing.
  public let note: String
  /// The files that are affected, as far as they can be named.
  public internal(set) var files: [ScrubFile] = []

  init(
    _ kind: Kind, _ outcome: Outcome, btree: BTreeID? = nil, level: Int = 0, start: BPos = .min,
    end: BPos = .min, copies: [BadCopy], note: String = ""
  ) {
    self.kind = kind
    self.outcome = outcome
    self.btree = btree
    self.level = level
    self.start = start
    self.end = end
    self.copies = copies
    self.note = note
  }
}

/// A file that damage is in.
public struct ScrubFile: Sendable, Equatable {
  /// Which file, in which subvolume.
  public let id: FileID
  /// From the volume's root, without a `/` at either end; nil where no name is found.
  public internal(set) var path: [UInt8]?
  /// Bytes of the file.
  public let range: Range<UInt64>
}

/// What has been checked on one member.
public struct ScrubDeviceCounts: Sendable, Equatable {
  /// Sectors as the volume's accounting counts them: those of dead parts of extents are not.
  public var metadataSectors: UInt64 = 0
  /// File contents, those in stripes too.
  public var dataSectors: UInt64 = 0
  /// Cached copies of file contents.
  public var cachedSectors: UInt64 = 0
  /// Parity blocks of stripes.
  public var paritySectors: UInt64 = 0
  /// Of bad copies, by what they mean.
  public var harmlessSectors: UInt64 = 0
  /// The same of those that another copy makes good.
  public var repairableSectors: UInt64 = 0
  /// The same of those that nothing makes good.
  public var lostSectors: UInt64 = 0
  /// Copies that could not be looked at, as the member is missing.
  public var missingCopies: UInt64 = 0

  /// Nothing checked yet.
  public init() {}

  /// All that has been checked.
  public var checkedSectors: UInt64 {
    metadataSectors &+ dataSectors &+ cachedSectors &+ paritySectors
  }
}
