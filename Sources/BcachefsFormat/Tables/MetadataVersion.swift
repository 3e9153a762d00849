// SPDX-License-Identifier: GPL-2.0
// Versions of the on-disk format: one number for superblock, btree nodes and journal entries.
// Numbers are persistent and must never change.

/// A version of the format: major number in the high 6 bits, minor in the low 10
/// (`enum bcachefs_metadata_version`). Unknown versions are carried along.
@frozen
public struct MetadataVersion: RawRepresentable, Hashable, Comparable, Sendable {
  public let rawValue: UInt16
  @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// - Precondition: `minor` is below 1024, `major` below 64.
  @inlinable public init(_ major: UInt16, _ minor: UInt16) {
    assert(major < 64 && minor < 1024)
    rawValue = (major & 63) << 10 | (minor & 1023)
  }

  /// The version in an integer of the disk's, which may be wider; nil where it does not fit.
  public init?(exactly value: some FixedWidthInteger) {
    guard let rawValue = UInt16(exactly: value) else { return nil }
    self.init(rawValue: rawValue)
  }

  @inlinable public var major: UInt16 { rawValue >> 10 }
  @inlinable public var minor: UInt16 { rawValue & 1023 }

  @inlinable public static func < (a: MetadataVersion, b: MetadataVersion) -> Bool {
    a.rawValue < b.rawValue
  }

  /// The oldest that can be read (`bcachefs_metadata_version_min`).
  @inlinable public static var oldest: MetadataVersion { .init(rawValue: 9) }
  /// What this program writes, and Linux 6.12 (`bcachefs_metadata_version_current`).
  @inlinable public static var native: MetadataVersion { .inodeHasChildSnapshots }
  /// A volume below this must be upgraded to be written to
  /// (`bcachefs_metadata_required_upgrade_below`).
  @inlinable public static var requiredUpgradeBelow: MetadataVersion { .rebalanceWork }

  /// Whether the rules of 1.13 let us read structures of this version (`bch2_version_compatible`):
  /// no newer major version, nothing older than `oldest`.
  public var isCompatible: Bool { major <= MetadataVersion.native.major && self >= .oldest }
  public var isNewerThanNative: Bool { self > .native }

  /// One row of the table.
  public struct Row: Sendable {
    public let version: MetadataVersion
    public let name: StaticString

    fileprivate init(_ version: MetadataVersion, _ name: StaticString) {
      self.version = version
      self.name = name
    }
  }

  private static let rows: [MetadataVersion: Row] = Dictionary(
    uniqueKeysWithValues: (table + newerTable).map { ($0.version, $0) })

  /// Upstream's name, also for versions newer than 1.13 up to the newest known here.
  public var name: StaticString? { MetadataVersion.rows[self]?.name }

  /// `1.13`
  public var number: String { "\(major).\(minor)" }

  /// A version by its name (`rebalance_work`) or number (`1.3`). Only versions of `table` have
  /// names here; numbers are taken as they are.
  public init?(parsing text: some StringProtocol) {
    if let row = MetadataVersion.table.first(where: { "\($0.name)" == text }) {
      self = row.version
      return
    }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2, let major = UInt16(parts[0]), let minor = UInt16(parts[1]),
      major < 64, minor < 1024
    else { return nil }
    self.init(major, minor)
  }
}

extension MetadataVersion: CustomStringConvertible {
  /// As upstream prints it: `1.13: inode_has_child_snapshots`.
  public var description: String {
    "\(number): \(name.map { "\($0)" } ?? "(unknown version)")"
  }
}

// swift-format-ignore
extension MetadataVersion {
  @inlinable public static var bkeyRenumber: MetadataVersion { .init(0, 10) }
  @inlinable public static var inodeBtreeChange: MetadataVersion { .init(0, 11) }
  @inlinable public static var snapshot: MetadataVersion { .init(0, 12) }
  @inlinable public static var inodeBackpointers: MetadataVersion { .init(0, 13) }
  @inlinable public static var btreePtrSectorsWritten: MetadataVersion { .init(0, 14) }
  @inlinable public static var snapshot2: MetadataVersion { .init(0, 15) }
  @inlinable public static var reflinkPFix: MetadataVersion { .init(0, 16) }
  @inlinable public static var subvolDirent: MetadataVersion { .init(0, 17) }
  @inlinable public static var inodeV2: MetadataVersion { .init(0, 18) }
  @inlinable public static var freespace: MetadataVersion { .init(0, 19) }
  @inlinable public static var allocV4: MetadataVersion { .init(0, 20) }
  @inlinable public static var newDataTypes: MetadataVersion { .init(0, 21) }
  @inlinable public static var backpointers: MetadataVersion { .init(0, 22) }
  @inlinable public static var inodeV3: MetadataVersion { .init(0, 23) }
  @inlinable public static var unwrittenExtents: MetadataVersion { .init(0, 24) }
  @inlinable public static var bucketGens: MetadataVersion { .init(0, 25) }
  @inlinable public static var lruV2: MetadataVersion { .init(0, 26) }
  @inlinable public static var fragmentationLru: MetadataVersion { .init(0, 27) }
  @inlinable public static var noBpsInAllocKeys: MetadataVersion { .init(0, 28) }
  @inlinable public static var snapshotTrees: MetadataVersion { .init(0, 29) }
  @inlinable public static var majorMinor: MetadataVersion { .init(1, 0) }
  @inlinable public static var snapshotSkiplists: MetadataVersion { .init(1, 1) }
  @inlinable public static var deletedInodes: MetadataVersion { .init(1, 2) }
  @inlinable public static var rebalanceWork: MetadataVersion { .init(1, 3) }
  @inlinable public static var memberSeq: MetadataVersion { .init(1, 4) }
  @inlinable public static var subvolumeFsParent: MetadataVersion { .init(1, 5) }
  @inlinable public static var btreeSubvolumeChildren: MetadataVersion { .init(1, 6) }
  @inlinable public static var miBtreeBitmap: MetadataVersion { .init(1, 7) }
  @inlinable public static var bucketStripeSectors: MetadataVersion { .init(1, 8) }
  @inlinable public static var diskAccountingV2: MetadataVersion { .init(1, 9) }
  @inlinable public static var diskAccountingV3: MetadataVersion { .init(1, 10) }
  @inlinable public static var diskAccountingInum: MetadataVersion { .init(1, 11) }
  @inlinable public static var rebalanceWorkAcctFix: MetadataVersion { .init(1, 12) }
  @inlinable public static var inodeHasChildSnapshots: MetadataVersion { .init(1, 13) }

