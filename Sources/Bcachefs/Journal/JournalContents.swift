// SPDX-License-Identifier: GPL-2.0
// What reading the journal gives: roots, clocks, the overlay of keys, and what was ignored and why.

internal import BcachefsFormat
internal import BcachefsSupport

/// Where a copy of a journal entry stands.
struct JournalPlace: Sendable, Hashable {
  var device: UInt8
  /// Which of the device's journal buckets, in the order in which they are used.
  var index: Int
  /// The bucket's number on the device.
  var bucket: UInt64
  /// 512-byte sectors from the start of the bucket.
  var offsetSectors: Int
  /// 512-byte sectors from the start of the device.
  var sector: UInt64
  var isChecksumGood: Bool
}

/// A journal entry as it was found: one sequence number.
struct JournalEntry: Sendable {
  /// Of the copy that was chosen; without a good one, of the first: do not believe it then.
  let header: JSetHeader
  /// All copies; the chosen one is the first.
  let places: [JournalPlace]
  var fate: JournalFate
  /// The whole entry, decrypted; nil when it is damaged, or was not asked for.
  var bytes: HeapBuffer?

  var sequence: UInt64 { header.seq }
}

/// The root of a btree.
struct JournalRoot: Sendable, Equatable {
  /// Of the root node: 0 when it is a leaf.
  let level: UInt8
  /// Points to the node, with `value`; nil: there is a btree, and its root is lost.
  let key: BKey?
  let value: [UInt8]
  /// The entry it came from; the clean section's number on a clean volume.
  let sequence: UInt64
}

/// Something that did not prevent reading the journal.
enum JournalWarning: Sendable, CustomStringConvertible {
  /// A member whose journal could not be read at all.
  case memberUnread(device: UInt8, String)
  case bucketUnread(device: UInt8, bucket: UInt64, String)
  /// Copies with a bad checksum, of an entry that has a good one.
  case badCopies(sequence: UInt64, [JournalPlace])
  case contradictingCopies(sequence: UInt64, [JournalPlace])
  /// No good copy of an entry that should be replayed.
  case damaged(sequence: UInt64, [JournalPlace])
  /// Nothing at all of entries that should be replayed.
  case missing(Range<UInt64>, replaying: Range<UInt64>)
  case blacklistedFlush(sequence: UInt64)
  case noFlushedEntry(used: UInt64)
  case noEntries
  case cleanSectionMissing
  case cleanSequenceMismatch(clean: UInt64, journal: UInt64)
  /// A part of a good entry contradicts the format and is left out.
  case invalidContents(sequence: UInt64, JSetEntryType, FormatError)
  /// The end of a good entry is not what it must be, and is left out.
  case invalidEntry(sequence: UInt64, FormatError)
  /// Of a btree or a level that there cannot be.
  case invalidBTree(sequence: UInt64, BTreeID, level: UInt8)
  /// How many more warnings there were.
  case more(Int)

  var description: String {
    switch self {
    case .memberUnread(let device, let why): "journal of device \(device) not read: \(why)"
    case .bucketUnread(let device, let bucket, let why):
      "journal bucket \(bucket) of device \(device) not read: \(why)"
    case .badCopies(let seq, let places):
      "journal entry \(seq): bad checksum at \(Self.text(places)); a good copy was used"
    case .contradictingCopies(let seq, let places):
      "journal entry \(seq): copies differ at \(Self.text(places)); the first was used"
    case .damaged(let seq, let places):
      "journal entry \(seq) is lost: bad checksum at \(Self.text(places))"
    case .missing(let range, let all):
      "journal entries \(Self.text(range)) are missing, replaying \(Self.text(all))"
    case .blacklistedFlush(let seq): "journal entry \(seq) is blacklisted; ignored"
    case .noFlushedEntry(let seq):
      "no flushed journal entry found; journal entry \(seq) alone was used"
    case .noEntries: "no journal entries found; the clean section was used"
    case .cleanSectionMissing: "marked clean, but without a clean section; the journal was read"
    case .cleanSequenceMismatch(let clean, let journal):
      "clean section has journal sequence \(clean), the journal ends with \(journal)"
    case .invalidContents(let seq, let type, let error):
      "journal entry \(seq): invalid \(type) left out: \(error)"
    case .invalidEntry(let seq, let error): "journal entry \(seq): its end is left out: \(error)"
    case .invalidBTree(let seq, let btree, let level):
      "journal entry \(seq): btree number \(btree.rawValue) level \(level) left out: numbers end "
        + "with \(BTreeID.maxCount - 1), levels with \(BTreeNodeHeader.maxDepth - 1)"
    case .more(let count): "and \(count) more of the journal"
    }
  }

  /// First and last; of an empty range, nothing.
  static func text(_ range: Range<UInt64>) -> String {
    range.last.map { "\(range.lowerBound)-\($0)" } ?? ""
  }

  private static func text(_ places: [JournalPlace]) -> String {
    places.map { "\($0.device):\($0.index):\($0.offsetSectors) (sector \($0.sector))" }
      .joined(separator: ", ")
  }
}

/// Warnings, so many that a damaged volume cannot fill the memory with them.
struct JournalWarnings: Sendable {
  private static var limit: Int { 256 }
  private var list: [JournalWarning] = []
  private var dropped = 0

  mutating func append(_ warning: JournalWarning) {
    if list.count < Self.limit { list.append(warning) } else { dropped += 1 }
  }

  mutating func append(contentsOf other: JournalWarnings) {
    for warning in other.list { append(warning) }
    dropped += other.dropped
  }

  var all: [JournalWarning] { dropped == 0 ? list : list + [.more(dropped)] }
}

/// Everything a reader needs of the journal, or of the clean section in its place.
struct JournalContents: Sendable {
  /// Whether roots and clocks came from the superblock's clean section.
  var isFromCleanSection: Bool
  /// Sequence numbers that were replayed; empty on a clean volume.
  var replayed: Range<UInt64>
  /// The newest sequence number that was ever used, as far as is known.
  var newestSequence: UInt64
  /// By number of the btree; nil where there is no such btree.
  var roots: [JournalRoot?]
  /// In 512-byte sectors read and written since the volume was made.
  var readClock: UInt64
  var writeClock: UInt64
  /// The newest version that a key was given.
  var keyVersion: UInt64
  var blacklist: JournalBlacklist
  var overlay: JournalOverlay
  /// All that were found, by sequence number, ignored ones too.
  var entries: [JournalEntry]
  var warnings: [JournalWarning]

  func root(of btree: BTreeID) -> JournalRoot? {
    roots.indices.contains(Int(btree.rawValue)) ? roots[Int(btree.rawValue)] : nil
  }

  /// Whether a bset with this `journal_seq` is to be ignored.
  func isBlacklisted(_ sequence: UInt64) -> Bool { blacklist.isBlacklisted(sequence) }
}
