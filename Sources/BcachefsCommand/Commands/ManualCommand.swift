// SPDX-License-Identifier: GPL-2.0
// bcachefs manual: the manual page, from the same descriptions as the help.

enum ManualCommand {
  static let spec = CommandSpec(
    name: "manual",
    summary: "print the manual page, for man(1)",
    synopsis: "",
    text: ["Prints bcachefs(8) in the language of man(1)."],
    groups: [],
    examples: [CommandExample(line: "bcachefs manual | man -l -", text: "To read it:")],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.isEmpty else {
      throw .usage("takes no operands", command: spec.name)
    }
    Output.write(page())
  }

  static func page() -> String {
    var out = ".TH BCACHEFS 8 \"\" \"swift-bcachefs \(VersionCommand.programVersion)\"\n"
    out += ".SH NAME\nbcachefs \\- make, read and check bcachefs volumes in user space\n"
    out += ".SH SYNOPSIS\n.B bcachefs\nCOMMAND [OPTION...] [OPERAND...]\n"
    for group in Commands.groups {
      out += ".SH \(escaped(group.title).uppercased())\n"
      for spec in group.commands { out += section(spec) }
    }
    return out + ".SH EXIT STATUS\n0 for success, else a code of sysexits(3).\n"
      + ".SH ENVIRONMENT\n.TP\n.B SOURCE_DATE_EPOCH\nSeconds since 1970 that count as now, "
      + "for builds that are to be repeated.\n"
      + ".TP\n.B TMPDIR\nWhere builds put what does not fit into memory.\n"
  }

  private static func section(_ spec: CommandSpec) -> String {
    var out = ".SS \"bcachefs \(escaped(spec.name)) \(escaped(spec.synopsis))\"\n"
    out += "\(escaped(spec.summary.prefix(1).uppercased() + spec.summary.dropFirst())).\n"
    for paragraph in spec.text { out += ".PP\n\(escaped(paragraph))\n" }
    for group in spec.groups {
      out += ".PP\n\(escaped(group.title)):\n"
      for option in group.options {
        let usage = option.usage.drop { $0 == " " }
        out += ".TP\n.B \(escaped(String(usage)))\n\(escaped(option.help))\n"
      }
    }
    for group in spec.terms {
      out += ".PP\n\(escaped(group.title)):\n"
      for term in group.terms { out += ".TP\n.B \(escaped(term.name))\n\(escaped(term.text))\n" }
    }
    for example in spec.examples {
      out += ".PP\n\(escaped(example.text))\n.PP\n.nf\n    \(escaped(example.line))\n.fi\n"
    }
    return out
  }

  private static func escaped(_ text: String) -> String {
    var out = ""
    for character in text {
      switch character {
      case "\\": out += "\\e"
      case "-": out += "\\-"
      case "\"": out += "\\(dq"
      default: out.append(character)
      }
    }
    return out.hasPrefix(".") || out.hasPrefix("'") ? "\\&" + out : out
  }
}
