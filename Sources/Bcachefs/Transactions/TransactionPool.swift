// SPDX-License-Identifier: GPL-2.0
// Transactions that are used again and again, and whether new ones are let in.
//
// How it works
//   Threads take from, and give back to, shards that their identity chooses: with one list for all
//   its lock would be what threads wait for most, as a small transaction takes less than a
//   microsecond.
// Invariants
//   (1) A transaction is in use, or in one shard's list.
// Locks: a shard's mutex is a leaf; one at a time.

internal import BcachefsSupport
internal import Synchronization

@safe
final class TransactionPool: @unchecked Sendable {
  // Safety: shards are there as long as this is, and each has a mutex.
  private struct State {
    var idle: [Transaction] = []
    /// Those that are in use.
    var runningCount = 0
    var isFrozen = false
  }

  private struct Shard: ~Copyable {
    let state = Mutex(State())
    // No two of them stand in the same pair of cache lines.
    private let padding = InlineArray<16, UInt64>(repeating: 0)
  }

  private static var shardBits: UInt64 { 4 }
  private static var shardCount: Int { 1 << shardBits }
  private let shards: UnsafeMutablePointer<Shard>

  init() {
    unsafe shards = .allocate(capacity: Self.shardCount)
    for index in 0..<Self.shardCount { unsafe (shards + index).initialize(to: Shard()) }
  }

  deinit {
    unsafe shards.deinitialize(count: Self.shardCount)
    unsafe shards.deallocate()
  }

  /// The calling thread's.
  @inline(__always) private var shardIndex: Int {
    Int(truncatingIfNeeded: ThreadIdentity.hash >> (64 - Self.shardBits))
  }

  /// A transaction that nobody uses, for the calling thread.
  ///
  /// - Parameter isUrgent: It is let in though the volume is frozen.
  /// - Returns: nil where it is not let in.
  @inline(__always)
  func take(for engine: Engine, isUrgent: Bool) -> Transaction? {
    let (isAdmitted, idle): (Bool, Transaction?) = unsafe shards[shardIndex].state.withLock {
      state in
      guard !state.isFrozen || isUrgent else { return (false, nil) }
      state.runningCount += 1
      return (true, state.idle.popLast())
    }
    guard isAdmitted else { return nil }
    return idle ?? make(for: engine)
  }

  private func make(for engine: Engine) -> Transaction {
    let transaction = Transaction(engine)
    engine.traces.withLock { $0.append(transaction.trace) }
    return transaction
  }

  /// Takes back what the calling thread has taken.
  @inline(__always)
  func giveBack(_ transaction: Transaction) {
    unsafe shards[shardIndex].state.withLock { state in
      state.idle.append(transaction)
      state.runningCount -= 1
    }
  }

  /// Changes whether transactions are let in.
  ///
  /// - Returns: how many are running.
  @discardableResult
  func setFrozen(_ isFrozen: Bool) -> Int {
    var running = 0
    for index in 0..<Self.shardCount {
      unsafe shards[index].state.withLock { state in
        state.isFrozen = isFrozen
        running += state.runningCount
      }
    }
    return running
  }

  /// Lets go of those that nobody uses.
  func removeIdle() {
    for index in 0..<Self.shardCount { unsafe shards[index].state.withLock { $0.idle = [] } }
  }
}
