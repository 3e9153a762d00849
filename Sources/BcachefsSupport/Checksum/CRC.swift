// SPDX-License-Identifier: GPL-2.0
// The two cyclic redundancy checks, as ISA-L computes them, without inversions of our own.
//
// How it works
//   1. A CRC here is a plain polynomial remainder: `update(0, _)` of zeros is 0, and
//      `update(update(s, a), b) == update(s, a + b)`. Callers choose seed and final inversion, as
//      with the kernel's `crc32c(seed, ..)` and `crc64_be(seed, ..)`.
//   2. ISA-L's crc32_iscsi already is such a function; its crc64 functions invert on entry and on
//      exit, which is undone here.
//   3. The remainder of A followed by n bytes is A * x^(8n) plus the remainder of those bytes, so
//      two checksums merge with one multiplication per bit set in n. `powers[k]` is x^(2^k).
//
// Source: lib/crc32.c, lib/crc64.c (names of the kernel's functions); ISA-L crc.h, crc64.h.

internal import CISAL

/// CRC-32C: polynomial 0x1EDC6F41 (Castagnoli), bits reflected, no inversion.
public enum CRC32C {
  /// ISA-L takes a C `int`: longer spans go in pieces of this many bytes.
  private static let pieceBytes = 1 << 30

  /// The remainder after `bytes`, starting from `crc`. (C: `crc32c`.)
  public static func update(_ crc: UInt32, _ bytes: RawSpan) -> UInt32 {
    unsafe bytes.withUnsafeBytes { buffer in
      guard let base = buffer.baseAddress else { return crc }
      var remainder = crc
      var offset = 0
      while offset < buffer.count {
        let count = min(buffer.count - offset, pieceBytes)
        // ISA-L only reads, though its prototype lacks the `const`.
        let start = unsafe UnsafeMutablePointer(
          mutating: (base + offset).assumingMemoryBound(to: UInt8.self))
        remainder = unsafe crc32_iscsi(start, Int32(count), remainder)
        offset += count
      }
      return remainder
    }
  }

  /// The remainder after `byteCount` zero bytes, starting from `crc`.
  ///
  /// - Complexity: one multiplication per bit set in `byteCount`.
  public static func appendingZeros(_ crc: UInt32, byteCount: Int) -> UInt32 {
    invariant(byteCount >= 0, "a length is not negative")
    var product = crc
    var bits = UInt(byteCount)
    var power = 3  // a byte is x^(2^3)
    while bits != 0 {
      if bits & 1 == 1 { product = multiply(product, powers[power]) }
      bits >>= 1
      power += 1
    }
    return product
  }

  /// The checksum (seed 0) of A followed by B, from the checksums of both (seed 0).
  public static func merge(_ first: UInt32, _ second: UInt32, secondByteCount: Int) -> UInt32 {
    appendingZeros(first, byteCount: secondByteCount) ^ second
  }

  /// a * b modulo the polynomial. Bit 31 is the coefficient of x^0.
  private static func multiply(_ a: UInt32, _ b: UInt32) -> UInt32 {
    var product: UInt32 = 0
    var shifted = b
    var mask: UInt32 = 1 << 31
    while mask != 0 {
      if a & mask != 0 { product ^= shifted }
      shifted = (shifted >> 1) ^ (shifted & 1 == 1 ? 0x82F6_3B78 : 0)
      mask >>= 1
    }
    return product
  }

  private static let powers: [UInt32] = {
    var table: [UInt32] = [1 << 30]  // x^1
    while table.count < Int.bitWidth + 3 {
      let last = table[table.count - 1]
      table.append(multiply(last, last))
    }
    return table
  }()
}

/// CRC-64 of ECMA-182: polynomial 0x42F0E1EBA9EA3693, highest bit first, no inversion.
public enum CRC64 {
  /// The remainder after `bytes`, starting from `crc`. (C: `crc64_be`.)
  public static func update(_ crc: UInt64, _ bytes: RawSpan) -> UInt64 {
    unsafe bytes.withUnsafeBytes { buffer in
      guard let base = buffer.baseAddress else { return crc }
      return unsafe ~crc64_ecma_norm(
        ~crc, base.assumingMemoryBound(to: UInt8.self), UInt64(buffer.count))
    }
  }

  /// The remainder after `byteCount` zero bytes, starting from `crc`.
  ///
  /// - Complexity: one multiplication per bit set in `byteCount`.
  public static func appendingZeros(_ crc: UInt64, byteCount: Int) -> UInt64 {
    invariant(byteCount >= 0, "a length is not negative")
    var product = crc
    var bits = UInt(byteCount)
    var power = 3  // a byte is x^(2^3)
    while bits != 0 {
      if bits & 1 == 1 { product = multiply(product, powers[power]) }
      bits >>= 1
      power += 1
    }
    return product
  }

  /// The checksum (seed 0) of A followed by B, from the checksums of both (seed 0).
  public static func merge(_ first: UInt64, _ second: UInt64, secondByteCount: Int) -> UInt64 {
    appendingZeros(first, byteCount: secondByteCount) ^ second
  }

  /// a * b modulo the polynomial. Bit 0 is the coefficient of x^0.
  private static func multiply(_ a: UInt64, _ b: UInt64) -> UInt64 {
    var product: UInt64 = 0
    var shifted = b
    var rest = a
    while rest != 0 {
      if rest & 1 == 1 { product ^= shifted }
      shifted = (shifted << 1) ^ (shifted >> 63 == 1 ? 0x42F0_E1EB_A9EA_3693 : 0)
      rest >>= 1
    }
    return product
  }

  private static let powers: [UInt64] = {
    var table: [UInt64] = [2]  // x^1
    while table.count < Int.bitWidth + 3 {
      let last = table[table.count - 1]
      table.append(multiply(last, last))
    }
    return table
  }()
}
