// SPDX-License-Identifier: GPL-2.0
// Flags and options of inodes. Numbers are persistent and must never change.

/// A bit of `bi_flags` below the packed fields (`BCH_INODE_FLAGS`).
@frozen
public struct InodeFlag: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "inode_flag"
  public static let names: [StaticString] = [
    "sync", "immutable", "append", "nodump", "noatime", "i_size_dirty", "i_sectors_dirty",
    "unlinked", "backptr_untrusted", "has_child_snapshot", "has_case_insensitive",
    "31bit_dirent_offset", "has_inode_opts", "has_access_acl", "has_default_acl",
  ]
  public static var nativeCount: Int { 10 }
}

// swift-format-ignore
extension InodeFlag {
  @inlinable public static var sync: InodeFlag { .init(rawValue: 0) }
  @inlinable public static var immutable: InodeFlag { .init(rawValue: 1) }
  @inlinable public static var append: InodeFlag { .init(rawValue: 2) }
  @inlinable public static var nodump: InodeFlag { .init(rawValue: 3) }
  @inlinable public static var noatime: InodeFlag { .init(rawValue: 4) }
  @inlinable public static var iSizeDirty: InodeFlag { .init(rawValue: 5) }
  @inlinable public static var iSectorsDirty: InodeFlag { .init(rawValue: 6) }
  @inlinable public static var unlinked: InodeFlag { .init(rawValue: 7) }
  @inlinable public static var backptrUntrusted: InodeFlag { .init(rawValue: 8) }
  @inlinable public static var hasChildSnapshot: InodeFlag { .init(rawValue: 9) }
}

/// An option that an inode keeps for itself (`enum inode_opt_id`), also its bit in
/// `bi_fields_set`.
@frozen
public struct InodeOption: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "inode_opt"
  public static let names: [StaticString] = [
    "data_checksum", "compression", "project", "background_compression", "data_replicas",
    "promote_target", "foreground_target", "background_target", "erasure_code", "nocow",
    "inodes_32bit", "casefold",
  ]
  public static var nativeCount: Int { 10 }
}

// swift-format-ignore
extension InodeOption {
  @inlinable public static var dataChecksum: InodeOption { .init(rawValue: 0) }
  @inlinable public static var compression: InodeOption { .init(rawValue: 1) }
  @inlinable public static var project: InodeOption { .init(rawValue: 2) }
  @inlinable public static var backgroundCompression: InodeOption { .init(rawValue: 3) }
  @inlinable public static var dataReplicas: InodeOption { .init(rawValue: 4) }
  @inlinable public static var promoteTarget: InodeOption { .init(rawValue: 5) }
  @inlinable public static var foregroundTarget: InodeOption { .init(rawValue: 6) }
  @inlinable public static var backgroundTarget: InodeOption { .init(rawValue: 7) }
  @inlinable public static var erasureCode: InodeOption { .init(rawValue: 8) }
  @inlinable public static var nocow: InodeOption { .init(rawValue: 9) }
}

extension InodeOption {
  /// Bits of the inode field `bi_NAME`; nil for an option of a newer format.
  public var fieldBits: Int? {
    switch self {
    case .dataChecksum, .compression, .backgroundCompression, .dataReplicas, .nocow: 8
    case .promoteTarget, .foregroundTarget, .backgroundTarget, .erasureCode: 16
    case .project: 32
    default: nil
    }
  }
}
