// SPDX-License-Identifier: GPL-2.0
// The common part of every key in every btree.

/// An unpacked key header (`struct bkey`, 40 bytes on disk).
///
/// `u64s` counts key and value together; the value follows the header. `size` is in sectors and is
/// zero except for extent-like keys, whose range is `position.offset - size ..< position.offset`.
@frozen
public struct BKey: Equatable, Sendable, BitwiseCopyable {
  /// Key and value, in u64s, when unpacked: at least `BKey.headerU64s`.
  public var u64s: UInt8
  public var type: BKeyType
  /// In memory only upstream; written as found.
  public var needsWhiteout: Bool
  public var version: BVersion
  /// Sectors.
  public var size: UInt32
  public var position: BPos

  @inlinable public init(
    type: BKeyType, position: BPos, size: UInt32 = 0, version: BVersion = .zero,
    valueU64s: Int = 0
  ) {
    assert(valueU64s >= 0 && valueU64s <= BKey.maxValueU64s)
    u64s = UInt8(truncatingIfNeeded: BKey.headerU64s &+ valueU64s)
    self.type = type
    needsWhiteout = false
    self.version = version
    self.size = size
    self.position = position
  }

  /// `BKEY_U64s`
  @inlinable public static var headerU64s: Int { 5 }
  /// `BKEY_VAL_U64s_MAX`
  @inlinable public static var maxValueU64s: Int { 250 }

  /// The value, in u64s.
  @inlinable public var valueU64s: Int { Int(u64s) &- BKey.headerU64s }
  @inlinable public var valueByteCount: Int { valueU64s &* 8 }

  /// The first position an extent covers (`bkey_start_pos`).
  @inlinable public var start: BPos {
    BPos(position.inode, position.offset &- UInt64(size), position.snapshot)
  }
}

extension BKey {
  /// Where `struct bkey` keeps its fields.
  @frozen public enum Layout {
    @inlinable public static var u64s: LEField<UInt8> { .init(0) }
    /// Low 7 bits: 0 packed in the node's format, 1 unpacked. Bit 7: `needs_whiteout`.
    @inlinable public static var format: LEField<UInt8> { .init(1) }
    @inlinable public static var type: LEField<UInt8> { .init(2) }
    @inlinable public static var pad: LEField<UInt8> { .init(3) }
    @inlinable public static var versionLo: LEField<UInt64> { .init(4) }
    @inlinable public static var versionHi: LEField<UInt32> { .init(12) }
    @inlinable public static var size: LEField<UInt32> { .init(16) }
    @inlinable public static var position: Int { 20 }
    @inlinable public static var byteCount: Int { 40 }
  }

  /// `KEY_FORMAT_LOCAL_BTREE`
  @inlinable public static var packedFormat: UInt8 { 0 }
  /// `KEY_FORMAT_CURRENT`
  @inlinable public static var currentFormat: UInt8 { 1 }

  /// Decodes the 40 bytes of an unpacked header at `byteOffset`.
  ///
  /// - Throws: `.truncated`, `.tooSmall` (u64s below the header's), `.unsupported` (format other
  ///   than 1).
  @inlinable public init(decoding bytes: RawSpan, at byteOffset: Int = 0) throws(FormatError) {
    guard byteOffset >= 0, bytes.byteCount &- byteOffset >= Layout.byteCount else {
      throw FormatError(
        .truncated, "bkey", found: UInt64(clamping: bytes.byteCount &- byteOffset),
        expected: UInt64(Layout.byteCount))
    }
    let formatByte = bytes[LEField<UInt8>(byteOffset &+ 1)]
    guard formatByte & 0x7f == BKey.currentFormat else {
      throw FormatError(.unsupported, "bkey", "format", found: UInt64(formatByte & 0x7f))
    }
    let u64s = bytes[LEField<UInt8>(byteOffset)]
    guard Int(u64s) >= BKey.headerU64s else {
      throw FormatError(
        .tooSmall, "bkey", "u64s", found: UInt64(u64s), expected: UInt64(BKey.headerU64s),
        fsckError: .bkey_u64s_too_small)
    }
    self.init(uncheckedUnpacked: bytes, at: byteOffset)
  }

  /// The same without checks, for bytes that were validated when they were read.
  @inlinable public init(uncheckedUnpacked bytes: RawSpan, at byteOffset: Int) {
    u64s = bytes[LEField<UInt8>(byteOffset)]
    needsWhiteout = bytes[LEField<UInt8>(byteOffset &+ 1)] & 0x80 != 0
    type = BKeyType(rawValue: bytes[LEField<UInt8>(byteOffset &+ 2)])
    version = BVersion(
      hi: bytes[LEField<UInt32>(byteOffset &+ 12)], lo: bytes[LEField<UInt64>(byteOffset &+ 4)])
    size = bytes[LEField<UInt32>(byteOffset &+ 16)]
    position = BPos(decoding: bytes, at: byteOffset &+ 20)
  }

  /// Encodes the 40-byte header at `byteOffset`.
  @inlinable public func encode(into bytes: inout MutableRawSpan, at byteOffset: Int = 0) {
    bytes[LEField<UInt8>(byteOffset)] = u64s
    bytes[LEField<UInt8>(byteOffset &+ 1)] = BKey.currentFormat | (needsWhiteout ? 0x80 : 0)
    bytes[LEField<UInt8>(byteOffset &+ 2)] = type.rawValue
    bytes[LEField<UInt8>(byteOffset &+ 3)] = 0
    bytes[LEField<UInt64>(byteOffset &+ 4)] = version.lo
    bytes[LEField<UInt32>(byteOffset &+ 12)] = version.hi
    bytes[LEField<UInt32>(byteOffset &+ 16)] = size
    position.encode(into: &bytes, at: byteOffset &+ 20)
  }
}

extension BKey: CustomStringConvertible {
  /// `u64s 11 type extent 4096:8:U32_MAX len 8 ver 0` (`bch2_bkey_to_text`).
  public var description: String {
    "u64s \(u64s) type \(type) \(position) len \(size) ver \(version.lo)"
  }
}
