// SPDX-License-Identifier: GPL-2.0
// bcachefs mv: files and directories of a volume get other names.

internal import Bcachefs
internal import BcachefsFormat

enum MoveCommand {
  static let spec = CommandSpec(
    name: "mv",
    summary: "rename files and directories of a volume",
    synopsis: "[OPTION...] VOLUME SOURCE... DEST",
    text: [
      "Renames SOURCE to DEST, or into DEST if that is a directory; all are paths in the volume. "
        + "Each is one step: a file that has the new name is replaced, and at no moment is the "
        + "name missing; a directory is replaced if it is empty.",
      "Files and directories do not move from one subvolume to another, nor a directory to where "
        + "it would get other options (set-file-option): copy them.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "no_clobber", short: "n", help: "replace nothing: a name that is taken is an error"),
          OptionSpec(
            "exchange", help: "SOURCE and DEST, which are both there, change places"),
          OptionSpec(
            "no_target_directory", short: "T",
            help: "DEST is the new name, although it is a directory"),
          VolumeOperand.json,
        ] + ChangedVolume.options)
    ],
    examples: [
      CommandExample(line: "bcachefs mv volume.img etc/new.conf etc/old.conf", text: "One file:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count >= 3, let destination = arguments.operands.last else {
      throw .usage("name a volume, what to rename, and where to", command: spec.name)
    }
    let sources = arguments.operands.dropFirst().dropLast()
    let isExchange = arguments.contains("exchange")
    let isName = arguments.contains("no_target_directory") || isExchange
    guard sources.count == 1 || !isName else {
      throw .usage("several files need a directory to go to", command: spec.name)
    }
    let flags: RenameFlags =
      isExchange ? .exchange : arguments.contains("no_clobber") ? .noReplace : []
    let report = ChangeReport(spec.name)
    try ChangedVolume.with(arguments) { (volume) throws(CommandFailure) in
      if sources.count > 1, try volume.fileIfPresent(destination)?.kind != .directory {
        throw CommandFailure(VolumeError(.notADirectory), at: Array(destination.utf8))
      }
      try report.forEach(sources) { (path) throws(CommandFailure) in
        let old = try volume.place(path)
        let new = try volume.target(destination, last: old.name, mayBeDirectory: !isName)
        try volume.naming(old.path) { () throws(VolumeError) in
          try volume.system.rename(old.name, in: old.parent, to: new.name, in: new.parent, flags)
        }
        report.addDone()
      }
    }
    try report.finish(arguments)
  }
}
