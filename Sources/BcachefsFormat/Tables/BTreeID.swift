// SPDX-License-Identifier: GPL-2.0
// The btrees of a volume (`BCH_BTREE_IDS`), what each may hold, and how its keys behave. Numbers
// are persistent.

/// Which btree (`enum btree_id`). Btrees of newer formats are carried along unharmed.
@frozen
public struct BTreeID: RawRepresentable, Hashable, Sendable, BitwiseCopyable, Comparable {
  public var rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// One past the last btree of version 1.13 (`BTREE_ID_NR`).
  @inlinable public static var count: UInt8 { 21 }
  /// The most btrees there can ever be (`BTREE_ID_NR_MAX`).
  @inlinable public static var maxCount: UInt8 { 63 }
  @inlinable public var isKnown: Bool { rawValue < BTreeID.count }
  @inlinable public static func < (a: BTreeID, b: BTreeID) -> Bool { a.rawValue < b.rawValue }

  /// How the keys of a btree behave (`enum btree_id_flags`).
  public struct Flags: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Keys have a size and do not overlap.
    public static let extents = Flags(rawValue: 1 << 0)
    /// Keys live in snapshots: `position.snapshot` names a node of the snapshot tree.
    public static let snapshots = Flags(rawValue: 1 << 1)
    /// `position.snapshot` is used, with another meaning than visibility.
    public static let snapshotField = Flags(rawValue: 1 << 2)
    /// Values point at user data.
    public static let data = Flags(rawValue: 1 << 3)
    /// Keys may go in long after they were journalled, many at once: whoever makes one does not
    /// look at what was there (changed by `bch2_trans_update_buffered`).
    public static let writeBuffered = Flags(rawValue: 1 << 4)
  }

  /// One row of the table.
  public struct Row: Sendable {
    public let id: BTreeID
    public let name: StaticString
    public let flags: Flags
    /// Types allowed in its leaves, besides `deleted`, as a bit mask by number.
    public let keyTypes: UInt64
  }

  /// The row of this btree, or nil for one of a newer format.
  public var row: Row? { isKnown ? BTreeID.table[Int(rawValue)] : nil }
}

private func mask(_ types: BKeyType...) -> UInt64 { types.reduce(0) { $0 | 1 << $1.rawValue } }

// swift-format-ignore
extension BTreeID {
  @inlinable public static var extents: BTreeID { .init(rawValue: 0) }
  @inlinable public static var inodes: BTreeID { .init(rawValue: 1) }
  @inlinable public static var dirents: BTreeID { .init(rawValue: 2) }
  @inlinable public static var xattrs: BTreeID { .init(rawValue: 3) }
  @inlinable public static var alloc: BTreeID { .init(rawValue: 4) }
  @inlinable public static var quotas: BTreeID { .init(rawValue: 5) }
  @inlinable public static var stripes: BTreeID { .init(rawValue: 6) }
  @inlinable public static var reflink: BTreeID { .init(rawValue: 7) }
  @inlinable public static var subvolumes: BTreeID { .init(rawValue: 8) }
  @inlinable public static var snapshots: BTreeID { .init(rawValue: 9) }
  @inlinable public static var lru: BTreeID { .init(rawValue: 10) }
  @inlinable public static var freespace: BTreeID { .init(rawValue: 11) }
  @inlinable public static var needDiscard: BTreeID { .init(rawValue: 12) }
  @inlinable public static var backpointers: BTreeID { .init(rawValue: 13) }
  @inlinable public static var bucketGens: BTreeID { .init(rawValue: 14) }
  @inlinable public static var snapshotTrees: BTreeID { .init(rawValue: 15) }
  @inlinable public static var deletedInodes: BTreeID { .init(rawValue: 16) }
  @inlinable public static var loggedOps: BTreeID { .init(rawValue: 17) }
  @inlinable public static var rebalanceWork: BTreeID { .init(rawValue: 18) }
  @inlinable public static var subvolumeChildren: BTreeID { .init(rawValue: 19) }
  @inlinable public static var accounting: BTreeID { .init(rawValue: 20) }

  /// All btrees, by number.
  public static let table: [Row] = [
    Row(id: .extents, name: "extents", flags: [.extents, .snapshots, .data], keyTypes: mask(.whiteout, .error, .cookie, .extent, .reservation, .reflinkP, .inlineData)),
    Row(id: .inodes, name: "inodes", flags: [.snapshots], keyTypes: mask(.whiteout, .inode, .inodeV2, .inodeV3, .inodeGeneration)),
    Row(id: .dirents, name: "dirents", flags: [.snapshots], keyTypes: mask(.whiteout, .hashWhiteout, .dirent)),
    Row(id: .xattrs, name: "xattrs", flags: [.snapshots], keyTypes: mask(.whiteout, .cookie, .hashWhiteout, .xattr)),
    Row(id: .alloc, name: "alloc", flags: [], keyTypes: mask(.alloc, .allocV2, .allocV3, .allocV4)),
    Row(id: .quotas, name: "quotas", flags: [], keyTypes: mask(.quota)),
    Row(id: .stripes, name: "stripes", flags: [], keyTypes: mask(.stripe)),
    Row(id: .reflink, name: "reflink", flags: [.extents, .data], keyTypes: mask(.reflinkV, .indirectInlineData, .error)),
    Row(id: .subvolumes, name: "subvolumes", flags: [], keyTypes: mask(.subvolume)),
    Row(id: .snapshots, name: "snapshots", flags: [], keyTypes: mask(.snapshot)),
    Row(id: .lru, name: "lru", flags: [.writeBuffered], keyTypes: mask(.set)),
    Row(id: .freespace, name: "freespace", flags: [.extents], keyTypes: mask(.set)),
    Row(id: .needDiscard, name: "need_discard", flags: [], keyTypes: mask(.set)),
    Row(id: .backpointers, name: "backpointers", flags: [.writeBuffered], keyTypes: mask(.backpointer)),
    Row(id: .bucketGens, name: "bucket_gens", flags: [], keyTypes: mask(.bucketGens)),
    Row(id: .snapshotTrees, name: "snapshot_trees", flags: [], keyTypes: mask(.snapshotTree)),
    Row(id: .deletedInodes, name: "deleted_inodes", flags: [.snapshotField, .writeBuffered], keyTypes: mask(.set)),
    Row(id: .loggedOps, name: "logged_ops", flags: [], keyTypes: mask(.loggedOpTruncate, .loggedOpFinsert)),
    Row(id: .rebalanceWork, name: "rebalance_work", flags: [.snapshotField, .writeBuffered], keyTypes: mask(.set, .cookie)),
    Row(id: .subvolumeChildren, name: "subvolume_children", flags: [], keyTypes: mask(.set)),
    Row(id: .accounting, name: "accounting", flags: [.snapshotField, .writeBuffered], keyTypes: mask(.accounting)),
  ]
}

extension BTreeID: CustomStringConvertible {
  /// Upstream's name, `(unknown btree N)` for one of a newer format.
  public var description: String { row.map { "\($0.name)" } ?? "(unknown btree \(rawValue))" }
}
