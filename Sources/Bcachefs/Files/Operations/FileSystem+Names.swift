// SPDX-License-Identifier: GPL-2.0
// Names: looked up, listed, made, removed, changed.
//
// How it works
//   Each call is a transaction; what it needs that is not in the btrees (time, a secret for hashes)
//   is the same whenever it begins again.
// Invariants
//   (1) What was removed or replaced is settled after the commit: deleted, if nobody holds it.
// Source: fs.c (bch2_lookup, bch2_mknod, bch2_symlink, bch2_rename2), dirent.c (bch2_readdir).

internal import BcachefsFormat
internal import BcachefsSupport

extension FileSystem {
  // MARK: - Looking

  /// What a name in a directory leads to, subvolumes too.
  ///
  /// - Throws: `.notFound`, `.notADirectory`.
  public func lookup(_ name: [UInt8], in parent: FileID) throws(VolumeError) -> FileAttributes {
    try attributes { () throws(VolumeError) in
      try engine.run("lookup") { (transaction) throws(TransactionError) -> (FileID, Inode) in
        let snapshot = try transaction.subvolume(parent.subvolume).snapshot
        let directory = try transaction.directory(parent, snapshot, .read)
        let found = try transaction.name(name, in: directory, .read)
        let id = try transaction.fileID(of: found.target, in: parent.subvolume)
        let seenFrom =
          id.subvolume == parent.subvolume
          ? snapshot : try transaction.subvolume(id.subvolume).snapshot
        return (id, try transaction.inode(id.inode, seenFrom))
      }
    }
  }

  /// What a file's inode says and what its contents do, as of one moment: what is written meanwhile
  /// goes from these to that, and would be in neither.
  private func attributes(
    _ look: () throws(VolumeError) -> (FileID, Inode)
  ) throws(VolumeError) -> FileAttributes {
    while true {
      let before = contents.commitCount
      let (id, inode) = try look()
      let result = attributes(id, inode)
      if contents.commitCount == before { return result }
    }
  }

  /// The directory that a directory's name is in; the root's is the root itself.
  ///
  /// - Throws: `.notFound`.
  public func parent(of id: FileID) throws(VolumeError) -> FileID {
    try engine.run("parent") { (transaction) throws(TransactionError) in
      try transaction.parent(of: id) ?? id
    }
  }

  /// What stat(2) tells.
  ///
  /// - Throws: `.notFound`.
  public func attributes(of id: FileID) throws(VolumeError) -> FileAttributes {
    try attributes { () throws(VolumeError) in
      let inode = try engine.run("getattr") { (transaction) throws(TransactionError) in
        try transaction.inode(id.inode, transaction.subvolume(id.subvolume).snapshot)
      }
      return (id, inode)
    }
  }

  /// Names of a directory in the order of their hashes, from an offset on.
  ///
  /// A name that is there from the first call to the last is given once, whatever else changes
  /// meanwhile; of others it is open whether they are.
  ///
  /// - Parameters:
  ///   - offset: 0, or the `nextOffset` of a name. It stays good as long as the directory is there.
  ///   - limit: Names at most, 1 or more.
  /// - Returns: none at the end.
  /// - Throws: `.notFound`, `.notADirectory`.
  public func entries(
    of id: FileID, from offset: UInt64 = 0, limit: Int = 256
  ) throws(VolumeError) -> [DirectoryEntry] {
    try engine.run("readdir") { (transaction) throws(TransactionError) in
      let snapshot = try transaction.subvolume(id.subvolume).snapshot
      return try transaction.entries(
        of: transaction.directory(id, snapshot, .read), from: offset, limit: limit)
    }
  }

  // MARK: - Making

