// SPDX-License-Identifier: GPL-2.0
// How whoever unmounts learns that the volume is closed: umount(2) returns when the kernel has let
// go of the mount, and what the mount's process has yet to write is written behind that.
//
// How it works
//   1. The process that serves a mount has a socket that listens, by a name in the abstract
//      namespace, made of the mount's device number and of what is mounted: nothing is left behind
//      of it.
//   2. Who unmounts connects to it before, and waits. A thread lets in root and the mount's user,
//      so many and no more, and forgets those who go away: who cannot unmount tries again.
//   3. When the mount is gone those are all who wait, and the name is given up: another mount may
//      have the number already, and waits until it can have the name.
//   4. When the volume is closed all of them get a line: nothing in it, or what went wrong. However
//      the process ends, its sockets go: who gets no line knows that the volume is as after a
//      crash.
// Invariants
//   (1) Whoever was connected before the mount ended is told, or sees the end of the process.
//   (2) Who does not read what he is told holds up nobody.
//   (3) A mount can be used only when it has its name, or has given up having it.
// Locks: leaves. Descriptors belong to the thread while it runs.

internal import BcachefsSupport
internal import CFUSE
internal import Glibc
internal import Synchronization

/// A socket's address in the abstract namespace.
private struct EndAddress {
  private var address = sockaddr_un()
  private let length: socklen_t

  init(_ mount: MountEntry) {
    // A source can be longer than a name.
    let source = SipHash24.hash(Array(mount.source.utf8).rawBytes, k0: 0, k1: 0)
    let name = Array("bcachefs-mount/\(mount.device)/\(String(source, radix: 16))".utf8)
    address.sun_family = sa_family_t(AF_UNIX)
    // A name that begins with NUL.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { path in
      for (index, byte) in name.prefix(path.count - 1).enumerated() {
        unsafe path[index + 1] = byte
      }
    }
    length = socklen_t(MemoryLayout<sa_family_t>.size + 1 + name.count)
  }

  /// - Returns: 0, or -1 with errno.
  func apply(_ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    unsafe withUnsafePointer(to: address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        unsafe call(pointer, length)
      }
    }
  }

  /// Waits for nothing.
  static func newSocket() -> Int32 {
    let flags = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
    return socket(AF_UNIX, Int32(flags), 0)
  }
}

/// What the process of a mount has: tells those who wait that the mount has ended.
public final class MountEnd: Sendable {
  private final class Waiters: Sendable {
    let all = Mutex<[Int32]>([])
  }

  private struct Door {
    let listener: Int32
    /// A pipe, whose end ends the thread.
    let wake: [Int32]
    var thread: WorkerPool?
  }

  private static let waitersMax = 64
  /// How often the name of another mount, which is gone, is waited for, and how long each time.
  private static let attempts = 200
  private static let pauseMicroseconds: UInt32 = 10_000

  private let door = Mutex<Door?>(nil)
  private let waiters = Waiters()

  public init() {}

  deinit { tell("nobody closed the volume: it is as after a crash") }

  /// From here on one can wait for the end of a mount. Where that does not work nobody waits.
  func listen(for mount: MountEntry) {
    var wake: [Int32] = [-1, -1]
    guard let listener = Self.newListener(EndAddress(mount)) else { return }
    guard unsafe cfuse_pipe(&wake) == 0 else {
      close(listener)
      return
    }
    let thread = WorkerPool(workers: 1)
    let (waiters, end) = (waiters, wake[0])
    thread.submit { _ in
      let all = Self.letIn(listener, until: end)
      waiters.all.withLock { $0 = all }
    }
    door.withLock { $0 = Door(listener: listener, wake: wake, thread: thread) }
  }

  private static func newListener(_ address: EndAddress) -> Int32? {
    let new = EndAddress.newSocket()
    guard new >= 0 else { return nil }
    for _ in 0..<attempts {
      if unsafe address.apply({ unsafe bind(new, $0, $1) }) == 0 {
        guard Glibc.listen(new, Int32(waitersMax)) == 0 else { break }
        return new
      }
      guard errno == EADDRINUSE else { break }
      usleep(pauseMicroseconds)
    }
    close(new)
    return nil
  }

