// SPDX-License-Identifier: GPL-2.0
// bcachefs ln: one more name for a file of a volume, or a symbolic link.

internal import Bcachefs
internal import BcachefsFormat

enum LinkCommand {
  static let spec = CommandSpec(
    name: "ln",
    summary: "make links in a volume",
    synopsis: "[OPTION...] VOLUME TARGET PATH",
    text: [
      "Gives the file TARGET one more name, PATH, or a name in the directory PATH. With -s PATH "
        + "becomes a symbolic link that says TARGET, whatever that is. It is one step.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("symbolic", short: "s", help: "make a symbolic link"),
          OptionSpec("force", short: "f", help: "replace a file that has the name"),
          OptionSpec(
            "no_target_directory", short: "T",
            help: "PATH is the link's name, although it is a directory"),
          VolumeOperand.json,
        ] + ChangedVolume.options)
    ],
    examples: [
      CommandExample(line: "bcachefs ln -s volume.img ../run var/run", text: "A symbolic link:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 3 else {
      throw .usage("name a volume, what to link to, and the link", command: spec.name)
    }
    let (target, path) = (arguments.operands[1], arguments.operands[2])
    let report = ChangeReport(spec.name)
    try ChangedVolume.with(arguments) { (volume) throws(CommandFailure) in
      let place = try volume.target(
        path, last: ChangedVolume.lastName(target),
        mayBeDirectory: !arguments.contains("no_target_directory"))
      if arguments.contains("symbolic") {
        try makeSymbolicLink(target, place, volume, replaces: arguments.contains("force"))
      } else {
        let file = try volume.file(target, followsLast: false)
        guard file.kind != .directory else {
          throw CommandFailure(
            .cannotCreate, "\(SafeText.text(target.utf8)): a directory has one name",
            advice: "-s makes a symbolic link.")
        }
        try volume.naming(place.path) { () throws(VolumeError) in
          _ =
            try arguments.contains("force")
            ? volume.system.replace(place.name, in: place.parent, with: file.id)
            : volume.system.link(file.id, as: place.name, in: place.parent)
        }
      }
      report.addDone()
    }
    try report.finish(arguments)
  }

  private static func makeSymbolicLink(
    _ target: String, _ place: VolumePlace, _ volume: ChangedVolume, replaces: Bool
  ) throws(CommandFailure) {
    var creation = FileCreation(.symbolicLink, permissions: 0o777)
    (creation.uid, creation.gid) = (Caller.uid, Caller.gid)
    let system = volume.system
    try volume.naming(place.path) { () throws(VolumeError) in
      guard replaces else {
        _ = try system.makeLink(
          place.name, to: Array(target.utf8), in: place.parent, creation)
        return
      }
      let made = try system.makeUnnamedLink(to: Array(target.utf8), in: place.parent, creation)
      try system.giveName(place.name, in: place.parent, to: made.id, replaces: true)
    }
  }
}

extension FileSystem {
  /// Gives a file without a name, which the caller holds, its name, and lets go of it.
  ///
  /// - Parameter replaces: Whether something else may have the name; it is replaced then.
  func giveName(
    _ name: [UInt8], in parent: FileID, to id: FileID, replaces: Bool
  ) throws(VolumeError) {
    do throws(VolumeError) {
      _ = try replaces ? replace(name, in: parent, with: id) : link(id, as: name, in: parent)
    } catch {
      try letGo(id)
      throw error
    }
    try letGo(id)
  }
}
