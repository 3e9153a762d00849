// SPDX-License-Identifier: GPL-2.0
// bcachefs get: a file or a tree of a volume into a directory of the host.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO

#if canImport(Glibc)
internal import Glibc
#endif

enum GetCommand {
  static let spec = CommandSpec(
    name: "get",
    summary: "copy files out of a volume",
    synopsis: "[OPTION...] VOLUME PATH DEST",
    text: [
      "Copies the file PATH, or the directory PATH with all below it, to DEST; / is the whole "
        + "volume. Contents with their holes, modes, times to the nanosecond, hard links, "
        + "symbolic links, device nodes, extended attributes and ACLs are kept, owners and "
        + "trusted attributes as root. "
        + "A directory PATH becomes the directory DEST, which may exist; a file PATH is copied "
        + "into DEST if that is a directory. No symbolic link below DEST is followed.",
      "Files that are at DEST already with the same size and modification time are left as they "
        + "are, so an interrupted run can be repeated; what differs is replaced.",
      "What cannot be read is named on standard error with its byte ranges, zeros stand for it "
        + "in the copy, and the exit code is 65. Everything else is copied.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("no_resume", help: "copy files that seem to be at DEST already, too"),
          OptionSpec("workers", .required(hint: "N"), help: "copy N files at a time (default: 4)"),
          OptionSpec("quiet", short: "q", help: "no progress on the terminal"),
          OptionSpec("json", help: "print what was done as JSON"),
        ] + VolumeOperand.options)
    ],
    examples: [
      CommandExample(line: "bcachefs get /dev/sdb / rescued", text: "Everything:"),
      CommandExample(line: "bcachefs get volume.img home/me/notes.txt .", text: "One file:"),
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 3 else {
      throw .usage("name a volume, a path in it, and where to copy it", command: spec.name)
    }
    let workers = try arguments.value(of: "workers").map { (text) throws(CommandFailure) in
      guard let number = Int(text), 1...256 ~= number else {
        throw .usage("--workers: \(text) is not a number from 1 to 256", command: spec.name)
      }
      return number
    }
    let volume = try VolumeOperand.open(arguments)
    let path = arguments.operands[1]
    let root = try VolumeOperand.file(path, in: volume, followsLast: false)
    let isDirectory = try VolumeOperand.reading { () throws(VolumeError) in
      try volume.inode(root).isDirectory
    }
    let place = try Place(arguments.operands[2], path, isDirectory: isDirectory)
    let damage = DamageReport(command: spec.name)
    let progress = TransferProgress(isWanted: !arguments.contains("quiet"))
    let problems = HostProblems(command: spec.name)
    let copy = TreeCopy(
      volume: volume, place: place, damage: damage, problems: problems, progress: progress,
      resumes: !arguments.contains("no_resume"), workers: workers ?? 4)
    try copy.run(from: root)
    progress.finish()
    if arguments.contains("json") {
      Output.write(
        .object(
          progress.members + [
            .init("problems", .integer(UInt64(problems.count))), .init("damage", damage.json),
          ]))
    }
    try damage.finish()
    try problems.finish()
  }
}

/// Where a copy goes: a directory of the host that exists, and for a file its name there.
struct Place {
  let tree: HostTree
  /// nil for a directory: it becomes the tree's root.
  let name: [UInt8]?

  init(_ destination: String, _ source: String, isDirectory: Bool) throws(CommandFailure) {
    let slash = UInt8(ascii: "/")
    do throws(HostError) {
      if isDirectory {
        if unsafe mkdir(destination, 0o700) != 0 && errno != EEXIST {
          throw HostError(.create, .system(errno), pathBytes: Array(destination.utf8))
        }
        tree = try HostTree(destination)
        name = nil
        return
      }
      if let existing = try Self.treeIfPresent(destination) {
        tree = existing
        name = source.utf8.split(separator: slash).last.map(Array.init) ?? []
        return
      }
      let bytes = Array(destination.utf8)
      let end = bytes.lastIndex(of: slash)
      let parent = end.map { $0 == 0 ? [slash] : Array(bytes[..<$0]) } ?? [UInt8(ascii: ".")]
      tree = try HostTree(pathBytes: parent)
      name = Array(bytes[(end.map { $0 + 1 } ?? 0)...])
    } catch {
      throw CommandFailure(error)
    }
  }

  private static func treeIfPresent(_ path: String) throws(HostError) -> HostTree? {
    do throws(HostError) {
      return try HostTree(path)
    } catch {
      switch error.reason {
      case .vanished, .notADirectory: return nil
      default: throw error
      }
    }
  }
}
