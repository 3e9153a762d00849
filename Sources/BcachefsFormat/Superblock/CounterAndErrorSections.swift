// SPDX-License-Identifier: GPL-2.0
// What has happened to a volume: counters of events, and findings of checks.

/// Events since the volume was made (`struct bch_sb_field_counters`).
public struct CountersSection: SuperblockSectionContents {
  public static let type = SuperblockSectionType.counters
  /// By `PersistentCounter`; as many as the section has room for.
  public var values: [UInt64]

  public init(values: [UInt64]) { self.values = values }

  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    values =
      Self.entries(bytes, from: SectionHeader.byteCount, size: 8) { $0[LEField<UInt64>(0)] }.entries
  }

  public func encode() -> [UInt8] {
    var out = Self.blank(SectionHeader.byteCount + values.count * 8)
    for (index, value) in values.enumerated() {
      out.put(value, LEField(SectionHeader.byteCount + index * 8))
    }
    return Self.finishedSection(out)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {}
}

/// How often a finding was made (`struct bch_sb_field_error_entry`).
public struct ErrorCount: Hashable, Sendable {
  public enum Layout {
    public static let word = LEField<UInt64>(0)
    public static let lastErrorTime = LEField<UInt64>(8)
    public static let byteCount = 16

    public static let id = LEBits(word, 0..<16)
    public static let count = LEBits(word, 16..<64)
  }

  public var id: FsckErrorID
  /// Below 2^48.
  public var count: UInt64
  /// Seconds since 1970.
  public var lastErrorTime: UInt64

  public init(id: FsckErrorID, count: UInt64, lastErrorTime: UInt64) {
    self.id = id
    self.count = count
    self.lastErrorTime = lastErrorTime
  }
}

/// Every finding ever made in this volume (`struct bch_sb_field_errors`).
public struct ErrorsSection: SuperblockSectionContents {
  public static let type = SuperblockSectionType.errors
  /// Ascending by number.
  public private(set) var counts: [ErrorCount]
  /// What is too short for another entry.
  public let slack: [UInt8]

  /// - Parameter counts: Put in order by their numbers.
  public init(counts: [ErrorCount] = []) {
    self.counts = counts.sorted { $0.id.rawValue < $1.id.rawValue }
    slack = []
  }

  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    (counts, slack) = Self.entries(
      bytes, from: SectionHeader.byteCount, size: ErrorCount.Layout.byteCount
    ) {
      ErrorCount(
        id: FsckErrorID(rawValue: UInt16(truncatingIfNeeded: $0[ErrorCount.Layout.id])),
        count: $0[ErrorCount.Layout.count], lastErrorTime: $0[ErrorCount.Layout.lastErrorTime])
    }
  }

  public func encode() -> [UInt8] {
    typealias Layout = ErrorCount.Layout
    var out = Self.blank(SectionHeader.byteCount + counts.count * Layout.byteCount)
    for (index, entry) in counts.enumerated() {
      let base = SectionHeader.byteCount + index * Layout.byteCount
      let word = Layout.count.setting(
        UInt64(entry.id.rawValue), to: min(entry.count, Layout.count.max))
      out.put(word, Layout.word.at(base))
      out.put(entry.lastErrorTime, Layout.lastErrorTime.at(base))
    }
    return Self.finishedSection(out + slack)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {
    var previous: UInt16?
    for entry in counts {
      guard entry.count > 0 else {
        throw FormatError(
          .invalid, "bch_sb_field_errors", "nr", found: UInt64(entry.id.rawValue))
      }
      if let previous, entry.id.rawValue <= previous {
        throw FormatError(
          .outOfOrder, "bch_sb_field_errors", "id", found: UInt64(entry.id.rawValue),
          expected: UInt64(previous))
      }
      previous = entry.id.rawValue
    }
  }

  /// Counts one more finding (`bch2_sb_error_count`).
  public mutating func record(_ id: FsckErrorID, count: UInt64 = 1, time: UInt64) {
    let most = ErrorCount.Layout.count.max
    if let index = counts.firstIndex(where: { $0.id == id }) {
      let (sum, overflow) = counts[index].count.addingReportingOverflow(count)
      counts[index].count = overflow ? most : min(sum, most)
      counts[index].lastErrorTime = time
      return
    }
    let place = counts.firstIndex { $0.id.rawValue > id.rawValue } ?? counts.count
    counts.insert(ErrorCount(id: id, count: min(count, most), lastErrorTime: time), at: place)
  }
}
