// SPDX-License-Identifier: GPL-2.0
// SipHash, SHA-256, UUIDs and generators against published values.

import BcachefsSupport
import Testing

struct HashTests {
  static let k0: UInt64 = 0x0706_0504_0302_0100
  static let k1: UInt64 = 0x0F0E_0D0C_0B0A_0908

  @Test func sipHashHasTheReferenceValues() {
    let input = (0..<15).map { UInt8($0) }
    let expected: [(count: Int, hash: UInt64)] = [
      (0, 0x726F_DB47_DD0E_0E31), (1, 0x74F8_39C5_93DC_67FD), (15, 0xA129_CA61_49BE_45E5),
    ]
    for (count, hash) in expected {
      let bytes = Array(input[..<count])
      #expect(SipHash24.hash(bytes.rawBytes, k0: Self.k0, k1: Self.k1) == hash)
    }
  }

  @Test func sipHashOfPiecesIsThatOfTheWhole() {
    let seed = newSeed()
    var random = RandomSource(seed: seed)
    for _ in 0..<200 {
      let bytes = randomBytes(Int.random(in: 0...70, using: &random), &random)
      var state = SipHash24(k0: 1, k1: 2)
      var offset = 0
      while offset < bytes.count {
        let end = min(bytes.count, offset + Int.random(in: 1...11, using: &random))
        state.update(bytes.rawBytes.extracting(offset..<end))
        offset = end
      }
      #expect(state.finish() == SipHash24.hash(bytes.rawBytes, k0: 1, k1: 2), "seed \(seed)")
    }
  }

  /// Hashes of the byte 3, then of the first 0, 1, ... 40 letters of a repeated alphabet, computed
  /// by the driver's own functions (SipHash24_Init, _Update twice, _End of Linux 6.12.117).
  static let driverHashes: [UInt64] = [
    0x13D7_290C_4FAC_E4B3, 0xE25D_950D_9FC4_3AB6, 0x805C_DFC2_2332_98FE, 0x6327_33DB_7A09_7A93,
    0xDE94_3BCA_7AE2_C430, 0xDF0D_48CB_A610_64C8, 0xEF10_FB79_5D26_4023, 0x59CB_23AC_E65B_E3FB,
    0x2C8C_76DE_B71D_2FC6, 0xEE81_AC03_B7EC_5CF6, 0xD165_6FD4_8916_0966, 0x7346_44DD_9CAF_CE32,
    0x1A30_427A_173D_0325, 0x4CF7_2BAE_7BC4_000D, 0xFAAD_8053_487B_D13F, 0x1719_4269_0FD2_B067,
    0x781C_8D28_7244_9093, 0x7567_F6A9_2DE0_EEB6, 0xC97C_3849_19A0_A2F2, 0x185E_D976_7AAB_66BA,
    0xF0A4_ED11_D184_A38D, 0x0AFE_620F_9B18_23D4, 0x3B0E_F0CC_32DE_A6EB, 0x1132_545A_5176_CDA7,
    0x2098_0E39_5D04_0F39, 0xF777_8264_8243_AC07, 0xB4DD_3562_8B64_EEA2, 0x7F22_4A6B_F36B_FDB7,
    0x6AF1_EE9C_2327_B837, 0xF9EA_3EC8_FF32_E839, 0x4793_AF33_215E_152D, 0xDCB0_E14E_DCF0_58D9,
    0x2CF3_B840_C6FF_8B24, 0xBCF4_1363_30A4_328C, 0xCB80_6D93_552D_0036, 0xB5C7_89F3_EDFA_818B,
    0x86B8_7C92_19A3_E1C8, 0xA1EC_70CD_393B_3188, 0xBA72_B5B7_1B5A_2179, 0x2054_98AE_982D_FE51,
    0xCA2F_A25A_EFA7_C341,
  ]

  @Test func hashesInTwoPiecesAreTheDrivers() {
    #expect(Self.driverHashes.count == 41)
    let letters = (0..<64).map { UInt8(ascii: "a") + UInt8($0 % 26) }
    for (count, expected) in Self.driverHashes.enumerated() {
      let name = Array(letters[..<count])
      let hash = SipHash24.driverHash(first: 3, then: name.rawBytes, k0: Self.k0, k1: Self.k1)
      #expect(hash == expected, "\(count) letters")
    }
  }

