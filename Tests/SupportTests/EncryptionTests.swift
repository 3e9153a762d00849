// SPDX-License-Identifier: GPL-2.0
// Ciphers against RFC 8439 and RFC 7914, and against a volume that the driver encrypted.

import BcachefsSupport
import Testing

struct EncryptionTests {
  func key(_ bytes: [UInt8]) -> EncryptionKey { EncryptionKey(copying: bytes.rawBytes) }

  func bytes(of key: EncryptionKey) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 32)
    var raw = bytes.mutableRawBytes
    key.copyBytes(into: &raw)
    return bytes
  }

  func crypt(_ bytes: [UInt8], _ key: EncryptionKey, _ nonce: Nonce) -> [UInt8] {
    var bytes = bytes
    var raw = bytes.mutableRawBytes
    key.applyChaCha20(to: &raw, nonce: nonce)
    return bytes
  }

  @Test func chacha20EncryptsAsInRFC8439() {
    let text = Array(
      """
      Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
      sunscreen would be it.
      """.utf8)
    let expected = hex(
      """
      6e2e359a2568f98041ba0728dd0d6981 e97e7aec1d4360c20a27afccfd9fae0b
      f91b65c5524733ab8f593dabcd62b357 1639d624e65152ab8f530c359f0861d8
      07ca0dbf500d6a6156a38e088a22b65e 52bc514d16ccf806818ce91ab7793736
      5af90bbf74a35be6b40b8eedf2785e42 874d
      """)
    let key = key((0..<32).map { UInt8($0) })
    let nonce = Nonce(counter: 1, 0, 0x4A00_0000, 0)
    #expect(crypt(text, key, nonce) == expected)
    #expect(crypt(expected, key, nonce) == text)
  }

  @Test func poly1305AuthenticatesAsInRFC8439() {
    let text = Array("Cryptographic Forum Research Group".utf8)
    let oneTime = hex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b")
    var mac = Poly1305(oneTimeKey: oneTime.rawBytes)
    mac.update(text.rawBytes.extracting(..<9))
    mac.update(text.rawBytes.extracting(9...))
    #expect(mac.finish().hexadecimal() == "a8061dc1305136c6c22b8baf0c0127a9")
  }

  @Test func oneTimeKeyIsDerivedAsInRFC8439() {
    let text = Array("any message at all".utf8)
    let key = key((0x80..<0xA0).map { UInt8($0) })
    let nonce = Nonce(counter: 0, 0, 0x0302_0100, 0x0706_0504).flipping(.poly)
    var derived = Poly1305(key: key, nonce: nonce)
    derived.update(text.rawBytes)
    let oneTime = hex("8ad5a08b905f81cc815040274ab29471a833b637e3fd0da508dbb8e2fdd1a646")
    var expected = Poly1305(oneTimeKey: oneTime.rawBytes)
    expected.update(text.rawBytes)
    #expect(derived.finish() == expected.finish())
  }

  @Test func goingOnAtAnyBlockGivesTheSameAsOneRun() {
    let seed = newSeed()
    var random = RandomSource(seed: seed)
    let key = EncryptionKey(using: &random)
    for _ in 0..<40 {
      let plain = randomBytes(Int.random(in: 0...5000, using: &random), &random)
      let nonce = Nonce(counter: 9, 1, 2, 3)
      let cut = min(plain.count, 64 * Int.random(in: 0...40, using: &random)) & ~63
      let pieces =
        crypt(Array(plain[..<cut]), key, nonce)
        + crypt(Array(plain[cut...]), key, nonce.adding(bytes: cut))
      #expect(crypt(plain, key, nonce) == pieces, "seed \(seed)")
    }
  }

  @Test func counterWrapsWithoutACarry() {
    let key = key([UInt8](repeating: 7, count: 32))
    let zeros = [UInt8](repeating: 0, count: 256)
    let wrapping = crypt(zeros, key, Nonce(counter: 0xFFFF_FFFE, 1, 2, 3))
    let start = crypt(zeros, key, Nonce(counter: 0, 1, 2, 3))
    #expect(Array(wrapping[128...]) == Array(start[..<128]))
    let nonce = Nonce(counter: 0xFFFF_FFFE, 1, 2, 3).adding(bytes: 192)
    #expect(nonce == Nonce(counter: 1, 1, 2, 3))
  }

  @Test func shortCodesAreTheBeginningOfLongOnes() throws {
    let key = key([UInt8](repeating: 9, count: 32))
    let nonce = Nonce(counter: 1, 2, 3, 4)
    let data = Array("data".utf8)
    let long = try ChecksumType.chacha20Poly1305.checksum(data.rawBytes, key: key, nonce: nonce)
    let short = try ChecksumType.chacha20Poly1305Short.checksum(
      data.rawBytes, key: key, nonce: nonce)
    #expect(short.lo == long.lo)
    #expect(short.hi == long.hi & 0xFFFF)
    #expect(long.hi > 0xFFFF)
  }

  @Test func scryptDerivesAsInRFC7914() throws {
    let nothing: [UInt8] = []
    let first = try EncryptionKey(
      scryptOf: nothing.rawBytes, salt: nothing.rawBytes,
      costs: ScryptCosts(logN: 4, logR: 0, logP: 0))
    #expect(
      bytes(of: first) == hex("77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"))
    let (passphrase, salt) = (Array("password".utf8), Array("NaCl".utf8))
    let second = try EncryptionKey(
      scryptOf: passphrase.rawBytes, salt: salt.rawBytes,
      costs: ScryptCosts(logN: 10, logR: 3, logP: 4))
    #expect(
      bytes(of: second) == hex("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"))
  }

  @Test func unreasonableCostsAreRefusedBeforeTheyAreSpent() {
    let passphrase: [UInt8] = [1]
    for costs in [
      ScryptCosts(logN: 65535, logR: 3, logP: 4), ScryptCosts(logN: 14, logR: 40, logP: 0),
      ScryptCosts(logN: 24, logR: 0, logP: 0), ScryptCosts(logN: 14, logR: 3, logP: 20),
      ScryptCosts(logN: 0, logR: 3, logP: 4),
    ] {
      #expect(throws: EncryptionError.unreasonableCosts(costs)) {
        _ = try EncryptionKey(passphrase: passphrase.rawBytes, costs: costs)
      }
    }
    #expect(ScryptCosts.standard.isReasonable)
    #expect(ScryptCosts(kdfFlags: 0x0004_0003_000E) == .standard)
    #expect(ScryptCosts.standard.kdfFlags == 0x0004_0003_000E)
  }

  @Test func opensWhatTheDriverEncrypted() throws {
    let passphrase = Array(EncryptedFixture.passphrase.utf8)
    let storedBytes = EncryptedFixture.storedKey
    let stored = StoredKey(decoding: storedBytes.rawBytes)
    let magic = EncryptedFixture.superblockMagic
    #expect(stored.isWrapped)
    let passphraseKey = try EncryptionKey(
      passphrase: passphrase.rawBytes, costs: ScryptCosts(kdfFlags: EncryptedFixture.kdfFlags))
    let key = try stored.open(with: passphraseKey, superblockMagic: magic)
    #expect(StoredKey(wrapping: key, with: passphraseKey, superblockMagic: magic) == stored)

    var entry = EncryptedFixture.journalEntry
    let sequence = EncryptedFixture.journalSequence
    let nonce = Nonce(
      counter: 0, UInt32(truncatingIfNeeded: sequence), UInt32(sequence >> 32), 0
    ).flipping(.journal)
    let checksum = try ChecksumType.chacha20Poly1305.checksum(
      entry.rawBytes.extracting(16...), key: key, nonce: nonce)
    #expect(checksum.lo == entry.rawBytes.loadLittleEndian(at: 0))
    #expect(checksum.hi == entry.rawBytes.loadLittleEndian(at: 8))

    var raw = entry.mutableRawBytes
    var encrypted = raw.subrange(44..<raw.byteCount)
    key.applyChaCha20(to: &encrypted, nonce: nonce)
    // Entries of the decrypted journal entry follow each other exactly to its end.
    #expect(entry.rawBytes.loadLittleEndian(at: 48, as: UInt64.self) <= sequence)
    var offset = 56
    while offset < entry.count {
      #expect(entry[offset + 4] < 13)
      offset += 8 + 8 * Int(entry.rawBytes.loadLittleEndian(at: offset, as: UInt16.self))
    }
    #expect(offset == entry.count)
  }

  @Test func wrongPassphrasesAndMissingOnesAreNamed() throws {
    let storedBytes = EncryptedFixture.storedKey
    let stored = StoredKey(decoding: storedBytes.rawBytes)
    let wrong = key([UInt8](repeating: 1, count: 32))
    #expect(throws: EncryptionError.wrongPassphrase) {
      _ = try stored.open(with: wrong, superblockMagic: EncryptedFixture.superblockMagic)
    }
    #expect(throws: EncryptionError.passphraseNeeded) {
      _ = try stored.open(with: nil, superblockMagic: EncryptedFixture.superblockMagic)
    }
  }

  @Test func plainKeysNeedNoPassphrase() throws {
    var random = RandomSource.system
    let key = EncryptionKey(using: &random)
    let stored = StoredKey(plain: key)
    #expect(!stored.isWrapped)
    var encoded = [UInt8](repeating: 0, count: 40)
    var raw = encoded.mutableRawBytes
    stored.encode(into: &raw)
    #expect(Array(encoded[..<8]) == Array("bch**key".utf8))
    #expect(Array(encoded[8...]) == bytes(of: key))
    #expect(try stored.open(with: nil, superblockMagic: 5).isEqual(to: key))
  }
}
