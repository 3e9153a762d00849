// SPDX-License-Identifier: GPL-2.0
// The data of an extent as it is stored: read, verified, and without the parts that no key shows.
//
// How it works
//   1. What a checksum covers, or what is compressed, is read whole and verified. Where the key
//      shows all of it, it stays as it is: compressed, encrypted, with the same checksum.
//   2. Where the key shows only a part of it, the rest is left out, or moving data would never make
//      room. Of what is stored as it is, a part is cut out, encrypted or not, and gets a checksum
//      of its own. What is compressed is decompressed, cut, and compressed again.
//   3. The nonce of a part is that of the whole, as many sectors further on as the part begins:
//      the same bytes are never encrypted as something else by it.
// Invariants
//   (1) What is handed on was verified against the checksum it had.
//   (2) Sizes come from disk, and are checked before memory is taken.
//   (3) `crc.nonce + crc.offset` stays what it was: all copies of a key have to agree on it.
// Locks: none; it belongs to one thread.
// Source: io_read.c (BCH_READ_NODECODE), io_write.c (bch2_write_prep_encoded_data), checksum.c
// (bch2_rechecksum_bio).

internal import BcachefsFormat
internal import BcachefsSupport

final class StoredExtent {
  /// The longest extent that can be compressed or checksummed, in sectors (crc128: 2^13).
  private static let maxEncodedSectors: UInt32 = 1 << 13

  private let media: VolumeMedia
  private let decompressor = Decompressor()
  private let compressor = ChunkCompressor()
  private var stored = HeapBuffer(byteCount: 0)
  private var plain = HeapBuffer(byteCount: 0)
  /// Where in `stored` the data is.
  private var range = 0..<0
  /// How it is stored there.
  private(set) var crc = ExtentCrc(plainSectors: 1)

  init(_ media: VolumeMedia) { self.media = media }

  /// The bytes that `crc` describes.
  func withBytes<Result, Failure: Error>(
    _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let stored = self.stored
    return try body(stored.bytes.extracting(range))
  }

  /// Copies of an extent in the order in which to read them. Cached ones may be gone.
  static func copies(_ extent: MovedExtent, _ media: VolumeMedia) -> [DecodedPtr] {
    let copies = extent.parts.pointers.filter { !$0.ptr.isCached && !$0.ptr.isUnwritten }
    return copies.map { (copy: $0, cost: media.readCost(of: $0.ptr)) }
      .sorted { $0.cost < $1.cost }.map(\.copy)
  }

  // MARK: - Encoded data

  /// Reads all of an encoded copy, and leaves out what its key does not show.
  ///
  /// - Throws: `.corrupt` where it contradicts its checksum or the format; what the device says.
  func readEncoded(
    _ copy: DecodedPtr, of key: BKey, _ blockBytes: Int
  ) throws(VolumeError) {
    let crc = copy.crc
    guard crc.uncompressedSize <= Self.maxEncodedSectors, crc.compressedSize > 0,
      crc.compressedSize <= crc.uncompressedSize,
      crc.isCompressed || crc.compressedSize == crc.uncompressedSize,
      UInt64(crc.offset) + UInt64(key.size) <= UInt64(crc.uncompressedSize)
    else {
      throw VolumeError(.corrupt, "\(key): an encoded extent that cannot be")
    }
    let byteCount = Int(crc.compressedSize) * 512
    if stored.byteCount < byteCount { stored = HeapBuffer(byteCount: byteCount) }
    let stored = self.stored
    var all = stored.mutableBytes
    var target = all._mutatingExtracting(0..<byteCount)
    try media.read(copy.ptr.device, atSector: copy.ptr.offset, into: &target)
    if let problem = media.problem(with: target.bytes, crc, key.version) {
      throw VolumeError(.corrupt, problem)
    }
    (self.crc, range) = (crc, 0..<byteCount)
    self.crc.liveSize = key.size
    guard key.size < crc.uncompressedSize else { return }
    if crc.isCompressed {
      try compressAgain(crc, key, blockBytes)
    } else {
      let start = Int(crc.offset) * 512
      try cut(to: start..<start + Int(key.size) * 512, by: UInt32(crc.offset), key.version)
    }
  }

