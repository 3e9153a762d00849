// SPDX-License-Identifier: GPL-2.0
// Checksums against published values, and against their own streaming and merging.

import BcachefsSupport
import Testing

struct ChecksumTests {
  let digits = Array("123456789".utf8)

  @Test func crc32cHasThePublishedCheckValue() {
    #expect(~CRC32C.update(~0, digits.rawBytes) == 0xE306_9283)
    // RFC 3720, B.4: 32 bytes of zeros, of ones, ascending.
    let zeros = [UInt8](repeating: 0, count: 32)
    #expect(~CRC32C.update(~0, zeros.rawBytes) == 0x8A91_36AA)
    let ones = [UInt8](repeating: 0xFF, count: 32)
    #expect(~CRC32C.update(~0, ones.rawBytes) == 0x62A8_AB43)
    let ascending = (0..<32).map { UInt8($0) }
    #expect(~CRC32C.update(~0, ascending.rawBytes) == 0x46DD_794E)
  }

  @Test func crc64HasThePublishedCheckValues() {
    #expect(CRC64.update(0, digits.rawBytes) == 0x6C40_DF5F_0B49_7347)  // CRC-64/ECMA-182
    #expect(~CRC64.update(~0, digits.rawBytes) == 0x62EC_59E3_F1A4_F00A)  // CRC-64/WE
  }

  @Test func xxhashHasThePublishedValues() {
    let empty: [UInt8] = []
    #expect(XXHash64.hash(empty.rawBytes) == 0xEF46_DB37_51D8_E999)
    #expect(XXHash64.hash(Array("abc".utf8).rawBytes) == 0x44BC_2CF5_AD77_0999)
    #expect(XXHash64.hash(digits.rawBytes) == 0x8CB8_41DB_40E6_AE83)
    #expect(XXHash64.hash(empty.rawBytes, seed: 0x9E37_79B1) == 0xAC75_FDA2_929B_17EF)
  }

  @Test func emptyInputLeavesTheSeed() {
    let empty: [UInt8] = []
    #expect(CRC32C.update(0x1234, empty.rawBytes) == 0x1234)
    #expect(CRC64.update(0x1234, empty.rawBytes) == 0x1234)
  }

  @Test func typesDifferInSeedAndInversionOnly() throws {
    let bytes = digits.rawBytes
    #expect(try ChecksumType.crc32cNonzero.checksum(bytes).lo == 0xE306_9283)
    #expect(try ChecksumType.crc32c.checksum(bytes).lo == 0x58E3_FA20)
    #expect(try ChecksumType.crc64.checksum(bytes).lo == 0x6C40_DF5F_0B49_7347)
    #expect(try ChecksumType.crc64Nonzero.checksum(bytes).lo == 0x62EC_59E3_F1A4_F00A)
    #expect(try ChecksumType.xxhash.checksum(bytes).lo == 0x8CB8_41DB_40E6_AE83)
    #expect(try ChecksumType.none.checksum(bytes) == .zero)
  }

  @Test func unknownTypesAndMissingKeysAreNamed() {
    let bytes = digits.rawBytes
    #expect(throws: ChecksumError.unknownType(8)) {
      _ = try ChecksumType(rawValue: 8).checksum(bytes)
    }
    #expect(throws: ChecksumError.noKey) { _ = try ChecksumType.chacha20Poly1305.checksum(bytes) }
    #expect(throws: ChecksumError.unknownType(255)) {
      _ = try StreamingChecksum(ChecksumType(rawValue: 255))
    }
    #expect(throws: ChecksumError.noKey) { _ = try StreamingChecksum(.chacha20Poly1305Short) }
  }

  @Test func widthsAreThoseOfTheFormat() {
    #expect(ChecksumType.allKnown.map(\.fieldBytes) == [0, 4, 8, 10, 16, 4, 8, 8])
    #expect(ChecksumType.allKnown.filter(\.isMergeable) == [.none, .crc32c, .crc64])
    #expect(ChecksumType.allKnown.filter(\.isEncryption).map(\.rawValue) == [3, 4])
  }

  @Test(arguments: ChecksumType.allKnown)
  func streamingOverPiecesGivesTheSame(type: ChecksumType) throws {
    let seed = newSeed()
    var random = RandomSource(seed: seed)
    let key = EncryptionKey(using: &random)
    let nonce = Nonce(counter: 5, 6, 7, 8)
    for _ in 0..<50 {
      let bytes = randomBytes(Int.random(in: 0...5000, using: &random), &random)
      var stream = try StreamingChecksum(type, key: key, nonce: nonce)
      var offset = 0
      while offset < bytes.count {
        let end = min(bytes.count, offset + Int.random(in: 1...700, using: &random))
        stream.update(bytes.rawBytes.extracting(offset..<end))
        offset = end
      }
      let whole = try type.checksum(bytes.rawBytes, key: key, nonce: nonce)
      #expect(stream.finish() == whole, "seed \(seed)")
    }
  }

  @Test(arguments: [ChecksumType.none, .crc32c, .crc64])
  func mergingTwoGivesTheChecksumOfBoth(type: ChecksumType) throws {
    let seed = newSeed()
    var random = RandomSource(seed: seed)
    for _ in 0..<50 {
      let bytes = randomBytes(Int.random(in: 0...100_000, using: &random), &random)
      let cut = Int.random(in: 0...bytes.count, using: &random)
      let first = try type.checksum(bytes.rawBytes.extracting(..<cut))
      let second = try type.checksum(bytes.rawBytes.extracting(cut...))
      let merged = type.merge(first, second, secondByteCount: bytes.count - cut)
      #expect(try type.checksum(bytes.rawBytes) == merged, "seed \(seed)")
    }
  }

  @Test func appendingZerosIsTheSameAsReadingThem() {
    for count in [0, 1, 7, 64, 4096, 1_000_003] {
      let zeros = [UInt8](repeating: 0, count: count)
      let slow32 = CRC32C.update(0xDEAD_BEEF, zeros.rawBytes)
      #expect(CRC32C.appendingZeros(0xDEAD_BEEF, byteCount: count) == slow32)
      let slow64 = CRC64.update(0xDEAD_BEEF_CAFE, zeros.rawBytes)
      #expect(CRC64.appendingZeros(0xDEAD_BEEF_CAFE, byteCount: count) == slow64)
    }
  }

  @Test func truncationKeepsTheFirstBytes() {
    let full = Checksum128(lo: 0x0706_0504_0302_0100, hi: 0x0F0E_0D0C_0B0A_0908)
    #expect(full.truncated(toByteCount: 10).hexadecimal() == "00010203040506070809000000000000")
    #expect(full.truncated(toByteCount: 4).hexadecimal(byteCount: 5) == "0001020300")
    #expect(full.truncated(toByteCount: 8) == Checksum128(lo: full.lo))
    #expect(full.truncated(toByteCount: 16) == full)
    #expect(full.truncated(toByteCount: 0) == .zero)
    #expect(full.matches(full))
    #expect(!full.matches(full.truncated(toByteCount: 15)))
  }
}
