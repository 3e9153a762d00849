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
//   3. How many sectors a file takes the kernel does not ask again when it has written back. It is
//      told that it does not know at the first write to a file that it believes to take none (who
//      finds that takes it for a hole: tar), and when the last one closes a file that was written.
//   4. Most writes are of the file that was written before and change nothing of this: they are
//      told by its number alone, without the lock, which many threads would have at once.
// Locks: `files` is a leaf; the kernel is told with nothing held. To have it write back waits for
// writing, on another thread than this one; to have it ask for attributes waits for nothing, while
// it waits for the answer to a request of the file.

internal import Synchronization

final class OpenWriters: Sendable {
  /// Threads that may wait for writing at a time.
  private static var waitersMax: Int { Int(Mount.threads) / 2 }

  private let kernel: KernelNotices
  private struct File {
    var writers = 0
    /// What the kernel was told; nil: that it does not know.
    var told: Told? = .nothing
    /// It keeps no attributes because of quotas.
    var isLimited = false
    /// Why something that the kernel wrote back was lost, as an errno; nobody was told yet.
    var loss: Int32?
  }

  private enum Told { case nothing, sectors, sectorsBeforeAWrite }

  /// By node.
  private let files = Mutex<[UInt64: File]>([:])
  /// A file of which another write changes nothing here; 0 for none. Set with `files` held.
  private let settled = Atomic<UInt64>(0)
  private let waiters = Atomic<Int>(0)

  init(_ kernel: KernelNotices) { self.kernel = kernel }

  func add(_ node: UInt64) { files.withLock { $0[node, default: File()].writers += 1 } }

  /// Whether somebody has a file open for writing.
  func has(_ node: UInt64) -> Bool { files.withLock { $0[node] != nil } }

  /// Something was lost that the kernel had written back: who writes more is to hear of it.
  func noteLoss(of node: UInt64, _ reason: Int32) {
    files.withLock { $0[node]?.loss = reason }
    kernel.forgetAttributes(of: node)
  }

  /// Why something was lost, as an errno, once.
  func takeLoss(of node: UInt64) -> Int32? {
    files.withLock { files in
      defer { files[node]?.loss = nil }
      return files[node]?.loss
    }
  }

  /// The next write of a file counts. With `files` held.
  private func unsettle(_ node: UInt64) {
    if settled.load(ordering: .relaxed) == node { settled.store(0, ordering: .relaxed) }
  }

  func remove(_ node: UInt64) {
    let isOutdated = files.withLock { files in
      guard var file = files[node] else { return false }
      file.writers -= 1
      files[node] = file.writers > 0 ? file : nil
      if file.writers <= 0 { unsettle(node) }
      return file.writers <= 0 && file.told == .sectorsBeforeAWrite
    }
    if isOutdated { kernel.forgetAttributes(of: node) }
  }

  /// Has the kernel ask for the attributes of one anew, unless it was told so because of quotas.
  func forgetAttributesOnce(of node: UInt64) {
    let isFirst = files.withLock { files in
      guard var file = files[node], !file.isLimited else { return false }
      file.isLimited = true
      files[node] = file
      return true
    }
    if isFirst { kernel.forgetAttributes(of: node) }
  }

  /// Has the kernel ask for the attributes of all of them anew.
  func forgetAttributes() {
    for node in files.withLock({ Array($0.keys) }) { kernel.forgetAttributes(of: node) }
  }

  /// The kernel is about to be told how many sectors a file takes.
  ///
  /// - Parameter isKept: Whether it may keep what it is told.
  func noteTold(_ node: UInt64, sectors: UInt64, isKept: Bool) {
    files.withLock { files in
      guard files[node] != nil else { return }
      if isKept { files[node]?.isLimited = false }
      files[node]?.told = sectors == 0 ? .nothing : .sectors
      unsettle(node)
    }
  }

  /// The kernel has written back some of a file.
  func noteWrite(_ node: UInt64) {
    guard settled.load(ordering: .relaxed) != node else { return }
    let isOutdated = files.withLock { files in
      guard let file = files[node] else { return false }
      settled.store(node, ordering: .relaxed)
      guard let told = file.told else { return false }
      files[node]?.told = told == .nothing ? nil : .sectorsBeforeAWrite
      return told == .nothing
    }
    if isOutdated { kernel.forgetAttributes(of: node) }
  }

  /// Has the kernel write back what it has of some of them. Not from a thread that answers
  /// requests.
  func writeBack(where isWanted: (UInt64) -> Bool) {
    for node in files.withLock({ $0.keys.filter(isWanted) }) { kernel.forgetContents(of: node) }
  }

  /// Has the kernel write back what it has of a file from an offset on, unless too many do that.
  func writeBack(_ node: UInt64, from offset: Int64) {
    guard files.withLock({ $0[node] != nil }) else { return }
    let count = waiters.wrappingAdd(1, ordering: .relaxed).newValue
    defer { waiters.wrappingSubtract(1, ordering: .relaxed) }
    guard count <= Self.waitersMax else { return }
    kernel.forgetContents(of: node, from: offset)
  }
}
