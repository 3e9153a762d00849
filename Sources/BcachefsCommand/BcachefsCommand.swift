// SPDX-License-Identifier: GPL-2.0
// The command `bcachefs`: finds the command that is meant, and runs it.
//
// How it works
//   1. Commands are data (CommandSpec) in groups; their names have one word or two.
//   2. `help`, `--help` and `--version` are understood before and after a command's name.

internal import BcachefsFormat

/// All commands, as the help lists them.
enum Commands {
  static let groups: [(title: String, commands: [CommandSpec])] = [
    ("Make volumes", [FormatCommand.spec, ImageCreateCommand.spec]),
    ("Look at volumes", [ShowSuperCommand.spec] + ReadCommands.inspection),
    ("Read files of volumes", ReadCommands.all),
    ("Change files of volumes", ChangeCommands.files),
    ("Change attributes and options", ChangeCommands.attributes),
    ("See and set quotas", QuotaCommands.all),
    (
      "Make and delete subvolumes",
      [SubvolumeCreateCommand.spec, SubvolumeSnapshotCommand.spec, SubvolumeDeleteCommand.spec]
    ),
    ("Check volumes", [FsckCommand.spec, ScrubCommand.spec]),
    (
      "Mount volumes",
      [MountCommand.spec, MountCommand.otherName, UmountCommand.spec, UnlockCommand.spec]
    ),
    ("About this program", [VersionCommand.spec, CompletionsCommand.spec, ManualCommand.spec]),
  ]

  static var all: [CommandSpec] { groups.flatMap(\.commands) }

  /// The command that `words` begin with, and what follows.
  static func find(_ words: [String]) -> (spec: CommandSpec, rest: [String])? {
    for spec in all {
      let name = spec.name.split(separator: " ").map(String.init)
      if words.starts(with: name) { return (spec, Array(words.dropFirst(name.count))) }
    }
    return nil
  }

  /// Why nothing was found.
  static func unknown(_ words: [String]) -> CommandFailure {
    let first = words.first ?? ""
    let below = all.filter { $0.name.hasPrefix("\(first) ") }
    if !below.isEmpty {
      let names = below.map(\.name).joined(separator: ", ")
      return CommandFailure(.usage, "\(first) is followed by another word: \(names)")
    }
    if first.hasPrefix("-") { return .usage("\(first): no such option", command: "") }
    let typed = words.prefix(2).joined(separator: " ")
    let names = all.map(\.name)
    let near =
      Suggestion.nearest(to: first, among: names + ["help"])
      ?? Suggestion.nearest(to: typed, among: names)
    return .usage(
      "there is no command \"\(first)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
      command: "")
  }

  static var help: String {
    var out = "bcachefs - make, read and check bcachefs volumes in user space\n\n"
    out += "Usage: bcachefs COMMAND [OPTION...] [OPERAND...]\n"
    for group in groups {
      out += "\n\(group.title):\n"
      for spec in group.commands { out += HelpText.entry("  \(spec.name)", spec.summary) }
    }
    out +=
      "\n"
      + HelpText.wrapped(
        "bcachefs COMMAND --help says what a command takes. Sizes may have a unit: 4k, 512M, 1.5G. "
          + "Exit codes are those of sysexits(3): 64 for a wrong command line, 65 for bad data, 66 "
          + "for a missing input, 73 where nothing can be made, 74 for I/O errors, 75 for what may "
          + "work later, 77 for missing permissions, 78 for options that contradict each other.",
        indentation: 0)
    out += "\nTo begin with:\n"
    out += "  bcachefs image create --source=DIR volume.img\n"
    out += "  bcachefs show-super volume.img\n"
    return out
  }
}

/// The program, but for its entry point.
package enum BcachefsCommand {
  /// Runs the command line. What fails ends the process with its exit code.
  package static func main() {
    MountRun.runIfHelper()
    UmountCommand.runIfHelper()
    let words = Array(CommandLine.arguments.dropFirst())
    do throws(CommandFailure) {
      try run(words)
    } catch {
      Output.fail(Commands.find(words)?.spec.name ?? "", error)
    }
  }

  private static func run(_ words: [String]) throws(CommandFailure) {
    switch words.first {
    case nil:
      Output.writeToError(Commands.help)
      throw CommandFailure(.usage, "which command?")
    case "--help", "-h": Output.write(Commands.help)
    case "--version", "-V": try VersionCommand.run(ParsedArguments([], spec: VersionCommand.spec))
    case "help": try help(Array(words.dropFirst()))
    default:
      guard let (spec, rest) = Commands.find(words) else {
        if words.count == 2, words[1] == "--help" || words[1] == "-h" {
          try help([words[0]])
          return
        }
        throw Commands.unknown(words)
      }
      let arguments = try ParsedArguments(rest, spec: spec)
      if arguments.contains("help") {
        Output.write(HelpText.text(spec))
      } else {
        try spec.run(arguments)
      }
    }
  }

  private static func help(_ words: [String]) throws(CommandFailure) {
    guard !words.isEmpty else {
      Output.write(Commands.help)
      return
    }
    if let (spec, _) = Commands.find(words) {
      Output.write(HelpText.text(spec))
      return
    }
    let below = Commands.all.filter { $0.name.hasPrefix("\(words[0]) ") }
    guard !below.isEmpty else { throw Commands.unknown(words) }
    var out = "Usage: bcachefs \(words[0]) COMMAND [OPTION...] [OPERAND...]\n\n"
    for spec in below { out += HelpText.entry("  \(spec.name)", spec.summary) }
    Output.write(out)
  }
}
