// SPDX-License-Identifier: GPL-2.0
// Files that are held, and the end of those without a name.
//
// How it works
//   1. Whoever has a file open, or will ask for it by number, holds it. One that loses its last
//      name meanwhile stays as it is until the last holder lets go.
//   2. A file in a snapshot may have versions in snapshots above that have no name either, kept
//      only because of this one: they go with it, unless somebody holds one that sees them.
// Invariants
//   (1) A file without a name is in deleted_inodes until it is gone: whatever happens before, the
//       next opening deletes it.
// Locks: as `OpenFiles`.
// Source: inode.c (bch2_inode_rm, delete_ancestor_snapshot_inodes), fs.c (bch2_evict_inode).

internal import BcachefsFormat
internal import BcachefsSupport

extension FileSystem {
  /// Holds a file: it stays until `letGo`, whatever becomes of its names. A file may be held any
  /// number of times.
  ///
  /// - Throws: `.notFound`.
  public func hold(_ id: FileID) throws(VolumeError) {
    openFiles.hold(id)
    do throws(VolumeError) {
      _ = try attributes(of: id)
    } catch {
      try letGo(id)
      throw error
    }
  }

  /// Lets go of a file that was held. If it has no name, and nobody else holds it, it is deleted.
  ///
  /// - Parameter count: How many times it was held.
  /// - Throws: what deleting it throws; it is deleted when the volume is opened next, then.
  public func letGo(_ id: FileID, count: UInt64 = 1) throws(VolumeError) {
    if openFiles.release(id, count: count) { try deleteAndFinish(id) }
  }

  /// Calls `body` while a file is held.
  func holding<Result>(
    _ id: FileID, _ body: () throws(VolumeError) -> Result
  ) throws(VolumeError) -> Result {
    openFiles.hold(id)
    let result: Result
    do throws(VolumeError) {
      result = try body()
    } catch {
      try letGo(id)
      throw error
    }
    try letGo(id)
    return result
  }

  /// Sees to a name that is gone.
  func settle(_ removed: RemovedName?) throws(VolumeError) {
    guard let removed, removed.isUnlinked, openFiles.noteUnlinked(removed.id) else { return }
    try deleteAndFinish(removed.id)
  }

  private func deleteAndFinish(_ id: FileID) throws(VolumeError) {
    repeat {
      do throws(VolumeError) {
        try delete(id)
      } catch {
        _ = openFiles.finish(id)
        throw error
      }
    } while openFiles.finish(id)
  }

  /// Deletes a file without a name, which nobody holds; one with a name stays.
  func delete(_ id: FileID) throws(VolumeError) {
    try gate.passing { () throws(VolumeError) in
      let found = try engine.run("inode_rm", givesBack: true) {
        (transaction) throws(TransactionError) -> (snapshot: UInt32, hasName: Bool)? in
        guard let snapshot = try transaction.findSubvolume(id.subvolume)?.snapshot else {
          return nil
        }
        let inode = try transaction.findInode(id.inode, snapshot, .read)
        return (snapshot, inode.map { !$0.flags.contains(.unlinked) } ?? false)
      }
      // A file that got a name again keeps what was written to it, and was not flushed yet.
      if let found, found.hasName { return try deleteVersions(of: id, found.snapshot) }
      try contents.whileGoing(id) { () throws(VolumeError) in
        // What was in a subvolume that is deleted goes with it.
        if let found { try deleteVersions(of: id, found.snapshot) }
      }
    }
  }

  /// Deletes an inode without a name as a snapshot sees it, and then those above.
  private func deleteVersions(of id: FileID, _ snapshot: UInt32) throws(VolumeError) {
    var place: BPos? = BPos(0, id.inode, snapshot)
    while let next = place {
      try engine.deleteInode(next)
      place = try deadVersion(above: next)
    }
  }

  /// A version in a snapshot above that has no name, and that nobody sees who holds the inode.
  private func deadVersion(above place: BPos) throws(VolumeError) -> BPos? {
    guard place.snapshot < .max else { return nil }
    let holders = openFiles.subvolumes(of: place.offset)
    return try engine.run("inode_rm", givesBack: true) {
      (transaction) throws(TransactionError) -> BPos? in
      guard let above = try transaction.versionAbove(place), above.isDead else { return nil }
      for holder in holders {
        guard let snapshot = try transaction.findSubvolume(holder)?.snapshot else { continue }
        if snapshot != place.snapshot, transaction.isAncestor(above.snapshot, of: snapshot) {
          return nil
        }
      }
      return BPos(0, place.offset, above.snapshot)
    }
  }
}

extension Transaction {
  /// The nearest version of an inode in a snapshot above.
  fileprivate func versionAbove(_ place: BPos) throws(TransactionError) -> Inode? {
    var from = place.successor
    while let start = from,
      let found = try next(.inodes, from: start, upTo: BPos(0, place.offset, .max))
    {
      let snapshot = found.key.position.snapshot
      if found.key.type.isInode, isAncestor(snapshot, of: place.snapshot) {
        return try Self.inode(found)
      }
      from = found.key.position.successor
    }
    return nil
  }
}

extension Inode {
  /// To be deleted, with nothing left that shows it.
  fileprivate var isDead: Bool {
    flags.contains(.unlinked) && !flags.contains(.hasChildSnapshot)
  }
}
