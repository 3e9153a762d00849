// SPDX-License-Identifier: GPL-2.0
// What is settled with the kernel when the connection begins.

internal import CFUSE
internal import Synchronization

final class ConnectionState: Sendable {
  /// What a server says of itself.
  struct Offer {
    /// Beyond what every server can do.
    var flags: [Int32] = []
    /// How many requests may wait that nobody waits for.
    let backgroundRequests: UInt32
    let timePrecisionNanoseconds: UInt32
    /// Whether opens of files have to be told.
    let mustOpenFiles: Bool
  }

  /// The longest read or write that the kernel asks for.
  static let maxTransferBytes = 1 << 20

  // Relaxed: written before the first answer, which the kernel waits for before it asks for more.
  private let asksForFiles = Atomic(true)
  private let asksForDirectories = Atomic(true)
  private let wasUsed = Atomic(false)
  private let becameReady: @Sendable () -> Void
  private let firstRequest: @Sendable () -> Void

  /// - Parameters:
  ///   - becameReady: Called once the kernel and we agreed on how to talk.
  ///   - firstRequest: Called once, when the kernel acts on that.
  init(
    becameReady: @escaping @Sendable () -> Void, firstRequest: @escaping @Sendable () -> Void
  ) {
    self.becameReady = becameReady
    self.firstRequest = firstRequest
  }

  /// Settles what the kernel may do without asking.
  func settle(_ info: inout fuse_conn_info, _ offer: Offer) {
    let capable = info.capable
    func isOffered(_ flag: Int32) -> Bool { capable & UInt32(flag) != 0 }
    let common = [
      FUSE_CAP_POSIX_ACL, FUSE_CAP_CACHE_SYMLINKS, FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_ASYNC_DIO,
      FUSE_CAP_ASYNC_READ, FUSE_CAP_READDIRPLUS, FUSE_CAP_READDIRPLUS_AUTO,
    ]
    for flag in common + offer.flags where isOffered(flag) { info.want |= UInt32(flag) }
    // An open that cuts a file off comes as a change of its size before it (libfuse would have it
    // come as a flag of the open): what is cut off is so in one place.
    info.want &= ~UInt32(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC)
    info.max_read = UInt32(Self.maxTransferBytes)
    info.max_write = UInt32(Self.maxTransferBytes)
    info.max_background = offer.backgroundRequests
    info.congestion_threshold = offer.backgroundRequests
    info.time_gran = offer.timePrecisionNanoseconds
    asksForFiles.store(
      offer.mustOpenFiles || !isOffered(FUSE_CAP_NO_OPEN_SUPPORT), ordering: .relaxed)
    asksForDirectories.store(!isOffered(FUSE_CAP_NO_OPENDIR_SUPPORT), ordering: .relaxed)
    becameReady()
  }

  /// A request came in.
  func noteRequest() {
    guard !wasUsed.load(ordering: .relaxed), !wasUsed.exchange(true, ordering: .relaxed) else {
      return
    }
    firstRequest()
  }

  /// The kernel wants an answer to every open of a file; else it opens without asking.
  var opensFiles: Bool { asksForFiles.load(ordering: .relaxed) }
  /// The same for directories.
  var opensDirectories: Bool { asksForDirectories.load(ordering: .relaxed) }
}
