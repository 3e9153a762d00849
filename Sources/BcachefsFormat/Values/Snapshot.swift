// SPDX-License-Identifier: GPL-2.0
// Subvolumes, nodes of the snapshot tree, and the trees themselves.
//
// Older versions wrote shorter values: what is missing is zero, and is not written into a shorter
// value.
// Invariants
//   (1) Nothing is read or written beyond a shorter value's end, or behind a longer one's fields.
// Source: bcachefs snapshot.c, subvolume.c.

/// A time as subvolumes and snapshots keep it (`bch_le128`): the volume's time units.
@frozen
public struct Time128: Hashable, Sendable, BitwiseCopyable {
  public var lo: UInt64
  public var hi: UInt64

  @inlinable public init(lo: UInt64 = 0, hi: UInt64 = 0) {
    self.lo = lo
    self.hi = hi
  }
}

/// A subvolume (`struct bch_subvolume`), at `0:id`.
@frozen
public struct Subvolume: Hashable, Sendable, BitwiseCopyable {
  public var rawFlags: UInt32 = 0
  /// The snapshot node its files live in: a leaf.
  public var snapshot: UInt32
  /// Number of the root directory.
  public var inode: UInt64
  /// The subvolume it is a snapshot of.
  public var creationParent: UInt32 = 0
  /// The subvolume that holds its name.
  public var pathParent: UInt32 = 0
  /// When it was made.
  public var otime = Time128()

  public init(snapshot: UInt32, inode: UInt64) {
    self.snapshot = snapshot
    self.inode = inode
  }

  /// `BCH_SUBVOLUME_RO`
  @inlinable public var isReadOnly: Bool {
    get { rawFlags & 1 != 0 }
    set { rawFlags = rawFlags & ~1 | (newValue ? 1 : 0) }
  }
  /// `BCH_SUBVOLUME_SNAP`: made as a snapshot of another.
  @inlinable public var isSnapshot: Bool {
    get { rawFlags & 2 != 0 }
    set { rawFlags = rawFlags & ~2 | (newValue ? 2 : 0) }
  }
  /// `BCH_SUBVOLUME_UNLINKED`: to be deleted.
  @inlinable public var isUnlinked: Bool {
    get { rawFlags & 4 != 0 }
    set { rawFlags = rawFlags & ~4 | (newValue ? 4 : 0) }
  }

  /// `BCACHEFS_ROOT_SUBVOL`
  @inlinable public static var root: UInt32 { 1 }

  /// Where `struct bch_subvolume` keeps its fields.
  @frozen public enum Layout {
    @inlinable public static var flags: LEField<UInt32> { .init(0) }
    @inlinable public static var snapshot: LEField<UInt32> { .init(4) }
    @inlinable public static var inode: LEField<UInt64> { .init(8) }
    @inlinable public static var creationParent: LEField<UInt32> { .init(16) }
    @inlinable public static var pathParent: LEField<UInt32> { .init(20) }
    @inlinable public static var otimeLo: LEField<UInt64> { .init(24) }
    @inlinable public static var otimeHi: LEField<UInt64> { .init(32) }
    @inlinable public static var minByteCount: Int { 16 }
  }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 5 }

  /// - Throws: `.truncated` below 16 bytes.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= Layout.minByteCount else {
      throw .tooSmall("bch_subvolume", value.byteCount, Layout.minByteCount)
    }
    rawFlags = value[Layout.flags]
    snapshot = value[Layout.snapshot]
    inode = value[Layout.inode]
    creationParent = value.orZero(Layout.creationParent)
    pathParent = value.orZero(Layout.pathParent)
    otime = Time128(lo: value.orZero(Layout.otimeLo), hi: value.orZero(Layout.otimeHi))
  }

  /// Encodes the fields that fit; bytes behind them stay as they are.
  public func encode(into value: inout MutableRawSpan) {
    value.setIfPresent(Layout.flags, rawFlags)
    value.setIfPresent(Layout.snapshot, snapshot)
    value.setIfPresent(Layout.inode, inode)
    value.setIfPresent(Layout.creationParent, creationParent)
    value.setIfPresent(Layout.pathParent, pathParent)
    value.setIfPresent(Layout.otimeLo, otime.lo)
    value.setIfPresent(Layout.otimeHi, otime.hi)
  }

  /// `bch2_subvolume_validate`
  public func validate(key: BKey) throws(FormatError) {
    // Positions of subvolumes go up to S32_MAX, whatever the snapshot field says.
    guard key.position.inode == 0, 1...0x7fff_ffff ~= key.position.offset else {
      throw FormatError(
        .invalid, "bch_subvolume", "pos", found: key.position.offset, fsckError: .subvol_pos_bad)
    }
    guard snapshot != 0 else {
      throw FormatError(.invalid, "bch_subvolume", "snapshot", fsckError: .subvol_snapshot_bad)
    }
    guard inode != 0 else {
      throw FormatError(.invalid, "bch_subvolume", "inode", fsckError: .subvol_inode_bad)
    }
  }

  /// `bch2_subvolume_to_text`, for a value of `byteCount` bytes.
  func text(byteCount: Int) -> String {
    let text = "root \(inode) snapshot id \(snapshot)"
    guard byteCount > Layout.minByteCount else { return text }
    return "\(text) creation_parent \(creationParent) fs_parent \(pathParent)"
  }
}

