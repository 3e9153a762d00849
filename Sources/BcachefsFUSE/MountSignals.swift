// SPDX-License-Identifier: GPL-2.0
// SIGINT, SIGTERM and SIGHUP: each ends a mount, and what was written to it before is written.
//
// How it works
//   1. A handler writes the signal's number to a pipe, whatever thread it meets.
//   2. A thread reads it. It has the kernel write back what it has while requests are still
//      answered: when the session ends the kernel forgets that. syncfs on the mount writes times,
//      but does not wait for contents; those are asked for, file by file.
//   3. Then it ends the session, and wakes the thread that waits for its end, by such a signal,
//      until it has woken: libfuse looks, and only then begins to wait.
// Invariants
//   (1) A signal that comes at any time from `start` on ends the mount.
// Source: libfuse's fuse_loop_mt.c (fuse_session_loop_mt).

internal import BcachefsIO
internal import BcachefsSupport
internal import CFUSE
internal import Glibc
internal import Synchronization

@safe final class MountSignals: @unchecked Sendable {
  // Safety: libfuse lets any thread end a session; what the thread reads is set before it begins.
  private let session: OpaquePointer
  private let directory: String
  private let writers: OpenWriters?
  private let server = pthread_self()
  private let hasEnded = Atomic<Bool>(false)
  private var ends: [Int32] = [-1, -1]
  private var pool: WorkerPool?

  /// - Parameters:
  ///   - session: Served by the thread that calls this.
  ///   - writers: Of what the kernel may have something to write back.
  init(_ session: OpaquePointer, directory: String, writers: OpenWriters?) {
    unsafe self.session = unsafe session
    self.directory = directory
    self.writers = writers
  }

  /// Takes signals from here on.
  ///
  /// - Throws: `.system`.
  func start() throws(MountError) {
    guard unsafe cfuse_pipe(&ends) == 0, cfuse_catch_signals(ends[1]) == 0 else {
      throw MountError(.system, "signal handlers cannot be set")
    }
    let pool = WorkerPool(workers: 1)
    pool.submit { [self] _ in wait() }
    self.pool = pool
  }

  /// The session has ended. Signals do again what they did before.
  func end() {
    hasEnded.store(true, ordering: .releasing)
    var none: UInt8 = 0
    _ = unsafe write(ends[1], &none, 1)
    // Waits for the thread, which may be sending them.
    pool = nil
    cfuse_release_signals()
    for end in ends { close(end) }
  }

  private func wait() {
    var signal: UInt8 = 0
    while unsafe read(ends[0], &signal, 1) < 0, errno == EINTR {}
    guard signal != 0, !hasEnded.load(ordering: .acquiring) else { return }
    if let writers { writeBack(writers) }
    unsafe fuse_session_exit(session)
    while !hasEnded.load(ordering: .acquiring) {
      _ = pthread_kill(server, SIGTERM)
      usleep(20_000)
    }
  }

  private func writeBack(_ writers: OpenWriters) {
    if let root = try? MountedDirectory(directory) { root.synchronise() }
    writers.writeBack { _ in true }
  }
}
