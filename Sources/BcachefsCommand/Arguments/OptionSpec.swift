// SPDX-License-Identifier: GPL-2.0
// What a command takes, as data: parsing, help, completions and the manual page follow from it.

internal import BcachefsFormat

/// An option of a command.
struct OptionSpec: Sendable {
  /// What follows the name.
  enum Value: Sendable, Equatable {
    /// A flag: nothing.
    case none
    /// `--name=HINT` or `--name HINT`.
    case required(hint: String)
    /// `--name` or `--name=0|1`; `--no_name`, too.
    case bool
  }

  let name: String
  var short: Character?
  var value = Value.none
  /// Names that mean the same.
  var aliases: [String] = []
  /// The values there are; empty when there are others.
  var choices: [String] = []
  /// Whether the value is a path, for completions.
  var isPath = false
  var help: String
  /// The row of the option table that it stands for.
  var row: VolumeOption?

  init(
    _ name: String, short: Character? = nil, _ value: Value = .none, aliases: [String] = [],
    choices: [String] = [], isPath: Bool = false, help: String, row: VolumeOption? = nil
  ) {
    self.name = name
    self.short = short
    self.value = value
    self.aliases = aliases
    self.choices = choices
    self.isPath = isPath
    self.help = help
    self.row = row
  }

  /// `-f, --force`, `--block_size=SIZE`, `--[no_]acl`.
  var usage: String {
    let start = short.map { "-\($0), " } ?? "    "
    switch value {
    case .none: return "\(start)--\(name)"
    case .required(let hint): return "\(start)--\(name)=\(hint)"
    case .bool: return "\(start)--[no_]\(name)"
    }
  }
}

/// Options under one heading.
struct OptionGroup: Sendable {
  let title: String
  let options: [OptionSpec]
}

/// Words with an explanation under one heading, that are no options of the command line.
struct TermGroup: Sendable {
  let title: String
  let terms: [(name: String, text: String)]
}

/// A command line and what it does.
struct CommandExample: Sendable {
  let line: String
  let text: String
}

/// A command.
struct CommandSpec: Sendable {
  /// As typed: `image create`.
  let name: String
  /// One line, without a full stop.
  let summary: String
  /// What follows the name.
  let synopsis: String
  /// Paragraphs.
  let text: [String]
  let groups: [OptionGroup]
  var terms: [TermGroup] = []
  var examples: [CommandExample] = []
  /// What the operands may be; nil where they are paths.
  var operandChoices: [String]?
  let run: @Sendable (ParsedArguments) throws(CommandFailure) -> Void

  static let helpOption = OptionSpec("help", short: "h", help: "show this help")

  /// All of them, `--help` included.
  var options: [OptionSpec] { groups.flatMap(\.options) + [Self.helpOption] }
}
