// SPDX-License-Identifier: GPL-2.0
// Variable-length integers: one to nine bytes, the length in the first byte's low bits.
//
// The number of trailing ones of the first byte, plus one, is the length n in bytes; for n below 9
// the bytes are a little-endian integer whose low n bits are that marker and whose other 7n bits
// are the value. 0xff stands before a full eight-byte value. Upstream's `fast` forms differ only in
// touching memory beyond the integer, never in its bytes.
// Source: bcachefs varint.c.

/// Variable-length integers as inodes and old alloc keys use them.
public enum Varint {
  /// The most bytes one takes.
  public static let maxByteCount = 9

  /// Bytes that `value` takes.
  @inlinable public static func byteCount(_ value: UInt64) -> Int {
    let bits = 64 &- (value | 1).leadingZeroBitCount
    return min((bits &+ 6) / 7, maxByteCount)
  }

  /// Decodes one at `byteOffset`, and moves the offset past it.
  ///
  /// - Returns: nil, with the offset unmoved, if it does not end within `bytes`.
  @inlinable public static func decode(_ bytes: RawSpan, at byteOffset: inout Int) -> UInt64? {
    guard byteOffset >= 0, byteOffset < bytes.byteCount else { return nil }
    let first = bytes[LEField<UInt8>(byteOffset)]
    let count = (~first).trailingZeroBitCount &+ 1
    guard count <= bytes.byteCount &- byteOffset else { return nil }
    let start = byteOffset
    byteOffset &+= count
    if count == 9 { return bytes[LEField<UInt64>(start &+ 1)] }
    var word: UInt64 = 0
    if bytes.byteCount &- start >= 8 {
      word = bytes[LEField<UInt64>(start)]
    } else {
      for index in 0..<count {
        word |= UInt64(bytes[LEField<UInt8>(start &+ index)]) << UInt64(index &* 8)
      }
    }
    word >>= UInt64(count)
    return word & (1 << UInt64(7 &* count) &- 1)
  }

  /// Encodes `value` at `byteOffset`, and moves the offset past it.
  ///
  /// - Precondition: `bytes` has room for `byteCount(value)` bytes there.
  @inlinable public static func encode(
    _ value: UInt64, into bytes: inout MutableRawSpan, at byteOffset: inout Int
  ) {
    let count = byteCount(value)
    if count == 9 {
      bytes[LEField<UInt8>(byteOffset)] = 0xff
      bytes[LEField<UInt64>(byteOffset &+ 1)] = value
    } else {
      var word = value << UInt64(count) | (1 << UInt64(count &- 1) &- 1)
      for index in 0..<count {
        bytes[LEField<UInt8>(byteOffset &+ index)] = UInt8(truncatingIfNeeded: word)
        word >>= 8
      }
    }
    byteOffset &+= count
  }
}
