// SPDX-License-Identifier: GPL-2.0
// Standard output for bytes, in large pieces; or nowhere, for who only wants to know that it works.

internal import BcachefsFormat
internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

/// Collects bytes and writes them to standard output. It belongs to one thread; `flush` at the end.
final class ByteOutput {
  private static let blockByteCount = 1 << 16
  private var pending: [UInt8] = []
  /// Where nothing is written: the most bytes that are taken; more is an error.
  private let discardLimit: UInt64?
  /// Bytes written so far, those that are still pending included.
  private(set) var byteCount: UInt64 = 0
  /// Whether names must not move the cursor.
  let isTerminal: Bool

  init() {
    isTerminal = isatty(STDOUT_FILENO) == 1
    discardLimit = nil
    pending.reserveCapacity(Self.blockByteCount + 4096)
  }

  /// Counts bytes, and keeps none.
  ///
  /// - Parameter limit: After so many bytes writing fails.
  init(discardingUpTo limit: UInt64) {
    isTerminal = false
    discardLimit = limit
  }

  func write(_ bytes: some Collection<UInt8>) throws(CommandFailure) {
    pending.append(contentsOf: bytes)
    byteCount += UInt64(bytes.count)
    if pending.count >= Self.blockByteCount { try flush() }
  }

  func write(_ text: String) throws(CommandFailure) { try write(text.utf8) }

  /// A name as it is, or for a terminal without control characters.
  func write(name: [UInt8]) throws(CommandFailure) {
    if isTerminal { try write(SafeText.text(name)) } else { try write(name) }
  }

  /// Lines with names from a disk in them: as they are, or for a terminal without control
  /// characters.
  func write(lines bytes: [UInt8]) throws(CommandFailure) {
    try write(isTerminal ? Self.harmless(bytes) : bytes)
  }

  /// Lines without any other control characters.
  static func harmless(_ lines: [UInt8]) -> [UInt8] {
    let newline = UInt8(ascii: "\n")
    let parts = lines.split(separator: newline, omittingEmptySubsequences: false)
    return Array(parts.map { SafeText.text($0) }.joined(separator: "\n").utf8)
  }

  /// Writes a large piece at once.
  func write(_ bytes: RawSpan) throws(CommandFailure) {
    try flush()
    byteCount += UInt64(bytes.byteCount)
    guard try !discards() else { return }
    let error = unsafe bytes.withUnsafeBytes { unsafe Self.writeAll($0) }
    if error != 0 { throw Self.failure(error) }
  }

  private func discards() throws(CommandFailure) -> Bool {
    guard let discardLimit else { return false }
    guard byteCount <= discardLimit else {
      throw CommandFailure(.inputOutput, "more than \(discardLimit) bytes")
    }
    return true
  }

  func zeros(_ count: Int) throws(CommandFailure) {
    try write(repeatElement(0, count: count))
  }

  func flush() throws(CommandFailure) {
    guard !pending.isEmpty else { return }
    guard try !discards() else {
      pending.removeAll(keepingCapacity: true)
      return
    }
    let error = unsafe pending.withUnsafeBytes { unsafe Self.writeAll($0) }
    pending.removeAll(keepingCapacity: true)
    if error != 0 { throw Self.failure(error) }
  }

  /// The errno, 0 if all was written.
  private static func writeAll(_ bytes: UnsafeRawBufferPointer) -> Int32 {
    var done = 0
    while done < bytes.count {
      let count = unsafe Glibc.write(
        STDOUT_FILENO, bytes.baseAddress?.advanced(by: done), bytes.count - done)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return errno }
      done += count
    }
    return 0
  }

  private static func failure(_ number: Int32) -> CommandFailure {
    CommandFailure(
      .inputOutput, "cannot write to standard output: \(Output.systemText(number))")
  }
}
