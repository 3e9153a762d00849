// SPDX-License-Identifier: GPL-2.0
// Superblocks from bytes, and back.
//
// How it works
//   byteCount(ofHeader:) reads the size from a copy's first 752 bytes, so that the caller knows how
//   much to read; init(decoding:) wants at least that much, and ignores what follows.
// Invariants
//   (1) Nothing is read beyond the span; work and memory are bounded by its length, and by 32 MiB.
//   (2) What the checksum does not cover is not looked into, but for magic, versions and size.
// Source: `read_one_super`, `bch2_sb_validate`, `write_one_super`, super-io.c.

internal import BcachefsSupport

extension Superblock {
  /// The size of a copy, from its first 752 bytes.
  ///
  /// - Returns: Bytes, header included; at most 32 MiB.
  /// - Throws: `.truncated` for fewer than 752 bytes, `.badMagic`, `.unsupported` for a version
  ///   that cannot be read, `.tooLarge` for a size beyond what its layout allows.
  public static func byteCount(ofHeader bytes: RawSpan) throws(FormatError) -> Int {
    guard bytes.byteCount >= Layout.byteCount else {
      throw FormatError(
        .truncated, "bch_sb", found: UInt64(bytes.byteCount), expected: UInt64(Layout.byteCount))
    }
    let magic = UUID(decoding: bytes, at: Layout.magic)
    try SuperblockMagic.check(magic, "bch_sb")
    try checkVersions(
      version: MetadataVersion(rawValue: bytes[Layout.version]),
      min: MetadataVersion(rawValue: bytes[Layout.versionMin]))
    let maxSizeBits = min(
      bytes[SuperblockLayout.Layout.maxSizeBits.at(Layout.layout)],
      SuperblockLayout.maxSizeBitsLimit)
    let byteCount = UInt64(Layout.byteCount) + UInt64(bytes[Layout.u64s]) * 8
    let limit = UInt64(512) << UInt64(maxSizeBits)
    guard byteCount <= limit else {
      throw FormatError(.tooLarge, "bch_sb", "u64s", found: byteCount, expected: limit)
    }
    return Int(byteCount)
  }

  /// - Source: `bch2_sb_compatible`, super-io.c.
  static func checkVersions(
    version: MetadataVersion, min versionMin: MetadataVersion
  ) throws(FormatError) {
    guard version.isCompatible else {
      throw FormatError(.unsupported, "bch_sb", "version", found: UInt64(version.rawValue))
    }
    guard versionMin.isCompatible else {
      throw FormatError(.unsupported, "bch_sb", "version_min", found: UInt64(versionMin.rawValue))
    }
    guard versionMin <= version else {
      throw FormatError(
        .inconsistent, "bch_sb", "version_min", found: UInt64(versionMin.rawValue),
        expected: UInt64(version.rawValue))
    }
  }

  /// Takes a copy apart. Values are not checked against each other: see `validate`.
  ///
  /// - Parameters:
  ///   - bytes: The copy from its first byte; what follows it is ignored.
  ///   - verifyingChecksum: Off only for looking into a copy that is known to be damaged.
  /// - Throws: what `byteCount(ofHeader:)` throws; `.truncated` when the copy is longer than
  ///   `bytes`, `.unsupported` or `.badChecksum`; sections' own errors.
  /// - Complexity: one checksum pass, one pass over the sections.
  public init(decoding bytes: RawSpan, verifyingChecksum: Bool = true) throws(FormatError) {
    let byteCount = try Self.byteCount(ofHeader: bytes)
    guard bytes.byteCount >= byteCount else {
      throw FormatError(
        .truncated, "bch_sb", "u64s", found: UInt64(bytes.byteCount), expected: UInt64(byteCount))
    }
    let whole = bytes.extracting(0..<byteCount)
    if verifyingChecksum { try Self.verifyChecksum(of: whole) }
    try self.init(header: whole)
    try decodeSections(whole)
  }

  /// - Precondition: `bytes` covers the header.
  private init(header bytes: RawSpan) throws(FormatError) {
    checksum = Checksum128(lo: bytes[Layout.checksum], hi: bytes[Layout.checksum.at(8)])
    version = MetadataVersion(rawValue: bytes[Layout.version])
    versionMin = MetadataVersion(rawValue: bytes[Layout.versionMin])
    reserved = bytes[Layout.reserved]
    magic = UUID(decoding: bytes, at: Layout.magic)
    uuid = UUID(decoding: bytes, at: Layout.uuid)
    userUUID = UUID(decoding: bytes, at: Layout.userUUID)
    label = DiskLabel(decoding: bytes, at: Layout.label)
    sector = bytes[Layout.sector]
    seq = bytes[Layout.seq]
    blockSizeSectors = bytes[Layout.blockSize]
    deviceIndex = bytes[Layout.deviceIndex]
    deviceCount = bytes[Layout.deviceCount]
    timeBaseLow = bytes[Layout.timeBaseLow]
    timeBaseHigh = bytes[Layout.timeBaseHigh]
    timePrecision = bytes[Layout.timePrecision]
    flags = (0..<7).map { bytes[Layout.flags.at($0 * 8)] }
    writeTime = bytes[Layout.writeTime]
    features = (0..<2).map { bytes[Layout.features.at($0 * 8)] }
    compat = (0..<2).map { bytes[Layout.compat.at($0 * 8)] }
    layout = try SuperblockLayout(decoding: bytes.extracting(Layout.layout..<Layout.byteCount))
    sections = []
  }

