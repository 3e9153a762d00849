// SPDX-License-Identifier: GPL-2.0
internal import Synchronization

/// What was settled with the kernel when the connection began.
final class ConnectionState: Sendable {
  // Relaxed: written before the first answer, which the kernel waits for before it asks for more.
  private let asksForFiles = Atomic(true)
  private let asksForDirectories = Atomic(true)
  private let wasUsed = Atomic(false)

  func settle(opensFiles: Bool, opensDirectories: Bool) {
    asksForFiles.store(opensFiles, ordering: .relaxed)
    asksForDirectories.store(opensDirectories, ordering: .relaxed)
  }

  /// True for one caller.
  func isFirstRequest() -> Bool {
    !wasUsed.load(ordering: .relaxed) && !wasUsed.exchange(true, ordering: .relaxed)
  }

  /// The kernel wants an answer to every open of a file; else it opens without asking.
  var opensFiles: Bool { asksForFiles.load(ordering: .relaxed) }
  /// The same for directories.
  var opensDirectories: Bool { asksForDirectories.load(ordering: .relaxed) }
}
