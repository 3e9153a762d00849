// SPDX-License-Identifier: GPL-2.0
// Permissions as chmod(1) takes them: octal digits, or changes by letters.
//
// Source: POSIX.1-2017, chmod; GNU coreutils' manual, "Changing Special Mode Bits".

struct ModeChange {
  private enum Step {
    /// All twelve bits; a directory keeps set-user-ID and set-group-ID bits that are not named.
    case exact(UInt16, namesSpecialBits: Bool)
    case clause(Clause)
  }

  /// `go-w`
  private struct Clause {
    /// Of whom, as all bits that are theirs.
    let who: UInt16
    let operation: Character
    var bits: UInt16 = 0
    /// `X`
    var isConditionalExecute = false
    /// Whose permissions are copied: a shift of three bits.
    var copied: UInt16?
    /// Bits that nobody named gets, because nobody was named.
    let masked: UInt16
  }

  private var steps: [Step] = []

  /// - Parameter umask: What `+w` without anybody named does not give.
  /// - Throws: usage, for what is no mode.
  init(_ text: String, command: String, umask: UInt16) throws(CommandFailure) {
    if !text.isEmpty, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x37 }) {
      guard let number = UInt16(text, radix: 8), number <= 0o7777 else {
        throw .usage("\(text) is no mode: at most 7777", command: command)
      }
      steps = [.exact(number, namesSpecialBits: text.utf8.count > 4 || number > 0o777)]
      return
    }
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard Self.parse(part, umask, into: &steps) else {
        throw .usage(
          "\(text) is no mode: octal digits, or letters as in u=rwX,go-w", command: command)
      }
    }
  }

  private static func parse(
    _ part: Substring, _ umask: UInt16, into steps: inout [Step]
  ) -> Bool {
    var rest = part
    var who: UInt16 = 0
    while let letter = rest.first, let bits = owners[letter] {
      who |= bits
      rest = rest.dropFirst()
    }
    let isEverybody = who == 0
    guard !rest.isEmpty else { return false }
    while let operation = rest.first {
      guard "+-=".contains(operation) else { return false }
      rest = rest.dropFirst()
      var clause = Clause(
        who: isEverybody ? 0o7777 : who, operation: operation,
        masked: isEverybody ? umask : 0)
      if let letter = rest.first, let shift = copies[letter] {
        clause.copied = shift
        rest = rest.dropFirst()
      } else {
        while let letter = rest.first, letter == "X" || permissions[letter] != nil {
          clause.bits |= permissions[letter] ?? 0
          if letter == "X" { clause.isConditionalExecute = true }
          rest = rest.dropFirst()
        }
      }
      steps.append(.clause(clause))
    }
    return true
  }

  private static let owners: [Character: UInt16] = [
    "u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777,
  ]
  private static let permissions: [Character: UInt16] = [
    "r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000,
  ]
  private static let copies: [Character: UInt16] = ["u": 6, "g": 3, "o": 0]

  /// The permissions of a file that has `mode` now.
  func applied(to mode: UInt16, isDirectory: Bool) -> UInt16 {
    var mode = mode
    for step in steps {
      switch step {
      case .exact(let number, let namesSpecialBits):
        let kept: UInt16 = isDirectory && !namesSpecialBits ? mode & 0o6000 : 0
        mode = number | kept
      case .clause(let clause): mode = Self.apply(clause, to: mode, isDirectory)
      }
    }
    return mode
  }

  private static func apply(
    _ clause: Clause, to mode: UInt16, _ isDirectory: Bool
  ) -> UInt16 {
    var bits = clause.bits
    if clause.isConditionalExecute, isDirectory || mode & 0o111 != 0 { bits |= 0o111 }
    if let shift = clause.copied { bits = (mode >> shift & 7) * 0o111 }
    bits &= clause.who
    bits &= ~clause.masked
    switch clause.operation {
    case "+": return mode | bits
    case "-": return mode & ~bits
    default:
      // A directory keeps its set-user-ID and set-group-ID bits unless they are named.
      let special: UInt16 = isDirectory ? clause.bits & 0o6000 : 0o6000
      return mode & ~(clause.who & (0o1777 | special)) | bits
    }
  }
}
