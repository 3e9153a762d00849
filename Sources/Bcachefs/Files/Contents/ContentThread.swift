// SPDX-License-Identifier: GPL-2.0
// The thread that writes contents in the background.

internal import BcachefsSupport
internal import Synchronization

/// Writes what is dirty for long, or because there is much of it. To let go of it ends it, and
/// waits for what it is at: a file's windows.
final class ContentThread: Sendable {
  private final class Stop: Sendable {
    let isSet = Atomic<Bool>(false)
  }

  private let stop = Stop()
  private let store: ContentStore
  private let pool = WorkerPool(workers: 1)

  init(_ store: ContentStore) {
    self.store = store
    pool.submit { [stop] _ in
      while !stop.isSet.load(ordering: .acquiring) { store.writeStep(nanoseconds: 500_000_000) }
    }
  }

  deinit {
    stop.isSet.store(true, ordering: .releasing)
    store.wake()
  }
}
