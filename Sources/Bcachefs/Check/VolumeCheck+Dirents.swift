// SPDX-License-Identifier: GPL-2.0
// Names: each is in a directory, at the place that its hash asks for, and leads to what is there,
// of the type that it says, which knows of it; and directories know how many they have in them.
//
// How it works
//   1. A name leads to one version of an inode for each snapshot that sees the name: all of them
//      are looked at.
//   2. An inode that knows of another name is only right if it has several: files that say so are
//      counted by check_nlinks. One that knows of no name (AdriftInodes) gets this one.
//   3. Directories are counted for each version of the directory that they are in that sees them,
//      and compared when the next directory comes.
// Invariants
//   (1) A name that upstream would delete does not count.
// Source: fsck.c (bch2_check_dirents).

internal import BcachefsFormat
internal import BcachefsSupport

/// What a name leads to.
struct DirentLink {
  let type: UInt8
  /// 0 for a subvolume.
  private(set) var number: UInt64 = 0
  private(set) var childSubvolume: UInt32 = 0
  private(set) var parentSubvolume: UInt32 = 0

  /// nil for a key that is no name, or cannot be decoded.
  init?(_ found: KeyReference) {
    guard found.key.type == .dirent else { return nil }
    let decoded = found.withValue { value -> (UInt8, Dirent.Target)? in
      guard let dirent = try? Dirent(decoding: value) else { return nil }
      return (dirent.type, dirent.target)
    }
    guard let (type, target) = decoded else { return nil }
    self.type = type
    switch target {
    case .inode(let number): self.number = number
    case .subvolume(let child, let parent):
      childSubvolume = child
      parentSubvolume = parent
    }
  }
}

/// A name that is being looked at.
private struct NameKey {
  let found: KeyReference
  let link: DirentLink

  var position: BPos { found.key.position }
}

extension VolumeCheck {
  /// What is known of the directory whose names come by.
  private struct NameWalk {
    var seen = KeysSeen()
    var owner = InodeVersions()
    /// Of the inode whose names come by.
    var hash: NameHash?
    let target: BTreeCursor
  }

  func checkDirents() throws(VolumeError) {
    var walk = NameWalk(target: BTreeCursor(forest, .inodes))
    try forEachKey(of: .dirents, from: BPos(Positions.rootInode, 0, 0)) {
      (found) throws(VolumeError) in
      guard let place = existingPlace(of: found) else { return }
      let position = found.key.position
      guard walk.seen.add(position.inode, position.offset, place), !found.key.isWhiteout else {
        return
      }
      if walk.owner.number != position.inode {
        compareDirectories(walk.owner)
        walk.hash = nil
      }
      let index = owner(of: found, place, in: &walk.owner) { $0.isDirectory }
      guard let index else { return }
      let hash = walk.hash ?? NameHash(walk.owner.versions[index].inode)
      walk.hash = hash
      guard hasRightPlace(found, hash), let link = DirentLink(found) else { return }
      let name = NameKey(found: found, link: link)
      guard let type = checkTarget(of: name, walk), type == Dirent.directoryType else { return }
      for index in (0...index).reversed()
      where walk.seen.lastIsVisible(in: walk.owner.versions[index].place) {
        walk.owner.versions[index].count &+= 1
      }
    }
    compareDirectories(walk.owner)
  }

  private func compareDirectories(_ owner: InodeVersions) {
    for own in owner.versions where own.inode.isDirectory && UInt64(own.inode.nlink) != own.count {
      report(
        .inode_dir_wrong_nlink,
        "directory \(own.inode.number):\(own.place.id) with wrong i_nlink: got "
          + "\(own.inode.nlink), should be \(own.count)")
    }
  }

  /// Walks all names again for the inodes that the table of those adrift holds now.
  func judgeNamesOfAdrift() throws(VolumeError) {
    var walk = NameWalk(target: BTreeCursor(forest, .inodes))
    try forEachKey(of: .dirents, from: BPos(Positions.rootInode, 0, 0)) {
      (found) throws(VolumeError) in
      let position = found.key.position
      guard let place = place(of: position.snapshot),
        walk.seen.add(position.inode, position.offset, place)
      else { return }
      guard let link = DirentLink(found) else { return }
      if link.type == Dirent.subvolumeType {
        guard let child = subvolume(link.childSubvolume),
          let root = inode(child.inode, in: child.snapshot),
          adrift.index(of: root.number, root.snapshot) != nil
        else { return }
        _ = checkLink(NameKey(found: found, link: link), withGoodSubvolume(root))
      } else {
        forEachTarget(of: link, walk) { inode in
          guard adrift.index(of: inode.number, inode.snapshot) != nil else { return }
          _ = checkLink(NameKey(found: found, link: link), inode)
        }
      }
    }
  }

  // MARK: - Targets

  /// Looks at what a name leads to.
  ///
  /// - Returns: The type that the name should say; nil if it leads nowhere, or must go.
  private func checkTarget(of name: NameKey, _ walk: NameWalk) -> UInt8? {
    guard name.link.type != Dirent.subvolumeType else { return checkSubvolume(of: name) }
    var type: UInt8?
    var isLost = true
    var stays = true
    forEachTarget(of: name.link, walk) { inode in
      isLost = false
      if !checkVersion(name, inode) { stays = false }
      type = inode.direntType
    }
    if isLost {
      report(.dirent_to_missing_inode, "dirent points to missing inode:\n\(text(name.found))")
    }
    return stays ? type : nil
  }

