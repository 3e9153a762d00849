// SPDX-License-Identifier: GPL-2.0
// A volume that stands still for a while: closed on disk, open in memory. For copies of its devices
// that are to need no replay.
//
// How it works
//   1. New transactions wait; the engine's threads end; those that run come to their end.
//   2. Everything is written as when the volume is closed, and the superblock marked clean.
//   3. To go on the superblock is marked as in use again, before anything else is written.
// Invariants
//   (1) From when `freeze` returns to when `thaw` is called nothing is written.
//   (2) Only work of the engine's own goes on in a volume that is being frozen: its watermark tells
//       (`takeTransaction`). Who is at such work in a transaction never waits for one of others.
// Locks: `freezing` is for waiting, with empty hands.
// Source: fs.c (bch2_freeze, bch2_unfreeze), super.c (__bch2_fs_read_only).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

extension Engine {
  /// Brings the volume to rest: its devices are then as if it were closed. Transactions wait until
  /// `thaw`. One thread freezes at a time, and has no transaction running.
  ///
  /// - Throws: why it could not be written; the volume goes on, unless that was an end of writing.
  func freeze() throws(VolumeError) {
    let hadThreads = threads.withLock { $0 != nil }
    stopThreads()
    while transactions.setFrozen(true) > 0 {
      freezing.withLock { _ = freezing.wait(nanoseconds: 1_000_000) }
    }
    do throws(VolumeError) { try comeToRest() } catch {
      letIn(withThreads: hadThreads)
      throw error
    }
    startsThreadsAgain.store(hadThreads, ordering: .relaxed)
  }

  /// Has a frozen volume go on.
  ///
  /// - Throws: what writing the superblock throws; the volume stays frozen then.
  func thaw() throws(VolumeError) {
    try store.markDirty()
    letIn(withThreads: startsThreadsAgain.load(ordering: .relaxed))
  }

  private func letIn(withThreads: Bool) {
    if withThreads { startThreads() }
    transactions.setFrozen(false)
    freezing.broadcast()
  }

  /// Waits until the volume is thawed, or for a while.
  func waitForThaw() {
    freezing.withLock { _ = freezing.wait(nanoseconds: 10_000_000) }
  }

  /// Writes everything, and marks the volume clean.
  func comeToRest() throws(VolumeError) {
    while true {
      try writeAllNodes()
      try journal.flushAll()
      if journal.holdsNothing { break }
    }
    try retireFailedDevices()
    try store.markClean(
      CleanState(journalSequence: journal.currentSequence, entries: journal.cleanEntries()))
  }
}
