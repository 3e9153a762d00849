// SPDX-License-Identifier: GPL-2.0
// Positions and versions: what orders keys in every btree.

/// A position in a btree (`struct bpos`, 20 bytes on disk: snapshot, offset, inode).
///
/// Ordered by inode, then offset, then snapshot. For extents `offset` is the *end*, in sectors.
@frozen
public struct BPos: Hashable, Comparable, Sendable, BitwiseCopyable {
  public var inode: UInt64
  public var offset: UInt64
  public var snapshot: UInt32

  @inlinable public init(_ inode: UInt64, _ offset: UInt64, _ snapshot: UInt32 = 0) {
    self.inode = inode
    self.offset = offset
    self.snapshot = snapshot
  }

  /// `POS_MIN`
  @inlinable public static var min: BPos { BPos(0, 0, 0) }
  /// `SPOS_MAX`: the end of every btree.
  @inlinable public static var max: BPos { BPos(.max, .max, .max) }

  @inlinable public static func < (a: BPos, b: BPos) -> Bool {
    if a.inode != b.inode { return a.inode < b.inode }
    if a.offset != b.offset { return a.offset < b.offset }
    return a.snapshot < b.snapshot
  }

  /// The next position in btree order, or nil after the last.
  @inlinable public var successor: BPos? {
    if snapshot != .max { return BPos(inode, offset, snapshot &+ 1) }
    if offset != .max { return BPos(inode, offset &+ 1, 0) }
    if inode != .max { return BPos(inode &+ 1, 0, 0) }
    return nil
  }

  /// The position before this one in btree order, or nil before the first.
  @inlinable public var predecessor: BPos? {
    if snapshot != 0 { return BPos(inode, offset, snapshot &- 1) }
    if offset != 0 { return BPos(inode, offset &- 1, .max) }
    if inode != 0 { return BPos(inode &- 1, .max, .max) }
    return nil
  }
}

extension BPos {
  /// Where a `struct bpos` keeps its words.
  @frozen public enum Layout {
    @inlinable public static var snapshot: LEField<UInt32> { .init(0) }
    @inlinable public static var offset: LEField<UInt64> { .init(4) }
    @inlinable public static var inode: LEField<UInt64> { .init(12) }
    @inlinable public static var byteCount: Int { 20 }
  }

  /// Decodes the 20 bytes at `byteOffset`. Every bit pattern is a position.
  ///
  /// - Precondition: `bytes` covers them.
  @inlinable public init(decoding bytes: RawSpan, at byteOffset: Int = 0) {
    assert(byteOffset &+ Layout.byteCount <= bytes.byteCount)
    snapshot = bytes[LEField<UInt32>(byteOffset)]
    offset = bytes[LEField<UInt64>(byteOffset &+ 4)]
    inode = bytes[LEField<UInt64>(byteOffset &+ 12)]
  }

  /// Encodes 20 bytes at `byteOffset`.
  @inlinable public func encode(into bytes: inout MutableRawSpan, at byteOffset: Int = 0) {
    bytes[LEField<UInt32>(byteOffset)] = snapshot
    bytes[LEField<UInt64>(byteOffset &+ 4)] = offset
    bytes[LEField<UInt64>(byteOffset &+ 12)] = inode
  }
}

extension BPos: CustomStringConvertible {
  /// Upstream's notation: `inode:offset:snapshot`, `U64_MAX` and `U32_MAX` by name, `POS_MIN`,
  /// `POS_MAX` and `SPOS_MAX` likewise (`bch2_bpos_to_text`).
  public var description: String {
    if self == .min { return "POS_MIN" }
    if self == BPos(.max, .max, 0) { return "POS_MAX" }
    if self == .max { return "SPOS_MAX" }
    let inodeText = inode == .max ? "U64_MAX" : String(inode)
    let offsetText = offset == .max ? "U64_MAX" : String(offset)
    let snapshotText = snapshot == .max ? "U32_MAX" : String(snapshot)
    return "\(inodeText):\(offsetText):\(snapshotText)"
  }
}

/// A key's version (`struct bversion`, 12 bytes: lo, hi): the nonce of encrypted extents, the
/// order of accounting deltas.
@frozen
public struct BVersion: Hashable, Sendable, BitwiseCopyable {
  public var hi: UInt32
  public var lo: UInt64

  @inlinable public init(hi: UInt32 = 0, lo: UInt64 = 0) {
    self.hi = hi
    self.lo = lo
  }

  @inlinable public static var zero: BVersion { BVersion() }

  @inlinable public static func < (a: BVersion, b: BVersion) -> Bool {
    a.hi != b.hi ? a.hi < b.hi : a.lo < b.lo
  }
}
