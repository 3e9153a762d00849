// SPDX-License-Identifier: GPL-2.0
// Subvolumes: made and deleted by ioctls of our own (SubvolumeRequest.swift).
//
// How it works
//   1. The kernel keeps what is written to files that are open. Before a snapshot it is asked to
//      give up what it has of those of the source that somebody has open for writing, which makes
//      it write them: those requests come in meanwhile, so another thread than those that receive
//      requests waits for it, and answers.
//   2. What the kernel knew of the name, and of the directory's list, it is told to forget, before
//      the ioctl is answered.
//   3. Permissions: the kernel asks for none before an ioctl. Who is not root has to be allowed to
//      write to the directory, by its mode; to own what a snapshot is made of, as the driver asks,
//      and what is deleted.
// Invariants
//   (1) At most one such request is at work; the others wait, and hold no thread of the session.
// Locks: those of SubvolumeWork, which are leaves.
// Source: fs-ioctl.c (bch2_ioctl_subvolume_create, bch2_ioctl_subvolume_destroy).

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc
internal import Synchronization

/// The thread that does what is asked for by ioctls.
final class SubvolumeWork: Sendable {
  private struct State {
    var pool: WorkerPool?
    /// What waits for its turn: whoever adds to it waits for nothing.
    var waiting: [@Sendable () -> Void] = []
    var isAtWork = false
  }

  private let state = Mutex(State())

  func begin() { state.withLock { $0.pool = WorkerPool(workers: 1) } }

  /// Waits for what is at work, or waits; no more is taken.
  func end() {
    let last = state.withLock { state in
      defer { state.pool = nil }
      return state.pool
    }
    withExtendedLifetime(last) {}
  }

  /// Runs something when its turn comes.
  ///
  /// - Returns: False when the session is at its end.
  func submit(_ body: @escaping @Sendable () -> Void) -> Bool {
    let (isTaken, idle) = state.withLock { state -> (Bool, WorkerPool?) in
      guard let pool = state.pool else { return (false, nil) }
      state.waiting.append(body)
      defer { state.isAtWork = true }
      return (true, state.isAtWork ? nil : pool)
    }
    // It has nothing else to do: so this does not wait.
    idle?.submit { [self] _ in workOff() }
    return isTaken
  }

  private func workOff() {
    while let next = next() { next() }
  }

  private func next() -> (@Sendable () -> Void)? {
    state.withLock { state in
      state.isAtWork = !state.waiting.isEmpty
      return state.isAtWork ? state.waiting.removeFirst() : nil
    }
  }
}

/// A request on its way to another thread.
private struct WaitingRequest: @unchecked Sendable {
  // Safety: libfuse takes the answer to a request from any thread, once.
  let request: Request
}

extension FileServer {
  func control(
    _ request: Request, _ node: UInt64, command: UInt32, _ argument: RawSpan, flags: UInt32
  ) {
    guard let file = file(node, request) else { return }
    switch command {
    case SubvolumeIdentity.command:
      do throws(VolumeError) {
        let root = try system.root(ofSubvolume: file.subvolume)
        request.reply(
          result: SubvolumeIdentity(subvolume: file.subvolume, isRoot: file == root).encoded)
      } catch {
        fail(request, error, file)
      }
    case SubvolumeRequest.command:
      guard flags & UInt32(FUSE_IOCTL_DIR) != 0, let asked = SubvolumeRequest(decoding: argument)
      else { return request.fail(EINVAL) }
      let (caller, waiting) = (Caller(request), WaitingRequest(request: request))
      let isTaken = subvolumes.submit { [self] in
        answerLater(waiting.request, asked, caller, in: file, node)
      }
      if !isTaken { request.fail(EINTR) }
    case FileFlags.getCommand: getFlags(request, of: node, isPlain: false)
    case FileFlags.getPlainCommand: getFlags(request, of: node, isPlain: true)
    case FileFlags.setCommand: setFlags(request, of: node, argument, isPlain: false)
    case FileFlags.setPlainCommand: setFlags(request, of: node, argument, isPlain: true)
    default: request.fail(ENOTTY)
    }
  }

  private func answerLater(
    _ request: Request, _ asked: SubvolumeRequest, _ caller: Caller, in directory: FileID,
    _ node: UInt64
  ) {
    do throws(VolumeError) {
      try act(asked, caller, in: directory)
    } catch {
      return fail(request, error, directory)
    }
    kernel.forgetName(asked.name, in: node)
    request.reply(result: [])
  }

  private func act(
    _ asked: SubvolumeRequest, _ caller: Caller, in directory: FileID
  ) throws(VolumeError) {
    guard caller.mayChange(try system.attributes(of: directory)) else {
      throw VolumeError(.accessDenied)
    }
    switch asked.action {
    case .create:
      var creation = FileCreation(.directory, permissions: 0o777)
      creation.umask = UInt16(truncatingIfNeeded: asked.umask)
      (creation.uid, creation.gid) = (caller.uid, caller.gid)
      _ = try system.createSubvolume(
        asked.name, in: directory, creation, quotas: caller.uid == 0 ? .exempt : .enforced)
    case .snapshot, .readOnlySnapshot:
      let root = try system.attributes(of: system.root(ofSubvolume: asked.source))
      guard caller.uid == 0 || root.inode.uid == caller.uid else {
        throw VolumeError(.notPermitted)
      }
      writers.writeBack { [nodes] node in nodes.file(node)?.subvolume == asked.source }
      _ = try system.createSnapshot(
        of: asked.source, as: asked.name, in: directory,
        isReadOnly: asked.action == .readOnlySnapshot)
    case .delete:
      let root = try system.lookup(asked.name, in: directory)
      guard caller.uid == 0 || root.inode.uid == caller.uid else {
        throw VolumeError(.notPermitted)
      }
      try system.deleteSubvolume(asked.name, in: directory)
    }
  }
}

extension Request {
  /// Success of an ioctl, with what comes out.
  func reply(result bytes: [UInt8]) {
    _ = unsafe bytes.withUnsafeBytes { bytes in
      unsafe fuse_reply_ioctl(handle, 0, bytes.baseAddress, bytes.count)
    }
  }
}
