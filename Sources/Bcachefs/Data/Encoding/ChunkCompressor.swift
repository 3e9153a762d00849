// SPDX-License-Identifier: GPL-2.0
// Puts a chunk of data where it is written from, compressed where that saves a block.
// Source: io_write.c (bch2_write_extent), compress.c (__bio_compress).

internal import BcachefsFormat
internal import BcachefsSupport

/// Working memory for compressing chunks. It belongs to one thread at a time.
final class ChunkCompressor {
  private let compressor = Compressor()
  private var scratch = HeapBuffer(byteCount: 0)

  /// Stores a chunk of whole blocks.
  ///
  /// - Parameters:
  ///   - plain: At most `parameters.chunkMaxBytes`.
  ///   - stored: As long as `plain`.
  /// - Returns: The bytes of `stored` that count, whole blocks, and how they are compressed:
  ///   `incompressible` where it was tried in vain.
  func store(
    _ plain: RawSpan, into stored: inout MutableRawSpan, _ parameters: DataParameters
  ) -> (byteCount: Int, CompressionType) {
    guard let algorithm = parameters.compression else {
      stored.copy(plain, to: 0)
      return (plain.byteCount, .none)
    }
    guard let compressed = compress(plain, algorithm, parameters) else {
      stored.copy(plain, to: 0)
      return (plain.byteCount, .incompressible)
    }
    let byteCount = parameters.roundedToBlocks(compressed)
    let scratch = self.scratch
    stored.copy(scratch.bytes.extracting(0..<compressed), to: 0)
    stored.zero(compressed..<byteCount)
    return (byteCount, algorithm.formatType)
  }

  /// Bytes in `scratch`, nil unless a whole block is saved.
  private func compress(
    _ plain: RawSpan, _ algorithm: CompressionAlgorithm, _ parameters: DataParameters
  ) -> Int? {
    guard plain.byteCount > parameters.blockBytes else { return nil }
    if scratch.byteCount < plain.byteCount { scratch = HeapBuffer(byteCount: plain.byteCount) }
    let scratch = self.scratch
    var target = scratch.mutableBytes
    var limited = target._mutatingExtracting(0..<plain.byteCount - parameters.blockBytes)
    return compressor.compress(
      plain, into: &limited, algorithm: algorithm, level: parameters.compressionLevel)
  }
}
