// SPDX-License-Identifier: GPL-2.0
// From a passphrase to the volume's key: scrypt, and the wrapped key of the superblock.
//
// How it works
//   1. A volume has one random key for everything. The superblock's crypt section stores it in 40
//      bytes: the number `bch**key`, then the key.
//   2. Without a passphrase these bytes stand there as they are. With one they are encrypted by
//      ChaCha20 under the passphrase's key and the superblock's nonce. The number is what tells
//      a plain key from a wrapped one, and a right passphrase from a wrong one.
//   3. The passphrase's key is scrypt of the passphrase with a salt that is the same everywhere
//      (the six letters of `bcache` and a zero byte) and the costs that the section names.
//
// Invariants
//   (1) Costs come from disk: they are bounded before memory is taken or time is spent.
//
// On disk: `struct bch_encrypted_key`, 40 bytes; costs as logarithms to base 2, 16 bits each, in
// `kdf_flags` of `struct bch_sb_field_crypt`.
// Source: c_src/crypto.c of bcachefs-tools; bch2_decrypt_sb_key (checksum.c); RFC 7914.

internal import CSodium

/// Why the volume's key is not to be had.
public enum EncryptionError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The passphrase (or the key in its place) is not the volume's.
  case wrongPassphrase
  /// The key is wrapped, and no passphrase was given.
  case passphraseNeeded
  /// Costs that would take more than 1 GiB of memory or minutes of time.
  case unreasonableCosts(ScryptCosts)
  /// The derivation failed for want of memory.
  case outOfMemory

  public var description: String {
    switch self {
    case .wrongPassphrase: "incorrect passphrase"
    case .passphraseNeeded: "the volume is encrypted: a passphrase is needed"
    case .unreasonableCosts(let costs): "scrypt costs are out of bounds: \(costs)"
    case .outOfMemory: "not enough memory to derive the key"
    }
  }
}

/// What scrypt shall cost, each as a logarithm to base 2.
@frozen
public struct ScryptCosts: Hashable, Sendable, CustomStringConvertible {
  /// CPU and memory. (C: `BCH_KDF_SCRYPT_N`.)
  public var logN: UInt16
  /// Block size. (C: `BCH_KDF_SCRYPT_R`.)
  public var logR: UInt16
  /// Parallelism. (C: `BCH_KDF_SCRYPT_P`.)
  public var logP: UInt16

  @inlinable
  public init(logN: UInt16, logR: UInt16, logP: UInt16) {
    self.logN = logN
    self.logR = logR
    self.logP = logP
  }

  /// What a new volume gets: N 16384, r 8, p 16.
  public static let standard = ScryptCosts(logN: 14, logR: 3, logP: 4)

  /// From the word of the superblock (`kdf_flags`).
  @inlinable
  public init(kdfFlags: UInt64) {
    self.init(
      logN: UInt16(truncatingIfNeeded: kdfFlags), logR: UInt16(truncatingIfNeeded: kdfFlags >> 16),
      logP: UInt16(truncatingIfNeeded: kdfFlags >> 32))
  }

  /// The word of the superblock (`kdf_flags`).
  @inlinable public var kdfFlags: UInt64 {
    UInt64(logN) | UInt64(logR) << 16 | UInt64(logP) << 32
  }

  /// At most 1 GiB of memory, and at most 64 times the work of `standard`.
  public var isReasonable: Bool {
    let (n, r, p) = (Int(logN), Int(logR), Int(logP))
    return n >= 1 && n + r + 7 <= 30 && r + p + 7 <= 30 && n + r + p <= 27
  }

  public var description: String { "N 2^\(logN), r 2^\(logR), p 2^\(logP)" }
}

extension EncryptionKey {
  /// The key that a passphrase stands for. (C: `derive_passphrase`, `BCH_KDF_SCRYPT`.)
  ///
  /// - Parameters:
  ///   - passphrase: Its bytes, without a line end or a zero.
  ///   - costs: As the superblock says.
  /// - Throws: `.unreasonableCosts`, `.outOfMemory`.
  /// - Complexity: with `ScryptCosts.standard` 16 MiB and some tenths of a second.
  public convenience init(
    passphrase: RawSpan, costs: ScryptCosts
  ) throws(EncryptionError) {
    let salt: InlineArray<7, UInt8> = [0x62, 0x63, 0x61, 0x63, 0x68, 0x65, 0]
    try self.init(scryptOf: passphrase, salt: salt.rawBytes, costs: costs)
  }

