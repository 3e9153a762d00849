// SPDX-License-Identifier: GPL-2.0
// Options of a volume: one table drives format, mount, superblock, extended attributes and help.
//
// How it works
//   1. `VolumeOption` is the option's identity; its `row` says everything about it.
//   2. A value is always a UInt64: bytes for sizes, 0 or 1, a number of a table of persistent
//      numbers, a bit mask, a `CompressionOption`, a `DiskTarget`.
//   3. `parse` and `text` convert values from and to text (VolumeOption+Text.swift);
//      `VolumeOptions` keeps values and moves them from and to the superblock.
// Invariants
//   (1) `table[i].option.rawValue == i`.
//   (2) Every valid value fits the bits that store it, so it survives the superblock.
//   (3) Options are not persistent numbers: nothing on disk refers to `rawValue`.
// Source: opts.h, opts.c.

/// An option of the filesystem, of a device or of a file (`enum bch_opt_id`).
public enum VolumeOption: UInt8, CaseIterable, Hashable, Sendable {
  case blockSize, btreeNodeSize, errors, metadataReplicas, dataReplicas, metadataReplicasRequired
  case dataReplicasRequired, encodedExtentMax, metadataChecksum, dataChecksum, compression
  case backgroundCompression, strHash, metadataTarget, foregroundTarget, backgroundTarget
  case promoteTarget, erasureCode, inodes32bit, shardInodeNumbers, inodesUseKeyCache
  case btreeNodeMemPtrOptimization, gcReservePercent, gcReserveBytes, rootReservePercent
  case wideMacs, inlineData, promoteWholeExtents, acl, usrquota, grpquota, prjquota, degraded
  case veryDegraded, noSplitbrainCheck, discard, verbose, journalFlushDelay, journalFlushDisabled
  case journalReclaimDelay, moveBytesInFlight, moveIOsInFlight, fsck, fsckMemoryUsagePercent
  case fixErrors, ratelimitErrors, nochanges, norecovery, recoveryPasses, recoveryPassesExclude
  case recoveryPassLast, retainRecoveryInfo, readEntireJournal, readJournalOnly
  case journalTransactionNames, allocatorStuckTimeout, noexcl, directIO, sb, readOnly, nostart
  case reconstructAlloc, versionUpgrade, stdio, project, nocow, nocowEnabled, noDataIO, fsSize
  case bucket, durability, dataAllowed, btreeNodePrefetch

