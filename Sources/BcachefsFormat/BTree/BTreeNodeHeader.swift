// SPDX-License-Identifier: GPL-2.0
// The header of a btree node on disk, and which of its bytes are checksummed and encrypted.
//
// How it works
//   1. A node is written as a `btree_node` (160 bytes of header, then keys) and later appended to
//      with `btree_node_entry` blocks (40 bytes of header, then keys), each padded to whole blocks.
//   2. Each block has a checksum of everything behind the checksum field up to its last key.
//   3. With encryption, the words from `flags` up to the bset header and the keys are ciphertext;
//      the bset header stays readable, since the nonce is made of it.
// Invariants
//   (1) min_key <= max_key; both are part of the node (a closed interval).
// Source: `struct btree_node`, `struct btree_node_entry`; btree_io.h (btree_nonce, bset_encrypt).

/// The fixed part of a btree node (`struct btree_node`, 160 bytes with its first bset's header).
@frozen
public struct BTreeNodeHeader: Sendable, Equatable {
  public var magic: UInt64
  public var flags: UInt64
  public var minKey: BPos
  public var maxKey: BPos
  public var format: BKeyFormat
  public var bset: BSetHeader

  public init(
    magic: UInt64, btree: BTreeID, level: Int, minKey: BPos, maxKey: BPos, format: BKeyFormat,
    bset: BSetHeader
  ) {
    self.magic = magic
    flags = 0
    self.minKey = minKey
    self.maxKey = maxKey
    self.format = format
    self.bset = bset
    self.btree = btree
    self.level = level
    flags = Layout.newExtentOverwrite.setting(flags, to: 1)
  }

  /// Where `struct btree_node` keeps its fields.
  @frozen public enum Layout {
    /// 16 bytes.
    @inlinable public static var checksum: Int { 0 }
    @inlinable public static var magic: LEField<UInt64> { .init(16) }
    @inlinable public static var flags: LEField<UInt64> { .init(24) }
    @inlinable public static var minKey: Int { 32 }
    @inlinable public static var maxKey: Int { 52 }
    /// Unused since key type `btree_ptr_v2`.
    @inlinable public static var pointer: LEField<UInt64> { .init(72) }
    @inlinable public static var format: Int { 80 }
    @inlinable public static var bset: Int { 136 }
    @inlinable public static var keys: Int { 160 }
    @inlinable public static var idLow: LEBits<UInt64> { .init(flags, 0..<4) }
    @inlinable public static var level: LEBits<UInt64> { .init(flags, 4..<8) }
    @inlinable public static var newExtentOverwrite: LEBits<UInt64> { .init(flags, 8..<9) }
    @inlinable public static var idHigh: LEBits<UInt64> { .init(flags, 9..<25) }
    /// Counts rewrites of the same range.
    @inlinable public static var nodeSequence: LEBits<UInt64> { .init(flags, 32..<64) }
  }

  /// The header of a later block (`struct btree_node_entry`, 40 bytes).
  @frozen public enum EntryLayout {
    @inlinable public static var checksum: Int { 0 }
    @inlinable public static var bset: Int { 16 }
    @inlinable public static var keys: Int { 40 }
  }

  public var btree: BTreeID {
    get {
      let number = Layout.idLow.get(flags) | Layout.idHigh.get(flags) << 4
      return BTreeID(rawValue: UInt8(clamping: number))
    }
    set {
      flags = Layout.idLow.setting(flags, to: UInt64(newValue.rawValue) & 0xf)
      flags = Layout.idHigh.setting(flags, to: UInt64(newValue.rawValue) >> 4)
    }
  }

  /// 0 for leaves.
  public var level: Int {
    get { Int(Layout.level.get(flags)) }
    set { flags = Layout.level.setting(flags, to: UInt64(newValue)) }
  }

  /// Of nodes that cover the same the one with the higher number is newer (`BTREE_NODE_SEQ`).
  public var nodeSequence: UInt32 {
    UInt32(truncatingIfNeeded: Layout.nodeSequence.get(flags))
  }

  /// `BSET_MAGIC`, to be xored with the first eight bytes of the volume's internal UUID.
  public static let magicBase: UInt64 = 0x9013_5c78_b99e_07f5
  /// `BTREE_MAX_DEPTH`
  public static let maxDepth = 4

  /// Decodes the header; keys are not looked at.
  ///
  /// - Throws: `.truncated`, `.tooLarge` (level), `.outOfOrder` (bounds), what `BKeyFormat` throws.
  public init(decoding bytes: RawSpan) throws(FormatError) {
    guard bytes.byteCount >= Layout.keys else {
      throw FormatError(
        .truncated, "btree_node", found: UInt64(bytes.byteCount), expected: UInt64(Layout.keys))
    }
    magic = bytes[Layout.magic]
    flags = bytes[Layout.flags]
    minKey = BPos(decoding: bytes, at: Layout.minKey)
    maxKey = BPos(decoding: bytes, at: Layout.maxKey)
    format = try BKeyFormat(decoding: bytes, at: Layout.format)
    bset = BSetHeader(decoding: bytes, at: Layout.bset)
    guard level < BTreeNodeHeader.maxDepth else {
      throw FormatError(
        .tooLarge, "btree_node", "level", found: UInt64(level),
        expected: UInt64(BTreeNodeHeader.maxDepth - 1), fsckError: .btree_node_bad_level)
    }
    guard minKey <= maxKey else {
      throw FormatError(
        .outOfOrder, "btree_node", "min_key", fsckError: .btree_node_bad_min_key)
    }
  }

  /// Encodes all but the checksum.
  ///
  /// - Precondition: `bytes` has at least `Layout.keys` bytes.
  public func encode(into bytes: inout MutableRawSpan) {
    bytes[Layout.magic] = magic
    bytes[Layout.flags] = flags
    minKey.encode(into: &bytes, at: Layout.minKey)
    maxKey.encode(into: &bytes, at: Layout.maxKey)
    bytes[Layout.pointer] = 0
    format.encode(into: &bytes, at: Layout.format)
    bset.encode(into: &bytes, at: Layout.bset)
  }
}
