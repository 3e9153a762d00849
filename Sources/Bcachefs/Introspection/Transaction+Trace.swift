// SPDX-License-Identifier: GPL-2.0
// What a transaction counts, and which of upstream's counters its restarts are.

internal import BcachefsFormat
internal import BcachefsSupport

extension RestartReason {
  /// The counter of the reason, where upstream begins again for the same.
  ///
  /// Of a lock that somebody else has upstream would wait, and begins again only where that could
  /// be a cycle; here everything that cannot be had at once is given up for the same end.
  ///
  /// - Parameters:
  ///   - mode: In which a lock was wanted.
  ///   - isUpgrade: The lock was held in a lower mode.
  func counter(_ mode: LockMode, isUpgrade: Bool) -> PersistentCounter {
    switch self {
    case .lockConflict where mode == .write: .transRestartWouldDeadlockWrite
    case .lockConflict where isUpgrade: .transRestartUpgrade
    case .lockConflict: .transRestartWouldDeadlock
    case .nodeRead: .transRestartRelockAfterFill
    case .nodeSplit: .transRestartBtreeNodeSplit
    case .journalFull: .transRestartJournalResGet
    case .replicasUnmarked: .transRestartMarkReplicas
    case .writeBufferUnflushed: .transRestartWriteBufferFlush
    }
  }
}

extension Transaction {
  @inline(__always)
  func count(_ counter: PersistentCounter) {
    engine.instruments.counters.add(counter, row: counterRow)
  }

  /// Counts that a node gave way to so many new ones.
  func noteReplaced(_ need: RoomNeeded, pieces: Int, since start: UInt64) {
    let times = engine.instruments.times
    if need.isRewrite {
      count(.btreeNodeRewrite)
    } else if pieces > 1 {
      count(.btreeNodeSplit)
      times.record(.btreeNodeSplit, from: start)
    } else {
      count(.btreeNodeCompact)
      times.record(.btreeNodeCompact, from: start)
    }
  }

  /// Counts that the transaction begins again, and shows why. The locks that it held are still its
  /// own.
  ///
  /// - Returns: what it was at, which it goes on with.
  func noteRestart(_ error: TransactionError) -> TransactionActivity {
    let before = trace.activity
    guard case .restart(let reason) = error else { return before }
    var lock: LockWord?
    var isUpgrade = false
    if reason == .lockConflict, let (node, mode) = waitsFor {
      lock = LockWord(node, mode)
      isUpgrade = held.row(of: node) != nil
      if isUpgrade { count(.btreePathUpgradeFail) }
    }
    count(reason.counter(lock?.mode ?? .read, isUpgrade: isUpgrade))
    trace.restart(reason, waitingFor: lock)
    return before
  }
}
