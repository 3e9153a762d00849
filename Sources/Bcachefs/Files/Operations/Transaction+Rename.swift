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

/// What became of a rename.
struct RenameOutcome {
  /// What had the new name, and lost it.
  var removed: RemovedName?
  /// Subvolumes of whose roots `repointMoreRoots` is to change more versions.
  var subvolumesBehind: [UInt32] = []
}

extension Transaction {
  /// A name with what it leads to.
  private struct Side {
    let found: FoundName
    let id: FileID
    /// The snapshot that the file is changed in.
    let snapshot: UInt32
    var inode: Inode
    /// Whether more versions of a subvolume's root are to point to the new name than go at once.
    var hasRootsBehind = false

    var isDirectory: Bool { inode.isDirectory }
    var isSubvolume: Bool { inode.subvolume != 0 }
  }

  /// A rename as it was found to be possible, and is then done.
  private struct Renaming {
    var from: DirectoryState
    /// The same as `from` where both names are in one directory.
    var to: DirectoryState
    var source: Side
    /// What has the new name.
    var target: Side?
    let place: HashPlace<FoundName>
    let isExchange: Bool

    var isOneDirectory: Bool { from.id == to.id }
  }

  /// Renames a file.
  ///
  /// - Parameter whiteout: Of the whiteout that is to take the old name, with `.whiteout`.
  /// - Returns: what had the new name before, and lost it, and what is left to be done.
  /// - Throws: `.notFound`, `.exists`, `.notADirectory`, `.isADirectory`, `.notEmpty`, `.loop`,
  ///   `.crossSubvolume`, `.notPermitted`, `.invalid` for flags that contradict each other, and
  ///   what `directoryToChange` throws.
  func rename(
    _ old: NamedPlace, to new: NamedPlace, _ flags: RenameFlags, whiteout: FileCreation,
    _ setting: OperationSetting
  ) throws(TransactionError) -> RenameOutcome {
    try FileName.check(new.name)
    guard !flags.contains(.exchange) || flags == .exchange else {
      throw .failed(VolumeError(.invalid))
    }
    guard var renaming = try renaming(old, new, flags) else { return RenameOutcome() }
    try check(renaming)
    try inheritOptions(&renaming)
    try moveNames(&renaming, old.name, new.name)
    try countLinks(&renaming)
    let removed = try put(&renaming, setting)
    if flags.contains(.whiteout) { _ = try create(old.name, in: old.parent, whiteout, setting) }
    let subvolumes = [renaming.source, renaming.target].compactMap { side in
      side.flatMap { $0.hasRootsBehind ? $0.id.subvolume : nil }
    }
    return RenameOutcome(removed: removed, subvolumesBehind: subvolumes)
  }

