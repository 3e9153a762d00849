// SPDX-License-Identifier: GPL-2.0
// Small tools for reading and writing the superblock's sections: cold code, checked at every step.

internal import BcachefsSupport

extension LEField {
  /// The same field in a structure that starts `base` bytes further on.
  func at(_ base: Int) -> LEField { LEField(base + offset) }
}

extension RawSpan {
  /// A copy of the bytes from `start` to the end; empty when there are none.
  func copyOfBytes(from start: Int) -> [UInt8] {
    start < byteCount ? copyOfBytes(in: start..<byteCount) : []
  }

  /// A copy of some bytes.
  /// - Precondition: the span covers `range`.
  func copyOfBytes(in range: Range<Int>) -> [UInt8] {
    extracting(range).copiedBytes
  }
}

extension [UInt8] {
  /// Stores a number where its layout says.
  /// - Precondition: the array covers `field`.
  mutating func put<V>(_ value: V, _ field: LEField<V>) {
    var rest = value
    for index in field.offset..<field.end {
      self[index] = UInt8(truncatingIfNeeded: rest)
      if V.bitWidth > 8 { rest >>= 8 }
    }
  }

  /// Stores a UUID.
  /// - Precondition: the array covers its 16 bytes.
  mutating func put(_ uuid: UUID, at offset: Int) {
    put(uuid.lo, LEField(offset))
    put(uuid.hi, LEField(offset + 8))
  }

  /// Overwrites from `offset` on.
  /// - Precondition: the array covers the bytes.
  mutating func put(bytes: some Collection<UInt8>, at offset: Int) {
    replaceSubrange(offset..<offset + bytes.count, with: bytes)
  }

  /// The bytes rounded up to whole u64s with zeros.
  func paddedToU64s() -> [UInt8] {
    self + [UInt8](repeating: 0, count: (8 - count % 8) % 8)
  }
}
