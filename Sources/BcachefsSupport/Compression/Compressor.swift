// SPDX-License-Identifier: GPL-2.0
// Compression of one extent: LZ4 blocks, raw deflate streams, Zstandard frames with a length.
//
// How it works
//   1. A `Compressor` and a `Decompressor` keep the libraries' working memory; each is one
//      thread's. What an algorithm needs is allocated when it is first used, then kept.
//   2. Compression either fits into the destination or does not (nil); how many blocks must be
//      saved to be worth it, and retrying with less data, is the caller's business. Whatever
//      follows the compressed bytes in the last block must be zero on disk.
//   3. Decompression knows the exact length of its output. The input may be followed by padding.
// Invariants
//   (1) Neither direction writes outside the destination it was given, whatever the source holds.
//   (2) Output depends on input, algorithm and level alone, not on what was compressed before.
//
// On disk
//   lz4, lz4_old  an LZ4 block, no header: it ends when the output is full
//   gzip          a deflate stream without zlib or gzip header (window of 32 KiB)
//   zstd          the frame's length as a 32-bit little-endian number, then the frame
//
// Levels: 0 is the default, 1 ... 15 as the option says.
//   lz4    0 ... 2 fast; from 3 on LZ4 HC of that level (its own maximum is 12)
//   gzip   0 is 6; at most 12 (the kernel's zlib stops at 9)
//   zstd   level * 3 / 2, as zstd has 22 of them; 0 is zstd's default, 3
//
// Source: compress.c (attempt_compress, __bio_uncompress).

internal import CDeflate
internal import CLZ4
internal import CZstd

/// How an extent is compressed; the raw values are those of `enum bch_compression_type`, which has
/// `none` (0) and `incompressible` (5) besides.
public enum CompressionAlgorithm: UInt8, Sendable, CaseIterable, CustomStringConvertible {
  /// The same as `lz4`: read, never written.
  case lz4Old = 1
  case gzip = 2
  case lz4 = 3
  case zstd = 4

  /// The C name without its prefix.
  public var description: String {
    switch self {
    case .lz4Old: "lz4_old"
    case .gzip: "gzip"
    case .lz4: "lz4"
    case .zstd: "zstd"
    }
  }
}

/// Compressed bytes that cannot be what they claim to be.
public enum CompressionError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Not a valid stream, or one of another length than expected.
  case corrupt(CompressionAlgorithm, sourceByteCount: Int, expectedByteCount: Int)
  /// The length in front of a Zstandard frame is more than what follows it.
  case badFrameLength(found: Int, available: Int)
  /// Longer than the library can take (2 GiB).
  case tooLong(byteCount: Int)

  public var description: String {
    switch self {
    case .corrupt(let algorithm, let source, let expected):
      "corrupt \(algorithm) data: \(source) bytes do not decompress to \(expected) bytes"
    case .badFrameLength(let found, let available):
      "corrupt zstd data: frame of \(found) bytes where only \(available) bytes are stored"
    case .tooLong(let byteCount): "compressed extent of \(byteCount) bytes is too long"
    }
  }
}

/// One thread's working memory for compression.
@safe
public final class Compressor {
  /// Highest level of the option, for every algorithm.
  public static let maximumLevel = 15

  private var lz4Fast: AlignedBuffer?
  private var lz4High: AlignedBuffer?
  private var deflate = unsafe [OpaquePointer?](repeating: nil, count: 13)
  private var zstd: OpaquePointer?

  public init() {}

  deinit {
    for level in 0..<13 { unsafe libdeflate_free_compressor(deflate[level]) }
    _ = unsafe ZSTD_freeCCtx(zstd)
  }

  /// Compresses all of `source`.
  ///
  /// - Parameters:
  ///   - source: At most 2 GiB.
  ///   - destination: Its length is the limit.
  ///   - level: 0 (the default) ... 15.
  /// - Returns: Bytes written, more than 0; nil when the result would not fit.
  public func compress(
    _ source: RawSpan, into destination: inout MutableRawSpan, algorithm: CompressionAlgorithm,
    level: Int = 0
  ) -> Int? {
    invariant(level >= 0 && level <= Self.maximumLevel, "a compression level is 0 ... 15")
    guard source.byteCount <= Int(LZ4_MAX_INPUT_SIZE) else { return nil }
    return unsafe source.withUnsafeBytes { input in
      unsafe destination.withUnsafeMutableBytes { output in
        guard let from = input.baseAddress, let to = output.baseAddress else { return nil }
        let limit = min(output.count, Int(Int32.max))
        switch algorithm {
        case .lz4, .lz4Old:
          return unsafe compressLZ4(from, input.count, to, limit, level)
        case .gzip:
          return unsafe compressDeflate(from, input.count, to, limit, level)
        case .zstd:
          return unsafe compressZstd(from, input.count, to, limit, level)
        }
      }
    }
  }

