// SPDX-License-Identifier: GPL-2.0
// Inodes: what each says of itself, of the name that leads to it, and of the subvolume whose root
// it is; and those that wait to be deleted.
//
// How it works
//   1. All versions of an inode come one after the other, descendants first: which of them have
//      descendants with a version of their own is known when they come.
//   2. An inode says where its name stands; the name is looked up, and must lead back. One that
//      says nothing, or something wrong, is adrift until a name is found (AdriftInodes).
//   3. What upstream mends is taken as mended by what comes after it in the same pass.
// Invariants
//   (1) Memory: two places for each version of one inode.
// Source: fsck.c (bch2_check_inodes), inode.c (bch2_delete_dead_inodes).

internal import BcachefsFormat
internal import BcachefsSupport

extension VolumeCheck {
  /// What of all versions of one inode is known while they come.
  private struct InodeHistory {
    var number: UInt64?
    /// Of the oldest version.
    var oldest: Inode?
    /// Those that came.
    var places: [SnapshotPlace] = []
  }

  func checkInodes() throws(VolumeError) {
    adrift = AdriftInodes(limit: options.memoryBytes / MemoryLayout<AdriftInode>.stride)
    var history = InodeHistory()
    var seen = KeysSeen()
    let deleted = BTreeCursor(forest, .deletedInodes)
    try forEachKey(of: .inodes) { (found) throws(VolumeError) in
      let place = existingPlace(of: found)
      let position = found.key.position
      guard let own = anyPlace(of: position.snapshot) else { return }
      if history.number != position.offset {
        history.number = position.offset
        history.oldest = nil
        history.places.removeAll(keepingCapacity: true)
      }
      // Versions that are on their way out count as descendants as long as they are there.
      defer { if found.inode != nil { history.places.append(own) } }
      guard let place, seen.add(position.inode, position.offset, place),
        let inode = found.inode(at: place).map(withOwnSubvolume)
      else { return }
      let oldest = history.oldest ?? oldestVersion(of: inode)
      history.oldest = oldest
      let hasChild = history.places.contains { own.isAncestor(of: $0) }
      checkInode(inode, oldest, hasChild: hasChild) {
        (try? deleted.lookup(BPos(0, inode.number, position.snapshot)))?.key.type == .set
      }
    }
  }

  private func oldestVersion(of inode: Inode) -> Inode {
    guard inode.snapshot < .max else { return inode }
    var oldest = inode
    forEachVersion(of: inode.number, from: inode.snapshot + 1, inodes) { found, place in
      oldest = found.inode(at: place) ?? oldest
      return true
    }
    return oldest
  }

  /// - Parameters:
  ///   - hasChild: Whether a descendant has a version of its own.
  ///   - isOnList: Whether it is known as to be deleted.
  private func checkInode(
    _ inode: Inode, _ oldest: Inode, hasChild: Bool, isOnList: () -> Bool
  ) {
    if inode.hashSeed != oldest.hashSeed || inode.stringHash != oldest.stringHash {
      report(
        .inode_snapshot_mismatch,
        "inodes in different snapshots don't match\n  inode \(inode.number):\(inode.snapshot)")
    }
    let mended = mendedLink(of: inode, isReported: true)
    if checksChildSnapshots, inode.flags.contains(.hasChildSnapshot) != hasChild {
      report(
        .inode_has_child_snapshots_wrong,
        "inode has_child_snapshots flag wrong (should be \(hasChild ? 1 : 0))\n\(text(mended))")
    }
    if mended.flags.contains(.unlinked), !hasChild, !isOnList() {
      report(
        .unlinked_inode_not_on_deleted_list,
        "inode \(inode.number):\(inode.snapshot) unlinked, but not on deleted list")
    }
    checkSubvolume(of: inode)
    if mended.isAdrift { adrift.add(mended) }
    if inode.isDirectory { directoryCount += 1 }
  }

  /// Before that version the flag was not kept.
  private var checksChildSnapshots: Bool {
    volume.superblock.version >= .inodeHasChildSnapshots
  }

  /// An inode as upstream's check leaves it: without a name that does not lead back, and not
  /// unlinked where it has a name, or is a directory with names. A directory that is empty stays
  /// unlinked: whoever had it open when the machine stopped does not want it back.
  func mendedLink(of inode: Inode, isReported: Bool) -> Inode {
    var mended = inode
    let knowsName = inode.directory != 0 || inode.directoryOffset != 0
    if knowsName, !nameLeadsBack(to: inode, isReported: isReported) {
      mended.directory = 0
      mended.directoryOffset = 0
    }
    guard inode.flags.contains(.unlinked) else { return mended }
    if mended.directory != 0 {
      if isReported {
        report(.inode_unlinked_but_has_dirent, "inode unlinked but has dirent\n\(text(mended))")
      }
      mended.flags.remove(.unlinked)
    }
    if mended.flags.contains(.unlinked), inode.isDirectory,
      !isEmptyDirectory(inode.number, in: inode.snapshot)
    {
      if isReported {
        report(
          .inode_dir_unlinked_but_not_empty, "dir unlinked but not empty\n\(text(mended))")
      }
      mended.flags.remove(.unlinked)
    }
    return mended
  }

  /// Whether no name in a directory is seen in a snapshot, but for those that are only seen in a
  /// subvolume.
  private func isEmptyDirectory(_ number: UInt64, in snapshot: UInt32) -> Bool {
    var cursor = SnapshotCursor(
      forest, .dirents, snapshot: place(of: snapshot)?.id ?? snapshot, table: volume.snapshots)
    cursor.seek(number, 0)
    while let found = cursor.nextReadable() {
      guard found.key.type == .dirent, let link = DirentLink(found) else { continue }
      if link.type == Dirent.subvolumeType, link.parentSubvolume != 0 { continue }
      return false
    }
    return true
  }