  /// The versions up to 1.13, in order.
  public static let table: [Row] = [
    Row(.bkeyRenumber, "bkey_renumber"),
    Row(.inodeBtreeChange, "inode_btree_change"),
    Row(.snapshot, "snapshot"),
    Row(.inodeBackpointers, "inode_backpointers"),
    Row(.btreePtrSectorsWritten, "btree_ptr_sectors_written"),
    Row(.snapshot2, "snapshot_2"),
    Row(.reflinkPFix, "reflink_p_fix"),
    Row(.subvolDirent, "subvol_dirent"),
    Row(.inodeV2, "inode_v2"),
    Row(.freespace, "freespace"),
    Row(.allocV4, "alloc_v4"),
    Row(.newDataTypes, "new_data_types"),
    Row(.backpointers, "backpointers"),
    Row(.inodeV3, "inode_v3"),
    Row(.unwrittenExtents, "unwritten_extents"),
    Row(.bucketGens, "bucket_gens"),
    Row(.lruV2, "lru_v2"),
    Row(.fragmentationLru, "fragmentation_lru"),
    Row(.noBpsInAllocKeys, "no_bps_in_alloc_keys"),
    Row(.snapshotTrees, "snapshot_trees"),
    Row(.majorMinor, "major_minor"),
    Row(.snapshotSkiplists, "snapshot_skiplists"),
    Row(.deletedInodes, "deleted_inodes"),
    Row(.rebalanceWork, "rebalance_work"),
    Row(.memberSeq, "member_seq"),
    Row(.subvolumeFsParent, "subvolume_fs_parent"),
    Row(.btreeSubvolumeChildren, "btree_subvolume_children"),
    Row(.miBtreeBitmap, "mi_btree_bitmap"),
    Row(.bucketStripeSectors, "bucket_stripe_sectors"),
    Row(.diskAccountingV2, "disk_accounting_v2"),
    Row(.diskAccountingV3, "disk_accounting_v3"),
    Row(.diskAccountingInum, "disk_accounting_inum"),
    Row(.rebalanceWorkAcctFix, "rebalance_work_acct_fix"),
    Row(.inodeHasChildSnapshots, "inode_has_child_snapshots"),
  ]

  /// Versions newer than 1.13: volumes of these are printed and read, not written.
  public static let newerTable: [Row] = [
    Row(.init(1, 14), "backpointer_bucket_gen"),
    Row(.init(1, 15), "disk_accounting_big_endian"),
    Row(.init(1, 16), "reflink_p_may_update_opts"),
    Row(.init(1, 17), "inode_depth"),
    Row(.init(1, 18), "persistent_inode_cursors"),
    Row(.init(1, 19), "autofix_errors"),
    Row(.init(1, 20), "directory_size"),
    Row(.init(1, 21), "cached_backpointers"),
    Row(.init(1, 22), "stripe_backpointers"),
    Row(.init(1, 23), "stripe_lru"),
    Row(.init(1, 24), "casefolding"),
    Row(.init(1, 25), "extent_flags"),
    Row(.init(1, 26), "snapshot_deletion_v2"),
    Row(.init(1, 27), "fast_device_removal"),
    Row(.init(1, 28), "inode_has_case_insensitive"),
    Row(.init(1, 29), "extent_snapshot_whiteouts"),
    Row(.init(1, 30), "31bit_dirent_offset"),
    Row(.init(1, 31), "btree_node_accounting"),
    Row(.init(1, 32), "sb_field_extent_type_u64s"),
    Row(.init(1, 33), "reconcile"),
    Row(.init(1, 34), "extented_key_type_error"),
    Row(.init(1, 35), "bucket_stripe_index"),
    Row(.init(1, 36), "no_sb_user_data_replicas"),
    Row(.init(1, 37), "erasure_coding"),
    Row(.init(1, 38), "need_discard_by_journal_seq"),
    Row(.init(1, 39), "per_dev_fragmentation_lru"),
  ]
}