  /// Calls `body` with the versions of an inode that a name leads to, in the snapshots that see the
  /// key that came last.
  private func forEachTarget(
    of link: DirentLink, _ walk: NameWalk, _ body: (Inode) -> Void
  ) {
    guard let own = walk.seen.last else { return }
    forEachVersion(of: link.number, walk.target) { found, place in
      guard walk.seen.lastRefers(to: place) else { return true }
      if let inode = found.inode(at: place) { body(withGoodSubvolume(inode)) }
      return place.id < own.id
    }
  }

  /// Looks at one version of what a name leads to.
  ///
  /// - Returns: Whether the name may stay.
  private func checkVersion(_ name: NameKey, _ inode: Inode) -> Bool {
    let stays = checkLink(name, inode)
    guard name.link.type != inode.direntType else { return stays }
    report(
      .dirent_d_type_wrong,
      "incorrect d_type: got \(Dirent.typeName(name.link.type)), should be "
        + "\(Dirent.typeName(inode.direntType)):\n\(text(name.found))")
    return stays
  }

  /// Looks whether an inode that a name leads to knows of it, or may know of another one.
  ///
  /// - Returns: Whether the name may stay.
  private func checkLink(_ name: NameKey, _ inode: Inode) -> Bool {
    let position = name.position
    var target = inode
    let index = adrift.index(of: inode.number, inode.snapshot)
    if let index {
      let known = adrift.table[index]
      target.directory = known.directory
      target.directoryOffset = known.directoryOffset
      guard known.hasName else {
        reportNoName(target, name, isUnlinked: false)
        adrift.setName(index, position.inode, position.offset)
        return true
      }
    }
    guard target.directory != position.inode || target.directoryOffset != position.offset else {
      return true
    }
    let knowsName = target.directory != 0 || target.directoryOffset != 0
    if knowsName, index != nil || nameLeadsBack(to: target, isReported: false) {
      return checkFurtherLink(name, target)
    }
    // Those that the table has no room for come later.
    if adrift.covers(inode.number) || !mendedLink(of: inode, isReported: false).isAdrift {
      reportNoName(target, name, isUnlinked: inode.flags.contains(.unlinked))
    }
    return true
  }

  /// The first name of an inode that knows of none.
  private func reportNoName(_ inode: Inode, _ name: NameKey, isUnlinked: Bool) {
    if inode.isDirectory {
      report(
        .inode_dir_missing_backpointer,
        "directory with missing backpointer\n\(text(name.found))\n\(text(inode))")
    }
    if isUnlinked {
      report(
        .inode_unlinked_but_has_dirent,
        "inode unlinked but has dirent\n\(text(name.found))\n\(text(inode))")
    }
  }

  /// A name of an inode that knows of another one.
  ///
  /// - Returns: Whether the name may stay.
  private func checkFurtherLink(_ name: NameKey, _ inode: Inode) -> Bool {
    let own = "\(inode.number):\(inode.snapshot)"
    if inode.isDirectory || inode.nlink == 0 {
      report(
        .inode_wrong_backpointer,
        "dirent points to inode that does not point back:\n  \(text(name.found))\n  "
          + text(inode))
    }
    let other = visible(names, inode.directory, inode.directoryOffset, in: inode.snapshot)
    guard let other, other.key.type == .dirent else {
      let (directory, offset) = (name.position.inode, name.position.offset)
      report(
        .inode_wrong_backpointer,
        "inode \(own) has wrong backpointer:\ngot       \(inode.directory):"
          + "\(inode.directoryOffset)\nshould be \(directory):\(offset)")
      return true
    }
    let keys = "\(text(name.found))\n\(text(other))"
    if inode.isDirectory || inode.subvolume != 0 {
      report(
        .inode_dir_multiple_links,
        "\(inode.isDirectory ? "directory" : "subvolume") \(own) with multiple links\n\(keys)")
      return false
    }
    if inode.nlink == 0 {
      report(
        .inode_multiple_links_but_nlink_0,
        "inode \(own) type \(Dirent.typeName(name.link.type)) has multiple links but i_nlink 0\n"
          + keys)
    }
    return true
  }

  // MARK: - Subvolumes

  /// Looks at a name that leads to a subvolume.
  ///
  /// - Returns: The type that the name should say; nil if it leads nowhere, or must go.
  private func checkSubvolume(of name: NameKey) -> UInt8? {
    let link = name.link
    if let parent = subvolume(link.parentSubvolume) {
      if !volume.snapshots.isAncestor(name.position.snapshot, of: parent.snapshot) {
        report(
          .dirent_not_visible_in_parent_subvol,
          "dirent not visible in parent_subvol (not an ancestor of subvol snap "
            + "\(parent.snapshot))\n\(text(name.found))")
      }
    } else {
      report(
        .dirent_to_missing_parent_subvol,
        "dirent parent_subvol points to missing subvolume\n\(text(name.found))")
    }
    guard let child = subvolume(link.childSubvolume) else {
      report(.dirent_to_missing_subvol, "dirent points to missing subvolume\n\(text(name.found))")
      return nil
    }
    if child.pathParent != link.parentSubvolume {
      let key = (try? subvolumes.lookup(BPos(0, UInt64(link.childSubvolume)))).map(text) ?? ""
      report(
        .subvol_fs_path_parent_wrong,
        "subvol with wrong fs_path_parent, should be be \(link.parentSubvolume)\n\(key)")
    }
    // check_subvols told of a root that is missing.
    guard let own = inode(child.inode, in: child.snapshot) else { return link.type }
    let root = withGoodSubvolume(own)
    if root.parentSubvolume != link.parentSubvolume {
      report(
        .inode_bi_parent_wrong,
        "subvol root \(child.inode) has wrong bi_parent_subvol: got \(root.parentSubvolume), "
          + "should be \(link.parentSubvolume)")
    }
    return checkVersion(name, root) ? root.direntType : nil
  }
}
