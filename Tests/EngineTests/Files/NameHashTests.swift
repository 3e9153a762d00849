// SPDX-License-Identifier: GPL-2.0
// Hashes of names beside those that the driver gave them, on volumes of its own.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

struct NameHashTests {
  /// Where the driver put a name.
  struct Golden: Sendable {
    let type: StringHashType
    let seed: UInt64
    /// The namespace of an xattr, nil for a dirent.
    let namespace: UInt8?
    let name: String
    let slot: UInt64

    init(
      _ type: StringHashType, _ seed: UInt64, xattr namespace: UInt8? = nil, _ name: String,
      _ slot: UInt64
    ) {
      self.type = type
      self.seed = seed
      self.namespace = namespace
      self.name = name
      self.slot = slot
    }
  }

  private static let longName = String(repeating: "q", count: 255)

  // swift-format-ignore
  static let golden: [Golden] = [
    Golden(.siphash, 0xf146845b768f99dc, "aged18", 2783942243902578036),
    Golden(.siphash, 0xd40932511b9f8c3b, "origin", 1905133437921408295),
    Golden(.siphash, 0xb8c37d885ae6904b, "r12", 3864598500367021662),
    Golden(.siphash, 0x1bf22d6c82717993, "r267", 589898617386311620),
    Golden(.siphash, 0xfe1d9cb19ba0d629, "n175", 2805458044986649591),
    Golden(.siphash, 0x80fd7fe18da89faa, longName, 2592529472380399014),
    Golden(.siphash, 0xca23fb88eefa2291, xattr: 0, "dir", 3312700223930867955),
    Golden(.siphash, 0x3c0c78d446f76b2c, xattr: 0, "short", 3138306931256167717),
    Golden(.siphash, 0x3c0c78d446f76b2c, xattr: 0, "empty", 6182699012691303266),
    Golden(.siphash, 0x3c0c78d446f76b2c, xattr: 4, "demo", 7104655787234261905),
    Golden(.siphash, 0x3c0c78d446f76b2c, xattr: 3, "t", 8957666471010625825),
    Golden(.crc32c, 0xb8de99e58e9edb0a, "file-00255", 223224973),
    Golden(.crc32c, 0x8b1df8ae0f009839, "file-00063", 3253178288),
    Golden(.crc32c, 0xb3c76942414aad2b, "level7", 3487261370),
    Golden(.crc32c, 0x3322426816fbbe68, "level26", 2055834832),
    Golden(.crc32c, 0x2574d16c48d52fd6, "m5", 3272420953),
    Golden(.crc32c, 0xa6430ed37399b954, longName, 966052558),
    Golden(.crc32c, 0x26aaec7bbcc55aa6, xattr: 0, "dir", 230920004),
    Golden(.crc32c, 0xb1261928c4c650cf, xattr: 0, "empty", 240132497),
    Golden(.crc32c, 0xb1261928c4c650cf, xattr: 4, "demo", 273980892),
    Golden(.crc32c, 0xb1261928c4c650cf, xattr: 0, "short", 1570144294),
    Golden(.crc32c, 0xb1261928c4c650cf, xattr: 3, "t", 3433362272),
    Golden(.crc64, 0xd1e49fe36ecc199f, "file-00272", 249284225766074395),
    Golden(.crc64, 0x309dbf1a593ec009, "file-00148", 5433657848509590061),
    Golden(.crc64, 0x1115c1abe78c6782, "level7", 1024766501433792997),
    Golden(.crc64, 0xb5888bc83281576c, "level26", 6327459669233068105),
    Golden(.crc64, 0xabb45afad86cec81, "m5", 2645728828093337057),
    Golden(.crc64, 0xf032f2334b1b60bd, longName, 6523908770697328424),
    Golden(.crc64, 0x71ed55f99c2f837b, xattr: 0, "dir", 1880628304862334882),
    Golden(.crc64, 0x40b41720df86a545, xattr: 0, "short", 3755823600822702918),
    Golden(.crc64, 0x40b41720df86a545, xattr: 4, "demo", 5474542700001908435),
    Golden(.crc64, 0x40b41720df86a545, xattr: 0, "empty", 8183048122281161215),
    Golden(.crc64, 0x40b41720df86a545, xattr: 3, "t", 9149986141912599271),
    Golden(.siphash, 0x75a556ec329f52db, xattr: 1, "", 1800716515899642455),
    Golden(.siphash, 0xea1466a88b0ee2ad, xattr: 2, "", 7113303250377649115),
  ]

  @Test(arguments: golden)
  func nameHashesAsInTheDriver(golden: Golden) {
    let hash = NameHash(type: golden.type, seed: golden.seed)
    let name = Array(golden.name.utf8)
    if let namespace = golden.namespace {
      #expect(hash.xattr(type: namespace, name.span) == golden.slot)
    } else {
      #expect(hash.dirent(name.span) == golden.slot)
    }
  }

  @Test(arguments: [StringHashType.siphash, .siphashOld, .crc32c, .crc64])
  func directoriesNeverUseTheSlotsOfDots(type: StringHashType) {
    for seed in 0..<2000 as Range<UInt64> {
      let name = Array("name-\(seed)".utf8)
      #expect(NameHash(type: type, seed: seed).dirent(name.span) >= 2)
    }
  }

  @Test func collidingNamesStandOneAfterTheOther() {
    #expect(NameHash.slots(forSorted: []) == [])
    #expect(NameHash.slots(forSorted: [2, 5, 9]) == [2, 5, 9])
    #expect(NameHash.slots(forSorted: [5, 5, 5]) == [5, 6, 7])
    // A name whose own slot was taken by a collision goes on to the next hole.
    #expect(NameHash.slots(forSorted: [5, 5, 6, 7, 20]) == [5, 6, 7, 8, 20])
  }
}
