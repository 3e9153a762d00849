// SPDX-License-Identifier: GPL-2.0
// Recovery passes: what a mount or fsck does, in which order, and when.
//
// How it works
//   A pass has two numbers. The stable one is its identity: it stands on disk and is the value of
//   `RecoveryPass`. Its place in `table` is the order of running, which newer programs change; the
//   mount options `recovery_passes`, `recovery_passes_exclude` and `recovery_pass_last` are kept
//   by that order, where 0 (`recovery_pass_empty`) means "none".
// Invariants
//   (1) A stable number never changes its meaning; every number below `nativeCount` is used.
//   (2) Bits of passes of newer formats survive in a `PersistentMask`; they have no order here.
// Source: recovery_passes_types.h, recovery_passes.c.

/// A recovery pass by its stable number (`enum bch_recovery_pass_stable`): what the superblock
/// keeps in `recovery_passes_required` and in the downgrade section.
@frozen
public struct RecoveryPass: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "recovery_pass"
  public static let names: [StaticString] = [
    "alloc_read", "stripes_read", "initialize_subvolumes", "snapshots_read", "check_topology",
    "check_allocations", "trans_mark_dev_sbs", "fs_journal_alloc", "set_may_go_rw",
    "journal_replay", "check_alloc_info", "check_lrus", "check_btree_backpointers",
    "check_backpointers_to_extents", "check_extents_to_backpointers", "check_alloc_to_lru_refs",
    "fs_freespace_init", "bucket_gens_init", "check_snapshot_trees", "check_snapshots",
    "check_subvols", "delete_dead_snapshots", "fs_upgrade_for_subvolumes", "resume_logged_ops",
    "check_inodes", "check_extents", "check_indirect_extents", "check_dirents", "check_xattrs",
    "check_root", "check_directory_structure", "check_nlinks", "delete_dead_inodes",
    "fix_reflink_p", "set_fs_needs_rebalance", "check_subvol_children",
    "check_subvolume_structure", "scan_for_btree_nodes", "reconstruct_snapshots",
    "accounting_read", "check_unreachable_inodes", "recovery_pass_empty", "lookup_root_inode",
    "check_reconcile_work", "delete_dead_interior_snapshots", "merge_btree_nodes",
    "btree_bitmap_gc", "kill_i_generation_keys", "presplit_shard_boundaries", "check_damage",
  ]
  public static var nativeCount: Int { 42 }
}

