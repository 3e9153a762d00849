// SPDX-License-Identifier: GPL-2.0
// The transactions that run: what they are called, which nodes they have locked, for what they
// wait.
// Source: debugfs' `btree_transactions` (debug.c, bch2_btree_transactions_read).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// A transaction that somebody works with; see TransactionTrace.swift for what a moment is.
struct RunningTransaction: Sendable {
  /// A node that is locked, or wanted.
  struct Lock: Sendable {
    let node: NodeSight
    let mode: LockMode
  }

  /// As the journal has it.
  let name: String
  let activity: TransactionActivity
  let locks: [Lock]
  /// With no lock of its own; nil where it does not wait for one.
  let waitsFor: Lock?
  /// How often transactions in its place began again, by reason, whatever they were called.
  let restarts: [RestartReason: UInt64]
}

extension Engine {
  /// All that run, and those too that are between two runs where `isIdleShown`. Nobody waits for
  /// this, and it waits for nobody.
  func runningTransactions(isIdleShown: Bool = false) -> [RunningTransaction] {
    traces.withLock { $0 }.compactMap { trace in
      let activity = trace.activity
      guard activity != .idle || isIdleShown else { return nil }
      return trace.shown(activity)
    }
  }
}

extension TransactionTrace {
  fileprivate func shown(_ activity: TransactionActivity) -> RunningTransaction {
    let restarts = RestartReason.allCases.map { ($0, self.restarts($0)) }.filter { $0.1 > 0 }
    return RunningTransaction(
      name: nameText, activity: activity, locks: locks.words.compactMap(Self.lock),
      waitsFor: activity == .waitingForLock ? Self.lock(waitsFor) : nil,
      restarts: Dictionary(uniqueKeysWithValues: restarts))
  }

  private static func lock(_ word: LockWord) -> RunningTransaction.Lock? {
    word.node.map { RunningTransaction.Lock(node: $0.sight, mode: word.mode) }
  }
}
