// SPDX-License-Identifier: GPL-2.0
// Help as people read it on a terminal: headings, an option and its text side by side, wrapped.

enum HelpText {
  static let columns = 80
  private static let optionColumns = 30

  /// The help of one command.
  static func text(_ spec: CommandSpec) -> String {
    var out = "bcachefs \(spec.name) - \(spec.summary)\n\n"
    out += "Usage: bcachefs \(spec.name) \(spec.synopsis)\n"
    for paragraph in spec.text { out += "\n" + wrapped(paragraph, indentation: 0) }
    for group in spec.groups + [OptionGroup(title: "Other", options: [CommandSpec.helpOption])] {
      guard !group.options.isEmpty else { continue }
      out += "\n\(group.title):\n"
      for option in group.options { out += entry("  \(option.usage)", option.help) }
    }
    for group in spec.terms {
      out += "\n\(group.title):\n"
      for term in group.terms { out += entry("  \(term.name)", term.text) }
    }
    if !spec.examples.isEmpty { out += "\nExamples:\n" }
    for example in spec.examples {
      out += wrapped(example.text, indentation: 2) + "    \(example.line)\n"
    }
    return out
  }

  /// `term` with `text` beside it, or below where it is too long.
  static func entry(_ term: String, _ text: String) -> String {
    let body = wrapped(text, indentation: optionColumns)
    guard term.count < optionColumns - 1 else { return term + "\n" + body }
    return term + body.dropFirst(term.count)
  }

  /// `text` in lines of at most `columns`, each indented, with a newline at the end of each.
  static func wrapped(_ text: String, indentation: Int) -> String {
    let margin = String(repeating: " ", count: indentation)
    var out = ""
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty && indentation + line.count + 1 + word.count > columns {
        out += margin + line + "\n"
        line = ""
      }
      line += line.isEmpty ? "\(word)" : " \(word)"
    }
    return out + margin + line + "\n"
  }
}
