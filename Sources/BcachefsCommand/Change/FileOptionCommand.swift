// SPDX-License-Identifier: GPL-2.0
// bcachefs set-file-option: options that files and directories have for themselves.

internal import Bcachefs
internal import BcachefsFormat

enum FileOptionCommand {
  static let spec = makeSpec("set-file-option")
  /// What it was called before.
  static let otherName = makeSpec("setattr")

  private static let rows = VolumeOption.allCases.filter {
    $0.inodeOption != nil && !$0.flags.contains(.hidden)
  }

  private static func makeSpec(_ name: String) -> CommandSpec {
    CommandSpec(
      name: name,
      summary: "set options of files and directories of a volume",
      synopsis: "[OPTION...] VOLUME PATH...",
      text: [
        "Sets options of each PATH, in place of the volume's: how data is stored from now on that "
          + "is written to it. What is in a directory, and will be, follows it, but where "
          + "something else was set. \"--OPTION=-\" has it follow its directory again.",
        "All options of a PATH are set in one step, or none; what is below a directory follows "
          + "after that, name by name.",
        ChangedVolume.text,
      ],
      groups: [
        OptionGroup(title: "Options of files", options: rows.map(FormatOptionSpecs.spec)),
        OptionGroup(
          title: "Options",
          options: [
            OptionSpec("remove_all", help: "have all options follow the directory again, first"),
            VolumeOperand.json,
          ] + ChangedVolume.options),
      ],
      examples: [
        CommandExample(
          line: "bcachefs \(name) --compression=zstd volume.img var/log", text: "Of a directory:")
      ],
      run: run)
  }

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    var values: [(name: String, value: String?)] = []
    if arguments.contains("remove_all") { values += rows.map { ($0.name, nil) } }
    for case .option(let option, let value) in arguments.parts where option.row != nil {
      values.append((option.name, value == "-" ? nil : value ?? "1"))
    }
    guard arguments.operands.count >= 2, !values.isEmpty else {
      throw .usage("name an option, a volume and files", command: arguments.command)
    }
    let report = ChangeReport(arguments.command)
    try ChangedVolume.with(arguments) { (volume) throws(CommandFailure) in
      try report.forEach(arguments.operands.dropFirst()) { (path) throws(CommandFailure) in
        let file = try volume.file(path)
        let bytes = Array(path.utf8)
        try volume.naming(bytes) { () throws(VolumeError) in
          try volume.system.setOptions(values, of: file.id)
        }
        report.addDone()
        if file.kind == .directory { try passOn(below: file.id, bytes, volume.system) }
      }
    }
    try report.finish(arguments)
  }

  /// Has what is below a directory follow it; where nothing changes, what is below does not either.
  private static func passOn(
    below directory: FileID, _ path: [UInt8], _ system: FileSystem
  ) throws(CommandFailure) {
    try SystemWalk(system: system).run(below: directory, path: path) {
      (entry) throws(CommandFailure) in
      do throws(VolumeError) {
        return try system.inheritOptions(entry.name, in: entry.parent).isChanged
      } catch {
        throw CommandFailure(error, at: entry.path)
      }
    }
  }
}
