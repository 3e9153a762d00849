// SPDX-License-Identifier: GPL-2.0
// A queue between threads that makes the faster side wait.

/// First in, first out, of limited length. Any number of threads on either side.
public final class BoundedQueue<Element: Sendable>: @unchecked Sendable {
  // Safety: everything mutable is only touched with `condition` locked.
  private let condition = Condition()
  private var ring: [Element?]
  private var head = 0
  private var count = 0
  private var isClosed = false

  /// - Parameter capacity: Elements it holds before `push` waits, at least 1.
  public init(capacity: Int) {
    invariant(capacity > 0, "a queue holds something")
    ring = [Element?](repeating: nil, count: capacity)
  }

  /// Appends `element`, waiting for room.
  ///
  /// - Returns: False when the queue was closed; the element is dropped.
  @discardableResult
  public func push(_ element: Element) -> Bool {
    condition.withLock {
      while count == ring.count && !isClosed { condition.wait() }
      if isClosed { return false }
      ring[(head + count) % ring.count] = element
      count += 1
      // Both sides wait on one condition, so one wake-up could reach the wrong one.
      condition.broadcast()
      return true
    }
  }

  /// Takes the oldest element, waiting for one.
  ///
  /// - Returns: nil when the queue is closed and empty.
  public func pop() -> Element? {
    condition.withLock {
      while count == 0 && !isClosed { condition.wait() }
      guard count > 0 else { return nil }
      let element = ring[head]
      ring[head] = nil
      head = (head + 1) % ring.count
      count -= 1
      condition.broadcast()
      return element
    }
  }

  /// No more elements come. Those in the queue can still be taken.
  public func close() {
    condition.withLock {
      isClosed = true
      condition.broadcast()
    }
  }
}
