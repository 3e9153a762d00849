// SPDX-License-Identifier: GPL-2.0
// Parity against the field's arithmetic done the slow way, and every pair of losses.

import BcachefsSupport
import Testing

struct ParityTests {
  /// a * b in GF(2^8) with polynomial 0x11d, bit by bit.
  func multiply(_ a: UInt8, _ b: UInt8) -> UInt8 {
    var (product, factor) = (0 as UInt8, a)
    for bit in 0..<8 {
      if b >> UInt8(bit) & 1 == 1 { product ^= factor }
      factor = factor << 1 ^ (factor & 0x80 != 0 ? 0x1D : 0)
    }
    return product
  }

  func expectedParity(_ data: [[UInt8]]) -> (p: [UInt8], q: [UInt8]) {
    var p = [UInt8](repeating: 0, count: data[0].count)
    var q = p
    var power: UInt8 = 1
    for block in data {
      for index in block.indices {
        p[index] ^= block[index]
        q[index] ^= multiply(power, block[index])
      }
      power = multiply(power, 2)
    }
    return (p, q)
  }

  func stripe(_ geometry: StripeGeometry, _ random: inout RandomSource) -> AlignedBuffer {
    var buffer = AlignedBuffer(byteCount: geometry.byteCount)
    var bytes = buffer.mutableBytes
    random.fill(&bytes)
    return buffer
  }

  func copy(_ bytes: RawSpan, _ range: Range<Int>) -> [UInt8] {
    range.map { bytes.loadLittleEndian(at: $0, as: UInt8.self) }
  }

  @Test(arguments: [1, 2, 3, 5, 14], [32, 4096, 100, 7, 33])
  func parityIsThatOfRAID6(dataBlocks: Int, blockBytes: Int) throws {
    let seed = newSeed()
    var random = RandomSource(seed: seed)
    for parityBlocks in 1...2 {
      let geometry = try StripeGeometry(
        dataBlocks: dataBlocks, parityBlocks: parityBlocks, blockBytes: blockBytes)
      var buffer = stripe(geometry, &random)
      var bytes = buffer.mutableBytes
      try geometry.generateParity(in: &bytes)
      let data = (0..<dataBlocks).map { copy(bytes.bytes, geometry.bytes(ofBlock: $0)) }
      let (p, q) = expectedParity(data)
      #expect(copy(bytes.bytes, geometry.bytes(ofBlock: dataBlocks)) == p, "seed \(seed)")
      if parityBlocks == 2 {
        #expect(copy(bytes.bytes, geometry.bytes(ofBlock: dataBlocks + 1)) == q, "seed \(seed)")
      }
    }
  }

  @Test(arguments: [1, 2, 4, 14], [512, 45])
  func anyTwoLossesAreRepaired(dataBlocks: Int, blockBytes: Int) throws {
    let seed = newSeed()
    var random = RandomSource(seed: seed)
    let geometry = try StripeGeometry(
      dataBlocks: dataBlocks, parityBlocks: 2, blockBytes: blockBytes)
    var buffer = stripe(geometry, &random)
    var bytes = buffer.mutableBytes
    try geometry.generateParity(in: &bytes)
    let whole = copy(bytes.bytes, 0..<geometry.byteCount)
    for first in 0..<geometry.blocks {
      for second in 0..<geometry.blocks {
        let lost = first == second ? [first] : [first, second]
        var damaged = whole
        for block in lost {
          for index in geometry.bytes(ofBlock: block) { damaged[index] = 0x5A }
        }
        var raw = damaged.mutableRawBytes
        try geometry.recover(blocks: lost, in: &raw)
        #expect(damaged == whole, "lost \(lost), seed \(seed)")
      }
    }
  }

  @Test func oneLossIsRepairedByOneParityBlock() throws {
    var random = RandomSource(seed: 1)
    let geometry = try StripeGeometry(dataBlocks: 5, parityBlocks: 1, blockBytes: 4096)
    var buffer = stripe(geometry, &random)
    var bytes = buffer.mutableBytes
    try geometry.generateParity(in: &bytes)
    let whole = copy(bytes.bytes, 0..<geometry.byteCount)
    for lost in 0..<6 {
      var damaged = whole
      for index in geometry.bytes(ofBlock: lost) { damaged[index] = 0 }
      var raw = damaged.mutableRawBytes
      try geometry.recover(blocks: [lost], in: &raw)
      #expect(damaged == whole)
    }
  }

  @Test func impossibleRequestsAreErrors() throws {
    #expect(throws: ParityError.unsupportedGeometry(dataBlocks: 0, parityBlocks: 2)) {
      _ = try StripeGeometry(dataBlocks: 0, parityBlocks: 2, blockBytes: 512)
    }
    #expect(throws: ParityError.unsupportedGeometry(dataBlocks: 4, parityBlocks: 3)) {
      _ = try StripeGeometry(dataBlocks: 4, parityBlocks: 3, blockBytes: 512)
    }
    let geometry = try StripeGeometry(dataBlocks: 3, parityBlocks: 2, blockBytes: 8)
    var bytes = [UInt8](repeating: 0, count: 40)
    var raw = bytes.mutableRawBytes
    let requests: [(lost: [Int], error: ParityError)] = [
      ([0, 1, 2], .tooManyLost(3)), ([5], .badBlock(5)), ([-1], .badBlock(-1)),
      ([1, 1], .badBlock(1)),
    ]
    for (lost, expected) in requests {
      do throws(ParityError) {
        try geometry.recover(blocks: lost, in: &raw)
        Issue.record("\(lost) must be refused")
      } catch {
        #expect(error == expected)
      }
    }
    var short = raw.subrange(0..<39)
    do throws(ParityError) {
      try geometry.generateParity(in: &short)
      Issue.record("a short stripe must be refused")
    } catch {
      #expect(error == .wrongLength(found: 39, expected: 40))
    }
  }
}
