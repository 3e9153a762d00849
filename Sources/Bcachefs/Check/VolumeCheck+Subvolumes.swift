// SPDX-License-Identifier: GPL-2.0
// Subvolumes: each has a snapshot and a root that knows of it, and a way up to the root subvolume;
// there is a root directory.
// Source: subvolume.c (bch2_check_subvols, bch2_check_subvol_children), fsck.c (bch2_check_root,
// bch2_check_subvolume_structure).

internal import BcachefsFormat
internal import BcachefsSupport

extension VolumeCheck {
  /// Calls `body` with each subvolume.
  private func forEachSubvolume(
    _ body: (KeyReference, UInt32, Subvolume) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    try forEachKey(of: .subvolumes) { (found) throws(VolumeError) in
      guard found.key.type == .subvolume, let id = UInt32(exactly: found.key.position.offset),
        let own = found.withValue({ try? Subvolume(decoding: $0) })
      else { return }
      try body(found, id, own)
    }
  }

  func checkSubvolumes() throws(VolumeError) {
    let children = BTreeCursor(forest, .subvolumeChildren)
    try forEachSubvolume { (found, id, own) throws(VolumeError) in
      guard volume.snapshots[own.snapshot] != nil else {
        return report(
          .subvol_snapshot_bad,
          "subvolume \(id) points to nonexistent snapshot \(own.snapshot)\n\(text(found))")
      }
      // It is going to be deleted.
      guard !own.isUnlinked else { return }
      checkParent(of: id, own, found, children)
      checkRoot(of: id, own)
      checkMaster(of: id, own)
    }
  }

  private func checkParent(
    of id: UInt32, _ own: Subvolume, _ found: KeyReference, _ children: BTreeCursor
  ) {
    guard own.pathParent != 0 else { return }
    if id == Subvolume.root {
      report(
        .subvol_root_fs_path_parent_nonzero,
        "root subvolume has nonzero fs_path_parent\n\(text(found))")
      return
    }
    let position = BPos(UInt64(own.pathParent), UInt64(id))
    guard (try? children.lookup(position))?.key.type != .set else { return }
    report(
      .subvol_children_not_set,
      "subvolume not set in subvolume_children btree at \(position.inode):\(position.offset)\n"
        + text(found))
  }

  private func checkRoot(of id: UInt32, _ own: Subvolume) {
    guard let root = inode(own.inode, in: own.snapshot) else {
      return report(
        .subvol_to_missing_root,
        "subvolume \(id) points to missing subvolume root \(own.inode):\(own.snapshot)")
    }
    guard root.subvolume != id else { return }
    report(
      .subvol_root_wrong_bi_subvol,
      "subvol root \(root.number):\(root.snapshot) has wrong bi_subvol field: got "
        + "\(root.subvolume), should be \(id)")
  }

  /// A subvolume that is no snapshot is its tree's first.
  private func checkMaster(of id: UInt32, _ own: Subvolume) {
    let root = volume.snapshots.root(of: own.snapshot)
    guard !own.isSnapshot, let number = volume.snapshots[root]?.tree,
      let found = try? BTreeCursor(forest, .snapshotTrees).lookup(BPos(0, UInt64(number))),
      let tree = found.withValue({ try? SnapshotTree(decoding: $0) }), tree.masterSubvolume != id
    else { return }
    report(
      .subvol_not_master_and_not_snapshot,
      "subvolume \(id) is not set as snapshot but is not master subvolume")
  }

  func checkSubvolumeChildren() throws(VolumeError) {
    try forEachKey(of: .subvolumeChildren) { (found) throws(VolumeError) in
      let position = found.key.position
      let child = UInt32(exactly: position.offset).flatMap(subvolume)
      if let child, UInt64(child.pathParent) == position.inode { return }
      report(
        .subvol_children_bad,
        "incorrect entry in subvolume_children btree \(position.inode):\(position.offset)")
    }
  }

  func checkRoot() {
    let own = subvolume(Subvolume.root)
    if own == nil { report(.root_subvol_missing, "root subvol missing") }
    guard let root = inode(Positions.rootInode, in: own?.snapshot ?? .max) else {
      return report(.root_dir_missing, "root directory missing")
    }
    if !root.isDirectory { report(.root_inode_not_dir, "root inode not a directory") }
  }

  // MARK: - Ways up

  /// Each subvolume is in one that is nearer to the root subvolume.
  func checkSubvolumeStructure() throws(VolumeError) {
    var count = 0
    try forEachSubvolume { (_, _, _) in count += 1 }
    var paths = KnownPaths(count, limit: options.memoryBytes)
    try forEachSubvolume { (_, id, own) throws(VolumeError) in
      guard !own.isUnlinked else { return }
      let end = try followPath(from: PathPlace(UInt64(id)), &paths) { place in
        guard place.number != UInt64(Subvolume.root) else { return .top }
        guard let id = UInt32(exactly: place.number), let own = subvolume(id) else {
          return .nowhere
        }
        // check_subvols told of a root that is missing.
        guard inode(own.inode, in: own.snapshot) != nil else { return .nowhere }
        guard subvolume(own.pathParent) != nil else { return .nowhere }
        return .next(PathPlace(UInt64(own.pathParent)))
      }
      switch end {
      case .known: break
      case .nowhere(let place): reportUnreachable(place)
      case .loop(let places):
        let lines = places.map { "\n  \($0.number)" }.joined()
        report(.subvol_loop, "subvolume loop\(lines)")
      }
    }
  }

  private func reportUnreachable(_ place: PathPlace) {
    guard let found = try? subvolumes.lookup(BPos(0, place.number)),
      let own = found.withValue({ try? Subvolume(decoding: $0) }),
      subvolume(own.pathParent) == nil, inode(own.inode, in: own.snapshot) != nil
    else { return }
    report(.subvol_unreachable, "unreachable subvolume \(text(found))")
  }
}
