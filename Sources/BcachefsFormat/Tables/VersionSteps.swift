// SPDX-License-Identifier: GPL-2.0
// What a change of version asks for: recovery passes to run once, and the findings they will
// surely make, which are to be mended without a word.
//
// How it works
//   1. Going up from A to B takes every upgrade step with A < version <= B.
//   2. Going down from B to A is what an older program does, which cannot know the newer steps:
//      so the superblock's downgrade section carries the downgrade steps of the program that
//      wrote it, and the older one takes every entry with A < version <= B.
//   3. What is taken is or-ed into the section `ext`: `recovery_passes_required` by stable number,
//      `errors_silent` by error number.
// Invariants
//   (1) Steps stand in order of version.
// Source: sb-downgrade.c, UPGRADE_TABLE and DOWNGRADE_TABLE.

/// What one change of version asks for.
public struct VersionStep: Sendable {
  /// Passes to run and findings to silence.
  public struct Demand: Sendable, Equatable {
    public var passes: PersistentMask<RecoveryPass>
    public var silenced: [FsckErrorID]

    public init(passes: PersistentMask<RecoveryPass> = [], silenced: [FsckErrorID] = []) {
      self.passes = passes
      self.silenced = silenced
    }

    public var isEmpty: Bool { passes.isEmpty && silenced.isEmpty }

    /// Adds what another step asks for; a finding stands once.
    public mutating func formUnion(_ other: Demand) {
      passes = passes.union(other.passes)
      for error in other.silenced where !silenced.contains(error) { silenced.append(error) }
    }
  }

  public let version: MetadataVersion
  /// Always asked for.
  public let demand: Demand
  /// Asked for as well where the volume has erasure coded stripes.
  public let withStripes: Demand

  fileprivate init(
    _ version: MetadataVersion, passes: PersistentMask<RecoveryPass> = [], allFsck: Bool = false,
    silenced: [FsckErrorID] = [], withStripes: Demand = Demand()
  ) {
    self.version = version
    demand = Demand(
      passes: allFsck ? passes.union(RecoveryPass.fsckPasses) : passes, silenced: silenced)
    self.withStripes = withStripes
  }

  /// The whole demand.
  public func demand(hasStripes: Bool) -> Demand {
    var whole = demand
    if hasStripes { whole.formUnion(withStripes) }
    return whole
  }
}

extension MetadataVersion {
  private typealias Step = VersionStep

  /// What a volume of version `old` needs once it becomes `new`.
  public static func upgradeDemand(
    from old: MetadataVersion, to new: MetadataVersion, hasStripes: Bool
  ) -> VersionStep.Demand {
    var demand = VersionStep.Demand()
    for step in upgradeSteps where step.version > old && step.version <= new {
      demand.formUnion(step.demand(hasStripes: hasStripes))
    }
    return demand
  }

  /// The entries of the superblock's downgrade section for a volume of version `version`: the steps
  /// of its major version that ask for anything (`bch2_sb_downgrade_update`).
  public static func downgradeEntries(
    for version: MetadataVersion, hasStripes: Bool
  ) -> [(version: MetadataVersion, demand: VersionStep.Demand)] {
    downgradeSteps.compactMap { step in
      let demand = step.demand(hasStripes: hasStripes)
      guard step.version.major == version.major, !demand.isEmpty else { return nil }
      return (step.version, demand)
    }
  }

