// SPDX-License-Identifier: GPL-2.0
// Checksums, ciphers, compression and parity, beside direct calls of the libraries in C.
//
// How it works
//   1. All figures are for one piece of data of `--bytes` (128 KiB: the largest extent that is
//      compressed or checksummed by default), again and again.
//   2. gzip is measured beside zlib, which is what the driver uses; the others beside the library
//      that is called here too.
//
// Invariants
//   (1) Reference and code here see the same memory and, where they differ, the same level.

internal import BcachefsSupport
internal import CReference

/// Memory that closures share.
@safe
final class Block {
  private let buffer: AlignedBuffer

  init(byteCount: Int) { buffer = AlignedBuffer(byteCount: byteCount) }

  @unsafe var base: UnsafeMutableRawPointer? { unsafe buffer.unsafeBytes.baseAddress }

  var bytes: RawSpan {
    @_lifetime(borrow self)
    borrowing get {
      let span = unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(buffer.unsafeBytes))
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  /// To write to; one thread, and one span at a time.
  var mutableBytes: MutableRawSpan {
    @_lifetime(borrow self)
    borrowing get {
      let span = unsafe MutableRawSpan(_unsafeBytes: buffer.unsafeBytes)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }
}

struct SupportBench {
  let options: BenchOptions
  let comparison: Comparison

  init(_ options: BenchOptions) {
    self.options = options
    comparison = Comparison(options: options)
  }

  func run() {
    let kind = options.isSmoke ? "smoke run, figures mean nothing" : "median of \(options.runs)"
    print("GB/s, \(options.bytes) bytes at a time, \(kind)")
    Comparison.printHead()
    runChecksums()
    runCiphers()
    runParity()
    runCompression()
  }

  private func runChecksums() {
    let block = Block(byteCount: options.bytes)
    var random = RandomSource(seed: 1)
    var bytes = block.mutableBytes
    random.fill(&bytes)
    let count = options.bytes
    comparison.measure("crc32c", bytesPerPass: count) { passes in
      var sum: UInt32 = 0
      for _ in 0..<passes { sum ^= CRC32C.update(sum, block.bytes) }
    } reference: {
      unsafe _ = reference_crc32c(block.base, count, $0)
    }
    comparison.measure("crc64", bytesPerPass: count) { passes in
      var sum: UInt64 = 0
      for _ in 0..<passes { sum ^= CRC64.update(sum, block.bytes) }
    } reference: {
      unsafe _ = reference_crc64(block.base, count, $0)
    }
    comparison.measure("xxhash64", bytesPerPass: count) { passes in
      var sum: UInt64 = 0
      for _ in 0..<passes { sum ^= XXHash64.hash(block.bytes, seed: sum) }
    } reference: {
      unsafe _ = reference_xxhash64(block.base, count, $0)
    }
  }

  private func runCiphers() {
    let block = Block(byteCount: options.bytes)
    var random = RandomSource(seed: 2)
    let key = EncryptionKey(using: &random)
    let count = options.bytes
    comparison.measure("chacha20", bytesPerPass: count) { passes in
      for _ in 0..<passes {
        var bytes = block.mutableBytes
        key.applyChaCha20(to: &bytes, nonce: .zero)
      }
    } reference: {
      unsafe _ = reference_chacha20(block.base, count, $0)
    }
    comparison.measure("poly1305", bytesPerPass: count) { passes in
      for _ in 0..<passes {
        var mac = Poly1305(key: key, nonce: .zero)
        mac.update(block.bytes)
        _ = mac.finish()
      }
    } reference: {
      unsafe _ = reference_poly1305(block.base, count, $0)
    }
  }

  private func runParity() {
    for parityBlocks in 1...2 {
      let count = options.bytes
      guard
        let geometry = try? StripeGeometry(
          dataBlocks: 8, parityBlocks: parityBlocks, blockBytes: count)
      else { continue }
      let stripe = Block(byteCount: geometry.byteCount)
      var random = RandomSource(seed: 3)
      var bytes = stripe.mutableBytes
      random.fill(&bytes)
      var pointers = unsafe (0..<geometry.blocks).map { index in
        unsafe stripe.base?.advanced(by: index * count)
      }
      let name = parityBlocks == 1 ? "parity P (xor_gen) 8+1" : "parity P+Q (pq_gen) 8+2"
      comparison.measure(name, bytesPerPass: 8 * count) { passes in
        for _ in 0..<passes {
          var bytes = stripe.mutableBytes
          try? geometry.generateParity(in: &bytes)
        }
      } reference: { passes in
        _ =
          parityBlocks == 1
          ? unsafe reference_xor_gen(&pointers, Int32(geometry.blocks), count, passes)
          : unsafe reference_pq_gen(&pointers, Int32(geometry.blocks), count, passes)
      }
      let lost = parityBlocks == 1 ? [3] : [3, 6]
      comparison.measure("recover \(lost.count) of 8+\(parityBlocks)", bytesPerPass: 8 * count) {
        passes in
        for _ in 0..<passes {
          var bytes = stripe.mutableBytes
          try? geometry.recover(blocks: lost, in: &bytes)
        }
      }
    }
  }

  // MARK: - Compression

  /// Text-like data: words of a small vocabulary, as often as in nature.
  private func fillWithWords(_ block: Block) {
    var random = RandomSource(seed: 4)
    let words = (0..<1000).map { _ in
      (0..<Int.random(in: 2...10, using: &random)).map { _ in
        UInt8.random(in: 97...122, using: &random)
      } + [32]
    }
    var bytes = block.mutableBytes
    var offset = 0
    while offset < bytes.byteCount {
      let rank = Int.random(in: 0..<words.count, using: &random)
      let word = words[Int.random(in: 0...rank, using: &random)]
      for letter in word where offset < bytes.byteCount {
        bytes.storeBytes(of: letter, toByteOffset: offset, as: UInt8.self)
        offset += 1
      }
    }
  }

  private func runCompression() {
    let source = Block(byteCount: options.bytes)
    fillWithWords(source)
    for (algorithm, levels) in [
      (CompressionAlgorithm.lz4, [0, 3, 9, 15]), (.gzip, [0, 1, 9, 15]), (.zstd, [0, 1, 9, 15]),
    ] {
      for level in levels { runCompression(source, algorithm, level) }
    }
  }

  private func runCompression(_ source: Block, _ algorithm: CompressionAlgorithm, _ level: Int) {
    let count = options.bytes
    let target = Block(byteCount: count)
    let back = Block(byteCount: count)
    let compressor = Compressor()
    let decompressor = Decompressor()
    var space = target.mutableBytes
    guard
      let written = compressor.compress(
        source.bytes, into: &space, algorithm: algorithm, level: level)
    else { return print("\(algorithm):\(level) does not compress") }
    let percent = 100 * written / count
    comparison.measure("\(algorithm):\(level) (to \(percent)%)", bytesPerPass: count) { passes in
      for _ in 0..<passes {
        var space = target.mutableBytes
        _ = compressor.compress(
          source.bytes, into: &space, algorithm: algorithm, level: level)
      }
    } reference: { passes in
      let other = Block(byteCount: count)
      switch algorithm {
      case .lz4, .lz4Old:
        _ = unsafe reference_lz4(source.base, count, other.base, count, Int32(level), passes)
      case .gzip:
        let own = Int32(level == 0 ? 6 : min(level, 9))
        _ = unsafe reference_zlib(source.base, count, other.base, count, own, passes)
      case .zstd:
        let own = Int32(min(level * 3 / 2, 22))
        _ = unsafe reference_zstd(source.base, count, other.base, count, own, passes)
      }
    }
    guard level == 0 else { return }
    comparison.measure("\(algorithm) decompression", bytesPerPass: count) { passes in
      for _ in 0..<passes {
        var space = back.mutableBytes
        try? decompressor.decompress(
          target.bytes.extracting(..<written), into: &space, algorithm: algorithm)
      }
    } reference: { passes in
      switch algorithm {
      case .lz4, .lz4Old:
        _ = unsafe reference_lz4_decompress(target.base, written, back.base, count, passes)
      case .gzip:
        _ = unsafe reference_zlib_decompress(target.base, written, back.base, count, passes)
      case .zstd:
        _ = unsafe reference_zstd_decompress(
          target.base.map { unsafe $0 + 4 }, written - 4, back.base, count, passes)
      }
    }
  }
}
