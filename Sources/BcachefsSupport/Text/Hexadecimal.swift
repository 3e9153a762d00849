// SPDX-License-Identifier: GPL-2.0
// Bytes as hexadecimal digits, two a byte, lower case.

extension Sequence<UInt8> {
  /// The bytes as digits.
  public var hexadecimal: String {
    var text = ""
    for byte in self { text += (byte < 16 ? "0" : "") + String(byte, radix: 16) }
    return text
  }
}

extension [UInt8] {
  /// The bytes that digits stand for; nil for anything else.
  public init?(hexadecimal text: some StringProtocol) {
    self.init()
    var rest = text[...]
    while !rest.isEmpty {
      guard rest.count >= 2, let byte = UInt8(rest.prefix(2), radix: 16) else { return nil }
      append(byte)
      rest = rest.dropFirst(2)
    }
  }
}
