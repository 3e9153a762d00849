// SPDX-License-Identifier: GPL-2.0
// Files that get another name, in place of what had it, or in exchange for it.
//
// How it works
//   1. Both names are found, and everything that forbids the rename, before anything is changed.
//   2. The new name takes over the target of the old one. One that is there already keeps its
//      place; a new one may get that of the old, where it would stand behind it: there is no moment
//      without a key in a place that others are found by.
//   3. A directory's way up is walked by the pointers back, to see that it does not end up below
//      itself. The inodes on that way stay locked: of two renames that would make a circle together
//      the second sees the first.
//   4. What was replaced loses a link. A whiteout for overlayfs is a device node 0, 0 under the old
//      name.
// Invariants
//   (1) At no moment is the new name missing that was there before.
//   (2) Options that a file only inherited are those of its new directory; a directory for which
//       that is a change stays, since all below it would have to change.
// Source: fs-common.c (bch2_rename_trans), dirent.c (bch2_dirent_rename), fs.c (bch2_rename2),
// linux/namei.c (vfs_rename, lock_rename).

internal import BcachefsFormat
internal import BcachefsSupport

/// A name in a directory that is to be renamed, or made.
struct NamedPlace {
  let parent: FileID
  let name: [UInt8]
}

extension Transaction {
  /// A name with what it leads to.
  private struct Side {
    let found: FoundName
    let id: FileID
    /// The snapshot that the file is changed in.
    let snapshot: UInt32
    var inode: Inode

    var isDirectory: Bool { inode.isDirectory }
    var isSubvolume: Bool { inode.subvolume != 0 }
  }

  /// Renames a file.
  ///
  /// - Parameter whiteout: Of the whiteout that is to take the old name, with `.whiteout`.
  /// - Returns: what had the new name before, and lost it; nil if nothing had.
  /// - Throws: `.notFound`, `.exists`, `.notADirectory`, `.isADirectory`, `.notEmpty`, `.loop`,
  ///   `.crossSubvolume`, `.notPermitted`, `.invalid` for flags that contradict each other, and
  ///   what `directoryToChange` throws.
  func rename(
    _ old: NamedPlace, to new: NamedPlace, _ flags: RenameFlags, whiteout: FileCreation,
    _ setting: OperationSetting
  ) throws(TransactionError) -> RemovedName? {
    try FileName.check(new.name)
    guard !flags.contains(.exchange) || flags == .exchange else {
      throw .failed(VolumeError(.invalid))
    }
    let isOneDirectory = old.parent == new.parent
    var from = try directoryToChange(old.parent)
    var to = isOneDirectory ? from : try directoryToChange(new.parent)
    var source = try side(try name(old.name, in: from, .intent), from)
    let place = try search(
      new.name, in: to, .intent, vacated: isOneDirectory ? source.found.position.offset : nil)
    var target: Side?
    switch place {
    case .found(let found):
      if flags.contains(.noReplace) { throw .failed(VolumeError(.exists)) }
      let side = try side(found, to)
      // Two names of one file: both stay.
      if side.id == source.id { return nil }
      target = side
    case .free:
      if flags.contains(.exchange) { throw .failed(VolumeError(.notFound)) }
    }
    let isExchange = flags.contains(.exchange)
    try checkMayMove(source, out: from, in: to, isReplaced: false)
    if let target {
      try checkMayMove(target, out: to, in: from, isReplaced: !isExchange)
      if !isExchange { try checkMayReplace(target, by: source) }
    }
    if !isOneDirectory {
      try checkNoLoop(source, below: new.parent)
      if isExchange, let target { try checkNoLoop(target, below: old.parent) }
    }

    let isMoved = source.inode.inheritOptions(of: to.inode)
    if isMoved, source.isDirectory { throw .failed(VolumeError(.crossSubvolume)) }
    if isExchange, var other = target {
      if other.inode.inheritOptions(of: from.inode), other.isDirectory {
        throw .failed(VolumeError(.crossSubvolume))
      }
      target = other
    }

    try move(&source, from, old.name, to, new.name, place, exchanged: isExchange ? target : nil)
    if isExchange, var other = target {
      try point(&other, to: from, at: source.found.position.offset)
      other.inode.ctime = setting.now
      put(other.inode, other.snapshot)
    }
    try countLinks(
      source, target, isExchange: isExchange, isOneDirectory: isOneDirectory, &from, &to)
    from.inode.mtime = setting.now
    from.inode.ctime = setting.now
    put(from.inode, from.snapshot)
    if !isOneDirectory {
      to.inode.mtime = setting.now
      to.inode.ctime = setting.now
      put(to.inode, to.snapshot)
    }
    source.inode.ctime = setting.now
    put(source.inode, source.snapshot)
    var removed: RemovedName?
    if !isExchange, var target {
      try target.inode.removeLink()
      target.inode.forgetName(in: new.parent.inode, at: target.found.position.offset)
      target.inode.ctime = setting.now
      put(target.inode, target.snapshot)
      removed = RemovedName(
        id: target.id, snapshot: target.snapshot,
        isUnlinked: target.inode.flags.contains(.unlinked))
    }
    if flags.contains(.whiteout) { _ = try create(old.name, in: old.parent, whiteout, setting) }
    return removed
  }

  /// What a name leads to, as it is to be changed.
  private func side(
    _ found: FoundName, _ directory: DirectoryState
  ) throws(TransactionError) -> Side {
    switch found.target {
    case .inode(let number):
      return Side(
        found: found, id: FileID(subvolume: directory.id.subvolume, inode: number),
        snapshot: directory.snapshot, inode: try inode(number, directory.snapshot, .intent))
    case .subvolume(let child, _):
      // Its name is not in it: that it may not be changed itself does not matter.
      let subvolume = try subvolume(child)
      return Side(
        found: found, id: FileID(subvolume: child, inode: subvolume.inode),
        snapshot: subvolume.snapshot,
        inode: try inode(subvolume.inode, subvolume.snapshot, .intent))
    }
  }

