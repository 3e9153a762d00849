// SPDX-License-Identifier: GPL-2.0
// Where a command's words go: results to standard output, everything else to standard error.

internal import BcachefsFormat

#if canImport(Glibc)
internal import Glibc
#endif

enum Output {
  /// Results. Ends the process when nobody can take them.
  static func write(_ text: String) {
    guard writeAll(text, to: STDOUT_FILENO) else {
      fail(
        "", CommandFailure(.inputOutput, "cannot write to standard output: \(systemText(errno))"))
    }
  }

  static func write(_ value: JSONValue) { write(value.text() + "\n") }

  /// Remarks, as `bcachefs COMMAND: message`.
  static func remark(_ command: String, _ message: String) {
    _ = writeAll("\(prefix(command)): \(message)\n", to: STDERR_FILENO)
  }

  /// Bytes for the terminal, as they are.
  static func writeToError(_ text: String) { _ = writeAll(text, to: STDERR_FILENO) }

  static func fail(_ command: String, _ failure: CommandFailure) -> Never {
    remark(command, failure.message)
    if let advice = failure.advice { _ = writeAll("\(advice)\n", to: STDERR_FILENO) }
    exit(failure.status.rawValue)
  }

  private static func prefix(_ command: String) -> String {
    command.isEmpty ? "bcachefs" : "bcachefs \(command)"
  }

  private static func writeAll(_ text: String, to descriptor: Int32) -> Bool {
    let bytes = Array(text.utf8)
    var offset = 0
    while offset < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer in
        unsafe Glibc.write(
          descriptor, buffer.baseAddress?.advanced(by: offset), bytes.count - offset)
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return false }
      offset += count
    }
    return true
  }

  static func systemText(_ number: Int32) -> String {
    unsafe String(cString: strerror(number))
  }
}
