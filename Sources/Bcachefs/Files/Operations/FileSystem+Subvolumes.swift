// SPDX-License-Identifier: GPL-2.0
// Subvolumes and snapshots of them: made, deleted, and what is left of them cleaned up.
//
// How it works
//   1. A snapshot shows all that was written to files of its source before. So who writes contents,
//      or changes a file in more than one transaction, passes a gate (SnapshotGate.swift); it is
//      closed while what is not written yet goes to devices and the snapshot is made. Most of it is
//      written before, with the gate open.
//   2. Whoever deletes a subvolume closes the gate too: then nobody is about to write to a file in
//      it. From there on it is not found any more, and what was not written of its files is
//      forgotten.
//   3. What it had goes by and by (Snapshots/SnapshotCleaner.swift).
// Invariants
//   (1) What was written before the call that makes a snapshot is in it, what is written after it
//       returned is not.
// Locks: the gate, with nothing else held; then as all transactions.
// Source: fs-ioctl.c (bch2_ioctl_subvolume_create, bch2_ioctl_subvolume_destroy), subvolume.c
// (bch2_subvolume_wait_for_pagecache_and_delete).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

extension FileSystem {
  // MARK: - Making

  /// Makes an empty subvolume.
  ///
  /// - Parameters:
  ///   - parent: The directory that gets its name.
  ///   - creation: Of its root directory.
  ///   - quotas: Whether the owner's limits count.
  /// - Returns: its root directory.
  /// - Throws: as `create`; `.limit` where there is no number for it.
  public func createSubvolume(
    _ name: [UInt8], in parent: FileID, _ creation: FileCreation, quotas: QuotaRule = .exempt
  ) throws(VolumeError) -> FileAttributes {
    try checkRoom()
    var creation = creation
    creation.kind = .directory
    let (setting, used) = (setting(), lastSubvolume.load(ordering: .relaxed))
    let root = try engine.run("subvolume_create", quotas: quotas) {
      [creation] (transaction) throws(TransactionError) in
      let root = try transaction.createSubvolume(name, in: parent, creation, behind: used, setting)
      try transaction.commit()
      return root
    }
    return noteNew(root)
  }

  /// Makes a snapshot: a subvolume that shows what another one shows now, as far as that was
  /// written before the call.
  ///
  /// - Parameters:
  ///   - source: May be read-only, and goes on as it is.
  ///   - parent: The directory that gets the name; may be in the source.
  ///   - isReadOnly: Nothing in it can be changed.
  /// - Returns: its root directory.
  /// - Throws: `.notFound` for a subvolume that is not there; else as `createSubvolume`.
  /// - Complexity: O(1), and what is not written yet of the source.
  public func createSnapshot(
    of source: UInt32, as name: [UInt8], in parent: FileID, isReadOnly: Bool = false
  ) throws(VolumeError) -> FileAttributes {
    try checkRoom()
    // Most of it while others still write: once, or it would never end.
    contents.writeAll(of: source)
    contents.removeTails(of: source)
    let root = try gate.alone { () throws(VolumeError) -> Inode in
      while contents.writeAll(of: source) {}
      // What cannot go is looked for when somebody opens the snapshot's file.
      contents.removeTails(of: source)
      let (setting, used) = (setting(), lastSubvolume.load(ordering: .relaxed))
      return try engine.run("snapshot_create") { (transaction) throws(TransactionError) in
        let root = try transaction.createSnapshot(
          of: source, name, in: parent, isReadOnly: isReadOnly, behind: used, setting)
        try transaction.commit()
        return root
      }
    }
    return noteNew(root)
  }

  private func noteNew(_ root: Inode) -> FileAttributes {
    _ = lastSubvolume.max(root.subvolume, ordering: .relaxed)
    return attributes(FileID(subvolume: root.subvolume, inode: root.number), root)
  }

  /// The root directory of a subvolume.
  ///
  /// - Throws: `.notFound`.
  public func root(ofSubvolume id: UInt32) throws(VolumeError) -> FileID {
    let inode = try engine.run("subvolume_root") { (transaction) throws(TransactionError) in
      try transaction.subvolume(id).inode
    }
    return FileID(subvolume: id, inode: inode)
  }

  // MARK: - Deleting

  /// Deletes a subvolume, whatever is in it but other subvolumes. When it returns nobody finds it;
  /// its room comes free by and by. What somebody has open in it is gone too.
  ///
  /// - Parameter onlyIfEmpty: Only one whose root directory has no names in it.
  /// - Throws: `.notFound` where there is no such name, or it is not that of a subvolume;
  ///   `.notEmpty` for one with subvolumes in it; `.notADirectory`, `.readOnly`, `.notPermitted`.
  public func deleteSubvolume(
    _ name: [UInt8], in parent: FileID, onlyIfEmpty: Bool = false
  ) throws(VolumeError) {
    let setting = setting()
    try gate.alone { () throws(VolumeError) in
      while try engine.run(
        "subvolume_repoint",
        { (transaction) throws(TransactionError) in
          try transaction.repointSomeRoots(of: name, in: parent)
        })
      {}
      let id = try engine.run("subvolume_delete", givesBack: true) {
        (transaction) throws(TransactionError) in
        let id = try transaction.removeSubvolume(
          name, from: parent, onlyIfEmpty: onlyIfEmpty, setting)
        try transaction.commit()
        return id
      }
      _ = lastSubvolume.max(id, ordering: .relaxed)
      contents.discardAll(of: id)
    }
    cleaning.withLock { $0 }?.wake()
  }

  // MARK: - Cleaning up

  /// Deletes what is left of subvolumes that were deleted, and of snapshots that nobody needs.
  /// While a volume is open with threads one of them does that.
  ///
  /// - Parameter shouldStop: Asked often; true ends it early: it is gone on with later.
  /// - Throws: what reading and writing btrees throws.
  /// - Complexity: all keys of files are looked at, in each round; those of what goes are changed.
  public func cleanSnapshots(
    until shouldStop: () -> Bool = { false }
  ) throws(VolumeError) {
    try cleaner.clean(until: shouldStop)
  }

  /// Begins to clean up in the background, now and whenever there is something.
  func startCleaning(_ report: @escaping @Sendable (VolumeError) -> Void) {
    let thread = SnapshotThread { [cleaner] shouldStop in
      do throws(VolumeError) { try cleaner.clean(until: shouldStop) } catch { report(error) }
    }
    cleaning.withLock { $0 = thread }
  }

  /// Ends that, after a step; what is left is gone on with when the volume is opened again.
  func stopCleaning() {
    let thread = cleaning.withLock { thread in
      defer { thread = nil }
      return thread
    }
    withExtendedLifetime(thread) {}
  }
}
