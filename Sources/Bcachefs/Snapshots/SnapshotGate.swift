// SPDX-License-Identifier: GPL-2.0
// Snapshots and what takes more than one transaction keep out of each other's way.
//
// Source: `snapshot_create_lock`.

internal import BcachefsSupport
internal import Synchronization

/// A lock that many may go through at once, or one alone: whoever changes files in more than one
/// step goes through, so that a snapshot shows all of the steps or none. Who wants to be alone
/// comes before those who come later. Nobody goes through it twice at a time, nor with a lock held.
final class SnapshotGate: Sendable {
  private static let closed: UInt64 = 1 << 63

  /// How many are inside, and whether somebody is alone in there, or waits for it.
  private let state = Atomic<UInt64>(0)
  private let waiting = Condition()

  /// Calls `body` while no snapshot is taken.
  func passing<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    enter()
    defer { leave() }
    return try body()
  }

  /// Calls `body` while nobody else is inside.
  func alone<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    close()
    defer { open() }
    return try body()
  }

  private func enter() {
    // Pairs with `leave` and `open`.
    if state.add(1, ordering: .acquiring).newValue & Self.closed == 0 { return }
    leave()
    waiting.withLock {
      while state.load(ordering: .relaxed) & Self.closed != 0 { waiting.wait() }
      // Only with `waiting` held it is closed.
      _ = state.add(1, ordering: .acquiring)
    }
  }

  private func leave() {
    guard state.subtract(1, ordering: .releasing).newValue & Self.closed != 0 else { return }
    waiting.withLock {}
    waiting.broadcast()
  }

  private func close() {
    waiting.withLock {
      while state.load(ordering: .relaxed) & Self.closed != 0 { waiting.wait() }
      _ = state.bitwiseOr(Self.closed, ordering: .acquiring)
      while state.load(ordering: .acquiring) != Self.closed { waiting.wait() }
    }
  }

  private func open() {
    waiting.withLock { _ = state.bitwiseAnd(~Self.closed, ordering: .releasing) }
    waiting.broadcast()
  }
}