  /// Keeps a part of the data, with a checksum of its own.
  ///
  /// - Parameters:
  ///   - part: In bytes from the start of the buffer.
  ///   - sectors: By how many sectors it begins further on.
  private func cut(
    to part: Range<Int>, by sectors: UInt32, _ version: BVersion
  ) throws(VolumeError) {
    range = part
    crc = try withBytes { (bytes) throws(VolumeError) in
      try crc.ofPart(bytes, by: sectors, version, media.key)
    }
  }

  /// Decompresses the data, and compresses the part of it that the key shows.
  private func compressAgain(
    _ old: ExtentCrc, _ key: BKey, _ blockBytes: Int
  ) throws(VolumeError) {
    guard let algorithm = CompressionAlgorithm(rawValue: old.compressionType) else {
      throw VolumeError(.unsupported, "compression type \(old.compressionType) is not known")
    }
    let isEncrypted = ChecksumType(rawValue: old.checksumType).isEncryption
    let (whole, live) = (Int(old.uncompressedSize) * 512, Int(key.size) * 512)
    if plain.byteCount < whole { plain = HeapBuffer(byteCount: whole) }
    if self.stored.byteCount < whole {
      let larger = HeapBuffer(byteCount: whole)
      var target = larger.mutableBytes
      withBytes { target.copy($0, to: 0) }
      self.stored = larger
    }
    let (stored, plain) = (self.stored, self.plain)
    var all = stored.mutableBytes
    var source = all._mutatingExtracting(range)
    if isEncrypted, let cipher = media.key {
      cipher.applyChaCha20(to: &source, nonce: old.nonce(version: key.version))
    }
    var decompressed = plain.mutableBytes
    var target = decompressed._mutatingExtracting(0..<whole)
    do throws(CompressionError) {
      try decompressor.decompress(source.bytes, into: &target, algorithm: algorithm)
    } catch {
      throw VolumeError(.corrupt, "\(error)")
    }
    let start = Int(old.offset) * 512
    var again = stored.mutableBytes
    var room = again._mutatingExtracting(0..<live)
    let (byteCount, type) = compressor.store(
      target.bytes.extracting(start..<start + live), into: &room,
      DataParameters(
        blockBytes: blockBytes, encodedExtentMaxBytes: whole, checksumType: .none,
        compression: algorithm == .lz4Old ? .lz4 : algorithm, compressionLevel: 0, key: nil,
        inlineDataMaxBytes: 0))
    var new = ExtentCrc(plainSectors: key.size)
    new.compressedSize = UInt32(byteCount / 512)
    new.compressionType = type.rawValue
    new.checksumType = old.checksumType
    new.nonce = old.nonce &+ old.offset
    if isEncrypted, let cipher = media.key {
      var bytes = room._mutatingExtracting(0..<byteCount)
      cipher.applyChaCha20(to: &bytes, nonce: new.nonce(version: key.version))
    }
    range = 0..<byteCount
    let unsealed = new
    crc = try withBytes { (bytes) throws(VolumeError) in
      try unsealed.sealed(bytes, key.version, media.key)
    }
  }
}

extension ExtentCrc {
  /// The entry of a part of data that is stored as it is, not compressed.
  ///
  /// - Parameters:
  ///   - bytes: The part, as stored.
  ///   - sectors: By how many sectors it begins further on than what this entry describes.
  func ofPart(
    _ bytes: RawSpan, by sectors: UInt32, _ version: BVersion, _ key: EncryptionKey?
  ) throws(VolumeError) -> ExtentCrc {
    var part = ExtentCrc(plainSectors: UInt32(bytes.byteCount / 512))
    part.compressionType = compressionType
    part.checksumType = checksumType
    part.nonce = nonce &+ UInt16(truncatingIfNeeded: sectors)
    return try part.sealed(bytes, version, key)
  }

  /// The same with the checksum of stored bytes.
  ///
  /// - Throws: `.corrupt` where no entry has room for its numbers, `.locked` without a key.
  fileprivate func sealed(
    _ bytes: RawSpan, _ version: BVersion, _ key: EncryptionKey?
  ) throws(VolumeError) -> ExtentCrc {
    var result = self
    do throws(ChecksumError) {
      result.checksum = try ChecksumType(rawValue: checksumType).checksum(
        bytes, key: key, nonce: nonce(version: version))
    } catch {
      throw VolumeError(error)
    }
    guard result.smallestKind != nil else {
      throw VolumeError(.corrupt, "a part of an extent at nonce \(nonce) has no entry that fits")
    }
    return result
  }
}