  private func compressLZ4(
    _ source: UnsafeRawPointer, _ sourceCount: Int, _ destination: UnsafeMutableRawPointer,
    _ limit: Int, _ level: Int
  ) -> Int? {
    let from = unsafe source.assumingMemoryBound(to: CChar.self)
    let to = unsafe destination.assumingMemoryBound(to: CChar.self)
    let written: Int32
    if level < Int(LZ4HC_CLEVEL_MIN) {
      if lz4Fast == nil {
        lz4Fast = AlignedBuffer(byteCount: Int(LZ4_sizeofState()), alignment: 64)
      }
      written = unsafe LZ4_compress_fast_extState(
        lz4Fast?.unsafeBytes.baseAddress, from, to, Int32(sourceCount), Int32(limit), 1)
    } else {
      if lz4High == nil {
        lz4High = AlignedBuffer(byteCount: Int(LZ4_sizeofStateHC()), alignment: 64)
      }
      written = unsafe LZ4_compress_HC_extStateHC(
        lz4High?.unsafeBytes.baseAddress, from, to, Int32(sourceCount), Int32(limit),
        Int32(level))
    }
    return written > 0 ? Int(written) : nil
  }

  private func compressDeflate(
    _ source: UnsafeRawPointer, _ sourceCount: Int, _ destination: UnsafeMutableRawPointer,
    _ limit: Int, _ level: Int
  ) -> Int? {
    let effective = level == 0 ? 6 : min(level, 12)
    if unsafe deflate[effective] == nil {
      guard let compressor = unsafe libdeflate_alloc_compressor(Int32(effective)) else {
        return nil
      }
      unsafe deflate[effective] = compressor
    }
    let written = unsafe libdeflate_deflate_compress(
      deflate[effective], source, sourceCount, destination, limit)
    return written > 0 ? written : nil
  }

  private func compressZstd(
    _ source: UnsafeRawPointer, _ sourceCount: Int, _ destination: UnsafeMutableRawPointer,
    _ limit: Int, _ level: Int
  ) -> Int? {
    let header = 4
    guard limit > header else { return nil }
    if unsafe zstd == nil { unsafe zstd = ZSTD_createCCtx() }
    let scaled = min(level * 3 / 2, Int(ZSTD_maxCLevel()))
    let written = unsafe ZSTD_compressCCtx(
      zstd, destination + header, limit - header, source, sourceCount, Int32(scaled))
    guard ZSTD_isError(written) == 0 else { return nil }
    unsafe destination.storeBytes(of: UInt32(written).littleEndian, as: UInt32.self)
    return header + written
  }
}

/// One thread's working memory for decompression.
@safe
public final class Decompressor {
  private var deflate: OpaquePointer?
  private var zstd: OpaquePointer?

  public init() {}

  deinit {
    unsafe libdeflate_free_decompressor(deflate)
    _ = unsafe ZSTD_freeDCtx(zstd)
  }

  /// Fills `destination` from `source`.
  ///
  /// - Parameters:
  ///   - source: As stored, padding included.
  ///   - destination: Exactly as long as the data was. After an error its content is undefined.
  /// - Throws: `.corrupt`, `.badFrameLength`, `.tooLong`; whatever the bytes, nothing worse.
  public func decompress(
    _ source: RawSpan, into destination: inout MutableRawSpan, algorithm: CompressionAlgorithm
  ) throws(CompressionError) {
    let sourceCount = source.byteCount
    let expected = destination.byteCount
    guard max(sourceCount, expected) <= Int(LZ4_MAX_INPUT_SIZE) else {
      throw .tooLong(byteCount: max(sourceCount, expected))
    }
    var stored = sourceCount
    var skipped = 0
    if algorithm == .zstd {
      guard sourceCount >= 4 else { throw .badFrameLength(found: 0, available: sourceCount) }
      stored = Int(UInt32(littleEndian: unsafe source.unsafeLoadUnaligned(as: UInt32.self)))
      guard stored <= sourceCount - 4 else {
        throw .badFrameLength(found: stored, available: sourceCount - 4)
      }
      skipped = 4
    }
    let isWhole = unsafe source.withUnsafeBytes { input in
      unsafe destination.withUnsafeMutableBytes { output in
        guard let base = input.baseAddress, let to = output.baseAddress else {
          return unsafe input.isEmpty && output.isEmpty
        }
        return unsafe run(algorithm, base + skipped, stored, to, output.count)
      }
    }
    guard isWhole else {
      throw .corrupt(algorithm, sourceByteCount: sourceCount, expectedByteCount: expected)
    }
  }

  /// Whether exactly `limit` bytes came out.
  private func run(
    _ algorithm: CompressionAlgorithm, _ from: UnsafeRawPointer, _ count: Int,
    _ to: UnsafeMutableRawPointer, _ limit: Int
  ) -> Bool {
    switch algorithm {
    case .lz4, .lz4Old:
      let written = unsafe LZ4_decompress_safe_partial(
        from.assumingMemoryBound(to: CChar.self), to.assumingMemoryBound(to: CChar.self),
        Int32(count), Int32(limit), Int32(limit))
      return Int(written) == limit
    case .gzip:
      if unsafe deflate == nil { unsafe deflate = libdeflate_alloc_decompressor() }
      guard let deflate = unsafe deflate else { return false }
      var consumed = 0
      let result = unsafe libdeflate_deflate_decompress_ex(
        deflate, from, count, to, limit, &consumed, nil)
      return result == LIBDEFLATE_SUCCESS
    case .zstd:
      if unsafe zstd == nil { unsafe zstd = ZSTD_createDCtx() }
      guard let zstd = unsafe zstd else { return false }
      let written = unsafe ZSTD_decompressDCtx(zstd, to, limit, from, count)
      return ZSTD_isError(written) == 0 && written == limit
    }
  }
}
