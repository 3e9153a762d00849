// SPDX-License-Identifier: GPL-2.0
// Sorted sets of keys: the header of a bset and the walk over its packed keys.
//
// How it works
//   1. A bset is a 24-byte header and `u64s` words of keys in ascending order.
//   2. Each key is packed in the node's format or unpacked; its first byte is its length in words.
// Invariants
//   (1) An iterator only returns keys that lie wholly inside the bset and whose unpacked form fits
//       a `BKey`; anything else ends the walk with an error.
// Source: `struct bset`, bset.h, btree_io.c (validate_bset_keys).

/// The header of a bset (`struct bset`, 24 bytes).
@frozen
public struct BSetHeader: Sendable, Equatable {
  /// Random, the same in all bsets of a node.
  public var sequence: UInt64
  /// The newest journal entry with updates in this bset.
  public var journalSequence: UInt64
  public var flags: UInt32
  public var version: UInt16
  /// Words of keys.
  public var u64s: UInt16

  public init(
    sequence: UInt64, journalSequence: UInt64, flags: UInt32 = 0,
    version: UInt16, u64s: UInt16 = 0
  ) {
    self.sequence = sequence
    self.journalSequence = journalSequence
    self.flags = flags
    self.version = version
    self.u64s = u64s
  }

  /// Where `struct bset` keeps its fields.
  @frozen public enum Layout {
    @inlinable public static var sequence: LEField<UInt64> { .init(0) }
    @inlinable public static var journalSequence: LEField<UInt64> { .init(8) }
    @inlinable public static var flags: LEField<UInt32> { .init(16) }
    @inlinable public static var version: LEField<UInt16> { .init(20) }
    @inlinable public static var u64s: LEField<UInt16> { .init(22) }
    @inlinable public static var byteCount: Int { 24 }
    @inlinable public static var checksumType: LEBits<UInt32> { .init(flags, 0..<4) }
    @inlinable public static var bigEndian: LEBits<UInt32> { .init(flags, 4..<5) }
    @inlinable public static var separateWhiteouts: LEBits<UInt32> { .init(flags, 5..<6) }
    /// Sectors from the start of the node.
    @inlinable public static var offset: LEBits<UInt32> { .init(flags, 16..<32) }
  }

  /// Raw number of the checksum type (`BSET_CSUM_TYPE`).
  public var checksumType: UInt8 {
    get { UInt8(truncatingIfNeeded: Layout.checksumType.get(flags)) }
    set { flags = Layout.checksumType.setting(flags, to: UInt32(newValue)) }
  }
  /// Sectors from the start of the node (`BSET_OFFSET`).
  public var offsetSectors: Int {
    get { Int(Layout.offset.get(flags)) }
    set { flags = Layout.offset.setting(flags, to: UInt32(newValue)) }
  }
  public var isBigEndian: Bool { Layout.bigEndian.get(flags) != 0 }
  public var hasSeparateWhiteouts: Bool { Layout.separateWhiteouts.get(flags) != 0 }

  /// - Precondition: 24 bytes at `byteOffset`.
  @inlinable public init(decoding bytes: RawSpan, at byteOffset: Int) {
    sequence = bytes[LEField<UInt64>(byteOffset)]
    journalSequence = bytes[LEField<UInt64>(byteOffset &+ 8)]
    flags = bytes[LEField<UInt32>(byteOffset &+ 16)]
    version = bytes[LEField<UInt16>(byteOffset &+ 20)]
    u64s = bytes[LEField<UInt16>(byteOffset &+ 22)]
  }

  @inlinable public func encode(into bytes: inout MutableRawSpan, at byteOffset: Int) {
    bytes[LEField<UInt64>(byteOffset)] = sequence
    bytes[LEField<UInt64>(byteOffset &+ 8)] = journalSequence
    bytes[LEField<UInt32>(byteOffset &+ 16)] = flags
    bytes[LEField<UInt16>(byteOffset &+ 20)] = version
    bytes[LEField<UInt16>(byteOffset &+ 22)] = u64s
  }
}

/// Walks the keys of one bset in place.
public struct PackedKeyIterator: ~Escapable {
  private let keys: RawSpan
  private let format: BKeyFormat
  private var next = 0

  /// - Parameter keys: exactly the `u64s * 8` bytes behind the header.
  @_lifetime(copy keys)
  public init(keys: RawSpan, format: BKeyFormat) {
    self.keys = keys
    self.format = format
  }

  /// Bytes from the start of the keys to the next key.
  public var nextByteOffset: Int { next }

  /// A key found in the bset: its header, and where its value lies within the bset's keys.
  @frozen public struct Entry: Sendable {
    public let key: BKey
    public let isPacked: Bool
    public let byteOffset: Int
    public let valueByteOffset: Int
  }

  /// The next key, nil at the end.
  ///
  /// - Throws: `.invalid` (u64s zero or below the header's, unknown format), `.truncated` (past the
  ///   end of the bset). The iterator stays where it is.
  public mutating func nextEntry() throws(FormatError) -> Entry? {
    guard next < keys.byteCount else { return nil }
    guard keys.byteCount - next >= 8 else {
      throw FormatError(
        .truncated, "bset", "key", found: UInt64(keys.byteCount - next), expected: 8,
        fsckError: .btree_node_bkey_past_bset_end)
    }
    let u64s = Int(keys[LEField<UInt8>(next)])
    let formatNumber = keys[LEField<UInt8>(next + 1)] & 0x7f
    guard formatNumber <= BKey.currentFormat else {
      throw FormatError(
        .unsupported, "bkey_packed", "format", found: UInt64(formatNumber),
        fsckError: .btree_node_bkey_bad_format)
    }
    let isPacked = formatNumber == BKey.packedFormat
    let headerU64s = isPacked ? Int(format.keyU64s) : BKey.headerU64s
    guard u64s >= headerU64s, u64s > 0, u64s - headerU64s <= BKey.maxValueU64s else {
      throw FormatError(
        .invalid, "bkey_packed", "u64s", found: UInt64(u64s), expected: UInt64(headerU64s),
        fsckError: .btree_node_bkey_bad_u64s)
    }
    guard u64s * 8 <= keys.byteCount - next else {
      throw FormatError(
        .truncated, "bkey_packed", "u64s", found: UInt64(keys.byteCount - next),
        expected: UInt64(u64s * 8), fsckError: .btree_node_bkey_past_bset_end)
    }
    let key =
      isPacked ? format.unpack(keys, at: next) : BKey(uncheckedUnpacked: keys, at: next)
    let entry = Entry(
      key: key, isPacked: isPacked, byteOffset: next, valueByteOffset: next + headerU64s * 8)
    next += u64s * 8
    return entry
  }
}