  /// Where an option may be set, and how its value is read and stored (`enum opt_flags`).
  public struct Flags: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Of the whole filesystem.
    public static let filesystem = Flags(rawValue: 1 << 0)
    /// Of one device.
    public static let device = Flags(rawValue: 1 << 1)
    /// Of a file or directory, as the extended attribute `bcachefs.NAME`.
    public static let inode = Flags(rawValue: 1 << 2)
    /// May be given to format.
    public static let format = Flags(rawValue: 1 << 3)
    /// May be given to mount.
    public static let mount = Flags(rawValue: 1 << 4)
    /// May be changed while mounted.
    public static let runtime = Flags(rawValue: 1 << 5)
    /// A size in bytes, read and printed with units.
    public static let humanReadable = Flags(rawValue: 1 << 6)
    public static let powerOfTwo = Flags(rawValue: 1 << 7)
    /// Stored in sectors of 512 bytes.
    public static let sectors = Flags(rawValue: 1 << 8)
    /// Stored as the base 2 logarithm.
    public static let log2 = Flags(rawValue: 1 << 9)
    /// Stored plus one; 0 means the default.
    public static let oneBias = Flags(rawValue: 1 << 10)
    /// Not shown to users.
    public static let hidden = Flags(rawValue: 1 << 11)
  }

  /// What values an option takes.
  public enum Kind: Sendable {
    case bool
    /// An integer from `minimum` to `below - 1`; `below` = `UInt64.max` means no limit but the
    /// width of storage.
    case integer(minimum: UInt64, below: UInt64)
    /// One of these names, by number.
    case choice([StaticString])
    /// Answers of `FixErrorsAnswer`; without a value `yes`.
    case fixErrors
    /// A `CompressionOption`.
    case compression
    /// A `DiskTarget`: a device or label, or `none`.
    case target
    /// A list of recovery passes, as bits by order of running (`RecoveryPass.order`).
    case recoveryPasses
    /// One recovery pass, by order of running.
    case recoveryPass
    /// A list of data types, as bits.
    case dataTypes

    static func unsigned(_ minimum: UInt64, below: UInt64) -> Kind {
      .integer(minimum: minimum, below: below)
    }
  }

  /// Where the superblock keeps an option.
  public enum Storage: Sendable, Equatable {
    case nowhere
    /// The field `block_size`.
    case blockSize
    case flags(SuperblockFlagBits)
    /// Low four bits in one place, what is above in another.
    case split(low: SuperblockFlagBits, high: SuperblockFlagBits)
    /// Bits of `bch_member.flags`.
    case member(Range<Int>)
  }

  /// One row of the table.
  public struct Row: Sendable {
    public let option: VolumeOption
    /// Name on command lines, in mount options, in sysfs and in attributes.
    public let name: StaticString
    public let flags: Flags
    public let kind: Kind
    public let storage: Storage
    public let defaultValue: UInt64
    /// What stands for the value in help, as in `--data_replicas=#`.
    public let hint: StaticString?
    /// A short sentence.
    public let help: StaticString

    init(
      _ option: VolumeOption, _ name: StaticString, _ flags: Flags, _ kind: Kind,
      _ storage: Storage, default defaultValue: UInt64, hint: StaticString?, _ help: StaticString
    ) {
      self.option = option
      self.name = name
      self.flags = flags
      self.kind = kind
      self.storage = storage
      self.defaultValue = defaultValue
      self.hint = hint
      self.help = help
    }
  }

  public var row: Row { VolumeOption.table[Int(rawValue)] }
  public var name: String { "\(row.name)" }
  public var flags: Flags { row.flags }
  public var defaultValue: UInt64 { row.defaultValue }

  private static let byName: [String: VolumeOption] = Dictionary(
    uniqueKeysWithValues: table.map { ("\($0.name)", $0.option) })

  /// The option of this name; `-` counts as `_` (`bch2_opt_lookup`).
  public init?(named name: some StringProtocol) {
    let key = String(name.map { $0 == "-" ? "_" : $0 })
    guard let option = VolumeOption.byName[key] else { return nil }
    self = option
  }

  /// The inode's copy of this option; nil where files do not have it.
  public var inodeOption: InodeOption? {
    flags.contains(.inode) ? InodeOption(named: name) : nil
  }

  /// `=HINT` or `=(CHOICE|CHOICE)` as in upstream's help; empty for a bool.
  public var usage: String {
    switch row.kind {
    case .bool: ""
    case .choice(let names): "=(\(names.map { "\($0)" }.joined(separator: "|")))"
    case .fixErrors:
      "=(\(FixErrorsAnswer.all.map(\.description).joined(separator: "|")))"
    default: "=\(row.hint.map { "\($0)" } ?? "value")"
    }
  }
}

extension VolumeOption: CustomStringConvertible {
  public var description: String { name }
}

/// Why an option or its value was refused.
public struct OptionError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What is wrong.
  public enum Reason: Hashable, Sendable {
    case unknownOption
    /// Exists, and may not be set here (`place`: mount, format...).
    case notAllowed(place: String)
    case needsValue
    case notABool(String)
    case notANumber(String)
    case tooSmall(UInt64, minimum: UInt64)
    case tooBig(UInt64, maximum: UInt64)
    case notMultipleOf512(UInt64)
    case notPowerOfTwo(UInt64)
    case notAChoice(String, choices: [String])
    case badCompression(String)
    /// No device or label of this name.
    case badTarget(String)
    /// Devices and labels have names only once the volume is open.
    case needsVolume(String)
    /// A number in the superblock that means nothing.
    case invalidValue(UInt64)
  }

  public let option: String
  public let reason: Reason

  public init(_ option: String, _ reason: Reason) {
    self.option = option
    self.reason = reason
  }

  public var description: String {
    switch reason {
    case .unknownOption: "\(option): no such option"
    case .notAllowed(let place): "\(option): not an option of \(place)"
    case .needsValue: "\(option): needs a value"
    case .notABool(let text): "\(option): \"\(text)\" is not a truth value (0, 1, yes, no)"
    case .notANumber(let text): "\(option): \"\(text)\" is not a number"
    case .tooSmall(let value, let minimum): "\(option): \(value) is too small, at least \(minimum)"
    case .tooBig(let value, let maximum): "\(option): \(value) is too big, at most \(maximum)"
    case .notMultipleOf512(let value): "\(option): \(value) is not a multiple of 512"
    case .notPowerOfTwo(let value): "\(option): \(value) is not a power of two"
    case .notAChoice(let text, let choices):
      "\(option): \"\(text)\" is none of \(choices.joined(separator: ", "))"
    case .badCompression(let text):
      "\(option): \"\(text)\" is not none, lz4, gzip or zstd, with an optional level :1 to :15"
    case .badTarget(let text): "\(option): no device or label \"\(text)\""
    case .needsVolume(let text): "\(option): \"\(text)\" has a meaning only for an open volume"
    case .invalidValue(let value): "\(option): invalid value \(value)"
    }
  }
}
