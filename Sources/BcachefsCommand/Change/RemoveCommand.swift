// SPDX-License-Identifier: GPL-2.0
// bcachefs rm: files and trees removed from a volume.

internal import Bcachefs
internal import BcachefsFormat

enum RemoveCommand {
  static let spec = CommandSpec(
    name: "rm",
    summary: "remove files and directories from a volume",
    synopsis: "[OPTION...] VOLUME PATH...",
    text: [
      "Removes each PATH; a symbolic link itself, not what it leads to. A file is removed in one "
        + "step. A directory, with -r, is removed name by name: who is interrupted has removed a "
        + "part of it, and can run it again. The root of a subvolume stays, with the directories "
        + "above it.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "recursive", short: "r",
            help: "remove directories with all that is in them"),
          OptionSpec("force", short: "f", help: "a PATH that is not there is no error"),
          VolumeOperand.json,
        ] + ChangedVolume.options)
    ],
    examples: [
      CommandExample(line: "bcachefs rm -r volume.img var/cache", text: "A directory:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count >= 2 || arguments.contains("force") else {
      throw .usage("name a volume and what to remove", command: spec.name)
    }
    let report = ChangeReport(spec.name)
    try ChangedVolume.with(arguments) { (volume) throws(CommandFailure) in
      try report.forEach(arguments.operands.dropFirst()) { (path) throws(CommandFailure) in
        try remove(path, of: volume, arguments, report)
      }
    }
    try report.finish(arguments)
  }

  private static func remove(
    _ path: String, of volume: ChangedVolume, _ arguments: ParsedArguments, _ report: ChangeReport
  ) throws(CommandFailure) {
    let found: FileAttributes?
    do throws(CommandFailure) {
      found = try volume.fileIfPresent(path, followsLast: false)
    } catch {
      // A file in the place of a directory on the way: there is no such path, either.
      guard arguments.contains("force"), error.status == .noInput else { throw error }
      return
    }
    guard let found else {
      if arguments.contains("force") { return }
      throw CommandFailure(VolumeError(.notFound), at: Array(path.utf8))
    }
    let place = try volume.place(path)
    let system = volume.system
    guard found.kind == .directory else {
      try volume.naming(place.path) { () throws(VolumeError) in
        try system.unlink(place.name, in: place.parent)
      }
      return report.addDone()
    }
    guard arguments.contains("recursive") else {
      throw CommandFailure(
        .noInput, "\(SafeText.text(path.utf8)): is a directory", advice: "-r removes directories.")
    }
    try SystemWalk(system: system).removeAll(below: found.id, path: place.path) {
      report.addDone()
    }
    try volume.naming(place.path) { () throws(VolumeError) in
      try system.removeDirectory(place.name, in: place.parent)
    }
    report.addDone()
  }
}
