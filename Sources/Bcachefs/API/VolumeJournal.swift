// SPDX-License-Identifier: GPL-2.0
// The journal of a volume, for those who look into it.
//
// How it works
//   1. Opening reads superblocks and the headers of all journal entries; no btree is looked at, so
//      that a volume too damaged to be read can still say what happened to it.
//   2. Contents are read an entry at a time.
// Invariants
//   (1) Nothing is ever written; nothing is replayed.
// Locks: none; everything is immutable.
// Source: the command `list_journal` of bcachefs-tools.

public import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// The journal entries of a volume, clean or not.
public final class VolumeJournal: Sendable {
  /// What recovery of an unclean volume makes of an entry.
  public enum Fate: String, Sendable, CaseIterable {
    case replayed
    /// Older than what the newest flushed entry needs: its keys are in the btrees.
    case notNeeded = "not needed"
    /// Its number is on the superblock's list of numbers that never counted.
    case blacklisted
    /// Newer than the newest flushed entry: nobody was promised it.
    case unflushed
    /// The crash came while it was written.
    case torn
    /// It should be replayed, and no copy of it is good.
    case damaged
  }

  /// Where a copy of an entry stands.
  public struct Place: Sendable, Hashable {
    /// Index of the member.
    public let device: UInt8
    /// Of the device; nil when it is not there.
    public let deviceName: String?
    /// Which of the device's journal buckets, in the order in which they are used.
    public let index: Int
    /// Sectors from the start of that bucket.
    public let offsetSectors: Int
    /// Sectors from the start of the device.
    public let sector: UInt64
    /// Whether this copy is what was written.
    public let isChecksumGood: Bool
  }

  /// One sequence number, without its contents.
  public struct Entry: Sendable {
    /// Not to be believed where `isDamaged`.
    public let header: JSetHeader
    /// Where its copies are.
    public let places: [Place]
    /// What recovery does with it.
    public let fate: Fate
    /// Whether recovery ignores it: it is on the blacklist, or newer than the newest flushed entry.
    public let isIgnored: Bool
    /// Whether no copy of it is good: it has no contents then.
    public let isDamaged: Bool
    fileprivate let found: JournalEntry

    /// Its number.
    public var sequence: UInt64 { header.seq }
  }

  /// A part of an entry's contents.
  public struct Part: Sendable {
    /// Words of 8 bytes from the end of the entry's header.
    public let offsetU64s: Int
    /// What it says, or what is wrong with it.
    public let contents: Result<JSetEntry, FormatError>
  }

  private let listing: JournalListing

  /// - Parameters: as for `Volume.open`.
  /// - Throws: what `Volume.open` throws; the journal's own damage is no error.
  public static func open(
    _ sources: VolumeSources, options: VolumeOptions = VolumeOptions(),
    unlock: UnlockSource = .keyring
  ) throws(VolumeError) -> VolumeJournal {
    try VolumeJournal(try VolumeOpener.open(sources, options: options, unlock: unlock))
  }

  init(_ media: VolumeMedia) throws(VolumeError) { listing = try JournalListing(media) }

  /// The newest superblock of the members.
  public var superblock: Superblock { listing.media.superblock }
  /// What the texts of keys need to know of the volume.
  public var keyContext: BKeyContext { listing.media.keyContext }
  /// What was noticed on the way.
  public var warnings: [String] { listing.media.warnings + listing.warnings.map(\.description) }
  /// What recovery would replay if the volume was not clean.
  public var replayed: Range<UInt64> { listing.replayed }

  /// All entries that were found, ascending by sequence number.
  public var entries: some RandomAccessCollection<Entry> { listing.entries.lazy.map(entry) }

  private func entry(_ found: JournalEntry) -> Entry {
    let fate = found.fate
    let isAfter = fate == .unflushed || fate == .torn
    return Entry(
      header: found.header,
      places: found.places.map { place in
        Place(
          device: place.device, deviceName: listing.media.device(place.device)?.name,
          index: place.index, offsetSectors: place.offsetSectors, sector: place.sector,
          isChecksumGood: place.isChecksumGood)
      },
      fate: fate, isIgnored: isAfter || listing.blacklist.isBlacklisted(found.sequence),
      isDamaged: !found.places[0].isChecksumGood, found: found)
  }

  /// Sequence numbers of a range that are not blacklisted, as ranges: of those nothing was found
  /// when nothing lies between two entries.
  public func countingRanges(in range: Range<UInt64>) -> [Range<UInt64>] {
    listing.blacklist.complement(in: range)
  }

  /// What an entry is made of, first to last; a part that overruns the entry is the last.
  ///
  /// - Throws: `.corrupt` for an entry that is damaged or was overwritten meanwhile; `.device`.
  public func contents(of entry: Entry) throws(VolumeError) -> [Part] {
    let buffer = try listing.bytes(of: entry.found)
    let view: JSetView
    do throws(FormatError) { view = try JSetView(validating: buffer.bytes) } catch {
      throw VolumeError(error)
    }
    var parts: [Part] = []
    var iterator = view.entries
    do throws(FormatError) {
      while try iterator.advance() {
        let offset = iterator.offset / 8
        do throws(FormatError) {
          let part = try JSetEntry(decoding: iterator.current)
          parts.append(Part(offsetU64s: offset, contents: .success(part)))
        } catch {
          parts.append(Part(offsetU64s: offset, contents: .failure(error)))
        }
      }
    } catch {
      parts.append(Part(offsetU64s: iterator.offset / 8, contents: .failure(error)))
    }
    return parts
  }
}
