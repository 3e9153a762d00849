// SPDX-License-Identifier: GPL-2.0
// Which passes a check runs, in upstream's order, and what each does here.
//
// Invariants
//   (1) The order is that of `RecoveryPass.table`.
//   (2) All passes of upstream's fsck are here. Some only mend, and find nothing: fixing what waits
//       to be deleted, or bitmaps in memory.

public import BcachefsFormat

extension Volume {
  /// The passes that a check runs, in this order.
  public static let checkPasses: [RecoveryPass] = RecoveryPass.table.map(\.pass).filter { pass in
    pass.conditions.contains(.fsck) || pass == .checkTopology || pass == .accountingRead
      || pass == .deleteDeadInodes || pass == .resumeLoggedOps
  }
}

extension VolumeCheck {
  func run() throws(VolumeError) {
    for pass in Volume.checkPasses {
      try begin(pass, over: walks(of: pass))
      try perform(pass)
    }
  }

  /// The btrees that a pass walks over, each as often as it does when the memory suffices.
  private func walks(of pass: RecoveryPass) -> [BTreeID] {
    let all = Array(forest.roots.keys)
    switch pass {
    case .checkTopology: return all
    case .checkAllocations:
      let buckets = BucketTable.bucketCount(media.members)
      let atOnce = UInt64(max(options.memoryBytes / MemoryLayout<BucketTally>.stride, 16))
      let rounds = Int(clamping: min((buckets + atOnce - 1) / atOnce, 1 << 20))
      let round: [BTreeID] = [.stripes, .extents, .reflink]
      return (0..<min(rounds, 64)).flatMap { _ in all + round }
        + [.inodes, .extents, .reflink, .extents]
    case .checkAllocInfo: return [.alloc, .alloc, .freespace, .needDiscard, .bucketGens]
    case .checkLrus: return [.lru]
    case .checkBackpointersToExtents: return [.backpointers]
    case .checkExtentsToBackpointers: return all + [.extents, .reflink]
    case .checkAllocToLruRefs: return [.alloc]
    case .checkSnapshotTrees: return [.snapshotTrees]
    case .checkSnapshots: return [.snapshots]
    case .checkSubvols: return [.subvolumes]
    case .checkSubvolumeStructure: return [.subvolumes, .subvolumes]
    case .checkSubvolChildren: return [.subvolumeChildren]
    case .checkInodes, .checkDirectoryStructure: return [.inodes]
    case .checkExtents: return [.extents]
    case .checkDirents: return [.dirents]
    case .checkXattrs: return [.xattrs]
    case .checkNlinks: return [.dirents]
    case .deleteDeadInodes: return [.deletedInodes]
    case .resumeLoggedOps: return [.loggedOps]
    default: return []
    }
  }

  private func perform(_ pass: RecoveryPass) throws(VolumeError) {
    switch pass {
    case .checkTopology:
      checkJournal()
      try checkTopology()
    case .accountingRead: try checkReplicasAreMarked()
    case .checkAllocations:
      try checkAllocations()
      try checkStripes()
      try checkSharedExtents()
    case .checkAllocInfo: try checkAllocInfo()
    case .checkLrus: try checkLRUs()
    case .checkBackpointersToExtents: try checkBackpointers()
    case .checkExtentsToBackpointers: try checkPointersHaveBackpointers()
    case .checkAllocToLruRefs: try checkBucketsAreInLRUs()
    case .checkSnapshotTrees: try checkSnapshotTrees()
    case .checkSnapshots: try checkSnapshots()
    case .checkSubvols: try checkSubvolumes()
    case .checkSubvolChildren: try checkSubvolumeChildren()
    case .checkInodes: try checkInodes()
    case .checkExtents: try checkExtents()
    case .checkDirents: try checkDirents()
    case .checkXattrs: try checkXattrs()
    case .checkRoot: checkRoot()
    case .checkUnreachableInodes: try checkUnreachableInodes()
    case .checkSubvolumeStructure: try checkSubvolumeStructure()
    case .checkDirectoryStructure: try checkDirectoryStructure()
    case .checkNlinks: try checkLinkCounts()
    case .deleteDeadInodes: try checkDeadInodes()
    case .resumeLoggedOps: try checkLoggedOperations()
    // check_btree_backpointers, delete_dead_snapshots and check_indirect_extents find nothing.
    default: break
    }
  }
}
