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
// Locks: `state` is a leaf; the kernel is told with nothing held. That waits for writing: on
// another thread than this one.

internal import CFUSE
internal import Synchronization

final class OpenWriters: Sendable {
  private struct State {
    /// A libfuse session's address, 0 for none. It may be told things from any thread until it is
    /// destroyed.
    var session: UInt = 0
    /// By node.
    var counts: [UInt64: Int] = [:]
  }

  /// Threads that may wait for writing at a time.
  private static var waitersMax: Int { Int(Mount.threads) / 2 }

  private let state = Mutex(State())
  private let waiters = Atomic<Int>(0)

  /// - Parameter session: nil before it is destroyed.
  func setSession(_ session: OpaquePointer?) {
    let address = UInt(bitPattern: session)
    state.withLock { $0.session = address }
  }

  func add(_ node: UInt64) { state.withLock { $0.counts[node, default: 0] += 1 } }

  func remove(_ node: UInt64) {
    state.withLock { state in
      let left = (state.counts[node] ?? 1) - 1
      state.counts[node] = left > 0 ? left : nil
    }
  }

  /// Has the kernel ask for the attributes of all of them anew.
  func forgetAttributes() {
    let (address, nodes) = state.withLock { ($0.session, Array($0.counts.keys)) }
    guard let session = unsafe OpaquePointer(bitPattern: address) else { return }
    for node in nodes { _ = unsafe fuse_lowlevel_notify_inval_inode(session, node, -1, 0) }
  }

  /// Has the kernel write back what it has of some of them. Not from a thread that answers
  /// requests.
  func writeBack(where isWanted: (UInt64) -> Bool) {
    let (address, nodes) = state.withLock { ($0.session, $0.counts.keys.filter(isWanted)) }
    guard let session = unsafe OpaquePointer(bitPattern: address) else { return }
    for node in nodes { _ = unsafe fuse_lowlevel_notify_inval_inode(session, node, 0, 0) }
  }

  /// Has the kernel write back what it has of a file from an offset on, unless too many do that.
  func writeBack(_ node: UInt64, from offset: Int64) {
    let address = state.withLock { state in state.counts[node] == nil ? 0 : state.session }
    guard let session = unsafe OpaquePointer(bitPattern: address) else { return }
    let count = waiters.wrappingAdd(1, ordering: .relaxed).newValue
    defer { waiters.wrappingSubtract(1, ordering: .relaxed) }
    guard count <= Self.waitersMax else { return }
    _ = unsafe fuse_lowlevel_notify_inval_inode(session, node, off_t(offset), 0)
  }
}
