// SPDX-License-Identifier: GPL-2.0
// From the words of a command line to options and operands, in their order.
//
// How it works
//   1. A word is an option (`--name`, `--name=value`, `--name value`, `-n`, `-nvalue`, `-fq`), or
//      an operand. After `--`, and a `-` alone, everything is an operand.
//   2. In names `-` counts as `_`, as in the option table. A truth value takes its value after `=`
//      only; `--no_name` and `--noname` switch it off.
//   3. Order is kept: some options apply to the devices that follow them.
// Invariants
//   (1) Every word is accounted for, or refused with what may have been meant.

/// What a command line says.
struct ParsedArguments: Sendable {
  enum Part: Sendable {
    case option(OptionSpec, value: String?)
    case operand(String)
  }

  let command: String
  private(set) var parts: [Part] = []

  var operands: [String] {
    parts.compactMap { part in
      if case .operand(let text) = part { text } else { nil }
    }
  }

  /// The same without its first operand.
  var withoutFirstOperand: ParsedArguments {
    var result = self
    let first = parts.firstIndex { if case .operand = $0 { true } else { false } }
    if let first { result.parts.remove(at: first) }
    return result
  }

  /// Whether the flag was given.
  func contains(_ name: String) -> Bool {
    parts.contains { part in
      if case .option(let spec, _) = part { spec.name == name } else { false }
    }
  }

  /// The value of the option's last occurrence.
  func value(of name: String) -> String? {
    parts.last { part in
      if case .option(let spec, _) = part { spec.name == name } else { false }
    }.flatMap { part in
      if case .option(_, let value) = part { value } else { nil }
    }
  }

  /// The values of all occurrences of an option, in order.
  func values(of name: String) -> [String] {
    parts.compactMap { part in
      if case .option(let spec, let value) = part, spec.name == name { value } else { nil }
    }
  }

  /// Takes `words` apart by the options of `spec`.
  init(_ words: [String], spec: CommandSpec) throws(CommandFailure) {
    command = spec.name
    var index = 0
    var onlyOperands = false
    while index < words.count {
      let word = words[index]
      index += 1
      if onlyOperands || word == "-" || !word.hasPrefix("-") {
        parts.append(.operand(word))
      } else if word == "--" {
        onlyOperands = true
      } else if word.hasPrefix("--") {
        let next = index < words.count ? words[index] : nil
        let (option, value, takesNext) = try Self.long(word, next: next, spec)
        parts.append(.option(option, value: value))
        if takesNext { index += 1 }
      } else {
        try addShort(word, words, &index, spec)
      }
    }
  }

  private static func long(
    _ word: String, next: String?, _ spec: CommandSpec
  ) throws(CommandFailure) -> (OptionSpec, value: String?, takesNext: Bool) {
    let body = word.dropFirst(2)
    let fields = body.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let name = String(fields[0].map { $0 == "-" ? "_" : $0 })
    let given = fields.count == 2 ? String(fields[1]) : nil
    guard let (option, isNegated) = find(name, in: spec.options) else {
      throw .usage(unknown("--\(fields[0])", spec), command: spec.name)
    }
    if isNegated {
      guard given == nil else { throw .usage("\(word): takes no value", command: spec.name) }
      return (option, "0", false)
    }
    switch option.value {
    case .none:
      guard given == nil else { throw .usage("\(word): takes no value", command: spec.name) }
      return (option, nil, false)
    case .bool:
      return (option, given, false)
    case .required(let hint):
      if let given { return (option, given, false) }
      guard let next else {
        throw .usage(
          "--\(option.name): needs a value (--\(option.name)=\(hint))", command: spec.name)
      }
      return (option, next, true)
    }
  }

  private static func find(
    _ name: String, in options: [OptionSpec]
  ) -> (option: OptionSpec, isNegated: Bool)? {
    if let option = options.first(where: { $0.name == name || $0.aliases.contains(name) }) {
      return (option, false)
    }
    for prefix in ["no_", "no"] where name.hasPrefix(prefix) {
      let rest = String(name.dropFirst(prefix.count))
      if let option = options.first(where: { $0.name == rest && $0.value == .bool }) {
        return (option, true)
      }
    }
    return nil
  }

  private mutating func addShort(
    _ word: String, _ words: [String], _ index: inout Int, _ spec: CommandSpec
  ) throws(CommandFailure) {
    var rest = word.dropFirst()
    while let letter = rest.popFirst() {
      guard let option = spec.options.first(where: { $0.short == letter }) else {
        throw .usage(Self.unknown("-\(letter)", spec), command: spec.name)
      }
      guard case .required(let hint) = option.value else {
        parts.append(.option(option, value: nil))
        continue
      }
      if !rest.isEmpty {
        parts.append(.option(option, value: String(rest)))
        return
      }
      guard index < words.count else {
        throw .usage("-\(letter): needs a value (\(hint))", command: spec.name)
      }
      parts.append(.option(option, value: words[index]))
      index += 1
    }
  }

  private static func unknown(_ word: String, _ spec: CommandSpec) -> String {
    let names = spec.options.flatMap { [$0.name] + $0.aliases }.map { "--\($0)" }
    let near = Suggestion.nearest(to: word, among: names)
    return "\(word): no such option" + (near.map { "; did you mean \($0)?" } ?? "")
  }
}
