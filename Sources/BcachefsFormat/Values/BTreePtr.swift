// SPDX-License-Identifier: GPL-2.0
// Pointers to btree nodes: what interior nodes and btree roots hold.

/// The head of the value that points to a btree node (`struct bch_btree_ptr_v2`); pointers follow
/// from `Layout.byteCount` on and are read with `ExtentEntries`.
@frozen
public struct BTreePtrV2: Equatable, Sendable, BitwiseCopyable {
  /// In memory only upstream; written as found.
  public var memoryPointer: UInt64
  /// The node's sequence number, random when it was made.
  public var seq: UInt64
  /// Sectors of the node that hold bsets.
  public var sectorsWritten: UInt16
  public var flags: UInt16
  /// The first position the node covers; the key's position is the last.
  public var minKey: BPos

  @inlinable public init(
    seq: UInt64, sectorsWritten: UInt16, minKey: BPos, flags: UInt16 = 0, memoryPointer: UInt64 = 0
  ) {
    self.seq = seq
    self.sectorsWritten = sectorsWritten
    self.minKey = minKey
    self.flags = flags
    self.memoryPointer = memoryPointer
  }

  /// `BTREE_PTR_RANGE_UPDATED`: the key says what the node covers, not the node itself.
  @inlinable public var isRangeUpdated: Bool {
    get { flags & 1 != 0 }
    set { flags = flags & ~1 | (newValue ? 1 : 0) }
  }

  /// Where `struct bch_btree_ptr_v2` keeps its fields.
  @frozen public enum Layout {
    @inlinable public static var memoryPointer: LEField<UInt64> { .init(0) }
    @inlinable public static var seq: LEField<UInt64> { .init(8) }
    @inlinable public static var sectorsWritten: LEField<UInt16> { .init(16) }
    @inlinable public static var flags: LEField<UInt16> { .init(18) }
    @inlinable public static var minKey: Int { 20 }
    /// Pointers start here.
    @inlinable public static var byteCount: Int { 40 }
  }

  /// Words of the head, without pointers.
  @inlinable public static var encodedU64s: Int { Layout.byteCount / 8 }
  /// The largest value, in words (`BKEY_BTREE_PTR_VAL_U64s_MAX`).
  @inlinable public static var maxU64s: Int { encodedU64s &+ 4 }

  /// - Throws: `.truncated`.
  @inlinable public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= Layout.byteCount else {
      throw FormatError(
        .truncated, "bch_btree_ptr_v2", found: UInt64(value.byteCount),
        expected: UInt64(Layout.byteCount), fsckError: .bkey_val_size_too_small)
    }
    self.init(
      seq: value[Layout.seq], sectorsWritten: value[Layout.sectorsWritten],
      minKey: BPos(decoding: value, at: Layout.minKey), flags: value[Layout.flags],
      memoryPointer: value[Layout.memoryPointer])
  }

  /// Encodes the head; append pointers with `ExtentWriter(at: Layout.byteCount)`.
  ///
  /// - Precondition: `value` has room for `Layout.byteCount` bytes.
  @inlinable public func encode(into value: inout MutableRawSpan) {
    value[Layout.memoryPointer] = memoryPointer
    value[Layout.seq] = seq
    value[Layout.sectorsWritten] = sectorsWritten
    value[Layout.flags] = flags
    minKey.encode(into: &value, at: Layout.minKey)
  }
}
