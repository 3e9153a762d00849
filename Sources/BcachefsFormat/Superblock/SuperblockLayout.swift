// SPDX-License-Identifier: GPL-2.0
// Where the copies of a device's superblock are (`struct bch_sb_layout`, 512 bytes).
//
// The layout stands twice: alone in sector 7, so that the copies can be found when the first is
// gone, and inside every superblock.

public import BcachefsSupport

/// The places of a device's superblocks.
public struct SuperblockLayout: Hashable, Sendable {
  public enum Layout {
    /// `__uuid_t` at 0.
    public static let magic = 0
    public static let layoutType = LEField<UInt8>(16)
    /// Base 2 logarithm of the room for each copy, in 512-byte sectors.
    public static let maxSizeBits = LEField<UInt8>(17)
    public static let superblockCount = LEField<UInt8>(18)
    /// 5 bytes.
    public static let reserved = 19
    /// 61 of them, in 512-byte sectors.
    public static let firstSlot = LEField<UInt64>(24)
    public static let byteCount = 512
  }

  /// The 512-byte sector of the copy that stands alone (`BCH_SB_LAYOUT_SECTOR`).
  public static let sector: UInt64 = 7
  /// The sector of the first superblock (`BCH_SB_SECTOR`).
  public static let defaultSuperblockSector: UInt64 = 8
  /// How many copies there can be at most.
  public static let slotCount = 61
  /// 32 MiB (`BCH_SB_LAYOUT_SIZE_BITS_MAX`).
  public static let maxSizeBitsLimit: UInt8 = 16

  public var magic: UUID
  public var layoutType: UInt8
  /// Base 2 logarithm of the room for each copy, in 512-byte sectors.
  public var maxSizeBits: UInt8
  /// As on disk; a valid layout has 1 to 61.
  public private(set) var superblockCount: UInt8
  /// Bytes 19 to 23.
  public let reserved: [UInt8]
  /// All 61 places, used or not, in sectors.
  public private(set) var slots: [UInt64]

  /// A layout with copies at these sectors.
  ///
  /// - Throws: what `validate` throws.
  public init(copySectors: [UInt64], maxSizeBits: UInt8) throws(FormatError) {
    magic = SuperblockMagic.bcachefs
    layoutType = 0
    self.maxSizeBits = maxSizeBits
    reserved = [UInt8](repeating: 0, count: 5)
    superblockCount = UInt8(clamping: copySectors.count)
    slots =
      copySectors.prefix(Self.slotCount)
      + [UInt64](repeating: 0, count: max(0, Self.slotCount - copySectors.count))
    try validate()
  }

  /// The layout of a device being formatted: two copies from sector 8 on, and one in the last
  /// bucket (or buckets) of the device that the room for it touches.
  ///
  /// - Parameters:
  ///   - superblockSectors: Room for each copy, a power of two; 2048 upstream.
  /// - Throws: `.tooSmall` for a device without room for the copies, and what `validate` throws.
  /// - Source: `bch2_format`, c_src/libbcachefs.c.
  public init(
    deviceSectors: UInt64, bucketSizeSectors: UInt64, blockSizeSectors: UInt64,
    superblockSectors: UInt64 = 2048
  ) throws(FormatError) {
    guard superblockSectors.nonzeroBitCount == 1, bucketSizeSectors > 0, blockSizeSectors > 0 else {
      throw FormatError(.invalid, "bch_sb_layout", "sb_max_size_bits", found: superblockSectors)
    }
    let first = Self.defaultSuperblockSector
    let past = first + superblockSectors
    let second = (past + blockSizeSectors - 1) / blockSizeSectors * blockSizeSectors
    guard deviceSectors >= superblockSectors else {
      throw FormatError(
        .tooSmall, "bch_sb_layout", "sb_offset", found: deviceSectors, expected: superblockSectors)
    }
    let room = deviceSectors - superblockSectors
    let last = room - room % bucketSizeSectors
    guard last >= second + superblockSectors else {
      throw FormatError(
        .tooSmall, "bch_sb_layout", "sb_offset", found: last, expected: second + superblockSectors)
    }
    try self.init(
      copySectors: [first, second, last],
      maxSizeBits: UInt8(truncatingIfNeeded: superblockSectors.trailingZeroBitCount))
  }

  /// Reads a layout; call `validate` before trusting it.
  ///
  /// - Throws: `.truncated` for fewer than 512 bytes.
  public init(decoding bytes: RawSpan) throws(FormatError) {
    guard bytes.byteCount >= Layout.byteCount else {
      throw FormatError(
        .truncated, "bch_sb_layout", found: UInt64(bytes.byteCount),
        expected: UInt64(Layout.byteCount))
    }
    magic = UUID(decoding: bytes, at: Layout.magic)
    layoutType = bytes[Layout.layoutType]
    maxSizeBits = bytes[Layout.maxSizeBits]
    superblockCount = bytes[Layout.superblockCount]
    reserved = bytes.copyOfBytes(in: Layout.reserved..<Layout.firstSlot.offset)
    slots = (0..<Self.slotCount).map { bytes[Layout.firstSlot.at($0 * 8)] }
  }

  /// The 512 bytes on disk.
  public func encode() -> [UInt8] {
    var out = [UInt8](repeating: 0, count: Layout.byteCount)
    out.put(magic, at: Layout.magic)
    out.put(layoutType, Layout.layoutType)
    out.put(maxSizeBits, Layout.maxSizeBits)
    out.put(superblockCount, Layout.superblockCount)
    out.put(bytes: reserved, at: Layout.reserved)
    for (index, slot) in slots.enumerated() { out.put(slot, Layout.firstSlot.at(index * 8)) }
    return out
  }

  /// Where the copies start, in 512-byte sectors, in the order in which they are tried.
  public var copySectors: ArraySlice<UInt64> { slots.prefix(Int(superblockCount)) }

  /// The room for each copy in bytes.
  public var maxByteCount: Int { 512 << Int(min(maxSizeBits, Self.maxSizeBitsLimit)) }

  /// What upstream asks of a layout (`validate_sb_layout`).
  public func validate() throws(FormatError) {
    try SuperblockMagic.check(magic, "bch_sb_layout")
    guard layoutType == 0 else {
      throw FormatError(.unsupported, "bch_sb_layout", "layout_type", found: UInt64(layoutType))
    }
    guard superblockCount != 0 else {
      throw FormatError(.tooSmall, "bch_sb_layout", "nr_superblocks", expected: 1)
    }
    guard Int(superblockCount) <= Self.slotCount else {
      throw FormatError(
        .tooLarge, "bch_sb_layout", "nr_superblocks", found: UInt64(superblockCount),
        expected: UInt64(Self.slotCount))
    }
    guard maxSizeBits <= Self.maxSizeBitsLimit else {
      throw FormatError(
        .tooLarge, "bch_sb_layout", "sb_max_size_bits", found: UInt64(maxSizeBits),
        expected: UInt64(Self.maxSizeBitsLimit))
    }
    var previous: UInt64?
    for start in copySectors {
      if let previous {
        let (end, overflow) = previous.addingReportingOverflow(1 << UInt64(maxSizeBits))
        guard !overflow, start >= end else {
          throw FormatError(
            .outOfOrder, "bch_sb_layout", "sb_offset", found: start, expected: previous)
        }
      }
      previous = start
    }
  }
}