// swift-format-ignore
extension RecoveryPass {
  @inlinable public static var allocRead: RecoveryPass { .init(rawValue: 0) }
  @inlinable public static var stripesRead: RecoveryPass { .init(rawValue: 1) }
  @inlinable public static var initializeSubvolumes: RecoveryPass { .init(rawValue: 2) }
  @inlinable public static var snapshotsRead: RecoveryPass { .init(rawValue: 3) }
  @inlinable public static var checkTopology: RecoveryPass { .init(rawValue: 4) }
  @inlinable public static var checkAllocations: RecoveryPass { .init(rawValue: 5) }
  @inlinable public static var transMarkDevSbs: RecoveryPass { .init(rawValue: 6) }
  @inlinable public static var fsJournalAlloc: RecoveryPass { .init(rawValue: 7) }
  @inlinable public static var setMayGoRw: RecoveryPass { .init(rawValue: 8) }
  @inlinable public static var journalReplay: RecoveryPass { .init(rawValue: 9) }
  @inlinable public static var checkAllocInfo: RecoveryPass { .init(rawValue: 10) }
  @inlinable public static var checkLrus: RecoveryPass { .init(rawValue: 11) }
  @inlinable public static var checkBtreeBackpointers: RecoveryPass { .init(rawValue: 12) }
  @inlinable public static var checkBackpointersToExtents: RecoveryPass { .init(rawValue: 13) }
  @inlinable public static var checkExtentsToBackpointers: RecoveryPass { .init(rawValue: 14) }
  @inlinable public static var checkAllocToLruRefs: RecoveryPass { .init(rawValue: 15) }
  @inlinable public static var fsFreespaceInit: RecoveryPass { .init(rawValue: 16) }
  @inlinable public static var bucketGensInit: RecoveryPass { .init(rawValue: 17) }
  @inlinable public static var checkSnapshotTrees: RecoveryPass { .init(rawValue: 18) }
  @inlinable public static var checkSnapshots: RecoveryPass { .init(rawValue: 19) }
  @inlinable public static var checkSubvols: RecoveryPass { .init(rawValue: 20) }
  @inlinable public static var deleteDeadSnapshots: RecoveryPass { .init(rawValue: 21) }
  @inlinable public static var fsUpgradeForSubvolumes: RecoveryPass { .init(rawValue: 22) }
  @inlinable public static var resumeLoggedOps: RecoveryPass { .init(rawValue: 23) }
  @inlinable public static var checkInodes: RecoveryPass { .init(rawValue: 24) }
  @inlinable public static var checkExtents: RecoveryPass { .init(rawValue: 25) }
  @inlinable public static var checkIndirectExtents: RecoveryPass { .init(rawValue: 26) }
  @inlinable public static var checkDirents: RecoveryPass { .init(rawValue: 27) }
  @inlinable public static var checkXattrs: RecoveryPass { .init(rawValue: 28) }
  @inlinable public static var checkRoot: RecoveryPass { .init(rawValue: 29) }
  @inlinable public static var checkDirectoryStructure: RecoveryPass { .init(rawValue: 30) }
  @inlinable public static var checkNlinks: RecoveryPass { .init(rawValue: 31) }
  @inlinable public static var deleteDeadInodes: RecoveryPass { .init(rawValue: 32) }
  @inlinable public static var fixReflinkP: RecoveryPass { .init(rawValue: 33) }
  @inlinable public static var setFsNeedsRebalance: RecoveryPass { .init(rawValue: 34) }
  @inlinable public static var checkSubvolChildren: RecoveryPass { .init(rawValue: 35) }
  @inlinable public static var checkSubvolumeStructure: RecoveryPass { .init(rawValue: 36) }
  @inlinable public static var scanForBtreeNodes: RecoveryPass { .init(rawValue: 37) }
  @inlinable public static var reconstructSnapshots: RecoveryPass { .init(rawValue: 38) }
  @inlinable public static var accountingRead: RecoveryPass { .init(rawValue: 39) }
  @inlinable public static var checkUnreachableInodes: RecoveryPass { .init(rawValue: 40) }
  @inlinable public static var recoveryPassEmpty: RecoveryPass { .init(rawValue: 41) }
}