extension Subvolume: CustomStringConvertible {
  /// `root 4096 snapshot id 4294967295 creation_parent 0 fs_parent 0`
  public var description: String { text(byteCount: Subvolume.encodedU64s &* 8) }
}

/// A node of the snapshot tree (`struct bch_snapshot`), at `0:id`. Parents have higher ids.
@frozen
public struct Snapshot: Hashable, Sendable, BitwiseCopyable {
  public var rawFlags: UInt32 = 0
  /// 0 for the root.
  public var parent: UInt32 = 0
  /// The higher first; 0 for none.
  public var child0: UInt32 = 0
  public var child1: UInt32 = 0
  /// The subvolume that a leaf belongs to.
  public var subvolume: UInt32 = 0
  /// Which snapshot tree.
  public var tree: UInt32 = 0
  /// Steps to the root.
  public var depth: UInt32 = 0
  /// Random ancestors in ascending order, to walk up fast; 0 for none.
  public var skip0: UInt32 = 0
  public var skip1: UInt32 = 0
  public var skip2: UInt32 = 0
  /// When it was made.
  public var btime = Time128()

  /// A node of all zeroes.
  public init() {}

  /// `BCH_SNAPSHOT_DELETED`
  @inlinable public var isDeleted: Bool {
    get { rawFlags & 1 != 0 }
    set { rawFlags = rawFlags & ~1 | (newValue ? 1 : 0) }
  }
  /// `BCH_SNAPSHOT_SUBVOL`: a subvolume points to it.
  @inlinable public var isSubvolume: Bool {
    get { rawFlags & 2 != 0 }
    set { rawFlags = rawFlags & ~2 | (newValue ? 2 : 0) }
  }