  /// Finds both names.
  ///
  /// - Returns: nil for two names of one file: both stay.
  private func renaming(
    _ old: NamedPlace, _ new: NamedPlace, _ flags: RenameFlags
  ) throws(TransactionError) -> Renaming? {
    let isOneDirectory = old.parent == new.parent
    let from = try directoryToChange(old.parent)
    let to = isOneDirectory ? from : try directoryToChange(new.parent)
    let source = try side(try name(old.name, in: from, .intent), from)
    let place = try search(
      new.name, in: to, .intent, vacated: isOneDirectory ? source.found.position.offset : nil)
    var target: Side?
    switch place {
    case .found(let found):
      if flags.contains(.noReplace) { throw .failed(VolumeError(.exists)) }
      let side = try side(found, to)
      if side.id == source.id { return nil }
      target = side
    case .free:
      if flags.contains(.exchange) { throw .failed(VolumeError(.notFound)) }
    }
    return Renaming(
      from: from, to: to, source: source, target: target, place: place,
      isExchange: flags.contains(.exchange))
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

  private func check(_ renaming: Renaming) throws(TransactionError) {
    let (from, to, isExchange) = (renaming.from, renaming.to, renaming.isExchange)
    try checkMayMove(renaming.source, out: from, in: to, isReplaced: false)
    if let target = renaming.target {
      try checkMayMove(target, out: to, in: from, isReplaced: !isExchange)
      if !isExchange { try checkMayReplace(target, by: renaming.source) }
    }
    guard !renaming.isOneDirectory else { return }
    try checkNoLoop(renaming.source, below: to.id)
    if isExchange, let target = renaming.target { try checkNoLoop(target, below: from.id) }
  }

  /// Has what moves follow its new directory's options.
  ///
  /// - Throws: `.crossSubvolume` for a directory that would have to change.
  private func inheritOptions(_ renaming: inout Renaming) throws(TransactionError) {
    if renaming.source.inode.inheritOptions(of: renaming.to.inode), renaming.source.isDirectory {
      throw .failed(VolumeError(.crossSubvolume))
    }
    guard renaming.isExchange, var other = renaming.target else { return }
    if other.inode.inheritOptions(of: renaming.from.inode), other.isDirectory {
      throw .failed(VolumeError(.crossSubvolume))
    }
    renaming.target = other
  }

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

  /// Writes the names, and has what they lead to point back to them.
  private func moveNames(
    _ renaming: inout Renaming, _ oldName: [UInt8], _ newName: [UInt8]
  ) throws(TransactionError) {
    let (from, to, source) = (renaming.from, renaming.to, renaming.source.found)
    let offset: UInt64
    switch renaming.place {
    case .found(let found):
      offset = found.position.offset
      // What is replaced is no subvolume, but may be exchanged for one.
      try retire(found, in: to)
    case .free(let free): offset = free
    }
    if renaming.isExchange, var other = renaming.target {
      try retire(source, in: from)
      try put(
        oldName, other.found.target.moved(into: from.id.subvolume), type: other.found.type,
        at: source.position.offset, in: from)
      try point(&other, to: from, at: source.position.offset)
      renaming.target = other
    } else if renaming.isOneDirectory, offset == source.position.offset {
      try retire(source, in: from)
    } else {
      try remove(source, from: from)
    }
    try put(
      newName, source.target.moved(into: to.id.subvolume), type: source.type, at: offset, in: to)
    try point(&renaming.source, to: to, at: offset)
  }

  /// Writes the inodes of all that takes part.
  ///
  /// - Returns: what was replaced.
  private func put(
    _ renaming: inout Renaming, _ setting: OperationSetting
  ) throws(TransactionError) -> RemovedName? {
    let now = setting.now
    renaming.from.inode.mtime = now
    renaming.from.inode.ctime = now
    put(renaming.from.inode, renaming.from.snapshot)
    if !renaming.isOneDirectory {
      renaming.to.inode.mtime = now
      renaming.to.inode.ctime = now
      put(renaming.to.inode, renaming.to.snapshot)
    }
    renaming.source.inode.ctime = now
    put(renaming.source.inode, renaming.source.snapshot)
    guard var target = renaming.target else { return nil }
    target.inode.ctime = now
    if !renaming.isExchange {
      try target.inode.removeLink()
      target.inode.forgetName(in: renaming.to.id.inode, at: target.found.position.offset)
    }
    put(target.inode, target.snapshot)
    guard !renaming.isExchange else { return nil }
    return RemovedName(
      id: target.id, snapshot: target.snapshot,
      isUnlinked: target.inode.flags.contains(.unlinked))
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
    side.hasRootsBehind = try repointRoots(like: side.inode, side.snapshot)
    guard isMoved else { return }
    guard var subvolume = try storedSubvolume(side.id.subvolume, .intent) else {
      throw .failed(VolumeError(.notFound))
    }
    subvolume.pathParent = directory.id.subvolume
    put(subvolume, at: side.id.subvolume)
  }

  /// Counts subdirectories that come and go.
  private func countLinks(_ renaming: inout Renaming) throws(TransactionError) {
    let moves: Int64 = renaming.source.inode.countsAsSubdirectory ? 1 : 0
    let others: Int64 = renaming.target?.inode.countsAsSubdirectory == true ? 1 : 0
    let isExchange = renaming.isExchange
    if renaming.isOneDirectory {
      if !isExchange, others > 0 { try renaming.from.inode.countSubdirectories(by: -others) }
      return
    }
    try renaming.from.inode.countSubdirectories(by: (isExchange ? others : 0) - moves)
    try renaming.to.inode.countSubdirectories(by: moves - others)
  }
}

extension Dirent.Target {
  /// The same in a directory of another subvolume: the name of a subvolume counts there only.
  fileprivate func moved(into parent: UInt32) -> Dirent.Target {
    guard case .subvolume(let child, _) = self else { return self }
    return .subvolume(child: child, parent: parent)
  }
}
