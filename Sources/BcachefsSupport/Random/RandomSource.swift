// SPDX-License-Identifier: GPL-2.0
// Randomness is injected: a volume made twice from one seed is twice the same volume.

internal import CSodium

/// A small generator for seeding others and for tests (SplitMix64, by Steele, Lea and Flood).
@frozen
public struct SplitMix64: RandomNumberGenerator, Sendable {
  @usableFromInline var state: UInt64

  @inlinable public init(seed: UInt64) { state = seed }

  @inlinable
  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// A fast generator with a long period (xoshiro256**, by Blackman and Vigna).
@frozen
public struct Xoshiro256: RandomNumberGenerator, Sendable {
  @usableFromInline var s0: UInt64
  @usableFromInline var s1: UInt64
  @usableFromInline var s2: UInt64
  @usableFromInline var s3: UInt64

  /// The state is expanded from `seed` by SplitMix64, as its authors ask for.
  @inlinable
  public init(seed: UInt64) {
    var expander = SplitMix64(seed: seed)
    self.init(
      state: expander.next(), expander.next(), expander.next(), expander.next())
  }

  /// - Precondition: Not all four words are zero.
  @inlinable
  public init(state s0: UInt64, _ s1: UInt64, _ s2: UInt64, _ s3: UInt64) {
    self.s0 = s0
    self.s1 = s1
    self.s2 = s2
    self.s3 = s3
  }

  @inlinable
  public mutating func next() -> UInt64 {
    let product = s1 &* 5
    let result = ((product << 7) | (product >> 57)) &* 9
    let shifted = s1 << 17
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = (s3 << 45) | (s3 >> 19)
    return result
  }
}

/// Where random numbers come from: a seed, or the system.
public enum RandomSource: RandomNumberGenerator, Sendable {
  case seeded(Xoshiro256)
  /// The kernel's entropy, fit for keys.
  case system

  /// A source that always gives the same numbers.
  public init(seed: UInt64) { self = .seeded(Xoshiro256(seed: seed)) }

  public mutating func next() -> UInt64 {
    switch self {
    case .seeded(var generator):
      let value = generator.next()
      self = .seeded(generator)
      return value
    case .system:
      Sodium.require()
      return UInt64(randombytes_random()) << 32 | UInt64(randombytes_random())
    }
  }

  /// Fills `bytes`; the same bytes for the same seed on every machine.
  public mutating func fill(_ bytes: inout MutableRawSpan) {
    var offset = 0
    while offset < bytes.byteCount {
      var word = next()
      for index in offset..<min(offset + 8, bytes.byteCount) {
        bytes.storeBytes(
          of: UInt8(truncatingIfNeeded: word), toByteOffset: index, as: UInt8.self)
        word >>= 8
      }
      offset += 8
    }
  }
}
