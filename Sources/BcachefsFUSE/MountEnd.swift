// SPDX-License-Identifier: GPL-2.0
// How whoever unmounts learns that the volume is closed: umount(2) returns when the kernel has let
// go of the mount, and what the mount's process has yet to write is written behind that.
//
// How it works
//   1. The process that serves a mount has a socket that listens, by a name in the abstract
//      namespace, made of the mount's device number: nothing is left behind of it.
//   2. Who unmounts connects to it before, and waits. Nobody accepts that yet: to be connected is
//      to be in the queue.
//   3. When the mount is gone those are all who wait, and the name is given up: another mount may
//      have the number already, and waits until it can have the name.
//   4. When the volume is closed all of them get a line: nothing in it, or why it could not be
//      closed. However the process ends, its sockets go: who gets no line knows that the volume is
//      as after a crash.
// Invariants
//   (1) Whoever was connected before the mount ended is told, or sees the end of the process.
//   (2) Who does not read what he is told holds up nobody.
//   (3) A mount can be used only when it has its name, or has given up having it.
// Locks: none; one thread listens and tells.

internal import CFUSE
internal import Glibc

/// A socket's address in the abstract namespace.
private struct EndAddress {
  private static let prefix = "bcachefs-mount/"
  private var address = sockaddr_un()
  private let length: socklen_t

  init(device: String) {
    let name = Array((Self.prefix + device).utf8)
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

  static func newSocket(_ flags: Int32 = 0) -> Int32 {
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | flags
    return socket(AF_UNIX, kind, 0)
  }
}

/// What the process of a mount has: tells those who wait that the mount has ended.
public final class MountEnd {
  private static let waitersMax: Int32 = 64
  /// How often the name of another mount, which is gone, is waited for, and how long each time.
  private static let attempts = 200
  private static let pauseMicroseconds: UInt32 = 10_000

  private var listener: Int32 = -1
  private var waiters: [Int32] = []

  public init() {}

  deinit {
    if listener >= 0 { close(listener) }
    for waiter in waiters { close(waiter) }
  }

  /// From here on one can wait for the end of a mount. Where that does not work nobody waits.
  ///
  /// - Parameter device: `MAJOR:MINOR`.
  func listen(device: String) {
    let new = EndAddress.newSocket(Int32(SOCK_NONBLOCK.rawValue))
    guard new >= 0 else { return }
    let address = EndAddress(device: device)
    for _ in 0..<Self.attempts {
      if unsafe address.apply({ unsafe bind(new, $0, $1) }) == 0 {
        guard Glibc.listen(new, Self.waitersMax) == 0 else { break }
        listener = new
        return
      }
      guard errno == EADDRINUSE else { break }
      usleep(Self.pauseMicroseconds)
    }
    close(new)
  }

  /// The mount is gone: nobody else can begin to wait for its end.
  func stopListening() {
    guard listener >= 0 else { return }
    while true {
      let waiter = accept(listener, nil, nil)
      if waiter < 0 && (errno == EINTR || errno == ECONNABORTED) { continue }
      guard waiter >= 0 else { break }
      waiters.append(waiter)
    }
    close(listener)
    listener = -1
  }

  /// Tells all who wait.
  ///
  /// - Parameter failure: Why the volume could not be closed; nil if it was.
  public func tell(_ failure: String?) {
    stopListening()
    let words = (failure ?? "").split(whereSeparator: \.isNewline)
    let line = Array((words.joined(separator: " ") + "\n").utf8)
    for waiter in waiters {
      let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
      _ = unsafe send(waiter, line, line.count, flags)
      close(waiter)
    }
    waiters = []
  }
}

/// What whoever unmounts has: waits until the volume is closed.
public final class MountWaiter {
  public enum Outcome: Sendable, Equatable {
    case closed
    /// Why the volume could not be closed.
    case failed(String)
    /// The process that served the mount ended without a word.
    case crashed
  }

  private let connection: Int32

  /// Begins to wait for the end of a mount; nil where its process does not tell.
  ///
  /// - Parameter device: `MAJOR:MINOR`.
  public init?(device: String) {
    let new = EndAddress.newSocket()
    guard new >= 0 else { return nil }
    let connected = unsafe EndAddress(device: device).apply { unsafe connect(new, $0, $1) }
    // Anybody may take a name: only root and we ourselves are believed.
    let user = cfuse_peer_user(new)
    guard connected == 0, user == 0 || user == Int64(geteuid()) else {
      close(new)
      return nil
    }
    connection = new
  }

  deinit { close(connection) }

  /// Waits for the end, however long that takes.
  public func wait() -> Outcome {
    var text: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe read(connection, &part, part.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { break }
      text += part[..<count]
    }
    guard text.last == 10 else { return .crashed }
    return text.count == 1
      ? .closed : .failed(String(decoding: text.dropLast(), as: UTF8.self))
  }
}
