// SPDX-License-Identifier: GPL-2.0
// Subvolumes: made, taken a snapshot of, and on their way out.
//
// How it works
//   1. A new subvolume has a tree of snapshots of its own, and a root directory. Its name is a key
//      that counts in its parent alone.
//   2. A snapshot is two new nodes below the source's: one for the new subvolume, one that the
//      source goes on in. What was there belongs to both from then on; nothing is copied.
//   3. A subvolume whose name goes is marked as unlinked in the same transaction, and nobody finds
//      it any more. The rest is done by and by (SnapshotCleaner.swift).
// Invariants
//   (1) Each of the three is one transaction.
//   (2) Every subvolume that is not unlinked has a name, but for the first one.
// Locks: as all transactions; see FileSystem+Subvolumes.swift for what has to wait meanwhile.
// Source: subvolume.c (bch2_subvolume_create, bch2_subvolume_unlink, bch2_subvolume_reparent),
// fs-common.c (bch2_create_trans, bch2_unlink_trans).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// A subvolume that is about to be made.
private struct NewSubvolume {
  let id: UInt32
  var key: Subvolume
  /// Its root directory, which gets its name and numbers.
  var root: Inode
}

extension Transaction {
  /// A subvolume's key, unlinked or not; nil if there is none.
  func storedSubvolume(
    _ id: UInt32, _ mode: LockMode
  ) throws(TransactionError) -> Subvolume? {
    guard let found = try lookup(.subvolumes, BPos(0, UInt64(id)), mode),
      found.key.type == .subvolume
    else { return nil }
    return try found.decoded { (value) throws(FormatError) in try Subvolume(decoding: value) }
  }

  func put(_ subvolume: Subvolume, at id: UInt32) {
    put(.subvolumes, .subvolume, BPos(0, UInt64(id)), Subvolume.encodedU64s) {
      subvolume.encode(into: &$0)
    }
  }

  /// A number for a new subvolume: behind all that there are, and all that there were since the
  /// volume was opened, since somebody may still know a file by such a one.
  ///
  /// - Throws: `.limit` where there is none left.
  private func freeSubvolume(behind used: UInt32) throws(TransactionError) -> UInt32 {
    let last = try previous(.subvolumes, from: .max, downTo: .min, .intent)
    let id = max(last?.key.position.offset ?? 0, UInt64(used)) + 1
    guard id <= UInt64(Int32.max) else {
      throw .failed(VolumeError(.limit, "there is no number for another subvolume"))
    }
    return UInt32(id)
  }

  // MARK: - Making

  /// Makes an empty subvolume.
  ///
  /// - Parameter used: The highest number that a subvolume had.
  /// - Returns: its root directory, as it will be.
  /// - Throws: as `create`.
  func createSubvolume(
    _ name: [UInt8], in parent: FileID, _ creation: FileCreation, behind used: UInt32,
    _ setting: OperationSetting
  ) throws(TransactionError) -> Inode {
    try FileName.check(name)
    var random = SplitMix64(seed: setting.hashSeed)
    let id = try freeSubvolume(behind: used)
    let ids = try freeSnapshotIDs(1)
    let snapshot = ids.lowerBound
    newSnapshots = NewSnapshotNodes(ids: ids, parent: 0)
    let tree = try newSnapshotTree(of: id, root: snapshot)
    put(
      newSnapshotNode(of: id, below: 0, tree: tree, now: setting.now, &random), at: snapshot)

    let directory = try directoryToChange(parent)
    var inode = Self.newInode(creation, in: directory.inode, setting)
    inode.number = try freeInodeNumber(setting.numbers)
    inode.snapshot = snapshot
    try inheritACL(&inode, creation, from: directory, setting)
    let new = NewSubvolume(
      id: id, key: Subvolume(snapshot: snapshot, inode: inode.number), root: inode)
    return try enter(new, name, in: directory, setting)
  }

  /// Makes a snapshot of a subvolume.
  ///
  /// - Parameters:
  ///   - source: Goes on in a node of its own.
  ///   - used: The highest number that a subvolume had.
  /// - Returns: the snapshot's root directory, as it will be.
  /// - Throws: `.notFound` for a subvolume that is not there; else as `create`.
  func createSnapshot(
    of source: UInt32, _ name: [UInt8], in parent: FileID, isReadOnly: Bool,
    behind used: UInt32, _ setting: OperationSetting
  ) throws(TransactionError) -> Inode {
    try FileName.check(name)
    guard var from = try storedSubvolume(source, .intent), !from.isUnlinked else {
      throw .failed(VolumeError(.notFound))
    }
    var random = SplitMix64(seed: setting.hashSeed)
    let shared = from.snapshot
    guard var above = try snapshotNode(shared), above.child0 == 0, above.child1 == 0 else {
      throw .failed(
        VolumeError(
          .corrupt, "subvolume \(source) is in snapshot \(shared), which is no leaf of the tree"))
    }
    var root = try inode(from.inode, shared, .intent)
    let id = try freeSubvolume(behind: used)
    let ids = try freeSnapshotIDs(2)
    let (own, other) = (ids.lowerBound + 1, ids.lowerBound)
    newSnapshots = NewSnapshotNodes(ids: ids, parent: shared)
    for (node, subvolume) in [(own, id), (other, source)] {
      put(
        newSnapshotNode(
          of: subvolume, below: shared, tree: above.tree, now: setting.now, &random), at: node)
    }
    above.isSubvolume = false
    above.subvolume = 0
    (above.child0, above.child1) = (own, other)
    put(above, at: shared)
    from.snapshot = other
    put(from, at: source)

    root.snapshot = own
    var key = Subvolume(snapshot: own, inode: root.number)
    key.creationParent = source
    key.isSnapshot = true
    key.isReadOnly = isReadOnly
    // Only now: it may be in the source.
    let directory = try directoryToChange(parent)
    return try enter(NewSubvolume(id: id, key: key, root: root), name, in: directory, setting)
  }

