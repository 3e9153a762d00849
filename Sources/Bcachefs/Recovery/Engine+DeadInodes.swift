// SPDX-License-Identifier: GPL-2.0
// Files that were deleted while somebody had them open, when the machine stopped: nobody can reach
// them any more.
//
// How it works
//   1. The deleted_inodes btree names them, each in one snapshot. What it names wrongly is only
//      taken out of it, and counted as a finding.
//   2. Extents, names and attributes go first, some in a transaction; the inode last, in one in
//      which nothing else is left, and leaves nothing: its number may be used again, by a file of
//      another generation (InodeNumbers.swift).
//   3. While snapshots are cleaned up (SnapshotCleaner.swift) extents may have moved to an heir of
//      their node, and the inode not yet: so what is in snapshots below that have no version of
//      their own goes, too.
// Invariants
//   (1) An inode goes when nothing is left of it: whoever is interrupted here is named still.
// Locks: as all transactions.
// Source: inode.c (bch2_delete_dead_inodes, may_delete_deleted_inode, bch2_inode_rm_snapshot).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

extension Engine {
  /// Deletes all inodes that nobody can reach.
  ///
  /// - Returns: how many.
  /// - Throws: what transactions throw.
  func deleteDeadInodes() throws(VolumeError) -> Int {
    var count = 0
    var position: BPos? = .min
    while let start = position {
      let found = try run("delete_dead_inodes") {
        (transaction) throws(TransactionError) -> (BPos, FsckErrorID?)? in
        guard let next = try transaction.next(.deletedInodes, from: start) else { return nil }
        let place = next.key.position
        return (place, try transaction.whyNotDead(place))
      }
      guard let (place, finding) = found else { break }
      position = place.successor
      if let finding {
        try forgetDeadInode(place, finding)
      } else {
        if wasClean { store.recordFinding(.deleted_inode_but_clean) }
        try deleteInode(place, .reclaim)
        count += 1
      }
    }
    return count
  }

  private func forgetDeadInode(_ place: BPos, _ finding: FsckErrorID) throws(VolumeError) {
    store.recordFinding(finding)
    try run("delete_dead_inodes", givesBack: true) { (transaction) throws(TransactionError) in
      transaction.delete(.deletedInodes, place)
      try transaction.commit()
    }
  }

  /// Deletes an inode that is marked as unlinked and all that belongs to it, as its snapshot sees
  /// it. Nobody has it open, or opens it.
  ///
  /// - Parameter generation: Only an inode of this one goes.
  /// - Throws: what transactions throw.
  func deleteInode(
    _ place: BPos, _ watermark: Watermark = .normal, generation: UInt32? = nil
  ) throws(VolumeError) {
    while try run(
      "inode_rm", watermark: watermark, givesBack: true,
      { (transaction) throws(TransactionError) in
        let hasMore = try transaction.deleteSome(of: place, generation)
        try transaction.commit()
        return hasMore
      })
    {}
  }
}

extension Transaction {
  static func inode(_ found: KeyView) throws(TransactionError) -> Inode {
    try found.decoded { (value) throws(FormatError) in try Inode(key: found.key, value: value) }
  }

  /// What is wrong with an inode's being in deleted_inodes; nil where it is dead.
  fileprivate func whyNotDead(_ place: BPos) throws(TransactionError) -> FsckErrorID? {
    guard let found = try lookup(.inodes, place), found.key.type.isInode else {
      return .deleted_inode_missing
    }
    let inode = try Self.inode(found)
    if inode.isDirectory, try !isEmpty(place.offset, subvolume: 0, place.snapshot) {
      return .deleted_inode_is_dir
    }
    guard inode.flags.contains(.unlinked) else { return .deleted_inode_not_unlinked }
    return inode.flags.contains(.hasChildSnapshot) ? .deleted_inode_has_child_snapshots : nil
  }

  /// Deletes some of an inode's keys, and, when nothing is left of it, the inode. One that has a
  /// name again, or is gone, stays as it is.
  ///
  /// - Returns: Whether there is more to delete.
  fileprivate func deleteSome(
    of place: BPos, _ generation: UInt32?
  ) throws(TransactionError) -> Bool {
    let isLeaf = engine.snapshots.withLock { $0.descendantCount(of: place.snapshot) == 0 }
    // Above, only what a node has itself is deleted in it: its heir may have that by now.
    guard let inode = try findInode(place.offset, place.snapshot, .intent),
      inode.flags.contains(.unlinked), isLeaf || inode.snapshot == place.snapshot,
      generation == nil || inode.generation == generation
    else { return false }
    var left = extentsAtOnce(Self.keysAtOnce)
    var isSeenBelow = false
    if !isLeaf { isSeenBelow = try !hasKeyBelow(.inodes, place) { $0.key.type.isInode } }
    for btree in [BTreeID.extents, .dirents, .xattrs] {
      try delete(from: btree, of: place, atMost: &left)
      if isSeenBelow { try deleteInherited(from: btree, of: place, atMost: &left) }
    }
    guard left > 0 else { return true }
    try deleteVisible(.inodes, place, isInherited: inode.snapshot != place.snapshot)
    return false
  }

  private func delete(
    from btree: BTreeID, of place: BPos, atMost left: inout Int
  ) throws(TransactionError) {
    var walk = SnapshotWalk(
      btree, place.offset, from: 0, snapshot: place.snapshot, mode: .intent)
    while left > 0, let found = try next(&walk) {
      let key = found.key
      let position = BPos(place.offset, key.position.offset, place.snapshot)
      if btree == .extents {
        try updateExtent(
          btree, BKey(type: .deleted, position: position, size: key.size), RawSpan())
      } else {
        try deleteVisible(
          btree, position, isInherited: key.position.snapshot != place.snapshot)
      }
      // The journal tells what was there, too: an attribute can be long.
      left -= btree == .extents ? Self.weight(of: key.type) : 1 + Int(key.u64s) / 32
    }
  }

  /// Deletes what snapshots below have of an inode, without a version of it of their own. What they
  /// hide may stay: it hides nothing then.
  private func deleteInherited(
    from btree: BTreeID, of place: BPos, atMost left: inout Int
  ) throws(TransactionError) {
    var walk = KeyWalk(
      btree, from: BPos(place.offset, 0), upTo: BPos(place.offset, .max, .max), mode: .intent)
    while left > 0, let found = try next(&walk) {
      let key = found.key
      guard key.position.snapshot != place.snapshot, !key.isWhiteout,
        isAncestor(place.snapshot, of: key.position.snapshot)
      else { continue }
      delete(btree, key.position)
      left -= btree == .extents ? Self.weight(of: key.type) : 1 + Int(key.u64s) / 32
    }
  }

  private static var keysAtOnce: Int { 16 }
}

extension BKeyType {
  var isInode: Bool { self == .inode || self == .inodeV2 || self == .inodeV3 }
}
