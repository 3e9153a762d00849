// SPDX-License-Identifier: GPL-2.0
// Turns file contents into what is stored: compressed, encrypted, checksummed pieces.
//
// How it works
//   1. Data is cut into chunks of at most `encodedExtentMax` when it is checksummed, compressed or
//      encrypted: a chunk is what a reader has to read whole.
//   2. A chunk is compressed when that saves at least one block, padded to blocks, encrypted, and
//      checksummed as stored.
//   3. The device place comes later; should a plain chunk straddle the end of a bucket there,
//      `split` cuts it and checksums both halves anew.
// Invariants
//   (1) Sizes are multiples of the block size.
//   (2) The nonce of an encrypted chunk is its version plus, behind a cut, its sector offset: no
//       two chunks of a volume share one.
// Source: io_write.c (bch2_write_extent), compress.c (__bio_compress), checksum.h (extent_nonce).

internal import BcachefsFormat
internal import BcachefsSupport

/// How the data of a volume is stored.
struct DataParameters: Sendable {
  let blockBytes: Int
  let encodedExtentMaxBytes: Int
  let checksumType: ChecksumType
  /// nil: not compressed.
  let compression: CompressionAlgorithm?
  let compressionLevel: Int
  let key: EncryptionKey?
  /// Files of at most this many bytes live in their extent key; 0: none do.
  let inlineDataMaxBytes: Int

  /// Whether chunks are read whole, so that their size has to be limited.
  var isEncoded: Bool { checksumType != .none || compression != nil }

  /// The longest chunk, in bytes.
  var chunkMaxBytes: Int { isEncoded ? encodedExtentMaxBytes : 1 << 20 }

  func roundedToBlocks(_ bytes: Int) -> Int {
    (bytes + blockBytes - 1) / blockBytes * blockBytes
  }
}

/// A piece of a file as it will be stored.
struct EncodedChunk: Sendable {
  /// First logical sector in the file.
  var fileSector: UInt64
  var crc: ExtentCrc
  var version: BVersion
  /// Where the stored bytes lie in the batch's buffer.
  var bufferOffset: Int

  /// Logical sectors.
  var sectors: UInt32 { crc.uncompressedSize }
  /// Stored sectors.
  var storedSectors: UInt32 { crc.compressedSize }
  /// Whether the extent needs a crc entry.
  var hasCrc: Bool { crc.checksumType != 0 || crc.compressionType != 0 || crc.nonce != 0 }
}

extension DataParameters {
  /// Checksums a chunk that is stored as it lies there: nothing is encrypted.
  func describe(
    _ stored: RawSpan, fileSector: UInt64, sectors: UInt32, compressionType: CompressionType
  ) throws(ChecksumError) -> EncodedChunk {
    invariant(!checksumType.isEncryption, "what is encrypted changes")
    var crc = crc(stored, sectors, compressionType)
    crc.checksum = try checksum(stored, crc, .zero)
    return EncodedChunk(fileSector: fileSector, crc: crc, version: .zero, bufferOffset: 0)
  }

  private func crc(
    _ stored: RawSpan, _ sectors: UInt32, _ compressionType: CompressionType
  ) -> ExtentCrc {
    var crc = ExtentCrc(plainSectors: sectors)
    crc.compressedSize = UInt32(stored.byteCount / 512)
    crc.compressionType = compressionType.rawValue
    crc.checksumType = checksumType.rawValue
    return crc
  }

  /// Encrypts and checksums a chunk that lies ready in `stored`.
  func seal(
    _ stored: inout MutableRawSpan, fileSector: UInt64, sectors: UInt32,
    compressionType: CompressionType, version: BVersion, bufferOffset: Int
  ) throws(ChecksumError) -> EncodedChunk {
    var crc = crc(stored.bytes, sectors, compressionType)
    if checksumType.isEncryption, let key {
      key.applyChaCha20(to: &stored, nonce: crc.nonce(version: version))
    }
    crc.checksum = try checksum(stored.bytes, crc, version)
    return EncodedChunk(
      fileSector: fileSector, crc: crc,
      version: checksumType.isEncryption ? version : .zero, bufferOffset: bufferOffset)
  }

  private func checksum(
    _ stored: RawSpan, _ crc: ExtentCrc, _ version: BVersion
  ) throws(ChecksumError) -> Checksum128 {
    try checksumType.checksum(stored, key: key, nonce: crc.nonce(version: version))
  }

  /// Cuts a chunk that is stored as it is behind `sectors`.
  ///
  /// - Precondition: not compressed; `sectors` is a multiple of the block size within the chunk.
  func split(
    _ chunk: EncodedChunk, at sectors: UInt32, stored: RawSpan
  ) throws(ChecksumError) -> (EncodedChunk, EncodedChunk) {
    invariant(!chunk.crc.isCompressed, "compressed chunks are stored whole")
    invariant(sectors > 0 && sectors < chunk.sectors, "a cut leaves two pieces")
    var first = chunk
    var second = chunk
    let cut = Int(sectors) * 512
    for (piece, size) in [(true, sectors), (false, chunk.sectors - sectors)] {
      var crc = chunk.crc
      crc.uncompressedSize = size
      crc.compressedSize = size
      crc.liveSize = size
      if !piece && checksumType.isEncryption { crc.nonce += UInt16(sectors) }
      let bytes = stored.extracting(piece ? 0..<cut : cut..<stored.byteCount)
      crc.checksum = try checksum(bytes, crc, chunk.version)
      if piece { first.crc = crc } else { second.crc = crc }
    }
    second.fileSector += UInt64(sectors)
    second.bufferOffset += cut
    return (first, second)
  }
}

extension EncodedChunk {
  /// Encodes the value of its key.
  ///
  /// - Parameters:
  ///   - places: Where it is stored.
  ///   - atRest: Told where it is not there yet.
  /// - Returns: Words of the value.
  /// - Throws: `.tooSmall` where `value` has no room for it.
  func encode(
    _ places: [ExtentPtr], atRest: ExtentRebalance? = nil, into value: inout MutableRawSpan
  ) throws(FormatError) -> Int {
    var writer = ExtentWriter()
    if hasCrc { try writer.append(crc, to: &value) }
    for place in places { try writer.append(place, to: &value) }
    if let atRest { try writer.append(atRest, to: &value) }
    return writer.encodedU64s
  }
}
