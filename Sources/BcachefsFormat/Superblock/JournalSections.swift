// SPDX-License-Identifier: GPL-2.0
// Which buckets of a device are its journal, and which journal sequence numbers never were.
//
// Invariants (of valid sections)
//   (1) No bucket is in the journal twice; all lie within the device, from `firstBucket` on.
//   (2) Ranges of sequence numbers are not empty, ascend, and do not overlap.

/// The journal's buckets one by one (`struct bch_sb_field_journal`); replaced by `journal_v2`.
public struct JournalBucketsSection: SuperblockSectionContents {
  public static let type = SuperblockSectionType.journal
  /// Bucket indices in the order in which the journal uses them.
  public var buckets: [UInt64]

  public init(buckets: [UInt64]) { self.buckets = buckets }

  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    buckets =
      Self.entries(bytes, from: SectionHeader.byteCount, size: 8) { $0[LEField<UInt64>(0)] }.entries
  }

  public func encode() -> [UInt8] {
    var out = Self.blank(SectionHeader.byteCount + buckets.count * 8)
    for (index, bucket) in buckets.enumerated() {
      out.put(bucket, LEField(SectionHeader.byteCount + index * 8))
    }
    return Self.finishedSection(out)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {
    try JournalBuckets.validate(
      buckets.map { JournalBucketRange(start: $0, count: 1) }, in: superblock,
      "bch_sb_field_journal")
  }
}

/// Consecutive buckets of a journal (`struct bch_sb_field_journal_v2_entry`).
public struct JournalBucketRange: Hashable, Sendable {
  public enum Layout {
    public static let start = LEField<UInt64>(0)
    public static let count = LEField<UInt64>(8)
    public static let byteCount = 16
  }

  /// Index of the first bucket.
  public var start: UInt64
  /// How many buckets (`nr`).
  public var count: UInt64

  public init(start: UInt64, count: UInt64) {
    self.start = start
    self.count = count
  }
}

/// The journal's buckets as ranges (`struct bch_sb_field_journal_v2`).
public struct JournalBucketRangesSection: SuperblockSectionContents {
  public static let type = SuperblockSectionType.journalV2
  /// In the order in which the journal uses them.
  public var ranges: [JournalBucketRange]
  /// What is too short for another range.
  public let slack: [UInt8]

  public init(ranges: [JournalBucketRange]) {
    self.ranges = ranges
    slack = []
  }

  /// The shortest list of ranges for these buckets in this order (`bch2_journal_buckets_to_sb`).
  public init(buckets: some Sequence<UInt64>) {
    var ranges: [JournalBucketRange] = []
    for bucket in buckets {
      if let last = ranges.indices.last, ranges[last].start &+ ranges[last].count == bucket {
        ranges[last].count += 1
      } else {
        ranges.append(JournalBucketRange(start: bucket, count: 1))
      }
    }
    self.init(ranges: ranges)
  }

  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    (ranges, slack) = Self.entries(
      bytes, from: SectionHeader.byteCount, size: JournalBucketRange.Layout.byteCount
    ) {
      JournalBucketRange(
        start: $0[JournalBucketRange.Layout.start], count: $0[JournalBucketRange.Layout.count])
    }
  }

  public func encode() -> [UInt8] {
    var out = Self.blank(
      SectionHeader.byteCount + ranges.count * JournalBucketRange.Layout.byteCount)
    for (index, range) in ranges.enumerated() {
      let base = SectionHeader.byteCount + index * JournalBucketRange.Layout.byteCount
      out.put(range.start, JournalBucketRange.Layout.start.at(base))
      out.put(range.count, JournalBucketRange.Layout.count.at(base))
    }
    return Self.finishedSection(out + slack)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {
    try JournalBuckets.validate(ranges, in: superblock, "bch_sb_field_journal_v2")
  }
}

private enum JournalBuckets {
  /// - Source: `bch2_sb_journal_v2_validate`, journal_sb.c.
  static func validate(
    _ ranges: [JournalBucketRange], in superblock: Superblock, _ structure: StaticString
  ) throws(FormatError) {
    if ranges.isEmpty { return }
    guard let member = superblock.member(at: Int(superblock.deviceIndex)) else {
      throw FormatError(
        .missing, structure, "member", found: UInt64(superblock.deviceIndex))
    }
    var total: UInt64 = 0
    var previousEnd: UInt64 = 0
    for range in ranges.sorted(by: { $0.start < $1.start }) {
      let (end, overflow) = range.start.addingReportingOverflow(range.count)
      guard !overflow, range.count > 0 else {
        throw FormatError(.invalid, structure, "nr", found: range.count)
      }
      guard range.start >= max(1, UInt64(member.firstBucket)) else {
        throw FormatError(
          .tooSmall, structure, "start", found: range.start,
          expected: max(1, UInt64(member.firstBucket)))
      }
      guard end <= member.bucketCount else {
        throw FormatError(
          .tooLarge, structure, "start", found: end - 1, expected: member.bucketCount &- 1)
      }
      guard range.start >= previousEnd else {
        throw FormatError(.duplicate, structure, "start", found: range.start)
      }
      previousEnd = end
      // Disjoint ranges below `bucketCount`: the sum cannot overflow.
      total += range.count
    }
    guard total <= UInt64(UInt32.max) else {
      throw FormatError(
        .tooLarge, structure, "nr", found: total, expected: UInt64(UInt32.max))
    }
  }
}

/// Journal sequence numbers that were never written out (`struct journal_seq_blacklist_entry`).
public struct JournalSeqRange: Hashable, Sendable {
  public enum Layout {
    public static let start = LEField<UInt64>(0)
    public static let end = LEField<UInt64>(8)
    public static let byteCount = 16
  }

  public var start: UInt64
  /// One past the last.
  public var end: UInt64

  public init(start: UInt64, end: UInt64) {
    self.start = start
    self.end = end
  }
}

/// Journal sequence numbers to ignore, wherever they turn up
/// (`struct bch_sb_field_journal_seq_blacklist`).
public struct JournalSeqBlacklistSection: SuperblockSectionContents {
  public static let type = SuperblockSectionType.journalSeqBlacklist
  /// Ascending and disjoint.
  public var ranges: [JournalSeqRange]
  /// What is too short for another range.
  public let slack: [UInt8]

  public init(ranges: [JournalSeqRange]) {
    self.ranges = ranges
    slack = []
  }

  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    (ranges, slack) = Self.entries(
      bytes, from: SectionHeader.byteCount, size: JournalSeqRange.Layout.byteCount
    ) {
      JournalSeqRange(start: $0[JournalSeqRange.Layout.start], end: $0[JournalSeqRange.Layout.end])
    }
  }

  public func encode() -> [UInt8] {
    var out = Self.blank(SectionHeader.byteCount + ranges.count * JournalSeqRange.Layout.byteCount)
    for (index, range) in ranges.enumerated() {
      let base = SectionHeader.byteCount + index * JournalSeqRange.Layout.byteCount
      out.put(range.start, JournalSeqRange.Layout.start.at(base))
      out.put(range.end, JournalSeqRange.Layout.end.at(base))
    }
    return Self.finishedSection(out + slack)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {
    var previousEnd: UInt64 = 0
    for range in ranges {
      guard range.start < range.end else {
        throw FormatError(
          .invalid, "bch_sb_field_journal_seq_blacklist", "end", found: range.end,
          expected: range.start)
      }
      guard range.start >= previousEnd else {
        throw FormatError(
          .outOfOrder, "bch_sb_field_journal_seq_blacklist", "start", found: range.start,
          expected: previousEnd)
      }
      previousEnd = range.end
    }
  }
}