  /// scrypt with any salt, 32 bytes of output (RFC 7914).
  ///
  /// - Throws: `.unreasonableCosts`, `.outOfMemory`.
  public convenience init(
    scryptOf passphrase: RawSpan, salt: RawSpan, costs: ScryptCosts
  ) throws(EncryptionError) {
    guard costs.isReasonable else { throw .unreasonableCosts(costs) }
    Sodium.require()
    var derived = InlineArray<32, UInt8>(repeating: 0)
    var output = derived.mutableRawBytes
    let result = unsafe passphrase.withUnsafeBytes { secret in
      unsafe salt.withUnsafeBytes { salt in
        unsafe output.withUnsafeMutableBytes { output -> Int32 in
          guard let key = unsafe output.bindMemory(to: UInt8.self).baseAddress else { return -1 }
          // Where nothing is to be read, any address will do.
          let secretBase = unsafe secret.bindMemory(to: UInt8.self).baseAddress
          let saltBase = unsafe salt.bindMemory(to: UInt8.self).baseAddress
          return unsafe crypto_pwhash_scryptsalsa208sha256_ll(
            secretBase ?? UnsafePointer(key), secret.count, saltBase ?? UnsafePointer(key),
            salt.count, UInt64(1) << UInt64(costs.logN), UInt32(1) << UInt32(costs.logR),
            UInt32(1) << UInt32(costs.logP), key, output.count)
        }
      }
    }
    self.init(copying: output.bytes)
    unsafe output.withUnsafeMutableBytes { unsafe sodium_memzero($0.baseAddress, $0.count) }
    guard result == 0 else { throw .outOfMemory }
  }
}

/// The volume's key as the superblock stores it (`struct bch_encrypted_key`).
@frozen
public struct StoredKey: Equatable, Sendable {
  /// `bch**key` as a little-endian number. (C: `BCH_KEY_MAGIC`.)
  public static let magic: UInt64 = 0x7965_6B2A_2A68_6362
  public static let byteCount = 40

  /// `magic`, then the key in four little-endian words; or all of it encrypted.
  public var words: InlineArray<5, UInt64>

  @inlinable
  public init(words: InlineArray<5, UInt64>) { self.words = words }

  /// - Precondition: 40 bytes from `byteOffset` on lie within `bytes`.
  public init(decoding bytes: RawSpan, at byteOffset: Int = 0) {
    words = InlineArray { index in
      bytes.loadLittleEndian(at: byteOffset + 8 * index, as: UInt64.self)
    }
  }

  /// A key that anybody may read.
  public init(plain key: EncryptionKey) {
    var bytes = InlineArray<40, UInt8>(repeating: 0)
    var span = bytes.mutableRawBytes
    span.storeBytes(of: Self.magic.littleEndian, toByteOffset: 0, as: UInt64.self)
    key.copyBytes(into: &span, at: 8)
    self.init(decoding: span.bytes)
  }

  /// A key that only the passphrase's key opens.
  ///
  /// - Parameter superblockMagic: See `Nonce.init(superblockMagic:)`.
  public init(
    wrapping key: EncryptionKey, with passphraseKey: EncryptionKey, superblockMagic: UInt64
  ) {
    self = StoredKey(plain: key).crypted(passphraseKey, superblockMagic)
  }

  /// Writes 40 bytes at `byteOffset`.
  public func encode(into bytes: inout MutableRawSpan, at byteOffset: Int = 0) {
    for index in words.indices {
      bytes.storeBytes(
        of: words[index].littleEndian, toByteOffset: byteOffset + 8 * index, as: UInt64.self)
    }
  }

  /// Whether a passphrase is needed. (C: `bch2_key_is_encrypted`.)
  @inlinable public var isWrapped: Bool { words[0] != Self.magic }

  /// The volume's key.
  ///
  /// - Parameters:
  ///   - passphraseKey: Not looked at when the key is plain.
  ///   - superblockMagic: See `Nonce.init(superblockMagic:)`.
  /// - Throws: `.passphraseNeeded`, `.wrongPassphrase`.
  public func open(
    with passphraseKey: EncryptionKey?, superblockMagic: UInt64
  ) throws(EncryptionError) -> EncryptionKey {
    var plain = self
    if isWrapped {
      guard let passphraseKey else { throw .passphraseNeeded }
      plain = crypted(passphraseKey, superblockMagic)
      guard !plain.isWrapped else { throw .wrongPassphrase }
    }
    var bytes = InlineArray<40, UInt8>(repeating: 0)
    var span = bytes.mutableRawBytes
    plain.encode(into: &span)
    return EncryptionKey(copying: span.bytes.extracting(8..<Self.byteCount))
  }

  private func crypted(_ key: EncryptionKey, _ superblockMagic: UInt64) -> StoredKey {
    var bytes = InlineArray<40, UInt8>(repeating: 0)
    var span = bytes.mutableRawBytes
    encode(into: &span)
    key.applyChaCha20(to: &span, nonce: Nonce(superblockMagic: superblockMagic))
    return StoredKey(decoding: span.bytes)
  }

  public static func == (left: StoredKey, right: StoredKey) -> Bool {
    left.words.indices.allSatisfy { left.words[$0] == right.words[$0] }
  }
}
