// SPDX-License-Identifier: GPL-2.0
// An archive as a stream of bytes: blocks of 512, and what stands in them as text and numbers.
//
// Invariants
//   (1) Nothing is read twice, and nothing beyond what was asked for.
//   (2) An archive that ends early is an error that says where.

internal import BcachefsFormat
internal import BcachefsSupport

/// What is wrong with an archive.
enum TarError {
  static func failure(_ text: String, at offset: UInt64) -> CommandFailure {
    CommandFailure(.badData, "the archive, at byte \(offset): \(text)")
  }
}

/// Bytes of standard input. It belongs to one thread.
final class TarInput {
  private let input = ByteInput()
  private let buffer = HeapBuffer(byteCount: 1 << 20)
  private var filled = 0
  private var next = 0
  /// Bytes taken so far.
  private(set) var offset: UInt64 = 0

  /// Whether there is nothing more.
  private func isAtEnd() throws(CommandFailure) -> Bool {
    if next < filled { return false }
    try ChangeReport.checkInterruption()
    filled = try input.read(into: buffer)
    next = 0
    return filled == 0
  }

  /// Copies the next bytes, and fails where the archive ends before.
  func read(_ count: Int, into target: HeapBuffer, at start: Int) throws(CommandFailure) {
    let buffer = self.buffer
    var done = 0
    while done < count {
      guard try !isAtEnd() else { throw truncated }
      let part = min(count - done, filled - next)
      var bytes = target.mutableBytes
      bytes.copy(buffer.bytes.extracting(next..<next + part), to: start + done)
      next += part
      done += part
      offset += UInt64(part)
    }
  }

  /// The next bytes; nil where the archive ends exactly here.
  func block(_ count: Int) throws(CommandFailure) -> [UInt8]? {
    if try isAtEnd() { return nil }
    return try bytes(count)
  }

  /// The next bytes.
  func bytes(_ count: Int) throws(CommandFailure) -> [UInt8] {
    let result = HeapBuffer(byteCount: count, alignment: 16)
    try read(count, into: result, at: 0)
    return result.bytes.copiedBytes
  }

  /// Goes past bytes.
  func skip(_ count: UInt64) throws(CommandFailure) {
    var left = count
    while left > 0 {
      guard try !isAtEnd() else { throw truncated }
      let part = min(left, UInt64(filled - next))
      next += Int(part)
      offset += part
      left -= part
    }
  }

  private var truncated: CommandFailure {
    TarError.failure("it is truncated: it ends before its end", at: offset)
  }
}

/// Fields of a header.
enum TarField {
  /// Bytes up to the first zero.
  static func text(_ block: [UInt8], _ range: Range<Int>) -> [UInt8] {
    Array(block[range].prefix { $0 != 0 })
  }

  /// A number: octal digits with spaces and zeros around, or binary where the first bit is set.
  ///
  /// - Returns: nil for neither, and for what does not fit.
  static func number(_ block: [UInt8], _ range: Range<Int>) -> Int64? {
    let field = block[range]
    guard let first = field.first else { return nil }
    if first & 0x80 != 0 { return binary(field) }
    let space = UInt8(ascii: " ")
    let rest = field.drop { $0 == space }
    let digits = rest.prefix { $0 != space && $0 != 0 }
    guard rest.dropFirst(digits.count).allSatisfy({ $0 == space || $0 == 0 }) else { return nil }
    var value: Int64 = 0
    for digit in digits {
      guard (0x30...0x37).contains(digit), value >> 60 == 0 else { return nil }
      value = value << 3 | Int64(digit - 0x30)
    }
    return value
  }

  private static func binary(_ field: ArraySlice<UInt8>) -> Int64? {
    guard let first = field.first else { return nil }
    let isNegative = first == 0xff
    guard isNegative || first == 0x80 else { return nil }
    var value: Int64 = isNegative ? -1 : 0
    for byte in field.dropFirst() {
      let (product, overflow) = value.multipliedReportingOverflow(by: 256)
      guard !overflow else { return nil }
      value = product | Int64(byte)
    }
    return value
  }

  /// Whether the sum that a header says is its own; some programs took bytes as signed.
  static func isSumRight(_ block: [UInt8]) -> Bool {
    guard let expected = number(block, 148..<156) else { return false }
    var (unsigned, signed) = (Int64(0), Int64(0))
    for (index, byte) in block.enumerated() {
      let counted = 148..<156 ~= index ? UInt8(ascii: " ") : byte
      unsigned += Int64(counted)
      signed += Int64(Int8(bitPattern: counted))
    }
    return expected == unsigned || expected == signed
  }

  /// Nanoseconds of a decimal number of seconds: `-1.5`; digits behind the ninth are cut off.
  static func time(_ text: [UInt8]) -> Int64? {
    let isNegative = text.first == UInt8(ascii: "-")
    let parts = text.dropFirst(isNegative ? 1 : 0).split(
      separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
    guard let whole = decimal(parts[0]), let seconds = Int64(exactly: whole) else { return nil }
    var fraction: Int64 = 0
    if parts.count == 2 {
      let digits = parts[1].prefix(9)
      guard parts[1].allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
      for place in 0..<9 {
        let index = digits.startIndex + place
        fraction = fraction * 10 + (index < digits.endIndex ? Int64(digits[index] - 0x30) : 0)
      }
    }
    let (product, tooFar) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, overflow) = product.addingReportingOverflow(fraction)
    guard !tooFar, !overflow else { return nil }
    return isNegative ? -sum : sum
  }

  /// A number in decimal digits, nothing else.
  static func decimal(_ text: some Collection<UInt8>) -> UInt64? {
    guard !text.isEmpty, text.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return UInt64(String(decoding: text, as: UTF8.self))
  }
}
