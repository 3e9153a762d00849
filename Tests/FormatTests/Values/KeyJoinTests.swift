// SPDX-License-Identifier: GPL-2.0

internal import BcachefsSupport
internal import Testing

@testable internal import BcachefsFormat

/// What was cut apart becomes one key again, and nothing else does.
@Suite struct KeyJoinTests {
  private struct Extent: Equatable {
    var key: BKey
    var words: [UInt64]

    /// The part between two offsets.
    func part(_ range: Range<UInt64>) throws -> Extent {
      var key = key
      var words = words
      var span = words.mutableSpan
      var bytes = unsafe span.mutableBytes
      try key.cutFront(to: range.lowerBound, &bytes)
      key.cutBack(to: range.upperBound)
      return Extent(key: key, words: words)
    }

    func joined(with right: Extent, bucketSectors: UInt64 = 1 << 20) -> Extent? {
      let joined = unsafe key.joined(
        with: right.key, words.span.bytes, right.words.span.bytes
      ) { pointer, sectors in pointer.offset % bucketSectors + sectors <= bucketSectors }
      return joined.map { Extent(key: $0, words: words) }
    }
  }

  private static func pointer(_ random: inout SplitMix64) -> UInt64 {
    ExtentPtr(
      device: UInt8(random.next() % 4), offset: random.next() % 1000,
      generation: UInt8(random.next() % 3), isCached: random.next() % 8 == 0,
      isUnwritten: random.next() % 8 == 0
    ).word
  }

  private static func extent(_ random: inout SplitMix64) -> Extent {
    let size = UInt32(2 + random.next() % 100)
    var words: [UInt64] = []
    if random.next() % 2 == 0 {
      let crc = ExtentCrc(
        compressedSize: 64, uncompressedSize: 127, liveSize: size,
        offset: UInt16(random.next() % UInt64(127 - min(size, 126))), checksumType: 1,
        compressionType: UInt8(random.next() % 3), checksum: Checksum128(lo: random.next() >> 32))
      if UInt32(crc.offset) + size <= 127 {
        words = [crc.words(as: .crc32).0]
      }
    }
    for _ in 0..<1 + random.next() % 3 { words.append(pointer(&random)) }
    let end = 200 + random.next() % 1000
    return Extent(
      key: BKey(
        type: .extent, position: BPos(5, end, .max), size: size, version: .zero,
        valueU64s: words.count), words: words)
  }

  @Test(arguments: UInt64(1)...200)
  func whatWasCutIsOneAgain(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    for _ in 0..<20 {
      let whole = Self.extent(&random)
      let (start, end) = (whole.key.start.offset, whole.key.position.offset)
      let middle = start + 1 + random.next() % (end - start - 1)
      let (left, right) = (try whole.part(start..<middle), try whole.part(middle..<end))
      #expect(left.joined(with: right) == whole, "seed \(seed)")
      #expect(right.joined(with: left) == nil, "seed \(seed)")
      // Anything that differs keeps them apart.
      var other = right
      let word = Int(random.next() % UInt64(other.words.count))
      other.words[word] ^= 1 << (8 + random.next() % 56)
      #expect(left.joined(with: other) == nil, "seed \(seed), word \(word)")
      for change in 0..<4 {
        var other = right
        switch change {
        case 0: other.key.position.inode += 1
        case 1: other.key.position.snapshot -= 1
        case 2: other.key.version = BVersion(hi: 0, lo: 1)
        default: other.key.position.offset += 1
        }
        #expect(left.joined(with: other) == nil, "seed \(seed), change \(change)")
      }
    }
  }

  @Test func pointersDoNotGrowOutOfTheirBucket() throws {
    let word = ExtentPtr(device: 0, offset: 120, generation: 0).word
    let whole = Extent(
      key: BKey(type: .extent, position: BPos(5, 16, .max), size: 16, valueU64s: 1),
      words: [word])
    let (left, right) = (try whole.part(0..<8), try whole.part(8..<16))
    #expect(left.joined(with: right, bucketSectors: 128) == nil)
    #expect(left.joined(with: right, bucketSectors: 136) == whole)
  }

  @Test func setsAndReservationsJoinAndReflinkPointersDoNot() {
    func key(_ type: BKeyType, _ end: UInt64, _ words: [UInt64]) -> Extent {
      Extent(
        key: BKey(type: type, position: BPos(5, end, .max), size: 8, valueU64s: words.count),
        words: words)
    }
    #expect(key(.set, 8, []).joined(with: key(.set, 16, []))?.key.size == 16)
    #expect(key(.reservation, 8, [7]).joined(with: key(.reservation, 16, [7]))?.key.size == 16)
    #expect(key(.reservation, 8, [7]).joined(with: key(.reservation, 16, [8])) == nil)
    #expect(key(.reflinkP, 8, [0, 0]).joined(with: key(.reflinkP, 16, [8, 0])) == nil)
    var huge = key(.set, 1 << 32, [])
    huge.key.size = .max
    #expect(huge.joined(with: key(.set, 1 << 32 + 8, [])) == nil)
  }

  @Test(arguments: UInt64(1)...50)
  func damagedValuesDoNotJoinAndDoNotTrap(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    for _ in 0..<100 {
      let words = (0..<1 + random.next() % 6).map { _ in random.next() >> (random.next() % 60) }
      let left = Extent(
        key: BKey(
          type: .extent, position: BPos(5, 100, .max), size: UInt32(1 + random.next() % 100),
          valueU64s: words.count), words: words)
      var right = left
      right.key.position.offset += UInt64(right.key.size)
      for index in right.words.indices where random.next() % 4 == 0 {
        right.words[index] = random.next()
      }
      if let joined = left.joined(with: right) {
        #expect(joined.words == left.words && joined.key.size == left.key.size * 2)
      }
    }
  }
}
