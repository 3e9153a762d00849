// SPDX-License-Identifier: GPL-2.0
// What is left of deleted subvolumes goes by and by.
//
// How it works
//   1. In each round it is worked out which nodes of the tree of snapshots go (SnapshotPlan.swift).
//      Then all keys of files are walked, and those in such nodes are deleted or moved, some at a
//      time. Inodes that had some are walked again, until none has. Then the nodes go, and with
//      them the subvolumes they were of.
//   2. While that goes on others come by keys in such nodes only by what is there already, and in
//      the same inode. Who splits an extent leaves a key at its old end, whoever hides its parts
//      from a descendant does so where that one has a key at the old end; and who deletes a file as
//      such a node sees it finds the inode there, which is walked behind the extents, before names
//      and attributes. So the first key that comes to be behind a walk has another in such a node
//      that is still ahead of it: a walk that finds none has missed none, and none comes any more.
//      Nothing is locked for that; it comes to an end, since each time only parts are left of what
//      was split within the one step that went on over it.
//   3. Whenever that is interrupted it begins again: what is done already is not found any more. A
//      subvolume that is unlinked, and its node, stay to the end, and say what there is to do.
//   4. Files without a name that only snapshots kept that are gone are deleted like others.
// Invariants
//   (1) Who reads a subvolume or snapshot sees the same, whatever is cleaned up meanwhile.
//   (2) After each step the driver's fsck has nothing to say.
//   (3) No key moves to a living snapshot before it is on disk that the others which saw it are
//       deleted: whoever has it alone may write over its data in place, and a crash must not bring
//       them back.
//   (4) A node goes when no key is in it: its ID may be given out again at once.
// Locks: the gate is closed for each node that goes; else as all transactions.
// Source: snapshot.c (bch2_delete_dead_snapshots).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// Deletes what nobody needs of subvolumes and snapshots: one thread at a time, others wait.
final class SnapshotCleaner: Sendable {
  private let engine: Engine
  private let gate: SnapshotGate
  private let openFiles: OpenFiles
  private let turn = Condition()
  // Changed with `turn` held.
  private let isBusy = Atomic<Bool>(false)

  init(_ engine: Engine, _ gate: SnapshotGate, _ openFiles: OpenFiles) {
    self.engine = engine
    self.gate = gate
    self.openFiles = openFiles
  }

  /// Cleans up until nothing is left to do.
  ///
  /// - Parameter shouldStop: Asked after every step; true ends it early.
  /// - Throws: what transactions throw.
  func clean(until shouldStop: () -> Bool) throws(VolumeError) {
    turn.withLock {
      while isBusy.exchange(true, ordering: .relaxed) { turn.wait() }
    }
    defer {
      turn.withLock { isBusy.store(false, ordering: .relaxed) }
      turn.broadcast()
    }
    try cleanInTurn(until: shouldStop)
  }

  private func cleanInTurn(until shouldStop: () -> Bool) throws(VolumeError) {
    var before: [UInt32] = []
    while !shouldStop() {
      let plan = try engine.snapshotPlan()
      let nodes = plan.deadLeaves + plan.linking
      // Where a node cannot go, though all that was in it did, there is no use in trying again.
      guard !plan.isEmpty, nodes != before else { return }
      before = nodes
      try engine.journal.flush(upTo: engine.journal.currentSequence)
      let isDone = try engine.cleanKeys(plan, until: shouldStop)
      try deleteUnreachableFiles()
      guard isDone else { return }
      try engine.reparentSubvolumes(plan)
      for id in plan.deadLeaves {
        if shouldStop() { return }
        try gate.alone { () throws(VolumeError) in try engine.removeDeadSnapshot(id) }
      }
      for id in plan.linking {
        if shouldStop() { return }
        try gate.alone { () throws(VolumeError) in try engine.removeLinkingSnapshot(id) }
      }
    }
  }

  /// Deletes files without a name that nobody has open.
  func deleteUnreachableFiles() throws(VolumeError) { try delete(try unreachableFiles()) }

  /// Files without a name that nobody has open.
  func unreachableFiles() throws(VolumeError) -> [DeadInode] {
    // Who makes a file without a name holds it before it is through the gate.
    try gate.alone { () throws(VolumeError) in
      try engine.deadInodes { inode, snapshot in isHeld(inode, snapshot) }
    }
  }

  /// Deletes those of such files that nobody has opened since.
  func delete(_ dead: [DeadInode]) throws(VolumeError) {
    for inode in dead {
      try gate.passing { () throws(VolumeError) in
        guard !isHeld(inode.place.offset, inode.place.snapshot) else { return }
        // The number may be another file's by now, and that one not be held yet.
        try engine.deleteInode(inode.place, generation: inode.generation)
      }
    }
  }

  /// Whether somebody has a file open, as a snapshot shows it.
  private func isHeld(_ inode: UInt64, _ snapshot: UInt32) -> Bool {
    openFiles.subvolumes(of: inode).contains { subvolume in
      engine.snapshots.withLock { $0.sees(snapshot, from: subvolume) }
    }
  }
}

extension SnapshotTable {
  /// Whether a subvolume's node sees what is in another node.
  fileprivate func sees(_ snapshot: UInt32, from subvolume: UInt32) -> Bool {
    ids.contains { id in
      guard let node = self[id], node.isSubvolume, node.subvolume == subvolume else { return false }
      return isAncestor(snapshot, of: id)
    }
  }
}
