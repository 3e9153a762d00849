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
  /// - Parameter remark: Called with what whoever waits should know.
  /// - Throws: `.usage` if no volume is mounted there; `.mount` if the kernel does not let go, or
  ///   something went wrong when the volume was closed.
  public func run(remark: (String) -> Void) throws(MountError) {
    let path = try realPath()
    guard let mount = MountEntry.at(path) else {
      throw MountError(.usage, "\(directory): nothing is mounted there")
    }
    guard mount.isServedByUs || mount.type == "bcachefs" else {
      throw MountError(.usage, "\(directory): that is no volume, but of type \(mount.type)")
    }
    let isWaitedFor = mount.isServedByUs && !isLazy
    let waiter = isWaitedFor ? MountWaiter(mount) : nil
    try unmount(path)
    guard isWaitedFor, !MountEntry.all.contains(where: { $0.device == mount.device }) else {
      return
    }
    guard let waiter else {
      remark(
        "\(directory): unmounted, but its process does not answer: whether the volume is closed is "
          + "not known")
      return
    }
    try wait(waiter, remark)
  }

  private static let patienceMilliseconds: Int32 = 10_000

  private func wait(_ waiter: MountWaiter, _ remark: (String) -> Void) throws(MountError) {
    var outcome = waiter.wait(milliseconds: Self.patienceMilliseconds)
    if outcome == nil {
      remark(
        "\(directory): unmounted; waiting until all is written (or until others who still see the "
          + "mount, as containers may, let go of it)")
      while outcome == nil { outcome = waiter.wait(milliseconds: Self.patienceMilliseconds) }
    }
    switch outcome {
    case nil, .closed: return
    case .failed(let what): throw MountError(.mount, "\(directory): unmounted, but \(what)")
    case .crashed:
      throw MountError(
        .mount,
        "\(directory): unmounted, but the process that served it ended before the volume was "
          + "closed: it is as after a crash")
    }
  }

  /// A slash at the end would ask the mount.
  private func realPath() throws(MountError) -> String {
    var name = Substring(directory)
    while name.count > 1, name.hasSuffix("/") { name.removeLast() }
    guard let real = unsafe realpath(String(name), nil) else {
      throw MountError(.usage, "\(directory): \(Self.text(errno))")
    }
    defer { unsafe free(real) }
    return unsafe String(cString: real)
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
