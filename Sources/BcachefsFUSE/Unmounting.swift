// SPDX-License-Identifier: GPL-2.0
// Ends a mount, and waits until its volume is closed.
//
// umount(8) calls `umount.fuse.bcachefs DIR [-flnrv] [-N NAMESPACE] [-t TYPE]` for mounts of the
// type `fuse.bcachefs`.

internal import CFUSE
internal import Glibc

/// What somebody wants unmounted, and how.
public struct Unmounting: Sendable, Equatable {
  /// Where it is mounted.
  public var directory = ""
  /// Requests that wait for an answer are given up.
  public var isForced = false
  /// The mount is only hidden, and ends when nobody uses it any more; that is not waited for.
  public var isLazy = false

  public init(directory: String, isForced: Bool = false, isLazy: Bool = false) {
    self.directory = directory
    self.isForced = isForced
    self.isLazy = isLazy
  }

  /// Whether a program of this name (`argv[0]`) is called by umount(8).
  public static func isHelper(_ program: String) -> Bool {
    let name = program.split(separator: "/").last ?? ""
    return name == "umount.fuse.bcachefs" || name == "umount.bcachefs"
  }

  /// - Parameter words: The arguments that umount(8) has for its helpers, without the program's
  ///   name.
  /// - Throws: `.usage`.
  public init(parsing words: [String]) throws(MountError) {
    let words = try HelperWords(words, flags: "nrvfl", withValues: "tN")
    isForced = words.flags.contains("f")
    isLazy = words.flags.contains("l")
    let operands = words.operands
    guard operands.count == 1 else {
      throw MountError(.usage, "name one directory, not \(operands.count) things")
    }
    directory = operands[0]
  }

  /// Unmounts, and waits.
  ///
  /// - Throws: `.usage` if no volume is mounted there; `.mount` if the kernel does not let go, or
  ///   the volume could not be closed.
  public func run() throws(MountError) {
    guard let real = unsafe realpath(directory, nil) else {
      throw MountError(.usage, "\(directory): \(Self.text(errno))")
    }
    let path = unsafe String(cString: real)
    unsafe free(real)
    guard let mount = MountEntry.at(path) else {
      throw MountError(.usage, "\(directory): nothing is mounted there")
    }
    guard mount.isServedByUs || mount.type == "bcachefs" else {
      throw MountError(.usage, "\(directory): that is no volume, but of type \(mount.type)")
    }
    let waiter = mount.isServedByUs && !isLazy ? MountWaiter(device: mount.device) : nil
    try unmount(path)
    switch waiter?.wait() {
    case nil, .closed: return
    case .failed(let why):
      throw MountError(
        .mount,
        "\(directory): unmounted, but the volume could not be closed, and is as after a "
          + "crash: \(why)")
    case .crashed:
      throw MountError(
        .mount,
        "\(directory): unmounted, but the process that served it ended before the volume "
          + "was closed: it is as after a crash")
    }
  }

  private func unmount(_ path: String) throws(MountError) {
    let flags = cfuse_unmount_flags(isForced ? 1 : 0, isLazy ? 1 : 0)
    if unsafe umount2(path, flags) == 0 { return }
    let number = errno
    // Who is not root has mounted by fusermount3, which also unmounts.
    guard number == EPERM, geteuid() != 0 else {
      let advice =
        number == EBUSY ? "; who uses it lsof \(path) says, and -l hides it until they end" : ""
      throw MountError(.mount, "\(directory): \(Self.text(number))\(advice)")
    }
    guard Self.run(["fusermount3", "-u"] + (isLazy ? ["-z"] : []) + ["--", path]) else {
      throw MountError(.mount, "\(directory): fusermount3 did not unmount it")
    }
  }

  /// - Returns: whether the program ran, and ended with success.
  private static func run(_ words: [String]) -> Bool {
    var arguments = unsafe words.map { (word: String) in unsafe strdup(word) } + [nil]
    defer { unsafe arguments.forEach { unsafe free($0) } }
    var process = pid_t()
    guard unsafe posix_spawnp(&process, words[0], nil, nil, &arguments, environ) == 0 else {
      return false
    }
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0 {
      guard errno == EINTR else { return false }
    }
    return status == 0
  }

  private static func text(_ number: Int32) -> String { unsafe String(cString: strerror(number)) }
}