  /// Far more types than there will be; searches for a section stay short.
  private static var maxSectionCount: Int { 1024 }

  private mutating func decodeSections(_ bytes: RawSpan) throws(FormatError) {
    // The sections' total is whole u64s, and so is each of them: a header always fits.
    var types: Set<SuperblockSectionType> = []
    var offset = Layout.byteCount
    while offset < bytes.byteCount {
      let size = UInt64(bytes[SectionHeader.u64s.at(offset)]) * 8
      let room = UInt64(bytes.byteCount - offset)
      guard size > 0 else {
        throw FormatError(.tooSmall, "bch_sb_field", "u64s", found: size, expected: 1)
      }
      guard size <= room else {
        throw FormatError(.truncated, "bch_sb_field", "u64s", found: room, expected: size)
      }
      let end = offset + Int(size)
      let section = try SuperblockSection(
        decoding: bytes.extracting(offset..<end), deviceCount: Int(deviceCount))
      guard types.insert(section.type).inserted else {
        throw FormatError(
          .duplicate, "bch_sb_field", "type", found: UInt64(section.type.rawValue))
      }
      guard types.count <= Self.maxSectionCount else {
        throw FormatError(
          .tooLarge, "bch_sb", "sections", found: UInt64(types.count),
          expected: UInt64(Self.maxSectionCount))
      }
      sections.append(section)
      offset = end
    }
  }

  /// The checksum that the bytes of a superblock should have.
  ///
  /// Superblocks are never encrypted: of the types, only those without a key can stand in one.
  /// - Throws: `.unsupported` for any other type.
  /// - Precondition: `bytes` is a whole superblock.
  private static func computedChecksum(of bytes: RawSpan) throws(FormatError) -> Checksum128 {
    let type = ChecksumType(rawValue: UInt8(truncatingIfNeeded: bytes[Layout.checksumType]))
    guard type.isKnown, !type.isEncryption else {
      throw FormatError(.unsupported, "bch_sb", "csum_type", found: UInt64(type.rawValue))
    }
    do {
      return try type.checksum(bytes.extracting(Layout.checksumStart..<bytes.byteCount))
    } catch {
      throw FormatError(.unsupported, "bch_sb", "csum_type", found: UInt64(type.rawValue))
    }
  }

  private static func verifyChecksum(of bytes: RawSpan) throws(FormatError) {
    let stored = Checksum128(lo: bytes[Layout.checksum], hi: bytes[Layout.checksum.at(8)])
    let computed = try computedChecksum(of: bytes)
    guard stored.matches(computed) else {
      throw FormatError(
        .badChecksum, "bch_sb", "csum", found: stored.lo, expected: computed.lo)
    }
  }

  /// The copy for its place on disk, with its checksum; at most `layout.maxByteCount` bytes.
  ///
  /// - Parameter sector: Where this copy will stand, if not where `self.sector` says.
  /// - Throws: `.tooLarge` when the layout leaves less room, `.unsupported` for a checksum type
  ///   that superblocks cannot have.
  public func encode(sector: UInt64? = nil) throws(FormatError) -> [UInt8] {
    var out = encodedHeader(sector: sector ?? self.sector)
    for section in sections { out += section.encode() }
    guard out.count <= layout.maxByteCount else {
      throw FormatError(
        .tooLarge, "bch_sb", "u64s", found: UInt64(out.count),
        expected: UInt64(layout.maxByteCount))
    }
    out.put(UInt32(truncatingIfNeeded: (out.count - Layout.byteCount) / 8), Layout.u64s)
    let checksum = try Self.computedChecksum(of: out.rawBytes)
    out.put(checksum.lo, Layout.checksum)
    out.put(checksum.hi, Layout.checksum.at(8))
    return out
  }

  private func encodedHeader(sector: UInt64) -> [UInt8] {
    var out = [UInt8](repeating: 0, count: Layout.byteCount)
    out.put(version.rawValue, Layout.version)
    out.put(versionMin.rawValue, Layout.versionMin)
    out.put(reserved, Layout.reserved)
    out.put(magic, at: Layout.magic)
    out.put(uuid, at: Layout.uuid)
    out.put(userUUID, at: Layout.userUUID)
    out.put(bytes: label.bytes, at: Layout.label)
    out.put(sector, Layout.sector)
    out.put(seq, Layout.seq)
    out.put(blockSizeSectors, Layout.blockSize)
    out.put(deviceIndex, Layout.deviceIndex)
    out.put(deviceCount, Layout.deviceCount)
    out.put(timeBaseLow, Layout.timeBaseLow)
    out.put(timeBaseHigh, Layout.timeBaseHigh)
    out.put(timePrecision, Layout.timePrecision)
    for (index, word) in flags.prefix(7).enumerated() { out.put(word, Layout.word(index)) }
    out.put(writeTime, Layout.writeTime)
    for (index, word) in features.prefix(2).enumerated() {
      out.put(word, Layout.features.at(index * 8))
    }
    for (index, word) in compat.prefix(2).enumerated() {
      out.put(word, Layout.compat.at(index * 8))
    }
    out.put(bytes: layout.encode(), at: Layout.layout)
    return out
  }
}
