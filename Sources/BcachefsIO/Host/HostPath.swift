// SPDX-License-Identifier: GPL-2.0
// Names and paths of the host: bytes, whatever they spell.

/// A path relative to the root of a `HostTree`; empty for the root itself. Any length.
public struct HostPath: Sendable, Hashable {
  /// The components, each without `/` and NUL, with one `/` between two of them.
  public let bytes: [UInt8]

  /// The root of the tree.
  public static let root = HostPath(bytes: [])

  /// - Parameter bytes: Components with `/` between them; checked when the path is opened.
  public init(bytes: [UInt8]) { self.bytes = bytes }

  /// - Parameter text: Components with `/` between them; checked when the path is opened.
  public init(_ text: String) { self.init(bytes: Array(text.utf8)) }

  /// Whether this is the root of the tree.
  public var isRoot: Bool { bytes.isEmpty }

  /// The path of `name` in the directory that this path names.
  public func appending(_ name: Span<UInt8>) -> HostPath {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + 1 + name.count)
    result.append(contentsOf: bytes)
    if !bytes.isEmpty { result.append(UInt8(ascii: "/")) }
    for index in name.indices { result.append(name[index]) }
    return HostPath(bytes: result)
  }

  /// The path of `name` in the directory that this path names.
  public func appending(_ name: [UInt8]) -> HostPath { appending(name.span) }
}

extension HostPath: CustomStringConvertible {
  /// As it is typed, with `\xNN` for what cannot be printed, and `.` for the root.
  public var description: String { isRoot ? "." : escapedName(bytes) }
}

/// `bytes` for a person: printable UTF-8 stays, any other byte is `\xNN`, a backslash is doubled.
func escapedName(_ bytes: some Collection<UInt8>) -> String {
  var text = ""
  var decoder = Unicode.UTF8.ForwardParser()
  var start = bytes.startIndex
  var iterator = bytes.makeIterator()
  while true {
    switch decoder.parseScalar(from: &iterator) {
    case .valid(let encoded):
      let next = bytes.index(start, offsetBy: encoded.count)
      let scalar = Unicode.UTF8.decode(encoded)
      if scalar == "\\" {
        text += "\\\\"
      } else if isPrintable(scalar) {
        text.unicodeScalars.append(scalar)
      } else {
        for byte in bytes[start..<next] { text += hexEscape(byte) }
      }
      start = next
    case .error(let byteCount):
      let next = bytes.index(start, offsetBy: byteCount)
      for byte in bytes[start..<next] { text += hexEscape(byte) }
      start = next
    case .emptyInput:
      return text
    }
  }
}

private func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.properties.generalCategory {
  case .control, .format, .lineSeparator, .paragraphSeparator: false
  default: true
  }
}

private func hexEscape(_ byte: UInt8) -> String {
  let digits = String(byte, radix: 16)
  return digits.utf8.count == 1 ? "\\x0\(digits)" : "\\x\(digits)"
}

/// Calls `body` with `name` as a C string; nil if it is none of a directory's children: empty, `.`,
/// `..`, or with `/` or NUL in it.
func withComponent<Result>(
  _ name: Span<UInt8>, _ body: (UnsafePointer<CChar>) -> Result
) -> Result? {
  let count = name.count
  let dot = UInt8(ascii: ".")
  guard count > 0, count < 4096 else { return nil }
  if name[0] == dot && (count == 1 || count == 2 && name[1] == dot) { return nil }
  return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: count + 1) { copy in
    for index in 0..<count {
      let byte = name[index]
      if byte == 0 || byte == UInt8(ascii: "/") { return nil }
      unsafe copy.initializeElement(at: index, to: CChar(bitPattern: byte))
    }
    unsafe copy.initializeElement(at: count, to: 0)
    guard let base = copy.baseAddress else { return nil }
    return unsafe body(base)
  }
}
