// SPDX-License-Identifier: GPL-2.0
// What recovery still has to do to a volume, and what an older program would have to do to it.

/// Recovery passes that are still required, findings to mend silently, and btrees that lost nodes
/// (`struct bch_sb_field_ext`).
public struct ExtSection: SuperblockSectionContents {
  public enum Layout {
    /// 2 of them; a bit per pass, by its stable number.
    public static let recoveryPassesRequired = LEField<UInt64>(8)
    /// 8 of them; a bit per finding.
    public static let errorsSilent = LEField<UInt64>(24)
    public static let btreesLostData = LEField<UInt64>(88)
    /// Without `btrees_lost_data`, which came later.
    public static let minByteCount = 88
    public static let byteCount = 96
  }

  public static let type = SuperblockSectionType.ext
  /// Two words, a bit per pass by its stable number.
  public var recoveryPassesRequired: [UInt64]
  /// Eight words, a bit per finding.
  public private(set) var errorsSilent: [UInt64]
  /// A bit per btree; nil when the section is too short for it.
  public var btreesLostData: UInt64?
  /// What a newer format has after these fields.
  public let slack: [UInt8]

  /// Nothing required, nothing silent, nothing lost.
  public init() {
    recoveryPassesRequired = [0, 0]
    errorsSilent = [UInt64](repeating: 0, count: 8)
    btreesLostData = 0
    slack = []
  }

  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    try Self.require(bytes, Layout.minByteCount, "bch_sb_field_ext")
    recoveryPassesRequired = (0..<2).map { bytes[Layout.recoveryPassesRequired.at($0 * 8)] }
    errorsSilent = (0..<8).map { bytes[Layout.errorsSilent.at($0 * 8)] }
    btreesLostData = bytes.byteCount >= Layout.byteCount ? bytes[Layout.btreesLostData] : nil
    slack = bytes.copyOfBytes(from: Layout.byteCount)
  }

  public func encode() -> [UInt8] {
    var out = Self.blank(btreesLostData == nil ? Layout.minByteCount : Layout.byteCount)
    for (index, word) in recoveryPassesRequired.prefix(2).enumerated() {
      out.put(word, Layout.recoveryPassesRequired.at(index * 8))
    }
    for (index, word) in errorsSilent.prefix(8).enumerated() {
      out.put(word, Layout.errorsSilent.at(index * 8))
    }
    if let btreesLostData { out.put(btreesLostData, Layout.btreesLostData) }
    return Self.finishedSection(out + slack)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {}

  /// Whether a finding is to be mended without a word.
  public func isSilent(_ id: FsckErrorID) -> Bool {
    let word = Int(id.rawValue / 64)
    return errorsSilent.indices.contains(word)
      && errorsSilent[word] >> UInt64(id.rawValue % 64) & 1 != 0
  }

  /// Marks a finding; numbers of 512 and more have no bit, and stay loud.
  public mutating func setSilent(_ id: FsckErrorID, _ silent: Bool) {
    let word = Int(id.rawValue / 64)
    guard errorsSilent.indices.contains(word) else { return }
    let bit = UInt64(1) << UInt64(id.rawValue % 64)
    if silent { errorsSilent[word] |= bit } else { errorsSilent[word] &= ~bit }
  }

  /// The findings that are to be mended without a word, ascending.
  public var silentErrors: [FsckErrorID] {
    (0..<UInt16(512)).map { FsckErrorID(rawValue: $0) }.filter(isSilent)
  }
}

/// What a program older than `version` has to do before it uses the volume
/// (`struct bch_sb_field_downgrade_entry`).
public struct DowngradeEntry: Hashable, Sendable {
  /// Entries are aligned to 2 bytes only.
  public enum Layout {
    public static let version = LEField<UInt16>(0)
    /// 2 of them.
    public static let recoveryPasses = LEField<UInt64>(2)
    public static let errorCount = LEField<UInt16>(18)
    public static let errors = 20
  }

  public var version: MetadataVersion
  /// Two words, a bit per pass by its stable number.
  public var recoveryPasses: [UInt64]
  /// Findings that are then mended silently; at most 65,535.
  public var errors: [FsckErrorID]

  public init(version: MetadataVersion, recoveryPasses: [UInt64], errors: [FsckErrorID]) {
    self.version = version
    self.recoveryPasses = recoveryPasses
    self.errors = errors
  }

  func encode() -> [UInt8] {
    let listed = errors.prefix(Int(UInt16.max))
    var out = [UInt8](repeating: 0, count: Layout.errors + listed.count * 2)
    out.put(version.rawValue, Layout.version)
    for (index, word) in recoveryPasses.prefix(2).enumerated() {
      out.put(word, Layout.recoveryPasses.at(index * 8))
    }
    out.put(UInt16(truncatingIfNeeded: listed.count), Layout.errorCount)
    for (index, id) in listed.enumerated() {
      out.put(id.rawValue, LEField(Layout.errors + index * 2))
    }
    return out
  }
}

/// What programs of older versions have to do (`struct bch_sb_field_downgrade`).
public struct DowngradeSection: SuperblockSectionContents {
  public static let type = SuperblockSectionType.downgrade
  public var entries: [DowngradeEntry]
  /// What is too short for another entry.
  public let slack: [UInt8]

  public init(entries: [DowngradeEntry]) {
    self.entries = entries
    slack = []
  }

  /// Reads entries up to the first that does not fit (`for_each_downgrade_entry`).
  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    typealias Layout = DowngradeEntry.Layout
    entries = []
    var offset = SectionHeader.byteCount
    while offset + Layout.errors <= bytes.byteCount {
      let count = Int(bytes[Layout.errorCount.at(offset)])
      let end = offset + Layout.errors + count * 2
      guard end <= bytes.byteCount else { break }
      let first = offset + Layout.errors
      entries.append(
        DowngradeEntry(
          version: MetadataVersion(rawValue: bytes[Layout.version.at(offset)]),
          recoveryPasses: [
            bytes[Layout.recoveryPasses.at(offset)], bytes[Layout.recoveryPasses.at(offset + 8)],
          ],
          errors: (0..<count).map { FsckErrorID(rawValue: bytes[LEField(first + $0 * 2)]) }))
      offset = end
    }
    slack = bytes.copyOfBytes(from: offset)
  }

  public func encode() -> [UInt8] {
    Self.finishedSection(
      Self.blank(SectionHeader.byteCount) + entries.flatMap { $0.encode() } + slack)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {
    for entry in entries where entry.version.major != superblock.version.major {
      throw FormatError(
        .inconsistent, "bch_sb_field_downgrade", "version", found: UInt64(entry.version.major),
        expected: UInt64(superblock.version.major))
    }
    // An entry cut off by the section's end is only ever left there by a broken writer.
    guard !forWrite || slack.count < DowngradeEntry.Layout.errors else {
      throw FormatError(.truncated, "bch_sb_field_downgrade", "errors")
    }
  }
}