  /// Gives a new subvolume its name.
  private func enter(
    _ new: NewSubvolume, _ name: [UInt8], in found: DirectoryState, _ setting: OperationSetting
  ) throws(TransactionError) -> Inode {
    var (directory, key, root) = (found, new.key, new.root)
    let parent = directory.id
    let offset = try place(for: name, in: directory)
    key.pathParent = parent.subvolume
    key.otime = Time128(lo: setting.now)
    put(key, at: new.id)
    directory.inode.mtime = setting.now
    directory.inode.ctime = setting.now
    put(directory.inode, directory.snapshot)
    try put(
      name, .subvolume(child: new.id, parent: parent.subvolume), type: Dirent.subvolumeType,
      at: offset, in: directory)
    root.subvolume = new.id
    root.parentSubvolume = parent.subvolume
    root.directory = parent.inode
    root.directoryOffset = offset
    put(root, root.snapshot)
    return root
  }

  // MARK: - Removing

  /// Takes a subvolume's name away, and marks it as unlinked.
  ///
  /// - Parameter onlyIfEmpty: Only one whose root directory has no names in it.
  /// - Returns: its number.
  /// - Throws: `.notFound` where there is no such name, or it is not that of a subvolume;
  ///   `.notEmpty` for one with subvolumes in it; `.notPermitted` for a directory that is immutable
  ///   or may only grow; what `directoryToChange` throws.
  func removeSubvolume(
    _ name: [UInt8], from parent: FileID, onlyIfEmpty: Bool, _ setting: OperationSetting
  ) throws(TransactionError) -> UInt32 {
    var directory = try directoryToChange(parent)
    guard !directory.inode.flags.contains(.append) else {
      throw .failed(VolumeError(.notPermitted))
    }
    let found = try self.name(name, in: directory, .intent)
    guard case .subvolume(let id, _) = found.target,
      var subvolume = try storedSubvolume(id, .intent)
    else {
      throw .failed(VolumeError(.notFound, "it is not a subvolume"))
    }
    let child = try next(
      .subvolumeChildren, from: BPos(UInt64(id), 0), upTo: BPos(UInt64(id), .max, .max), .intent)
    guard child == nil else {
      throw .failed(VolumeError(.notEmpty, "there are subvolumes in it"))
    }
    if onlyIfEmpty, try !isEmpty(subvolume.inode, subvolume: id, subvolume.snapshot) {
      throw .failed(VolumeError(.notEmpty))
    }
    try repointRoots(of: subvolume, id)
    var root = try inode(subvolume.inode, subvolume.snapshot, .intent)
    root.forgetName(in: parent.inode, at: found.position.offset)
    root.ctime = setting.now
    subvolume.isUnlinked = true
    // Or the parent would count as not empty until all of it is gone.
    subvolume.pathParent = 0
    directory.inode.mtime = setting.now
    directory.inode.ctime = setting.now
    try remove(found, from: directory)
    put(directory.inode, directory.snapshot)
    put(root, subvolume.snapshot)
    put(subvolume, at: id)
    if let node = try snapshotNode(subvolume.snapshot) {
      try replaceMaster(id, in: node.tree, mayBeUnlinked: false)
    }
    return id
  }

  /// Versions of a root that are kept for snapshots of its subvolume say whose root it is. Where
  /// the subvolume goes they say of another one that it is: whose own version hides it, so nobody
  /// sees that but a check.
  ///
  /// - Returns: Whether there are more of them.
  @discardableResult
  private func repointRoots(
    of subvolume: Subvolume, _ id: UInt32
  ) throws(TransactionError) -> Bool {
    var left = rootsAtOnce
    for version in try rootVersions(above: subvolume, id) {
      let others = engine.snapshots.withLock { $0.subvolumes(below: version.snapshot) }
      for other in others where other != id {
        guard let heir = try storedSubvolume(other, .intent), !heir.isUnlinked,
          heir.inode == version.number
        else { continue }
        var changed = version
        if left == 0 { return true }
        changed.takePlace(of: try inode(heir.inode, heir.snapshot))
        put(changed, version.snapshot)
        left -= 1
        break
      }
    }
    return false
  }

  /// So many versions of a root go in one transaction.
  private var rootsAtOnce: Int {
    keysAtOnce(engine.journal.reservationMax / (2 * Self.wordsOfRoot), Self.wordsOfRoot)
  }

