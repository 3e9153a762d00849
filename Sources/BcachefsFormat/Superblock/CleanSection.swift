// SPDX-License-Identifier: GPL-2.0
// What a clean unmount leaves behind, so that the next mount need not read the journal: btree
// roots, clocks and the last journal sequence number, as journal entries.

/// A journal entry within the superblock: its header, and a payload of whole u64s
/// (`struct jset_entry`).
public struct CleanEntry: Hashable, Sendable {
  public enum Layout {
    /// Size of the payload.
    public static let u64s = LEField<UInt16>(0)
    public static let btreeID = LEField<UInt8>(2)
    public static let level = LEField<UInt8>(3)
    public static let type = LEField<UInt8>(4)
    /// 3 bytes.
    public static let reserved = 5
    public static let payload = 8
  }

  public var type: JSetEntryType
  /// For keys and roots; some other types keep a number of their own here.
  public var btreeID: BTreeID
  public var level: UInt8
  /// Bytes 5 to 7.
  public let reserved: [UInt8]
  /// A multiple of 8 bytes, at most 65,535 u64s.
  public let payload: [UInt8]

  /// - Parameter payload: Filled up to whole u64s with zeros; at most 524,280 bytes.
  public init(
    type: JSetEntryType, btreeID: BTreeID = BTreeID(rawValue: 0), level: UInt8 = 0,
    payload: [UInt8]
  ) {
    self.type = type
    self.btreeID = btreeID
    self.level = level
    reserved = [0, 0, 0]
    self.payload = Array(payload.paddedToU64s().prefix(Int(UInt16.max) * 8))
  }

  /// - Precondition: the span covers the entry.
  init(decoding bytes: RawSpan) {
    type = JSetEntryType(rawValue: bytes[Layout.type])
    btreeID = BTreeID(rawValue: bytes[Layout.btreeID])
    level = bytes[Layout.level]
    reserved = bytes.copyOfBytes(in: Layout.reserved..<Layout.payload)
    payload = bytes.copyOfBytes(from: Layout.payload)
  }

  /// Header and payload.
  public func encode() -> [UInt8] {
    var out = [UInt8](repeating: 0, count: Layout.payload)
    out.put(UInt16(truncatingIfNeeded: payload.count / 8), Layout.u64s)
    out.put(btreeID.rawValue, Layout.btreeID)
    out.put(level, Layout.level)
    out.put(type.rawValue, Layout.type)
    out.put(bytes: reserved, at: Layout.reserved)
    return out + payload
  }

  /// Slack at the end of a section reads as entries of type `btree_keys` without keys.
  public var isEmptyKeys: Bool { type == .btreeKeys && payload.isEmpty }
}

/// The state at the last clean unmount (`struct bch_sb_field_clean`).
public struct CleanSection: SuperblockSectionContents {
  public enum Layout {
    public static let flags = LEField<UInt32>(8)
    /// No longer used.
    public static let readClock = LEField<UInt16>(12)
    /// No longer used.
    public static let writeClock = LEField<UInt16>(14)
    public static let journalSeq = LEField<UInt64>(16)
    public static let firstEntry = 24
  }

  public static let type = SuperblockSectionType.clean
  public var flags: UInt32
  /// No longer used.
  public var readClock: UInt16
  /// No longer used.
  public var writeClock: UInt16
  /// The last sequence number that the journal used.
  public var journalSeq: UInt64
  public var entries: [CleanEntry]

  /// - Parameters:
  ///   - slackU64s: Zeroed room after the entries, in u64s.
  public init(journalSeq: UInt64, entries: [CleanEntry], slackU64s: Int = 0) {
    flags = 0
    readClock = 0
    writeClock = 0
    self.journalSeq = journalSeq
    self.entries =
      entries + (0..<max(0, slackU64s)).map { _ in CleanEntry(type: .btreeKeys, payload: []) }
  }

  /// - Throws: `.truncated` for a section shorter than its fields or an entry beyond its end.
  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    try Self.require(bytes, Layout.firstEntry, "bch_sb_field_clean")
    flags = bytes[Layout.flags]
    readClock = bytes[Layout.readClock]
    writeClock = bytes[Layout.writeClock]
    journalSeq = bytes[Layout.journalSeq]
    entries = []
    var offset = Layout.firstEntry
    while offset < bytes.byteCount {
      // Sections are whole u64s and entries too: a header always fits.
      try Self.require(bytes, offset + CleanEntry.Layout.payload, "bch_sb_field_clean")
      let end =
        offset + CleanEntry.Layout.payload + Int(bytes[CleanEntry.Layout.u64s.at(offset)]) * 8
      guard end <= bytes.byteCount else {
        throw FormatError(
          .truncated, "bch_sb_field_clean", "jset_entry", found: UInt64(bytes.byteCount),
          expected: UInt64(end), fsckError: .sb_clean_entry_overrun)
      }
      entries.append(CleanEntry(decoding: bytes.extracting(offset..<end)))
      offset = end
    }
  }

  public func encode() -> [UInt8] {
    var out = Self.blank(Layout.firstEntry)
    out.put(flags, Layout.flags)
    out.put(readClock, Layout.readClock)
    out.put(writeClock, Layout.writeClock)
    out.put(journalSeq, Layout.journalSeq)
    for entry in entries { out += entry.encode() }
    return Self.finishedSection(out)
  }

  /// Entries were bounded when the section was decoded; what they hold is for the recovery that
  /// uses them.
  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {}
}
