// SPDX-License-Identifier: GPL-2.0
// For how long, and how often, quotas may be exceeded.

/// Grace periods of one kind of quota (`struct bch_sb_quota_type`).
public struct QuotaLimits: Hashable, Sendable {
  public enum Layout {
    public static let flags = LEField<UInt64>(0)
    /// Per counter, 8 bytes each.
    public static let timeLimit = LEField<UInt32>(8)
    public static let warnLimit = LEField<UInt32>(12)
    public static let counterByteCount = 8
    public static let byteCount = 24
  }

  /// Limits of one counter (`struct bch_sb_quota_counter`).
  public struct Counter: Hashable, Sendable {
    /// Seconds.
    public var timeLimit: UInt32
    public var warnLimit: UInt32

    public init(timeLimit: UInt32, warnLimit: UInt32) {
      self.timeLimit = timeLimit
      self.warnLimit = warnLimit
    }
  }

  public var flags: UInt64
  public var space: Counter
  public var inodes: Counter

  public init(flags: UInt64, space: Counter, inodes: Counter) {
    self.flags = flags
    self.space = space
    self.inodes = inodes
  }
}

/// Grace periods of user, group and project quotas (`struct bch_sb_field_quota`).
public struct QuotaSection: SuperblockSectionContents {
  public static let type = SuperblockSectionType.quota
  static let byteCount = SectionHeader.byteCount + 3 * QuotaLimits.Layout.byteCount

  /// By `QuotaType`: user, group, project.
  public var limits: [QuotaLimits]
  /// What a newer format has after these fields.
  public let slack: [UInt8]

  /// - Parameter limits: user, group, project.
  public init(limits: [QuotaLimits]) {
    self.limits = limits
    slack = []
  }

  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    try Self.require(bytes, Self.byteCount, "bch_sb_field_quota")
    typealias Layout = QuotaLimits.Layout
    func counter(_ base: Int, _ index: Int, _ bytes: borrowing RawSpan) -> QuotaLimits.Counter {
      let place = base + index * Layout.counterByteCount
      return QuotaLimits.Counter(
        timeLimit: bytes[Layout.timeLimit.at(place)], warnLimit: bytes[Layout.warnLimit.at(place)])
    }
    limits = []
    for index in 0..<3 {
      let base = SectionHeader.byteCount + index * Layout.byteCount
      limits.append(
        QuotaLimits(
          flags: bytes[Layout.flags.at(base)], space: counter(base, 0, bytes),
          inodes: counter(base, 1, bytes)))
    }
    slack = bytes.copyOfBytes(from: Self.byteCount)
  }

  public func encode() -> [UInt8] {
    typealias Layout = QuotaLimits.Layout
    var out = Self.blank(Self.byteCount)
    for (index, limit) in limits.prefix(3).enumerated() {
      let base = SectionHeader.byteCount + index * Layout.byteCount
      out.put(limit.flags, Layout.flags.at(base))
      for (place, counter) in [(base, limit.space), (base + Layout.counterByteCount, limit.inodes)]
      {
        out.put(counter.timeLimit, Layout.timeLimit.at(place))
        out.put(counter.warnLimit, Layout.warnLimit.at(place))
      }
    }
    return Self.finishedSection(out + slack)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {}
}
