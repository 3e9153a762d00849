// SPDX-License-Identifier: GPL-2.0
// Where a subvolume is to be made or deleted: in a mount, or in a volume that nobody has mounted.
//
// Source: bcachefs-tools (src/commands/subvolume.rs).

internal import Bcachefs
internal import BcachefsFUSE
internal import BcachefsFormat
internal import BcachefsIO

#if canImport(Glibc)
internal import Glibc
#endif

/// A path, taken apart into the directory and the name in it.
struct SubvolumePath {
  let whole: String
  let directory: String
  let name: String

  /// - Throws: `.usage` for a path without a name.
  init(_ path: String, command: String) throws(CommandFailure) {
    var text = Substring(path)
    while text.count > 1, text.hasSuffix("/") { text = text.dropLast() }
    let start = text.lastIndex(of: "/").map { text.index(after: $0) } ?? text.startIndex
    name = String(text[start...])
    guard !name.isEmpty, name != ".", name != ".." else {
      throw .usage("\(path): name the subvolume itself", command: command)
    }
    let before = text[..<start]
    directory = before.isEmpty ? "." : String(before)
    whole = String(text)
  }
}

enum SubvolumeTarget {
  /// Whether an operand names a volume, and no path in a mount.
  static func isVolume(_ operand: String) -> Bool {
    if operand.hasPrefix("UUID=") || operand.hasPrefix("LABEL=") { return true }
    let first = operand.split(separator: ":").first.map(String.init) ?? operand
    var state = stat()
    guard unsafe stat(first, &state) == 0 else { return false }
    let kind = state.st_mode & S_IFMT
    return kind == S_IFREG || kind == S_IFBLK
  }

  /// Opens a volume for changes, and closes it after `body`; then all of it is on its devices.
  static func withVolume(
    _ name: String, _ arguments: ParsedArguments,
    _ body: (FileSystem) throws(VolumeError) -> Void
  ) throws(CommandFailure) {
    try VolumeOperand.reading { () throws(VolumeError) in
      var options = FileSystemOptions(seed: UInt64.random(in: .min ... .max))
      options.unlock = VolumeOperand.unlockSource(arguments)
      options.onDamage = { Output.remark(arguments.command, $0) }
      if arguments.contains("degraded") { options.volume[.degraded] = 1 }
      if arguments.contains("very_degraded") { options.volume[.veryDegraded] = 1 }
      let files = try FileSystem.open(try VolumeSources(parsing: name), options)
      do throws(VolumeError) { try body(files) } catch {
        try files.close()
        throw error
      }
      try files.close()
    }
  }

  /// The directory of a path in a volume.
  static func directory(
    of path: SubvolumePath, in files: FileSystem
  ) throws(VolumeError) -> FileID {
    try files.resolve(path.directory == "." ? "" : path.directory).id
  }

  /// Calls `body` with the directory of a path in a mount.
  static func inMount(
    _ path: SubvolumePath, _ body: (borrowing MountedDirectory) throws(HostError) -> Void
  ) throws(CommandFailure) {
    do throws(HostError) {
      let directory = try MountedDirectory(path.directory)
      try body(directory)
    } catch {
      throw failure(error, path)
    }
  }

  /// Says by name what a mount refuses.
  private static func failure(_ error: HostError, _ path: SubvolumePath) -> CommandFailure {
    guard error.operation == .control else { return CommandFailure(error) }
    let shown = SafeText.text(path.whole.utf8)
    switch error.errorNumber {
    case ENOTTY, EOPNOTSUPP:
      return CommandFailure(
        .usage, "\(shown): is not in a bcachefs mount that can be changed",
        advice: "Without a mount, name the volume first: bcachefs subvolume ... VOLUME PATH")
    case EEXIST: return CommandFailure(.cannotCreate, "\(shown): exists already")
    case ENOENT: return CommandFailure(.noInput, "\(shown): is not there, or is no subvolume")
    case ENOTEMPTY:
      return CommandFailure(.cannotCreate, "\(shown): has subvolumes in it; delete those first")
    case EXDEV: return CommandFailure(.usage, "\(shown): is in another volume than the source")
    case EINVAL where error.pathBytes != Array(path.directory.utf8):
      return CommandFailure(.usage, "\(SafeText.text(error.pathBytes)): is not a subvolume")
    default: return CommandFailure(error)
    }
  }

  /// Asks a mount of ours for something.
  static func ask(
    _ directory: borrowing MountedDirectory, _ action: SubvolumeRequest.Action,
    _ path: SubvolumePath, source: UInt32 = 0
  ) throws(HostError) {
    var request = SubvolumeRequest(action, name: Array(path.name.utf8))
    request.source = source
    let mask = umask(0)
    _ = umask(mask)
    request.umask = UInt32(mask)
    guard let argument = request.encoded else {
      throw HostError(.control, .system(ENAMETOOLONG), pathBytes: Array(path.whole.utf8))
    }
    _ = try directory.control(SubvolumeRequest.command, argument)
  }

  /// The number of the subvolume that a directory of a mount of ours is in.
  static func subvolume(
    of directory: borrowing MountedDirectory
  ) throws(HostError) -> SubvolumeIdentity? {
    let empty = [UInt8](repeating: 0, count: SubvolumeIdentity.byteCount)
    return SubvolumeIdentity(
      decoding: try directory.control(SubvolumeIdentity.command, empty))
  }

  /// The number of the subvolume that is to be the source of a snapshot.
  ///
  /// - Throws: EXDEV for one of another mount, EINVAL for a directory within one.
  static func source(
    _ path: String, besides target: borrowing MountedDirectory
  ) throws(HostError) -> UInt32 {
    let directory = try MountedDirectory(path)
    guard directory.deviceNumber == target.deviceNumber else {
      throw HostError(.control, .system(EXDEV), pathBytes: Array(path.utf8))
    }
    guard let found = try subvolume(of: directory), found.isRoot else {
      throw HostError(.control, .system(EINVAL), pathBytes: Array(path.utf8))
    }
    return found.subvolume
  }
}
