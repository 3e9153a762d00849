// SPDX-License-Identifier: GPL-2.0
// Real threads for tests: the cooperative pool has as many as there are cores, and blocking calls
// would starve it.

internal import Foundation

/// Runs `body` with 0 ..< `count`, each on a thread of its own, and returns when all are done.
public func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
  let group = DispatchGroup()
  for index in 0..<count {
    group.enter()
    Thread.detachNewThread {
      body(index)
      group.leave()
    }
  }
  group.wait()
}
