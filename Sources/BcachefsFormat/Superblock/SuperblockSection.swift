// SPDX-License-Identifier: GPL-2.0
// The variable-size sections that follow the superblock's header, as one list of values.
//
// How it works
//   Every section starts with its size in u64s (itself included) and its type. A type of version
//   1.13 decodes to a structure of its own; any other one is carried along as bytes. Offsets in
//   the `Layout` tables count from the section's first byte.
// Invariants
//   (1) encode() of a decoded section gives the bytes that it was decoded from, slack included.
//   (2) A section's encoding is a multiple of 8 bytes, and at least 8.
// Source: bcachefs_format.h, `BCH_SB_FIELDS`; `bch2_sb_field_ops`, super-io.c.

/// The eight bytes that every section starts with (`struct bch_sb_field`).
public enum SectionHeader {
  /// Size of the section in u64s, these 8 bytes included.
  public static let u64s = LEField<UInt32>(0)
  public static let type = LEField<UInt32>(4)
  public static let byteCount = 8
}

/// What one section's contents must be able to do.
public protocol SuperblockSectionContents: Hashable, Sendable {
  static var type: SuperblockSectionType { get }

  /// Reads a whole section, header included.
  ///
  /// - Parameter deviceCount: `nr_devices` of the superblock, for the lists of members.
  /// - Precondition: `bytes` holds at least the 8 bytes of the header.
  init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError)

  /// The whole section; `finishedSection` adds the header.
  func encode() -> [UInt8]

  /// What upstream's `validate` of this section asks.
  func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError)
}

extension SuperblockSectionContents {
  /// Room for a section of `byteCount` bytes, zeroed.
  static func blank(_ byteCount: Int) -> [UInt8] { [UInt8](repeating: 0, count: byteCount) }

  /// Pads to whole u64s and fills in the header.
  static func finishedSection(_ bytes: [UInt8]) -> [UInt8] {
    var out = bytes.paddedToU64s()
    out.put(UInt32(truncatingIfNeeded: out.count / 8), SectionHeader.u64s)
    out.put(type.rawValue, SectionHeader.type)
    return out
  }

  /// - Throws: `.truncated`.
  static func require(
    _ bytes: RawSpan, _ byteCount: Int, _ structure: StaticString
  ) throws(FormatError) {
    guard bytes.byteCount >= byteCount else {
      throw FormatError(
        .truncated, structure, found: UInt64(bytes.byteCount), expected: UInt64(byteCount))
    }
  }

  /// Splits the bytes from `start` on into entries of `size` bytes and a rest.
  static func entries<Entry>(
    _ bytes: RawSpan, from start: Int, size: Int, _ decode: (RawSpan) -> Entry
  ) -> (entries: [Entry], slack: [UInt8]) {
    let count = max(0, bytes.byteCount - start) / size
    var entries: [Entry] = []
    entries.reserveCapacity(count)
    for index in 0..<count {
      let first = start + index * size
      entries.append(decode(bytes.extracting(first..<first + size)))
    }
    return (entries, bytes.copyOfBytes(from: start + count * size))
  }
}

/// A section of a type that version 1.13 does not know, as it is.
public struct UnknownSection: Hashable, Sendable {
  public let type: SuperblockSectionType
  /// What follows the header; a multiple of 8 bytes.
  public let contents: [UInt8]

  /// - Parameter contents: Filled up to whole u64s with zeros.
  public init(type: SuperblockSectionType, contents: [UInt8]) {
    self.type = type
    self.contents = contents.paddedToU64s()
  }

  func encode() -> [UInt8] {
    var out = [UInt8](repeating: 0, count: SectionHeader.byteCount) + contents
    out.put(UInt32(truncatingIfNeeded: out.count / 8), SectionHeader.u64s)
    out.put(type.rawValue, SectionHeader.type)
    return out
  }
}

/// One section of a superblock.
public enum SuperblockSection: Hashable, Sendable {
  case journal(JournalBucketsSection)
  case membersV1(MembersV1Section)
  case crypt(CryptSection)
  case replicasV0(ReplicasV0Section)
  case quota(QuotaSection)
  case diskGroups(DiskGroupsSection)
  case clean(CleanSection)
  case replicas(ReplicasSection)
  case journalSeqBlacklist(JournalSeqBlacklistSection)
  case journalV2(JournalBucketRangesSection)
  case counters(CountersSection)
  case membersV2(MembersV2Section)
  case errors(ErrorsSection)
  case ext(ExtSection)
  case downgrade(DowngradeSection)
  case unknown(UnknownSection)

  /// Reads one section, header included.
  ///
  /// - Throws: `.truncated` when its contents do not fit its size; sections' own errors.
  init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    let type = SuperblockSectionType(rawValue: bytes[SectionHeader.type])
    switch type {
    case .journal: self = .journal(try .init(decoding: bytes, deviceCount: deviceCount))
    case .membersV1: self = .membersV1(try .init(decoding: bytes, deviceCount: deviceCount))
    case .crypt: self = .crypt(try .init(decoding: bytes, deviceCount: deviceCount))
    case .replicasV0: self = .replicasV0(try .init(decoding: bytes, deviceCount: deviceCount))
    case .quota: self = .quota(try .init(decoding: bytes, deviceCount: deviceCount))
    case .diskGroups: self = .diskGroups(try .init(decoding: bytes, deviceCount: deviceCount))
    case .clean: self = .clean(try .init(decoding: bytes, deviceCount: deviceCount))
    case .replicas: self = .replicas(try .init(decoding: bytes, deviceCount: deviceCount))
    case .journalSeqBlacklist:
      self = .journalSeqBlacklist(try .init(decoding: bytes, deviceCount: deviceCount))
    case .journalV2: self = .journalV2(try .init(decoding: bytes, deviceCount: deviceCount))
    case .counters: self = .counters(try .init(decoding: bytes, deviceCount: deviceCount))
    case .membersV2: self = .membersV2(try .init(decoding: bytes, deviceCount: deviceCount))
    case .errors: self = .errors(try .init(decoding: bytes, deviceCount: deviceCount))
    case .ext: self = .ext(try .init(decoding: bytes, deviceCount: deviceCount))
    case .downgrade: self = .downgrade(try .init(decoding: bytes, deviceCount: deviceCount))
    default:
      self = .unknown(
        UnknownSection(type: type, contents: bytes.copyOfBytes(from: SectionHeader.byteCount)))
    }
  }

  /// The contents, nil for an unknown type.
  public var contents: (any SuperblockSectionContents)? {
    switch self {
    case .journal(let section): section
    case .membersV1(let section): section
    case .crypt(let section): section
    case .replicasV0(let section): section
    case .quota(let section): section
    case .diskGroups(let section): section
    case .clean(let section): section
    case .replicas(let section): section
    case .journalSeqBlacklist(let section): section
    case .journalV2(let section): section
    case .counters(let section): section
    case .membersV2(let section): section
    case .errors(let section): section
    case .ext(let section): section
    case .downgrade(let section): section
    case .unknown: nil
    }
  }

  public var type: SuperblockSectionType {
    if case .unknown(let section) = self { return section.type }
    return contents.map { Swift.type(of: $0).type } ?? SuperblockSectionType(rawValue: .max)
  }

  /// The whole section on disk.
  public func encode() -> [UInt8] {
    if case .unknown(let section) = self { return section.encode() }
    return contents?.encode() ?? []
  }

  /// Whether every device's superblock has its own (`BCH_SINGLE_DEVICE_SB_FIELDS`); all others are
  /// the same on all devices of a volume.
  public var isPerDevice: Bool { type == .journal || type == .journalV2 }
}
