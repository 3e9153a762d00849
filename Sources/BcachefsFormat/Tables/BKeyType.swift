// SPDX-License-Identifier: GPL-2.0
// The types a key's value can have (`BCH_BKEY_TYPES`). Numbers are persistent.

/// What a key's value is (`enum bch_bkey_type`). Types of newer formats are carried along unharmed.
@frozen
public struct BKeyType: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
  public var rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// One past the last type of version 1.13 (`KEY_TYPE_MAX`).
  @inlinable public static var count: UInt8 { 35 }
  @inlinable public var isKnown: Bool { rawValue < BKeyType.count }
}

// swift-format-ignore
extension BKeyType {
  @inlinable public static var deleted: BKeyType { .init(rawValue: 0) }
  @inlinable public static var whiteout: BKeyType { .init(rawValue: 1) }
  @inlinable public static var error: BKeyType { .init(rawValue: 2) }
  @inlinable public static var cookie: BKeyType { .init(rawValue: 3) }
  @inlinable public static var hashWhiteout: BKeyType { .init(rawValue: 4) }
  @inlinable public static var btreePtr: BKeyType { .init(rawValue: 5) }
  @inlinable public static var extent: BKeyType { .init(rawValue: 6) }
  @inlinable public static var reservation: BKeyType { .init(rawValue: 7) }
  @inlinable public static var inode: BKeyType { .init(rawValue: 8) }
  @inlinable public static var inodeGeneration: BKeyType { .init(rawValue: 9) }
  @inlinable public static var dirent: BKeyType { .init(rawValue: 10) }
  @inlinable public static var xattr: BKeyType { .init(rawValue: 11) }
  @inlinable public static var alloc: BKeyType { .init(rawValue: 12) }
  @inlinable public static var quota: BKeyType { .init(rawValue: 13) }
  @inlinable public static var stripe: BKeyType { .init(rawValue: 14) }
  @inlinable public static var reflinkP: BKeyType { .init(rawValue: 15) }
  @inlinable public static var reflinkV: BKeyType { .init(rawValue: 16) }
  @inlinable public static var inlineData: BKeyType { .init(rawValue: 17) }
  @inlinable public static var btreePtrV2: BKeyType { .init(rawValue: 18) }
  @inlinable public static var indirectInlineData: BKeyType { .init(rawValue: 19) }
  @inlinable public static var allocV2: BKeyType { .init(rawValue: 20) }
  @inlinable public static var subvolume: BKeyType { .init(rawValue: 21) }
  @inlinable public static var snapshot: BKeyType { .init(rawValue: 22) }
  @inlinable public static var inodeV2: BKeyType { .init(rawValue: 23) }
  @inlinable public static var allocV3: BKeyType { .init(rawValue: 24) }
  @inlinable public static var set: BKeyType { .init(rawValue: 25) }
  @inlinable public static var lru: BKeyType { .init(rawValue: 26) }
  @inlinable public static var allocV4: BKeyType { .init(rawValue: 27) }
  @inlinable public static var backpointer: BKeyType { .init(rawValue: 28) }
  @inlinable public static var inodeV3: BKeyType { .init(rawValue: 29) }
  @inlinable public static var bucketGens: BKeyType { .init(rawValue: 30) }
  @inlinable public static var snapshotTree: BKeyType { .init(rawValue: 31) }
  @inlinable public static var loggedOpTruncate: BKeyType { .init(rawValue: 32) }
  @inlinable public static var loggedOpFinsert: BKeyType { .init(rawValue: 33) }
  @inlinable public static var accounting: BKeyType { .init(rawValue: 34) }
  /// Of 1.29: hides an ancestor snapshot's extent, as `whiteout` does, and has its size.
  @inlinable public static var extentWhiteout: BKeyType { .init(rawValue: 36) }

  /// Upstream's names, by number.
  static let names: [StaticString] = [
    "deleted",
    "whiteout",
    "error",
    "cookie",
    "hash_whiteout",
    "btree_ptr",
    "extent",
    "reservation",
    "inode",
    "inode_generation",
    "dirent",
    "xattr",
    "alloc",
    "quota",
    "stripe",
    "reflink_p",
    "reflink_v",
    "inline_data",
    "btree_ptr_v2",
    "indirect_inline_data",
    "alloc_v2",
    "subvolume",
    "snapshot",
    "inode_v2",
    "alloc_v3",
    "set",
    "lru",
    "alloc_v4",
    "backpointer",
    "inode_v3",
    "bucket_gens",
    "snapshot_tree",
    "logged_op_truncate",
    "logged_op_finsert",
    "accounting",
  ]
}

extension BKeyType: CustomStringConvertible {
  /// Upstream's name, the number for a type of a newer format.
  public var description: String {
    isKnown ? "\(BKeyType.names[Int(rawValue)])" : String(rawValue)
  }
}

extension BKeyType {
  /// Whether a key of the extents btree counts among its file's sectors
  /// (`bkey_extent_is_allocation`).
  @inlinable public var isAllocation: Bool {
    switch self {
    case .extent, .reservation, .reflinkP, .reflinkV, .inlineData, .indirectInlineData, .error: true
    default: false
    }
  }
}
