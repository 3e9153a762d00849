// SPDX-License-Identifier: GPL-2.0
// Compression: streams made by other implementations, round trips, hostile input.

import BcachefsSupport
import Testing

struct CompressionTests {
  static let written: [CompressionAlgorithm] = [.lz4, .gzip, .zstd]

  func decompress(
    _ bytes: [UInt8], _ algorithm: CompressionAlgorithm, count: Int,
    with decompressor: Decompressor = Decompressor()
  ) throws -> [UInt8] {
    var output = [UInt8](repeating: 0xAA, count: count)
    var raw = output.mutableRawBytes
    try decompressor.decompress(bytes.rawBytes, into: &raw, algorithm: algorithm)
    return output
  }

  func compress(
    _ bytes: [UInt8], _ algorithm: CompressionAlgorithm, level: Int, limit: Int,
    with compressor: Compressor = Compressor()
  ) -> [UInt8]? {
    var output = [UInt8](repeating: 0, count: limit)
    var raw = output.mutableRawBytes
    guard
      let count = compressor.compress(
        bytes.rawBytes, into: &raw, algorithm: algorithm, level: level)
    else { return nil }
    return Array(output[..<count])
  }

  @Test func readsStreamsOfOtherImplementations() throws {
    let text = Array("bcachefs bcachefs bcachefs bcachefs bcachefs ".utf8)
    // By hand from the LZ4 block format: 9 literals, a match of 31 bytes 9 back, 5 literals.
    let lz4 = hex("9F 6263616368656673 20 0900 0C 50 6865667320")
    #expect(try decompress(lz4, .lz4, count: text.count) == text)
    #expect(try decompress(lz4, .lz4Old, count: text.count) == text)
    // RFC 1951: a stored block.
    let stored = hex("01 0300 FCFF 616263")
    #expect(try decompress(stored, .gzip, count: 3) == Array("abc".utf8))
    // RFC 8878: one frame, single segment, content size 3, a last raw block of 3 bytes.
    let frame = hex("28B52FFD 20 03 190000 616263")
    let length: [UInt8] = [UInt8(frame.count), 0, 0, 0]
    #expect(try decompress(length + frame, .zstd, count: 3) == Array("abc".utf8))
  }

  @Test(arguments: written, 0...15)
  func everyLevelRoundTripsAndPaddingIsIgnored(algorithm: CompressionAlgorithm, level: Int) throws {
    let seed = newSeed()
    var random = RandomSource(seed: seed)
    let compressor = Compressor()
    let decompressor = Decompressor()
    for count in [1, 13, 512, 4096, 65536] {
      let bytes = randomBytes(count, &random, values: 3)
      let stored = try #require(
        compress(bytes, algorithm, level: level, limit: 2 * count + 64, with: compressor))
      #expect(count < 4096 || stored.count < count * 3 / 4, "seed \(seed)")
      let padded = stored + [UInt8](repeating: 0, count: 512 - stored.count % 512)
      let back = try decompress(padded, algorithm, count: count, with: decompressor)
      #expect(back == bytes, "seed \(seed)")
    }
  }

  @Test(arguments: written)
  func whatDoesNotFitIsNil(algorithm: CompressionAlgorithm) {
    var random = RandomSource(seed: 7)
    let noise = randomBytes(8192, &random)
    for level in [0, 5, 15] {
      #expect(compress(noise, algorithm, level: level, limit: 8192) == nil)
      #expect(compress(noise, algorithm, level: level, limit: 3) == nil)
      #expect(compress(noise, algorithm, level: level, limit: 0) == nil)
    }
  }

  @Test func higherLevelsCompressBetter() throws {
    var random = RandomSource(seed: 3)
    let words = (0..<200).map { _ in randomBytes(Int.random(in: 2...9, using: &random), &random) }
    let text = (0..<12000).flatMap { _ in words[Int.random(in: 0..<200, using: &random)] }
    for algorithm in Self.written {
      let fast = try #require(compress(text, algorithm, level: 1, limit: text.count))
      let best = try #require(compress(text, algorithm, level: 15, limit: text.count))
      #expect(best.count < fast.count, "\(algorithm)")
    }
  }

  @Test func zstdFrameLongerThanItsExtentIsRefused() {
    #expect(throws: CompressionError.badFrameLength(found: 9, available: 4)) {
      _ = try decompress([9, 0, 0, 0, 1, 2, 3, 4], .zstd, count: 16)
    }
    #expect(throws: CompressionError.badFrameLength(found: 0xFFFF_FFFF, available: 0)) {
      _ = try decompress([255, 255, 255, 255], .zstd, count: 16)
    }
    #expect(throws: CompressionError.badFrameLength(found: 0, available: 2)) {
      _ = try decompress([0, 0], .zstd, count: 16)
    }
  }

  @Test(arguments: CompressionAlgorithm.allCases)
  func wrongLengthsAreErrors(algorithm: CompressionAlgorithm) throws {
    let bytes = [UInt8](repeating: 65, count: 4096)
    let stored = try #require(compress(bytes, algorithm, level: 0, limit: 4096))
    #expect(throws: CompressionError.self) { _ = try decompress(stored, algorithm, count: 4097) }
    #expect(throws: CompressionError.self) {
      _ = try decompress(Array(stored.dropLast(3)), algorithm, count: 4096)
    }
    #expect(throws: CompressionError.self) { _ = try decompress([], algorithm, count: 4096) }
  }

  @Test(arguments: CompressionAlgorithm.allCases)
  func mutatedInputNeverTraps(algorithm: CompressionAlgorithm) throws {
    let seed = newSeed()
    var random = RandomSource(seed: seed)
    let decompressor = Decompressor()
    var refused = 0
    for _ in 0..<400 {
      let bytes = randomBytes(Int.random(in: 1...9000, using: &random), &random, values: 5)
      var stored = try #require(compress(bytes, algorithm, level: 3, limit: 20_000))
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        stored[Int.random(in: 0..<stored.count, using: &random)] = UInt8(
          truncatingIfNeeded: random.next())
      }
      if Bool.random(using: &random) {
        stored.removeLast(Int.random(in: 0..<stored.count, using: &random))
      }
      do {
        let count = bytes.count + Int.random(in: -1...1, using: &random)
        _ = try decompress(stored, algorithm, count: count, with: decompressor)
      } catch is CompressionError {
        refused += 1
      }
    }
    #expect(refused > 0, "seed \(seed)")
  }
}
