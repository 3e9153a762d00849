// SPDX-License-Identifier: GPL-2.0
// Subvolumes and inodes as operations on files find and write them.
//
// How it works
//   1. A file is named by subvolume and inode number. The subvolume's snapshot says which of the
//      inode's versions is seen: the nearest ancestor's. What changes is written in the snapshot
//      itself, whoever's version was seen.
//   2. What an operation will change it reads with intent: so two operations on one inode come one
//      after the other, and what follows from an inode (that a directory is empty, that it is
//      there) stays true until the commit.
// Invariants
//   (1) Nothing is changed in a snapshot that is not a subvolume's own.
//   (2) The subvolume's key stays locked until the transaction ends: its snapshot does too.
// Source: inode.c (bch2_inode_peek, bch2_inode_write), subvolume.c (bch2_subvolume_get,
// bch2_subvol_is_ro_trans).

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// A subvolume; it stays as it is until the transaction ends.
  ///
  /// - Throws: `.notFound`.
  func subvolume(_ id: UInt32) throws(TransactionError) -> Subvolume {
    guard let found = try findSubvolume(id) else { throw .failed(VolumeError(.notFound)) }
    return found
  }

  /// The same; nil where there is none, or it is on its way out.
  func findSubvolume(_ id: UInt32) throws(TransactionError) -> Subvolume? {
    guard let found = try storedSubvolume(id, .read), !found.isUnlinked else { return nil }
    return found
  }

  /// The snapshot that a subvolume's changes go to.
  ///
  /// - Throws: `.notFound`; `.readOnly`.
  func snapshotToChange(_ id: UInt32) throws(TransactionError) -> UInt32 {
    let subvolume = try subvolume(id)
    guard !subvolume.isReadOnly else { throw .failed(VolumeError(.readOnly)) }
    return subvolume.snapshot
  }

  // MARK: - Inodes

  /// The version of an inode that a snapshot sees; nil if it sees none.
  func findInode(
    _ number: UInt64, _ snapshot: UInt32, _ mode: LockMode
  ) throws(TransactionError) -> Inode? {
    var from = BPos(0, number, snapshot) as BPos?
    while let start = from,
      let found = try next(.inodes, from: start, upTo: BPos(0, number, .max), mode)
    {
      if isAncestor(found.key.position.snapshot, of: snapshot) {
        return found.key.type.isInode ? try Self.inode(found) : nil
      }
      from = found.key.position.successor
    }
    return nil
  }

  /// An inode that a snapshot sees.
  ///
  /// - Throws: `.notFound`.
  func inode(
    _ number: UInt64, _ snapshot: UInt32, _ mode: LockMode = .read
  ) throws(TransactionError) -> Inode {
    guard let found = try findInode(number, snapshot, mode) else {
      throw .failed(VolumeError(.notFound))
    }
    return found
  }

  /// The snapshot of a file that is to be changed, and its inode.
  ///
  /// - Throws: `.notFound`; `.readOnly`.
  func inodeToChange(
    _ id: FileID
  ) throws(TransactionError) -> (snapshot: UInt32, inode: Inode) {
    let snapshot = try snapshotToChange(id.subvolume)
    return (snapshot, try inode(id.inode, snapshot, .intent))
  }

  /// Writes an inode in a snapshot.
  func put(_ inode: Inode, _ snapshot: UInt32) {
    put(.inodes, .inodeV3, BPos(0, inode.number, snapshot), inode.encodedU64s) {
      inode.encode(into: &$0)
    }
  }
}

extension Inode {
  /// What Linux's VFS refuses before a filesystem is asked, and FUSE does not know of.
  ///
  /// - Throws: `.notPermitted` for a file that is immutable or may only grow.
  func checkMayChange() throws(TransactionError) {
    guard flags.isDisjoint(with: [.immutable, .append]) else {
      throw .failed(VolumeError(.notPermitted))
    }
  }

  /// Whether it counts as a link of the directory that its name is in (`is_subdir_for_nlink`): a
  /// subvolume's root does not.
  var countsAsSubdirectory: Bool { isDirectory && subvolume == 0 }

  /// Adds a name.
  ///
  /// - Throws: `.tooManyLinks`.
  mutating func addLink() throws(TransactionError) {
    if flags.contains(.unlinked) {
      flags.remove(.unlinked)
      return
    }
    let (sum, overflow) = nlink.addingReportingOverflow(1)
    guard !overflow else { throw .failed(VolumeError(.tooManyLinks)) }
    nlink = sum
  }

  /// Takes a name away; without the last one the inode is to be deleted.
  ///
  /// - Throws: `.corrupt` where it has none.
  mutating func removeLink() throws(TransactionError) {
    guard !flags.contains(.unlinked) else {
      throw .failed(VolumeError(.corrupt, "inode \(number) has a name, and is marked as unlinked"))
    }
    if nlink > 0, !isDirectory {
      nlink -= 1
    } else {
      nlink = 0
      flags.insert(.unlinked)
    }
  }

  /// Counts a subdirectory more or less.
  ///
  /// - Throws: `.tooManyLinks`; `.corrupt` where there are none to take away.
  mutating func countSubdirectories(by delta: Int64) throws(TransactionError) {
    guard let count = UInt32(exactly: Int64(nlink) + delta) else {
      throw .failed(
        delta > 0
          ? VolumeError(.tooManyLinks)
          : VolumeError(.corrupt, "directory \(number) counts fewer subdirectories than it has"))
    }
    nlink = count
  }
}
