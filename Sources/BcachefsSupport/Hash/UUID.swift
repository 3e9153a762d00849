// SPDX-License-Identifier: GPL-2.0
// Universally unique identifiers (RFC 9562): 16 bytes in the order in which they are printed.

/// A UUID (`__uuid_t`).
@frozen
public struct UUID: Hashable, Sendable, Comparable, LosslessStringConvertible {
  /// Bytes 0 ..< 8 as a little-endian number (of a volume's internal UUID: its magic).
  public var lo: UInt64
  /// Bytes 8 ..< 16 as a little-endian number.
  public var hi: UInt64

  @inlinable public static var byteCount: Int { 16 }
  @inlinable public static var zero: UUID { UUID(lo: 0, hi: 0) }

  @inlinable
  public init(lo: UInt64, hi: UInt64) {
    self.lo = lo
    self.hi = hi
  }

  /// - Precondition: 16 bytes from `byteOffset` on lie within `bytes`.
  @inlinable
  public init(decoding bytes: RawSpan, at byteOffset: Int = 0) {
    lo = bytes.loadLittleEndian(at: byteOffset)
    hi = bytes.loadLittleEndian(at: byteOffset + 8)
  }

  /// A random UUID (version 4).
  public init(using random: inout RandomSource) {
    lo = random.next()
    hi = random.next()
    // The version is in the high half of byte 6, the variant in the top bits of byte 8.
    lo = lo & ~(0xF0 << 48) | 0x40 << 48
    hi = hi & ~0xC0 | 0x80
  }

  /// 32 hexadecimal digits of either case, with hyphens after 8, 12, 16 and 20 of them.
  public init?(_ description: String) {
    self.init(lo: 0, hi: 0)
    var digits = 0
    for character in description.utf8 {
      if [8, 13, 18, 23].contains(digits) {
        guard character == UInt8(ascii: "-") else { return nil }
      } else {
        guard digits < 36, let digit = Character(UnicodeScalar(character)).hexDigitValue else {
          return nil
        }
        let position =
          digits - (digits > 8 ? 1 : 0) - (digits > 13 ? 1 : 0)
          - (digits > 18 ? 1 : 0) - (digits > 23 ? 1 : 0)
        setDigit(position, UInt64(digit))
      }
      digits += 1
    }
    guard digits == 36 else { return nil }
  }

  private mutating func setDigit(_ position: Int, _ digit: UInt64) {
    let shift = UInt64(8 * (position / 2 % 8) + (position & 1 == 0 ? 4 : 0))
    if position < 16 { lo |= digit << shift } else { hi |= digit << shift }
  }

  /// Byte `index`, 0 ..< 16.
  @inlinable
  public subscript(byte index: Int) -> UInt8 {
    invariant(index >= 0 && index < 16, "a UUID has 16 bytes")
    return UInt8(truncatingIfNeeded: (index < 8 ? lo : hi) >> UInt64(8 * (index & 7)))
  }

  /// Writes 16 bytes at `byteOffset`.
  @inlinable
  public func encode(into bytes: inout MutableRawSpan, at byteOffset: Int = 0) {
    bytes.storeBytes(of: lo.littleEndian, toByteOffset: byteOffset, as: UInt64.self)
    bytes.storeBytes(of: hi.littleEndian, toByteOffset: byteOffset + 8, as: UInt64.self)
  }

  @inlinable public var isZero: Bool { lo | hi == 0 }

  /// The order of the bytes, and so of the text.
  public static func < (left: UUID, right: UUID) -> Bool {
    (left.lo.byteSwapped, left.hi.byteSwapped) < (right.lo.byteSwapped, right.hi.byteSwapped)
  }

  /// Lower case, as in `01234567-89ab-cdef-0123-456789abcdef`.
  public var description: String {
    var text = ""
    for index in 0..<16 {
      if [4, 6, 8, 10].contains(index) { text += "-" }
      let byte = self[byte: index]
      text += byte < 16 ? "0" : ""
      text += String(byte, radix: 16)
    }
    return text
  }
}