  /// What going up past each version asks for.
  public static let upgradeSteps: [VersionStep] = [
    Step(.backpointers, allFsck: true),
    Step(.inodeV3, allFsck: true),
    Step(.unwrittenExtents, allFsck: true),
    Step(.bucketGens, passes: [.bucketGensInit], allFsck: true),
    Step(.lruV2, allFsck: true),
    Step(.fragmentationLru, allFsck: true),
    Step(.noBpsInAllocKeys, allFsck: true),
    Step(.snapshotTrees, allFsck: true),
    Step(
      .snapshotSkiplists, passes: [.checkSnapshots],
      silenced: [
        .snapshot_bad_depth,
        .snapshot_bad_skiplist,
      ]),
    Step(
      .deletedInodes, passes: [.checkInodes],
      silenced: [
        .unlinked_inode_not_on_deleted_list
      ]),
    Step(.rebalanceWork, passes: [.setFsNeedsRebalance]),
    Step(
      .subvolumeFsParent, passes: [.checkDirents],
      silenced: [
        .subvol_fs_path_parent_wrong
      ]),
    Step(
      .btreeSubvolumeChildren, passes: [.checkSubvols],
      silenced: [
        .subvol_children_not_set
      ]),
    Step(
      .miBtreeBitmap, passes: [.checkAllocations],
      silenced: [
        .btree_bitmap_not_marked
      ]),
    Step(
      .bucketStripeSectors,
      withStripes: .init(
        passes: [.checkAllocations],
        silenced: [.alloc_key_dirty_sectors_wrong, .alloc_key_stripe_sectors_wrong])),
    Step(
      .diskAccountingV2, passes: [.checkAllocations],
      silenced: [
        .bkey_version_in_future,
        .dev_usage_buckets_wrong,
        .dev_usage_sectors_wrong,
        .dev_usage_fragmented_wrong,
        .accounting_mismatch,
      ]),
    Step(
      .diskAccountingV3, passes: [.checkAllocations],
      silenced: [
        .bkey_version_in_future,
        .dev_usage_buckets_wrong,
        .dev_usage_sectors_wrong,
        .dev_usage_fragmented_wrong,
        .accounting_mismatch,
        .accounting_key_replicas_nr_devs_0,
        .accounting_key_replicas_nr_required_bad,
        .accounting_key_replicas_devs_unsorted,
        .accounting_key_junk_at_end,
      ]),
    Step(
      .diskAccountingInum, passes: [.checkAllocations],
      silenced: [
        .accounting_mismatch
      ]),
    Step(
      .rebalanceWorkAcctFix, passes: [.checkAllocations],
      silenced: [
        .accounting_mismatch
      ]),
    Step(
      .inodeHasChildSnapshots, passes: [.checkInodes],
      silenced: [
        .inode_has_child_snapshots_wrong
      ]),
  ]

  /// What going down past each version asks for.
  public static let downgradeSteps: [VersionStep] = [
    Step(
      .bucketStripeSectors,
      withStripes: .init(passes: [.checkAllocations], silenced: [.alloc_key_dirty_sectors_wrong])),
    Step(
      .diskAccountingV2, passes: [.checkAllocations],
      silenced: [
        .dev_usage_buckets_wrong,
        .dev_usage_sectors_wrong,
        .dev_usage_fragmented_wrong,
        .fs_usage_hidden_wrong,
        .fs_usage_btree_wrong,
        .fs_usage_data_wrong,
        .fs_usage_cached_wrong,
        .fs_usage_reserved_wrong,
        .fs_usage_nr_inodes_wrong,
        .fs_usage_persistent_reserved_wrong,
        .fs_usage_replicas_wrong,
        .bkey_version_in_future,
      ]),
    Step(
      .diskAccountingV3, passes: [.checkAllocations],
      silenced: [
        .dev_usage_buckets_wrong,
        .dev_usage_sectors_wrong,
        .dev_usage_fragmented_wrong,
        .fs_usage_hidden_wrong,
        .fs_usage_btree_wrong,
        .fs_usage_data_wrong,
        .fs_usage_cached_wrong,
        .fs_usage_reserved_wrong,
        .fs_usage_nr_inodes_wrong,
        .fs_usage_persistent_reserved_wrong,
        .fs_usage_replicas_wrong,
        .accounting_replicas_not_marked,
        .bkey_version_in_future,
      ]),
    Step(
      .rebalanceWorkAcctFix, passes: [.checkAllocations],
      silenced: [
        .accounting_mismatch
      ]),
  ]
}