  @Test func sha256HasThePublishedValues() {
    func digest(_ text: String) -> [UInt8] {
      let bytes = Array(text.utf8)
      let digest = SHA256.digest(bytes.rawBytes)
      return digest.indices.map { digest[$0] }
    }
    #expect(
      digest("abc") == hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"))
    #expect(
      digest("") == hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"))
  }

  @Test func oldSipHashKeyIsTheBeginningOfTheDigestOfTheSeed() {
    let seed: UInt64 = 0x0807_0605_0403_0201
    let bytes: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
    let digest = SHA256.digest(bytes.rawBytes)
    let key = SHA256.sipHashKey(seed: seed)
    #expect(UInt8(truncatingIfNeeded: key.k0) == digest[0])
    #expect(UInt8(key.k0 >> 56) == digest[7])
    #expect(UInt8(truncatingIfNeeded: key.k1) == digest[8])
    #expect(UInt8(key.k1 >> 56) == digest[15])
  }

  @Test func uuidsPrintAndParseInTheOrderOfTheirBytes() throws {
    let text = "d9298dc4-780e-42e7-8a8f-d238a1eb5cf8"
    let uuid = try #require(UUID(text))
    #expect(uuid.description == text)
    #expect(UUID(text.uppercased()) == uuid)
    let encoded = hex("d9298dc4780e42e78a8fd238a1eb5cf8")
    #expect(uuid == UUID(decoding: encoded.rawBytes))
    #expect(uuid.lo == EncryptedFixture.superblockMagic)
    var bytes = [UInt8](repeating: 0, count: 18)
    var raw = bytes.mutableRawBytes
    uuid.encode(into: &raw, at: 1)
    #expect(bytes == [0] + encoded + [0])
    #expect(uuid[byte: 15] == 0xF8)
  }

  @Test func whatIsNoUUIDIsRefused() {
    for text in [
      "", "d9298dc4-780e-42e7-8a8f-d238a1eb5cf", "d9298dc4-780e-42e7-8a8f-d238a1eb5cf80",
      "d9298dc4780e42e78a8fd238a1eb5cf8", "d9298dc4-780e-42e7-8a8f+d238a1eb5cf8",
      "g9298dc4-780e-42e7-8a8f-d238a1eb5cf8", "d9298dc4-780e-42e7-8a8f-d238a1eb5cf8-",
      "\u{663}9298dc4-780e-42e7-8a8f-d238a1eb5cf8",
    ] {
      #expect(UUID(text) == nil, "\(text)")
    }
  }

  @Test func uuidsAreOrderedAsTheirText() throws {
    let seed = newSeed()
    var random = RandomSource(seed: seed)
    for _ in 0..<100 {
      let (a, b) = (UUID(using: &random), UUID(using: &random))
      #expect((a < b) == (a.description < b.description), "seed \(seed)")
      #expect(Array(a.description)[14] == "4")
      #expect("89ab".contains(Array(a.description)[19]))
    }
  }

  @Test func generatorsHaveThePublishedValues() {
    var split = SplitMix64(seed: 1_234_567)
    #expect(split.next() == 6_457_827_717_110_365_317)
    #expect(split.next() == 3_203_168_211_198_807_973)
    #expect(split.next() == 9_817_491_932_198_370_423)
    var xoshiro = Xoshiro256(state: 1, 2, 3, 4)
    #expect(xoshiro.next() == 11520)
    #expect(xoshiro.next() == 0)
    #expect(xoshiro.next() == 1_509_978_240)
    #expect(xoshiro.next() == 1_215_971_899_390_074_240)
  }

  @Test func sameSeedGivesTheSameBytes() {
    var first = RandomSource(seed: 5)
    var second = RandomSource(seed: 5)
    var long = [UInt8](repeating: 0, count: 37)
    var raw = long.mutableRawBytes
    first.fill(&raw)
    #expect(long != [UInt8](repeating: 0, count: 37))
    #expect(first.next() != second.next())
    #expect(Set((0..<50).map { _ in second.next() }).count == 50)
    var system = RandomSource.system
    #expect(system.next() != system.next())
  }

  @Test func clocksTellTheTime() {
    let clocks = Clocks.system
    let (wall, monotonic) = (clocks.wallNanoseconds(), clocks.monotonicNanoseconds())
    #expect(wall > 1_700_000_000_000_000_000)
    #expect(clocks.monotonicNanoseconds() >= monotonic)
    #expect(Clocks.fixed(wallNanoseconds: 42).wallNanoseconds() == 42)
  }
}
