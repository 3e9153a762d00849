// SPDX-License-Identifier: GPL-2.0
// The tree of snapshots: parents and children agree, depths and short cuts to ancestors are right,
// and each tree and each leaf names the subvolume that it belongs to.
// Source: snapshot.c (bch2_check_snapshot_trees, bch2_check_snapshots).

internal import BcachefsFormat
internal import BcachefsSupport

extension VolumeCheck {
  func checkSnapshotTrees() throws(VolumeError) {
    try forEachKey(of: .snapshotTrees) { (found) throws(VolumeError) in
      guard found.key.type == .snapshotTree,
        let tree = found.withValue({ try? SnapshotTree(decoding: $0) })
      else { return }
      let root = volume.snapshots[tree.rootSnapshot]
      guard let root, root.parent == 0, UInt64(root.tree) == found.key.position.offset else {
        return report(
          .snapshot_tree_to_missing_snapshot,
          "snapshot tree points to missing/incorrect snapshot:\n  \(text(found))")
      }
      guard let subvolume = try? volume.subvolume(tree.masterSubvolume) else {
        return report(
          .snapshot_tree_to_missing_subvol,
          "snapshot tree points to missing subvolume:\n  \(text(found))")
      }
      if !volume.snapshots.isAncestor(tree.rootSnapshot, of: subvolume.snapshot) {
        report(
          .snapshot_tree_to_wrong_subvol,
          "snapshot tree points to subvolume that does not point to snapshot in this tree:\n"
            + "  \(text(found))")
      } else if subvolume.isSnapshot {
        report(
          .snapshot_tree_to_snapshot_subvol,
          "snapshot tree points to snapshot subvolume:\n  \(text(found))")
      }
    }
  }

  func checkSnapshots() throws(VolumeError) {
    let trees = BTreeCursor(forest, .snapshotTrees)
    try forEachKey(of: .snapshots) { (found) throws(VolumeError) in
      guard found.key.type == .snapshot, let id = UInt32(exactly: found.key.position.offset),
        let own = volume.snapshots[id]
      else { return }
      checkRelatives(id, own, found)
      if own.isSubvolume && !own.isDeleted {
        if (try? volume.subvolume(own.subvolume))?.snapshot != id {
          report(
            .subvol_snapshot_bad,
            "snapshot node \(id) has wrong BCH_SNAPSHOT_SUBVOL:\n  \(text(found))")
        }
      } else if own.subvolume != 0 {
        report(
          .snapshot_should_not_have_subvol,
          "snapshot should not point to subvol:\n  \(text(found))")
      }
      let tree = (try? trees.lookup(BPos(0, UInt64(own.tree)))).flatMap { found in
        found.withValue { try? SnapshotTree(decoding: $0) }
      }
      if !(tree.map { volume.snapshots.isAncestor($0.rootSnapshot, of: id) } ?? false) {
        report(
          .snapshot_to_bad_snapshot_tree,
          "snapshot points to missing/incorrect tree:\n  \(text(found))")
      }
      let depth = own.parent == 0 ? 0 : (volume.snapshots[own.parent]?.depth ?? 0) &+ 1
      if own.depth != depth {
        report(
          .snapshot_bad_depth,
          "snapshot with incorrect depth field, should be \(depth):\n  \(text(found))")
      }
      let isGood = [own.skip0, own.skip1, own.skip2].allSatisfy { skip in
        own.parent == 0 ? skip == 0 : volume.snapshots.isAncestor(skip, of: id)
      }
      if !isGood {
        report(
          .snapshot_bad_skiplist,
          "snapshot with bad skiplist field:\n  \(text(found))")
      }
    }
  }

  private func checkRelatives(_ id: UInt32, _ own: Snapshot, _ found: KeyReference) {
    if own.parent != 0 {
      let parent = volume.snapshots[own.parent]
      if parent == nil || parent?.child0 != id && parent?.child1 != id {
        report(
          .snapshot_parent_bad,
          "snapshot parent \(own.parent) missing pointer to child \(id):\n  \(text(found))")
      }
    }
    for child in [own.child0, own.child1] where child != 0 {
      let parent = volume.snapshots[child]?.parent
      if parent != id {
        report(
          .snapshot_child_bad,
          "snapshot child \(child) has wrong parent (got \(parent ?? 0) should be \(id)):\n"
            + "  \(text(found))")
      }
    }
  }
}
