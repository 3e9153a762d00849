// SPDX-License-Identifier: GPL-2.0
// The thread that deletes what is left of subvolumes and snapshots.

internal import BcachefsSupport
internal import Synchronization

/// Calls what cleans up, each time that somebody asks for it, and once at the beginning. To let go
/// of it ends it, and waits for the step that it is at.
final class SnapshotThread: Sendable {
  private final class Request: Sendable {
    let condition = Condition()
    // Changed with `condition` held; `isEnd` is read without it between steps.
    let isEnd = Atomic<Bool>(false)
    let isWanted = Atomic<Bool>(true)

    /// - Returns: False at the end.
    func wait() -> Bool {
      condition.withLock {
        while !isEnd.load(ordering: .relaxed), !isWanted.load(ordering: .relaxed) {
          condition.wait()
        }
        isWanted.store(false, ordering: .relaxed)
        return !isEnd.load(ordering: .relaxed)
      }
    }
  }

  private let request = Request()
  private let pool = WorkerPool(workers: 1)

  /// - Parameter clean: Cleans up until nothing is left to do, or until the closure that it is
  ///   given says that it has to stop; is to ask that after every step.
  init(_ clean: @escaping @Sendable (() -> Bool) -> Void) {
    pool.submit { [request] _ in
      while request.wait() { clean { request.isEnd.load(ordering: .acquiring) } }
    }
  }

  /// There is something to clean up.
  func wake() {
    request.condition.withLock { request.isWanted.store(true, ordering: .relaxed) }
    request.condition.broadcast()
  }

  deinit {
    request.condition.withLock { request.isEnd.store(true, ordering: .releasing) }
    request.condition.broadcast()
  }
}