  /// Makes a file, directory, device node, fifo or socket; symbolic links are made by `makeLink`.
  ///
  /// - Parameters:
  ///   - isHeld: Whether the caller holds it then, as after `hold`.
  ///   - quotas: Whether the owner's limits count.
  /// - Throws: `.exists`, `.notFound`, `.notADirectory`, `.nameTooLong`, `.readOnly`,
  ///   `.notPermitted`, `.quotaExceeded`.
  public func create(
    _ name: [UInt8], in parent: FileID, _ creation: FileCreation, isHeld: Bool = false,
    quotas: QuotaRule = .exempt
  ) throws(VolumeError) -> FileAttributes {
    try checkRoom()
    let setting = setting()
    let inode = try engine.run("create", quotas: quotas) {
      (transaction) throws(TransactionError) in
      let inode = try transaction.create(name, in: parent, creation, setting)
      try transaction.commit()
      return inode
    }
    let id = FileID(subvolume: parent.subvolume, inode: inode.number)
    if isHeld { try hold(id) }
    return attributes(id, inode)
  }

  /// Makes a file without a name (O_TMPFILE), which the caller holds. `link` may give it one;
  /// without it goes when it is let go of.
  ///
  /// - Parameters:
  ///   - parent: The directory whose options it has.
  ///   - quotas: Whether the owner's limits count.
  /// - Throws: as `create`.
  public func createUnnamed(
    in parent: FileID, _ creation: FileCreation, quotas: QuotaRule = .exempt
  ) throws(VolumeError) -> FileAttributes {
    try checkRoom()
    let setting = setting()
    return try gate.passing { () throws(VolumeError) in
      let inode = try engine.run("create", quotas: quotas) {
        (transaction) throws(TransactionError) in
        let inode = try transaction.create(nil, in: parent, creation, setting)
        try transaction.commit()
        return inode
      }
      let id = FileID(subvolume: parent.subvolume, inode: inode.number)
      openFiles.hold(id)
      _ = openFiles.noteUnlinked(id)
      return attributes(id, inode)
    }
  }

  /// Gives a file one more name.
  ///
  /// - Throws: `.exists`; `.crossSubvolume`, also where the directory has options that the file has
  ///   not; `.notPermitted` for directories; `.notFound`, `.notADirectory`, `.nameTooLong`,
  ///   `.tooManyLinks`, `.readOnly`.
  public func link(
    _ id: FileID, as name: [UInt8], in parent: FileID
  ) throws(VolumeError) -> FileAttributes {
    try checkRoom()
    let setting = setting()
    let inode = try holding(id) { () throws(VolumeError) in
      try engine.run("link") { (transaction) throws(TransactionError) in
        let inode = try transaction.link(id, as: name, in: parent, setting)
        try transaction.commit()
        return inode
      }
    }
    return attributes(id, inode)
  }

  /// Gives a file a name, in place of whatever has it: at no moment is the name missing. What of
  /// the file's contents is not written yet is written first.
  ///
  /// - Parameter id: A file without a name that the caller holds, or one more name of another.
  /// - Throws: as `link`, but `.exists`; `.isADirectory` where a directory has the name.
  public func replace(
    _ name: [UInt8], in parent: FileID, with id: FileID
  ) throws(VolumeError) -> FileAttributes {
    try checkRoom()
    contents.find(id)?.writeBack()
    let setting = setting()
    let result = try holding(id) { () throws(VolumeError) in
      try engine.run("replace") { (transaction) throws(TransactionError) in
        let result = try transaction.replace(
          NamedPlace(parent: parent, name: name), with: id, setting)
        try transaction.commit()
        return result
      }
    }
    try settle(result.removed)
    return attributes(id, result.inode)
  }

  // MARK: - Removing and changing

  /// Takes a name from a file that is no directory.
  ///
  /// - Throws: `.notFound`, `.isADirectory`, `.notADirectory`, `.readOnly`, `.notPermitted`.
  public func unlink(_ name: [UInt8], in parent: FileID) throws(VolumeError) {
    try removeName(name, in: parent, removesDirectories: false)
  }

  /// Removes an empty directory; the root of a subvolume with all that is left of the subvolume.
  ///
  /// - Throws: `.notEmpty`, `.notFound`, `.notADirectory`, `.readOnly`, `.notPermitted`.
  public func removeDirectory(_ name: [UInt8], in parent: FileID) throws(VolumeError) {
    try removeName(name, in: parent, removesDirectories: true)
  }