  /// What the thread does.
  ///
  /// - Returns: those who wait.
  private static func letIn(_ listener: Int32, until end: Int32) -> [Int32] {
    var waiters: [Int32] = []
    var isOver = false
    while !isOver {
      var polls = [end, listener].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
      polls += waiters.map { pollfd(fd: $0, events: 0, revents: 0) }
      _ = unsafe poll(&polls, nfds_t(polls.count), -1)
      isOver = polls[0].revents != 0
      for index in waiters.indices.reversed() where polls[index + 2].revents != 0 {
        close(waiters.remove(at: index))
      }
      while let new = acceptOne(listener) {
        let user = cfuse_peer_user(new)
        if user == 0 || user == Int64(geteuid()), waiters.count < waitersMax {
          waiters.append(new)
        } else {
          close(new)
        }
      }
    }
    return waiters
  }

  /// - Returns: nil if nobody has come.
  private static func acceptOne(_ listener: Int32) -> Int32? {
    while true {
      let new = accept(listener, nil, nil)
      if new >= 0 { return new }
      switch errno {
      case EINTR, ECONNABORTED: continue
      case EAGAIN: return nil
      default:
        // No descriptors, no memory: not at once again.
        usleep(pauseMicroseconds)
        return nil
      }
    }
  }

  /// The mount is gone: nobody else can begin to wait for its end.
  func stopListening() {
    guard var door = door.withLock({ $0.take() }) else { return }
    close(door.wake[1])
    // Waits for its end.
    door.thread = nil
    close(door.wake[0])
    close(door.listener)
  }

  /// Tells all who wait.
  ///
  /// - Parameter failure: What went wrong when the volume was closed, as a sentence about it; nil
  ///   if nothing did.
  public func tell(_ failure: String?) {
    stopListening()
    let words = (failure ?? "").split(whereSeparator: \.isNewline)
    let line = Array((words.joined(separator: " ") + "\n").utf8)
    let all = waiters.all.withLock { all in
      defer { all = [] }
      return all
    }
    for waiter in all {
      let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
      _ = unsafe send(waiter, line, line.count, flags)
      close(waiter)
    }
  }
}

/// What whoever unmounts has: waits until the volume is closed.
final class MountWaiter {
  enum Outcome: Sendable, Equatable {
    case closed
    /// What went wrong, as a sentence about the volume.
    case failed(String)
    /// The process that served the mount ended without a word.
    case crashed
  }

  private static let attempts = 20
  private static let pauseMicroseconds: UInt32 = 50_000

  private let connection: Int32
  private var text: [UInt8] = []

  /// Begins to wait for the end of a mount; nil where its process does not tell.
  init?(_ mount: MountEntry) {
    let new = EndAddress.newSocket()
    guard new >= 0 else { return nil }
    let address = EndAddress(mount)
    var isConnected = false
    for _ in 0..<Self.attempts {
      isConnected = unsafe address.apply { unsafe connect(new, $0, $1) } == 0
      // The queue is full for a moment.
      guard !isConnected, errno == EAGAIN || errno == EINTR else { break }
      usleep(Self.pauseMicroseconds)
    }
    // Anybody may take a name. The kernel says whose process serves the mount.
    let user = cfuse_peer_user(new)
    guard isConnected, user == 0 || mount.userID.map({ Int64($0) == user }) == true else {
      close(new)
      return nil
    }
    connection = new
  }

  deinit { close(connection) }

  /// Waits for the end.
  ///
  /// - Returns: nil if it has not come so far.
  func wait(milliseconds: Int32) -> Outcome? {
    var part = [UInt8](repeating: 0, count: 4096)
    while true {
      var polled = pollfd(fd: connection, events: Int16(POLLIN), revents: 0)
      let count = unsafe poll(&polled, 1, milliseconds)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return nil }
      let read = unsafe Glibc.read(connection, &part, part.count)
      if read < 0 && (errno == EINTR || errno == EAGAIN) { continue }
      guard read > 0 else { break }
      text += part[..<read]
    }
    guard text.last == 10 else { return .crashed }
    return text.count == 1
      ? .closed : .failed(String(decoding: text.dropLast(), as: UTF8.self))
  }
}