extension RecoveryPass {
  /// When a pass runs, besides being asked for (`PASS_*`).
  public struct Conditions: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Not announced.
    public static let silent = Conditions(rawValue: 1 << 0)
    /// In every fsck.
    public static let fsck = Conditions(rawValue: 1 << 1)
    /// After an unclean shutdown.
    public static let unclean = Conditions(rawValue: 1 << 2)
    /// At every mount.
    public static let always = Conditions(rawValue: 1 << 3)
    /// May also run while mounted.
    public static let online = Conditions(rawValue: 1 << 4)
  }

  /// One row of the table.
  public struct Row: Sendable {
    public let pass: RecoveryPass
    public let conditions: Conditions

    fileprivate init(_ pass: RecoveryPass, _ conditions: Conditions) {
      self.pass = pass
      self.conditions = conditions
    }
  }

  /// All passes of version 1.13 in the order of running.
  public static let table: [Row] = [
    Row(.recoveryPassEmpty, [.silent]),
    Row(.scanForBtreeNodes, []),
    Row(.checkTopology, []),
    Row(.accountingRead, [.always]),
    Row(.allocRead, [.always]),
    Row(.stripesRead, [.always]),
    Row(.initializeSubvolumes, []),
    Row(.snapshotsRead, [.always]),
    Row(.checkAllocations, [.fsck]),
    Row(.transMarkDevSbs, [.always, .silent]),
    Row(.fsJournalAlloc, [.always, .silent]),
    Row(.setMayGoRw, [.always, .silent]),
    Row(.journalReplay, [.always]),
    Row(.checkAllocInfo, [.online, .fsck]),
    Row(.checkLrus, [.online, .fsck]),
    Row(.checkBtreeBackpointers, [.online, .fsck]),
    Row(.checkBackpointersToExtents, [.online, .fsck]),
    Row(.checkExtentsToBackpointers, [.online, .fsck]),
    Row(.checkAllocToLruRefs, [.online, .fsck]),
    Row(.fsFreespaceInit, [.always, .silent]),
    Row(.bucketGensInit, []),
    Row(.reconstructSnapshots, []),
    Row(.checkSnapshotTrees, [.online, .fsck]),
    Row(.checkSnapshots, [.online, .fsck]),
    Row(.checkSubvols, [.online, .fsck]),
    Row(.checkSubvolChildren, [.online, .fsck]),
    Row(.deleteDeadSnapshots, [.online, .fsck]),
    Row(.fsUpgradeForSubvolumes, []),
    Row(.checkInodes, [.fsck]),
    Row(.checkExtents, [.fsck]),
    Row(.checkIndirectExtents, [.fsck]),
    Row(.checkDirents, [.fsck]),
    Row(.checkXattrs, [.fsck]),
    Row(.checkRoot, [.online, .fsck]),
    Row(.checkUnreachableInodes, [.online, .fsck]),
    Row(.checkSubvolumeStructure, [.online, .fsck]),
    Row(.checkDirectoryStructure, [.online, .fsck]),
    Row(.checkNlinks, [.fsck]),
    Row(.resumeLoggedOps, [.always]),
    Row(.deleteDeadInodes, [.always]),
    Row(.fixReflinkP, []),
    Row(.setFsNeedsRebalance, []),
  ]

  private static let orders: [Int] = {
    var orders = [Int](repeating: 0, count: nativeCount)
    for (order, row) in table.enumerated() { orders[Int(row.pass.rawValue)] = order }
    return orders
  }()

  /// The place in the order of running (`enum bch_recovery_pass`); nil for one of a newer format.
  public var order: Int? { isKnown ? RecoveryPass.orders[Int(rawValue)] : nil }

  /// When it runs; nothing for one of a newer format.
  public var conditions: Conditions { order.map { RecoveryPass.table[$0].conditions } ?? [] }

  /// The pass at a place in the order of running.
  public init?(order: Int) {
    guard RecoveryPass.table.indices.contains(order) else { return nil }
    self = RecoveryPass.table[order].pass
  }

  /// The passes of an fsck (`bch2_fsck_recovery_passes`).
  public static let fsckPasses = passes(with: .fsck)

  /// The passes whose conditions contain all of `conditions`.
  public static func passes(with conditions: Conditions) -> PersistentMask<RecoveryPass> {
    var mask: PersistentMask<RecoveryPass> = []
    for row in table where row.conditions.isSuperset(of: conditions) { mask.insert(row.pass) }
    return mask
  }
}

extension PersistentMask where Element == RecoveryPass {
  /// The set whose passes have these places in the order of running
  /// (`bch2_recovery_passes_to_stable`). Bits beyond the table are dropped.
  public init(runOrderBits: UInt64) {
    self.init(rawValue: 0)
    for (order, row) in RecoveryPass.table.enumerated() where runOrderBits >> UInt64(order) & 1 != 0
    {
      insert(row.pass)
    }
  }

  /// A bit for each place in the order of running (`bch2_recovery_passes_from_stable`). Passes of
  /// newer formats are left out.
  public var runOrderBits: UInt64 {
    inRunOrder.compactMap(\.order).reduce(0) { $0 | 1 << UInt64($1) }
  }

  /// The known passes of the set, first to run first.
  public var inRunOrder: [RecoveryPass] { RecoveryPass.table.map(\.pass).filter(contains) }

  /// Names in the order of running, as upstream prints the superblock's masks; then the unknown.
  public var runOrderDescription: String {
    (inRunOrder + unknown.elements).map(\.description).joined(separator: ",")
  }
}