  private func removeName(
    _ name: [UInt8], in parent: FileID, removesDirectories: Bool
  ) throws(VolumeError) {
    let setting = setting()
    let removed = try engine.run("unlink", givesBack: true) {
      (transaction) throws(TransactionError) in
      let removed = try transaction.removeName(
        name, from: parent, removesDirectories: removesDirectories, setting)
      if removed != nil { try transaction.commit() }
      return removed
    }
    guard let removed else { return try deleteSubvolume(name, in: parent, onlyIfEmpty: true) }
    try settle(removed)
  }

  /// Renames a file; what has the new name is replaced, unless flags say otherwise.
  ///
  /// - Parameters:
  ///   - whiteout: Whose owner and group a whiteout gets, with `.whiteout`.
  ///   - quotas: Whether limits count: of the project that the file comes into, and of the
  ///     whiteout's owner.
  /// - Throws: `.notFound`, `.exists`, `.notADirectory`, `.isADirectory`, `.notEmpty`; `.loop` for
  ///   a directory that would be below itself; `.crossSubvolume`, also for a directory that would
  ///   get other options; `.invalid` for flags that contradict each other; `.nameTooLong`,
  ///   `.readOnly`, `.notPermitted`, `.quotaExceeded`.
  public func rename(
    _ name: [UInt8], in parent: FileID, to newName: [UInt8], in newParent: FileID,
    _ flags: RenameFlags = [],
    whiteout: FileCreation = FileCreation(.characterDevice, permissions: 0),
    quotas: QuotaRule = .exempt
  ) throws(VolumeError) {
    let setting = setting()
    let (old, new) = (
      NamedPlace(parent: parent, name: name), NamedPlace(parent: newParent, name: newName)
    )
    if !flags.contains(.noReplace) { try flushBeforeReplace(new, by: old) }
    let outcome = try engine.run("rename", quotas: quotas) {
      (transaction) throws(TransactionError) in
      let outcome = try transaction.rename(old, to: new, flags, whiteout: whiteout, setting)
      try transaction.commit()
      return outcome
    }
    for subvolume in outcome.subvolumesBehind { finishRename(of: subvolume) }
    try settle(outcome.removed)
  }

  /// What is left to be done of a rename that happened: that it cannot be done is no failure of it.
  private func finishRename(of subvolume: UInt32) {
    do throws(VolumeError) {
      while try engine.run(
        "subvolume_repoint",
        { (transaction) throws(TransactionError) in
          try transaction.repointMoreRoots(of: subvolume)
        })
      {}
    } catch {
      // Versions that point to the old name are only what a check speaks of.
    }
  }
}

extension Transaction {
  /// Names of a directory from an offset on.
  fileprivate func entries(
    of directory: DirectoryState, from offset: UInt64, limit: Int
  ) throws(TransactionError) -> [DirectoryEntry] {
    let subvolume = directory.id.subvolume
    var result: [DirectoryEntry] = []
    var walk = SnapshotWalk(
      .dirents, directory.id.inode, from: offset, snapshot: directory.snapshot)
    while result.count < limit, let found = try next(&walk) {
      guard found.key.type == .dirent else { continue }
      let position = found.key.position.offset
      let seen = try found.decoded {
        (value) throws(FormatError) -> (target: Dirent.Target, type: UInt8, name: [UInt8])? in
        let dirent = try Dirent(decoding: value)
        if case .subvolume(_, let parent) = dirent.target, parent != subvolume { return nil }
        return (dirent.target, dirent.type, dirent.name.copiedBytes)
      }
      guard let seen else { continue }
      result.append(
        DirectoryEntry(
          name: seen.name, id: try fileID(of: seen.target, in: subvolume), type: seen.type,
          nextOffset: position == .max ? .max : position + 1))
    }
    return result
  }
}
