// SPDX-License-Identifier: GPL-2.0
// A mount in the background: the command returns once the mount can be used, or has failed.
//
// How it works
//   1. `start` forks while the process has one thread. The child goes on: it opens, asks for a
//      passphrase if it must, mounts; its errors and its exit code are the command's.
//   2. When the mount can be used, the child leaves the terminal and writes one byte to a pipe; the
//      parent ends with success. If the child ends before, the parent ends with its exit code.
//   3. Then it also closes what it inherited: whoever ran the command may wait for the end of a
//      pipe.
// Invariants
//   (1) The command succeeds only if the mount can be used at that moment.

internal import CFUSE
internal import Glibc

/// The way back to the command that waits.
public struct Background: Sendable {
  /// Where there is no /proc: what is looked through at most.
  private static let descriptorLimit: Int32 = 1 << 20

  private let pipe: Int32
  /// Descriptors that were open when the process began.
  private let inherited: [Int32]

  /// Forks. Returns in the child; the parent waits and exits. Call it while there is one thread.
  ///
  /// - Throws: `.system`.
  public static func start() throws(MountError) -> Background {
    let inherited = openDescriptors()
    var ends: [Int32] = [-1, -1]
    guard unsafe cfuse_pipe(&ends) == 0 else { throw failure("pipe") }
    // What is buffered would be printed by both.
    _ = fflush(nil)
    let child = cfuse_fork()
    guard child >= 0 else { throw failure("fork") }
    if child == 0 {
      close(ends[0])
      return Background(pipe: ends[1], inherited: inherited)
    }
    close(ends[1])
    waitForChild(child, ends[0])
  }

  /// All but the standard ones, whatever their numbers.
  private static func openDescriptors() -> [Int32] {
    guard let list = unsafe opendir("/proc/self/fd") else {
      let limit = min(Int32(clamping: sysconf(Int32(_SC_OPEN_MAX))), descriptorLimit)
      return (3..<max(limit, 3)).filter { fcntl($0, F_GETFD) >= 0 }
    }
    let own = unsafe dirfd(list)
    var result: [Int32] = []
    while let entry = unsafe readdir(list) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if let descriptor = Int32(name), descriptor > 2, descriptor != own {
        result.append(descriptor)
      }
    }
    unsafe closedir(list)
    return result
  }

  private static func failure(_ call: String) -> MountError {
    MountError(.system, "\(call): \(unsafe String(cString: strerror(errno)))")
  }

  private static func waitForChild(_ child: pid_t, _ pipe: Int32) -> Never {
    var byte: UInt8 = 0
    var count = -1
    repeat { count = unsafe Glibc.read(pipe, &byte, 1) } while count < 0 && errno == EINTR
    if count == 1 { _exit(0) }
    var status: Int32 = 0
    while unsafe waitpid(child, &status, 0) < 0 && errno == EINTR {}
    // As a shell says it: the exit code, or 128 and the signal.
    _exit(status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f))
  }

  /// The mount can be used: lets go of terminal and directory, and ends the command with success.
  public func succeed() {
    _ = setsid()
    _ = unsafe chdir("/")
    let null = unsafe open("/dev/null", O_RDWR)
    if null >= 0 {
      for standard in 0...2 as ClosedRange<Int32> { dup2(null, standard) }
      if null > 2 { close(null) }
    }
    for descriptor in inherited { close(descriptor) }
    var byte: UInt8 = 1
    _ = unsafe write(pipe, &byte, 1)
    close(pipe)
  }

  /// One line to the system's log: nobody reads standard error any more.
  public static func log(_ text: String) { unsafe cfuse_log(text) }
}
