// SPDX-License-Identifier: GPL-2.0
// SipHash-2-4: names to hashes that nobody without the key can predict.
//
// How it works
//   1. Four words of state, keyed; each 8 bytes of input is mixed in by two rounds, the length and
//      what is left over by two more, and four rounds finish.
//   2. `update` may be called with pieces. The driver's own implementation goes wrong then: when
//      a piece completes 8 bytes that an earlier piece began, what remains of it is put not at
//      the beginning of the next 8 bytes but where the earlier piece ended. Names of extended
//      attributes are hashed in two pieces (type, then name), so these hashes are on every disk.
//      `driverHash` computes them.
//
// Source: J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF"; fs/bcachefs/siphash.c
// (SipHash_Update), xattr.c (bch2_xattr_hash).

/// SipHash-2-4 of everything passed to `update`.
@frozen
public struct SipHash24: Sendable {
  @usableFromInline var v0: UInt64
  @usableFromInline var v1: UInt64
  @usableFromInline var v2: UInt64
  @usableFromInline var v3: UInt64
  /// The bytes of the last, incomplete word; the first is lowest.
  @usableFromInline var tail: UInt64 = 0
  /// All bytes so far.
  @usableFromInline var byteCount: Int = 0

  /// - Parameters:
  ///   - k0: The first 8 bytes of the key, as a little-endian number.
  ///   - k1: The other 8 bytes.
  @inlinable
  public init(k0: UInt64, k1: UInt64) {
    v0 = 0x736F_6D65_7073_6575 ^ k0
    v1 = 0x646F_7261_6E64_6F6D ^ k1
    v2 = 0x6C79_6765_6E65_7261 ^ k0
    v3 = 0x7465_6462_7974_6573 ^ k1
  }

  /// Appends `bytes`.
  @inlinable
  public mutating func update(_ bytes: RawSpan) {
    let count = bytes.byteCount
    var offset = 0
    while byteCount & 7 != 0 && offset < count {
      append(unsafe bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self))
      offset += 1
    }
    while count - offset >= 8 {
      compress(bytes.loadLittleEndian(at: offset))
      byteCount += 8
      offset += 8
    }
    while offset < count {
      append(unsafe bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self))
      offset += 1
    }
  }

  /// The hash of everything so far.
  @inlinable
  public consuming func finish() -> UInt64 {
    compress(tail | UInt64(truncatingIfNeeded: byteCount) << 56)
    v2 ^= 0xFF
    for _ in 0..<4 { round() }
    return v0 ^ v1 ^ v2 ^ v3
  }

  /// The hash of `bytes` under a key.
  @inlinable
  public static func hash(_ bytes: RawSpan, k0: UInt64, k1: UInt64) -> UInt64 {
    var state = SipHash24(k0: k0, k1: k1)
    state.update(bytes)
    return state.finish()
  }

  /// The driver's hash of one byte followed by `bytes` as a piece of its own: not the SipHash of
  /// both when `bytes` completes a word and leaves something over (see the head of this file).
  public static func driverHash(
    first: UInt8, then bytes: RawSpan, k0: UInt64, k1: UInt64
  ) -> UInt64 {
    var state = SipHash24(k0: k0, k1: k1)
    state.append(first)
    state.update(bytes)
    let left = state.byteCount & 7
    if bytes.byteCount >= 7 && left > 0 {
      // What is left over lies one byte too far on, behind the first byte, which still stands
      // there; as many bytes count as are left over, so that its last one is lost.
      let mask = (1 as UInt64) << UInt64(8 * left) - 1
      state.tail = (state.tail << 8 | UInt64(first)) & mask
    }
    return state.finish()
  }

  @inlinable
  mutating func append(_ byte: UInt8) {
    tail |= UInt64(byte) << UInt64(8 * (byteCount & 7))
    byteCount += 1
    if byteCount & 7 == 0 {
      compress(tail)
      tail = 0
    }
  }

  @inlinable
  mutating func compress(_ word: UInt64) {
    v3 ^= word
    round()
    round()
    v0 ^= word
  }

  @inlinable
  @inline(__always)
  mutating func round() {
    v0 &+= v1
    v2 &+= v3
    v1 = (v1 << 13 | v1 >> 51) ^ v0
    v3 = (v3 << 16 | v3 >> 48) ^ v2
    v0 = v0 << 32 | v0 >> 32
    v2 &+= v1
    v0 &+= v3
    v1 = (v1 << 17 | v1 >> 47) ^ v2
    v3 = (v3 << 21 | v3 >> 43) ^ v0
    v2 = v2 << 32 | v2 >> 32
  }
}