  /// The key at which an inode says that its name stands; nil if there is no name.
  func nameOf(_ inode: Inode) -> KeyReference? {
    var snapshot = inode.snapshot
    if inode.subvolume != 0 {
      guard let parent = subvolume(inode.parentSubvolume) else { return nil }
      snapshot = parent.snapshot
    }
    let found = visible(names, inode.directory, inode.directoryOffset, in: snapshot)
    return found?.key.type == .dirent ? found : nil
  }

  /// Whether the name that an inode knows of leads to it.
  func nameLeadsBack(to inode: Inode, isReported: Bool) -> Bool {
    guard let name = nameOf(inode), let link = DirentLink(name) else {
      if isReported {
        report(.inode_points_to_missing_dirent, "inode points to missing dirent\n\(text(inode))")
      }
      return false
    }
    let leadsBack =
      link.type == Dirent.subvolumeType
      ? link.childSubvolume == inode.subvolume : link.number == inode.number
    if !leadsBack, isReported {
      report(
        .inode_points_to_wrong_dirent,
        "inode points to dirent that does not point back:\n\(text(name))\n\(text(inode))")
    }
    return leadsBack
  }

  /// An inode as check_subvols leaves it: the root of a subvolume names that one.
  func withOwnSubvolume(_ inode: Inode) -> Inode {
    guard inode.isDirectory, let id = volume.snapshots[inode.snapshot]?.subvolume, id != 0,
      id != inode.subvolume, subvolume(id)?.inode == inode.number
    else { return inode }
    var mended = inode
    mended.subvolume = id
    return mended
  }

  /// An inode as check_inodes leaves it: it names a subvolume only if it is its root.
  func withGoodSubvolume(_ inode: Inode) -> Inode {
    var mended = withOwnSubvolume(inode)
    guard mended.subvolume != 0, subvolumeIsWrong(of: mended) else { return mended }
    mended.subvolume = 0
    mended.parentSubvolume = 0
    return mended
  }

  private func subvolumeIsWrong(of inode: Inode) -> Bool {
    guard let own = subvolume(inode.subvolume) else { return true }
    return own.inode != inode.number
      || !volume.snapshots.isAncestor(inode.snapshot, of: own.snapshot)
  }

  private func checkSubvolume(of inode: Inode) {
    let name = "inode \(inode.number):\(inode.snapshot)"
    let (own, parent) = (inode.subvolume, inode.parentSubvolume)
    if parent != 0, own == 0 || own == Subvolume.root {
      report(
        .inode_bi_parent_nonzero,
        "\(name) has subvol \(own) but nonzero parent subvol \(parent)")
    }
    guard own != 0 else { return }
    guard let subvolume = subvolume(own) else {
      return report(
        .inode_bi_subvol_missing, "\(name) bi_subvol points to missing subvolume \(own)")
    }
    if subvolumeIsWrong(of: inode) {
      report(
        .inode_bi_subvol_wrong,
        "\(name) points to subvol \(own), but subvol points to \(subvolume.inode):"
          + "\(subvolume.snapshot)")
    }
  }

  // MARK: - Inodes to be deleted

  /// Whether versions of an inode without a name are in snapshots below: before 1.13 its flags do
  /// not say so, and the driver takes it off the list without a word.
  private func isHiddenParent(_ inode: Inode) -> Bool {
    guard volume.superblock.version < .inodeHasChildSnapshots else { return false }
    let below = BTreeCursor(forest, .inodes)
    below.seek(BPos(0, inode.number, 0))
    while let found = below.nextReadable(),
      found.key.position < BPos(0, inode.number, inode.snapshot)
    {
      if found.key.type.isInode,
        volume.snapshots.isAncestor(inode.snapshot, of: found.key.position.snapshot)
      {
        return true
      }
    }
    return false
  }

  func checkDeadInodes() throws(VolumeError) {
    let own = BTreeCursor(forest, .inodes)
    try forEachKey(of: .deletedInodes) { (found) throws(VolumeError) in
      let position = found.key.position
      let name = "\(position.offset):\(position.snapshot)"
      guard let inode = (try? own.lookup(BPos(0, position.offset, position.snapshot)))?.inode
      else {
        return report(
          .deleted_inode_missing, "nonexistent inode \(name) in deleted_inodes btree")
      }
      if inode.isDirectory, !isEmptyDirectory(inode.number, in: inode.snapshot) {
        report(.deleted_inode_is_dir, "non empty directory \(name) in deleted_inodes btree")
      } else if !inode.flags.contains(.unlinked) {
        report(.deleted_inode_not_unlinked, "non-deleted inode \(name) in deleted_inodes btree")
      } else if inode.flags.contains(.hasChildSnapshot) {
        report(
          .deleted_inode_has_child_snapshots,
          "inode with child snapshots \(name) in deleted_inodes btree")
      } else if volume.superblock.isClean, !isHiddenParent(inode) {
        report(
          .deleted_inode_but_clean,
          "filesystem marked as clean but have deleted inode \(name)")
      }
    }
  }
}

extension SnapshotCursor {
  /// The next key that can be read, as `next`.
  mutating func nextReadable() -> KeyReference? {
    while true {
      do throws(VolumeError) {
        return try next()
      } catch {
        guard skipUnreadable() != nil else { return nil }
      }
    }
  }
}