  // MARK: - What is refused

  private func checkMayMove(
    _ side: Side, out from: DirectoryState, in to: DirectoryState,
    isReplaced: Bool
  ) throws(TransactionError) {
    guard !from.inode.flags.contains(.append) else { throw .failed(VolumeError(.notPermitted)) }
    try side.inode.checkMayChange()
    // From one subvolume to another only a subvolume's root can move, and not in place of anything.
    guard from.id.subvolume == to.id.subvolume || side.isSubvolume && !isReplaced else {
      throw .failed(VolumeError(.crossSubvolume))
    }
  }

  private func checkMayReplace(
    _ target: Side, by source: Side
  ) throws(TransactionError) {
    guard target.isDirectory == source.isDirectory else {
      throw .failed(VolumeError(target.isDirectory ? .isADirectory : .notADirectory))
    }
    // Its subvolume would have no name then.
    guard !target.isSubvolume else { throw .failed(VolumeError(.crossSubvolume)) }
    guard target.isDirectory else { return }
    let (id, snapshot) = (target.id, target.snapshot)
    guard try isEmpty(id.inode, subvolume: id.subvolume, snapshot) else {
      throw .failed(VolumeError(.notEmpty))
    }
  }

  /// Refuses to move a directory below itself.
  private func checkNoLoop(_ side: Side, below parent: FileID) throws(TransactionError) {
    guard side.isDirectory else { return }
    var next = parent
    for _ in 0..<Self.depthMax {
      guard next != side.id else { throw .failed(VolumeError(.loop)) }
      guard let above = try self.parent(of: next) else { return }
      next = above
    }
    throw .failed(VolumeError(.limit, "a directory is below \(Self.depthMax) others"))
  }

  /// Directories that one may be below before a walk up counts as one in a circle.
  private static var depthMax: Int { 1 << 16 }

  /// The directory that a directory's name is in, across subvolumes; nil for the root, and for one
  /// without a name.
  func parent(of id: FileID) throws(TransactionError) -> FileID? {
    let inode = try inode(id.inode, subvolume(id.subvolume).snapshot)
    guard inode.directory != 0 else { return nil }
    return FileID(
      subvolume: inode.subvolume != 0 ? inode.parentSubvolume : id.subvolume,
      inode: inode.directory)
  }

  // MARK: - What is changed

  /// Writes the names, and has the source point back to its new one.
  private func move(
    _ source: inout Side, _ from: DirectoryState, _ oldName: [UInt8], _ to: DirectoryState,
    _ newName: [UInt8], _ place: HashPlace<FoundName>, exchanged: Side?
  ) throws(TransactionError) {
    let (old, type) = (source.found.position.offset, source.found.type)
    let offset: UInt64
    switch place {
    case .found(let found):
      offset = found.position.offset
      // What is replaced here is no subvolume, but may be exchanged for one.
      try retire(found, in: to)
    case .free(let free): offset = free
    }
    let takesOldPlace = from.id == to.id && offset == old
    if let exchanged {
      try retire(source.found, in: from)
      try put(
        oldName, exchanged.found.target.moved(into: from.id.subvolume),
        type: exchanged.found.type, at: old, in: from)
    } else if takesOldPlace {
      try retire(source.found, in: from)
    } else {
      try remove(source.found, from: from)
    }
    try put(
      newName, source.found.target.moved(into: to.id.subvolume), type: type, at: offset, in: to)
    try point(&source, to: to, at: offset)
  }

  /// Has a file point back to where its name is now.
  private func point(
    _ side: inout Side, to directory: DirectoryState, at offset: UInt64
  ) throws(TransactionError) {
    side.inode.directory = directory.id.inode
    side.inode.directoryOffset = offset
    guard side.isSubvolume else { return }
    let isMoved = side.inode.parentSubvolume != directory.id.subvolume
    side.inode.parentSubvolume = directory.id.subvolume
    try repointRoots(like: side.inode, side.snapshot)
    guard isMoved else { return }
    guard let found = try lookup(.subvolumes, BPos(0, UInt64(side.id.subvolume)), .intent) else {
      throw .failed(VolumeError(.notFound))
    }
    var subvolume = try found.decoded { (value) throws(FormatError) in
      try Subvolume(decoding: value)
    }
    subvolume.pathParent = directory.id.subvolume
    put(.subvolumes, .subvolume, found.key.position, Subvolume.encodedU64s) {
      subvolume.encode(into: &$0)
    }
  }

  /// Counts subdirectories that come and go.
  private func countLinks(
    _ source: Side, _ target: Side?, isExchange: Bool, isOneDirectory: Bool,
    _ from: inout DirectoryState, _ to: inout DirectoryState
  ) throws(TransactionError) {
    let moves: Int64 = source.inode.countsAsSubdirectory ? 1 : 0
    let others: Int64 = target?.inode.countsAsSubdirectory == true ? 1 : 0
    if isOneDirectory {
      if !isExchange, others > 0 { try from.inode.countSubdirectories(by: -others) }
      return
    }
    try from.inode.countSubdirectories(by: (isExchange ? others : 0) - moves)
    try to.inode.countSubdirectories(by: moves - others)
  }
}

extension Dirent.Target {
  /// The same in a directory of another subvolume: the name of a subvolume counts there only.
  fileprivate func moved(into parent: UInt32) -> Dirent.Target {
    guard case .subvolume(let child, _) = self else { return self }
    return .subvolume(child: child, parent: parent)
  }
}