  /// Where `struct bch_snapshot` keeps its fields.
  @frozen public enum Layout {
    @inlinable public static var flags: LEField<UInt32> { .init(0) }
    @inlinable public static var parent: LEField<UInt32> { .init(4) }
    @inlinable public static var child0: LEField<UInt32> { .init(8) }
    @inlinable public static var child1: LEField<UInt32> { .init(12) }
    @inlinable public static var subvolume: LEField<UInt32> { .init(16) }
    @inlinable public static var tree: LEField<UInt32> { .init(20) }
    @inlinable public static var depth: LEField<UInt32> { .init(24) }
    @inlinable public static var skip0: LEField<UInt32> { .init(28) }
    @inlinable public static var skip1: LEField<UInt32> { .init(32) }
    @inlinable public static var skip2: LEField<UInt32> { .init(36) }
    @inlinable public static var btimeLo: LEField<UInt64> { .init(40) }
    @inlinable public static var btimeHi: LEField<UInt64> { .init(48) }
    @inlinable public static var minByteCount: Int { 24 }
  }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 7 }

  /// - Throws: `.truncated` below 24 bytes.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= Layout.minByteCount else {
      throw .tooSmall("bch_snapshot", value.byteCount, Layout.minByteCount)
    }
    rawFlags = value[Layout.flags]
    parent = value[Layout.parent]
    child0 = value[Layout.child0]
    child1 = value[Layout.child1]
    subvolume = value[Layout.subvolume]
    tree = value[Layout.tree]
    depth = value.orZero(Layout.depth)
    skip0 = value.orZero(Layout.skip0)
    skip1 = value.orZero(Layout.skip1)
    skip2 = value.orZero(Layout.skip2)
    btime = Time128(lo: value.orZero(Layout.btimeLo), hi: value.orZero(Layout.btimeHi))
  }

  /// Encodes the fields that fit; bytes behind them stay as they are.
  public func encode(into value: inout MutableRawSpan) {
    value.setIfPresent(Layout.flags, rawFlags)
    value.setIfPresent(Layout.parent, parent)
    value.setIfPresent(Layout.child0, child0)
    value.setIfPresent(Layout.child1, child1)
    value.setIfPresent(Layout.subvolume, subvolume)
    value.setIfPresent(Layout.tree, tree)
    value.setIfPresent(Layout.depth, depth)
    value.setIfPresent(Layout.skip0, skip0)
    value.setIfPresent(Layout.skip1, skip1)
    value.setIfPresent(Layout.skip2, skip2)
    value.setIfPresent(Layout.btimeLo, btime.lo)
    value.setIfPresent(Layout.btimeHi, btime.hi)
  }

  /// `bch2_snapshot_validate`
  public func validate(key: BKey) throws(FormatError) {
    let id = key.position.offset
    guard key.position.inode == 0, 1...UInt64(UInt32.max) ~= id else {
      throw bad("pos", id, .snapshot_pos_bad)
    }
    guard parent == 0 || UInt64(parent) > id else {
      throw bad("parent", UInt64(parent), .snapshot_parent_bad)
    }
    guard child0 >= child1 else {
      throw bad("children", UInt64(child1), .snapshot_children_not_normalized)
    }
    guard child0 == 0 || child0 != child1 else {
      throw bad("children", UInt64(child1), .snapshot_child_duplicate)
    }
    guard UInt64(child0) < id else { throw bad("children", UInt64(child0), .snapshot_child_bad) }
    guard skip0 <= skip1, skip1 <= skip2 else {
      throw bad("skip", UInt64(skip1), .snapshot_skiplist_not_normalized)
    }
    for skip in [skip0, skip1, skip2] where skip != 0 && skip < parent {
      throw bad("skip", UInt64(skip), .snapshot_skiplist_bad)
    }
  }

  private func bad(
    _ field: StaticString, _ found: UInt64, _ error: FsckErrorID
  ) -> FormatError {
    FormatError(.invalid, "bch_snapshot", field, found: found, fsckError: error)
  }

  /// `bch2_snapshot_to_text`, for a value of `byteCount` bytes.
  func text(byteCount: Int) -> String {
    let text =
      "is_subvol \(isSubvolume ? 1 : 0) deleted \(isDeleted ? 1 : 0) parent \(wide(parent))"
      + " children \(wide(child0)) \(wide(child1)) subvol \(subvolume) tree \(tree)"
    guard byteCount > Layout.minByteCount else { return text }
    return "\(text) depth \(depth) skiplist \(skip0) \(skip1) \(skip2)"
  }

  private func wide(_ value: UInt32) -> String {
    let text = String(value)
    return String(repeating: " ", count: max(0, 10 - text.utf8.count)) + text
  }
}

extension Snapshot: CustomStringConvertible {
  /// Upstream's line, ids of nodes in ten columns.
  public var description: String { text(byteCount: Snapshot.encodedU64s &* 8) }
}

/// A tree of snapshot nodes (`struct bch_snapshot_tree`), at `0:id`.
@frozen
public struct SnapshotTree: Hashable, Sendable, BitwiseCopyable {
  /// The subvolume that is not a snapshot of another.
  public var masterSubvolume: UInt32
  public var rootSnapshot: UInt32

  @inlinable public init(masterSubvolume: UInt32, rootSnapshot: UInt32) {
    self.masterSubvolume = masterSubvolume
    self.rootSnapshot = rootSnapshot
  }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 1 }

  /// - Throws: `.truncated` below 8 bytes.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 8 else { throw .tooSmall("bch_snapshot_tree", value.byteCount, 8) }
    self.init(masterSubvolume: value[LEField(0)], rootSnapshot: value[LEField(4)])
  }

  /// - Precondition: room for 8 bytes.
  public func encode(into value: inout MutableRawSpan) {
    value[LEField<UInt32>(0)] = masterSubvolume
    value[LEField<UInt32>(4)] = rootSnapshot
  }

  /// `bch2_snapshot_tree_validate`
  public func validate(key: BKey) throws(FormatError) {
    guard key.position.inode == 0, 1...UInt64(UInt32.max) ~= key.position.offset else {
      throw FormatError(
        .invalid, "bch_snapshot_tree", "pos", found: key.position.offset,
        fsckError: .snapshot_tree_pos_bad)
    }
  }
}

extension SnapshotTree: CustomStringConvertible {
  /// `subvol 1 root snapshot 4294967295`
  public var description: String { "subvol \(masterSubvolume) root snapshot \(rootSnapshot)" }
}
