// SPDX-License-Identifier: GPL-2.0
// The 16 bytes that make every piece of encrypted data different: block counter and number.

/// A ChaCha20 nonce (`struct nonce`): `counter` counts 64-byte blocks of key stream, the other
/// three words are the nonce of RFC 8439. Words are values of the CPU; on disk they are
/// little-endian.
@frozen
public struct Nonce: Hashable, Sendable, CustomStringConvertible {
  /// `d[0]`: the block counter. It wraps without a carry.
  public var counter: UInt32
  /// `d[1]`.
  public var word1: UInt32
  /// `d[2]`.
  public var word2: UInt32
  /// `d[3]`: its high bits say what kind of data this is.
  public var word3: UInt32

  /// What a nonce is for; XORed into `word3`. (C: `BCH_NONCE_EXTENT` and so on.)
  public enum Domain: UInt32, Sendable {
    case extent = 0x1000_0000
    case btree = 0x2000_0000
    case journal = 0x3000_0000
    case prio = 0x4000_0000
    /// The one-time key of an authentication code, beside the data's own nonce.
    case poly = 0x8000_0000
  }

  @inlinable
  public init(counter: UInt32, _ word1: UInt32, _ word2: UInt32, _ word3: UInt32) {
    self.counter = counter
    self.word1 = word1
    self.word2 = word2
    self.word3 = word3
  }

  /// (C: `null_nonce`.)
  @inlinable public static var zero: Nonce { Nonce(counter: 0, 0, 0, 0) }

  /// The nonce of the key in the superblock. (C: `__bch2_sb_key_nonce`.)
  ///
  /// - Parameter superblockMagic: The first 8 bytes of the volume's internal UUID, as a
  ///   little-endian number (C: `__bch2_sb_magic`).
  @inlinable
  public init(superblockMagic: UInt64) {
    self.init(
      counter: 0, 0, UInt32(truncatingIfNeeded: superblockMagic),
      UInt32(truncatingIfNeeded: superblockMagic >> 32))
  }

  /// The nonce of the data `byteCount` bytes further on. (C: `nonce_add`.)
  ///
  /// - Precondition: `byteCount` is a multiple of 64.
  @inlinable
  public func adding(bytes byteCount: Int) -> Nonce {
    assert(byteCount & 63 == 0, "a nonce counts blocks of 64 bytes")
    var nonce = self
    nonce.counter &+= UInt32(truncatingIfNeeded: byteCount >> 6)
    return nonce
  }

  /// With the bits of `domain` flipped.
  @inlinable
  public func flipping(_ domain: Domain) -> Nonce {
    var nonce = self
    nonce.word3 ^= domain.rawValue
    return nonce
  }

  public var description: String {
    [counter, word1, word2, word3].map { String($0, radix: 16) }.joined(separator: ":")
  }
}
