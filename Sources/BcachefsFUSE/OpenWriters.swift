// SPDX-License-Identifier: GPL-2.0
// Files that somebody has open for writing: the kernel may have contents of those that it has not
// written back.
//
// How it works
//   1. The kernel writes back before it asks for what depends on contents, but for one thing: where
//      holes and data are. So those are asked for after it was made to write back, which dropping
//      its pages does. Of files that nobody can write to it has nothing.
//   2. It waits until the kernel's writes are answered, which other threads do: so some of them are
//      always left to do that.
// Locks: `counts` and `limited` are leaves; the kernel is told with nothing held. That waits for
// writing: on another thread than this one.

internal import Synchronization

final class OpenWriters: Sendable {
  /// Threads that may wait for writing at a time.
  private static var waitersMax: Int { Int(Mount.threads) / 2 }

  private let kernel: KernelNotices
  /// By node.
  private let counts = Mutex<[UInt64: Int]>([:])
  /// Of those, the ones of which the kernel was told to keep no attributes because of quotas.
  private let limited = Mutex<Set<UInt64>>([])
  private let waiters = Atomic<Int>(0)

  init(_ kernel: KernelNotices) { self.kernel = kernel }

  func add(_ node: UInt64) { counts.withLock { $0[node, default: 0] += 1 } }

  func remove(_ node: UInt64) {
    let isLast = counts.withLock { counts in
      let left = (counts[node] ?? 1) - 1
      counts[node] = left > 0 ? left : nil
      return left <= 0
    }
    if isLast { _ = limited.withLock { $0.remove(node) } }
  }

  /// Has the kernel ask for the attributes of one anew, unless it was told so.
  func forgetAttributesOnce(of node: UInt64) {
    guard limited.withLock({ $0.insert(node).inserted }) else { return }
    kernel.forgetAttributes(of: node)
  }

  /// Has the kernel ask for the attributes of all of them anew.
  func forgetAttributes() {
    for node in counts.withLock({ Array($0.keys) }) { kernel.forgetAttributes(of: node) }
  }

  /// Has the kernel write back what it has of some of them. Not from a thread that answers
  /// requests.
  func writeBack(where isWanted: (UInt64) -> Bool) {
    for node in counts.withLock({ $0.keys.filter(isWanted) }) { kernel.forgetContents(of: node) }
  }

  /// Has the kernel write back what it has of a file from an offset on, unless too many do that.
  func writeBack(_ node: UInt64, from offset: Int64) {
    guard counts.withLock({ $0[node] != nil }) else { return }
    let count = waiters.wrappingAdd(1, ordering: .relaxed).newValue
    defer { waiters.wrappingSubtract(1, ordering: .relaxed) }
    guard count <= Self.waitersMax else { return }
    kernel.forgetContents(of: node, from: offset)
  }
}