  /// What the inode of a root takes, at most.
  private static var wordsOfRoot: Int { 60 }

  /// Does some of what removing a subvolume would have to do at once, where that is much, and
  /// commits.
  ///
  /// - Returns: Whether there is more than fits the transaction that removes it.
  func repointSomeRoots(of name: [UInt8], in parent: FileID) throws(TransactionError) -> Bool {
    let directory = try directoryToChange(parent)
    guard case .subvolume(let id, _) = try self.name(name, in: directory, .intent).target,
      let subvolume = try storedSubvolume(id, .intent)
    else { return false }
    let hasMore = try repointRoots(of: subvolume, id)
    if hasMore { try commit() }
    return hasMore
  }

  /// Has versions of a root that are kept for snapshots of its subvolume point to where its name is
  /// now, as the subvolume's own does: as many as go beside a rename. Nobody sees those that do not
  /// but a check.
  ///
  /// - Returns: Whether there are more of them: `repointMoreRoots` is to follow.
  func repointRoots(like root: Inode, _ snapshot: UInt32) throws(TransactionError) -> Bool {
    try repointRoots(like: root, snapshot, atMost: rootsAtOnce / 2)
  }

  private func repointRoots(
    like root: Inode, _ snapshot: UInt32, atMost limit: Int
  ) throws(TransactionError) -> Bool {
    var left = limit
    let subvolume = Subvolume(snapshot: snapshot, inode: root.number)
    for version in try rootVersions(above: subvolume, root.subvolume) {
      var changed = version
      changed.takePlace(of: root)
      if changed.hasPlace(of: version) { continue }
      if left == 0 { return true }
      put(changed, version.snapshot)
      left -= 1
    }
    return false
  }

  /// Does what a rename of a subvolume left to be done, a part of it, and commits.
  ///
  /// - Returns: Whether there is more.
  func repointMoreRoots(of id: UInt32) throws(TransactionError) -> Bool {
    guard let subvolume = try storedSubvolume(id, .intent), !subvolume.isUnlinked else {
      return false
    }
    let root = try inode(subvolume.inode, subvolume.snapshot, .intent)
    let hasMore = try repointRoots(like: root, subvolume.snapshot, atMost: rootsAtOnce)
    try commit()
    return hasMore
  }

  /// The versions of a subvolume's root in nodes above its own that say that they are its.
  private func rootVersions(
    above subvolume: Subvolume, _ id: UInt32
  ) throws(TransactionError) -> [Inode] {
    guard subvolume.snapshot < .max else { return [] }
    var result: [Inode] = []
    var walk = KeyWalk(
      .inodes, from: BPos(0, subvolume.inode, subvolume.snapshot + 1),
      upTo: BPos(0, subvolume.inode, .max), mode: .intent)
    while let found = try next(&walk) {
      let snapshot = found.key.position.snapshot
      guard found.key.type.isInode, isAncestor(snapshot, of: subvolume.snapshot) else { continue }
      var version = try Self.inode(found)
      version.snapshot = snapshot
      if version.subvolume == id { result.append(version) }
    }
    return result
  }

  /// Has some of the subvolumes that are snapshots of one that goes say that they are of what that
  /// one was of, and commits.
  ///
  /// - Returns: Whether there may be more.
  func reparentSome(of old: UInt32) throws(TransactionError) -> Bool {
    guard let going = try storedSubvolume(old, .intent) else { return false }
    var left = keysAtOnce(Self.reparentedAtOnce, Self.wordsOfSubvolume)
    var walk = KeyWalk(.subvolumes, from: .min, mode: .intent)
    while left > 0, let found = try next(&walk) {
      guard found.key.type == .subvolume, let id = UInt32(exactly: found.key.position.offset) else {
        continue
      }
      var other = try found.decoded { (value) throws(FormatError) in
        try Subvolume(decoding: value)
      }
      guard other.creationParent == old else { continue }
      other.creationParent = going.creationParent
      put(other, at: id)
      left -= 1
    }
    try commit()
    return left == 0
  }

  private static var reparentedAtOnce: Int { 64 }
  /// What a subvolume's key takes, at most.
  private static var wordsOfSubvolume: Int { 12 }

  /// So many keys, at most, that go to one node: it takes half of what it has room for at once.
  private func keysAtOnce(_ limit: Int, _ words: Int) -> Int {
    max(1, min(limit, engine.trees.parameters.nodeBytes / 16 / words - 1))
  }
}

extension Inode {
  /// Is the root of another subvolume, in its place.
  fileprivate mutating func takePlace(of other: Inode) {
    subvolume = other.subvolume
    parentSubvolume = other.parentSubvolume
    directory = other.directory
    directoryOffset = other.directoryOffset
  }

  /// Whether it says of which subvolume it is the root, and where that one's name is, as another
  /// does.
  fileprivate func hasPlace(of other: Inode) -> Bool {
    subvolume == other.subvolume && parentSubvolume == other.parentSubvolume
      && directory == other.directory && directoryOffset == other.directoryOffset
  }
}
