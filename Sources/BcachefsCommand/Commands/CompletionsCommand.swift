// SPDX-License-Identifier: GPL-2.0

enum CompletionsCommand {
  static let spec = CommandSpec(
    name: "completions",
    summary: "print completions for a shell",
    synopsis: "bash|zsh|fish",
    text: ["Prints a script that teaches a shell all commands, options and values."],
    groups: [],
    examples: [
      CommandExample(line: "source <(bcachefs completions bash)", text: "For this shell:")
    ],
    operandChoices: ["bash", "zsh", "fish"],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 1, let shell = arguments.operands.first else {
      throw .usage("name one shell: bash, zsh or fish", command: spec.name)
    }
    switch shell {
    case "bash": Output.write(Completions.bash(Commands.all))
    case "zsh": Output.write(Completions.zsh(Commands.all))
    case "fish": Output.write(Completions.fish(Commands.all))
    default:
      throw .usage("\(shell): there are completions for bash, zsh and fish", command: spec.name)
    }
  }
}
