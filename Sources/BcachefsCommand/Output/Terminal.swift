// SPDX-License-Identifier: GPL-2.0
// Talking to a person: questions, and passphrases that are not shown.
//
// A passphrase is read key by key with the terminal's own editing and signals off, so that an
// interrupt cannot leave a terminal behind that shows nothing.

#if canImport(Glibc)
internal import Glibc
#endif

enum Terminal {
  static var inputIsTerminal: Bool { isatty(STDIN_FILENO) == 1 }
  static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

  /// Columns, by the variable COLUMNS, else 80.
  static var columns: Int {
    guard let text = environment("COLUMNS"), let number = Int(text), number >= 20 else { return 80 }
    return min(number, 400)
  }

  static func environment(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    return unsafe String(cString: value)
  }

  /// A line from standard input without its newline; nil at the end.
  static func readLineBytes() -> [UInt8]? {
    var line: [UInt8] = []
    while let byte = readByte() {
      if byte == UInt8(ascii: "\n") { return line }
      line.append(byte)
    }
    return line.isEmpty ? nil : line
  }

  private static func readByte() -> UInt8? {
    var byte: UInt8 = 0
    while true {
      let count = unsafe read(STDIN_FILENO, &byte, 1)
      if count < 0 && errno == EINTR { continue }
      return count == 1 ? byte : nil
    }
  }

  /// Asks; yes is an answer that begins with y.
  static func confirm(_ question: String) -> Bool {
    Output.writeToError("\(question) (y,n) ")
    let answer = readLineBytes() ?? []
    return answer.first == UInt8(ascii: "y") || answer.first == UInt8(ascii: "Y")
  }

  /// A passphrase from the terminal; nil when it was given up (end of input).
  static func readHidden(_ prompt: String) -> [UInt8]? {
    Output.writeToError(prompt)
    defer { Output.writeToError("\n") }
    var saved = termios()
    guard unsafe tcgetattr(STDIN_FILENO, &saved) == 0 else { return readLineBytes() }
    var raw = saved
    raw.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG)
    guard unsafe tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) == 0 else { return nil }
    var interrupted = false
    let line = readKeys(&interrupted)
    unsafe tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved)
    if interrupted { raise(SIGINT) }
    return line
  }

  private static func readKeys(_ interrupted: inout Bool) -> [UInt8]? {
    var line: [UInt8] = []
    while let byte = readByte() {
      switch byte {
      case 0x0A, 0x0D: return line
      case 0x03, 0x1C:
        interrupted = true
        return nil
      case 0x04 where line.isEmpty: return nil
      case 0x08, 0x7F:
        // A character is its first byte and those that continue it.
        while let last = line.popLast(), last & 0xC0 == 0x80 {}
      case 0x15: line = []
      default: line.append(byte)
      }
    }
    return nil
  }
}
