// SPDX-License-Identifier: GPL-2.0
// Reads the data of one extent: picks a copy, verifies, decrypts, decompresses, cuts out what was
// asked for.
//
// How it works
//   1. An extent's pointers are tried in order, those that are only cached last and only while
//      their bucket's generation is theirs. A copy that fails is reported and the next one tried.
//   2. What is checksummed or compressed is read whole (that is what the checksum covers); the rest
//      is read where it is needed.
//   3. A copy that belongs to a stripe and cannot be read is rebuilt from the stripe's other
//      blocks.
// Invariants
//   (1) No byte is returned as good that a checksum covers and contradicts.
//   (2) Sizes come from disk and are checked against the format's bounds before memory is taken.
// Locks: none; a reader belongs to one thread (it has working memory of its own).
// Source: io_read.c (__bch2_read_extent, __bch2_read_endio), extents.c
// (bch2_bkey_pick_read_device).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

final class ExtentReader {
  /// The longest extent that can be compressed or checksummed, in sectors (crc128: 2^13).
  private static let maxEncodedSectors: UInt32 = 1 << 13

  private let media: VolumeMedia
  private let forest: BTreeForest
  private let report: (ReadDamage) -> Void
  private let decompressor = Decompressor()
  private let alloc: BTreeCursor
  private var stored = HeapBuffer(byteCount: 0)
  private var plain = HeapBuffer(byteCount: 0)

  /// - Parameter report: Called for every copy found bad.
  init(media: VolumeMedia, forest: BTreeForest, report: @escaping (ReadDamage) -> Void) {
    self.media = media
    self.forest = forest
    self.report = report
    alloc = BTreeCursor(forest, .alloc)
  }

  /// Reads sectors of an extent.
  ///
  /// - Parameters:
  ///   - extent: Of type extent or reflink_v.
  ///   - offset: First sector wanted, from the extent's start.
  ///   - target: Gets whole sectors; `offset` and they lie within the extent.
  /// - Throws: `.allCopiesBad` with what was wrong with each copy.
  func read(
    _ extent: KeyReference, fromSector offset: UInt32, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    var failures: [String] = []
    for pointer in try candidates(extent) {
      do throws(VolumeError) {
        try read(pointer, extent.key.version, offset, into: &target)
        return
      } catch {
        let text = "device \(pointer.ptr.device) sector \(pointer.ptr.offset): \(error)"
        failures.append(text)
        report(ReadDamage(device: pointer.ptr.device, sector: pointer.ptr.offset, text: text))
      }
    }
    let reason = failures.isEmpty ? "it has no copies" : failures.joined(separator: "; ")
    throw VolumeError(.allCopiesBad, "extent \(extent.key.position): \(reason)")
  }

  /// The copies worth trying, in order.
  private func candidates(_ extent: KeyReference) throws(VolumeError) -> [DecodedPtr] {
    var dirty: [DecodedPtr] = []
    var cached: [DecodedPtr] = []
    do throws(FormatError) {
      try extent.withValue { (value) throws(FormatError) in
        var pointers = try ExtentEntries(key: extent.key, value: value).pointers
        while let pointer = pointers.next() {
          if pointer.ptr.isCached { cached.append(pointer) } else { dirty.append(pointer) }
        }
      }
    } catch {
      throw VolumeError(error)
    }
    for pointer in cached where try isCurrent(pointer.ptr) { dirty.append(pointer) }
    return dirty
  }

  /// Whether a cached pointer's bucket still holds what it pointed to.
  private func isCurrent(_ pointer: ExtentPtr) throws(VolumeError) -> Bool {
    guard let member = media.superblock.member(at: Int(pointer.device)),
      member.bucketSizeSectors > 0
    else { return false }
    let bucket = pointer.offset / UInt64(member.bucketSizeSectors)
    let position = Positions.bucket(device: pointer.device, bucket: bucket)
    guard let found = try alloc.lookup(position) else { return pointer.generation == 0 }
    do throws(FormatError) {
      return try found.withValue { (value) throws(FormatError) in
        try AllocV4(key: found.key, value: value).generation == pointer.generation
      }
    } catch {
      throw VolumeError(error)
    }
  }

  // MARK: - One copy

  private func read(
    _ pointer: DecodedPtr, _ version: BVersion, _ offset: UInt32,
    into target: inout MutableRawSpan
  ) throws(VolumeError) {
    if pointer.ptr.isUnwritten {
      target.zero(0..<target.byteCount)
      return
    }
    let crc = pointer.crc
    let first = UInt64(crc.offset) + UInt64(offset)
    guard crc.isEncoded else {
      try readSectors(pointer, from: first, into: &target)
      return
    }
    guard crc.uncompressedSize <= Self.maxEncodedSectors, crc.compressedSize > 0,
      crc.compressedSize <= crc.uncompressedSize,
      crc.isCompressed || crc.compressedSize == crc.uncompressedSize,
      Int(first) * 512 + target.byteCount <= Int(crc.uncompressedSize) * 512
    else {
      throw VolumeError(
        .corrupt,
        "an encoded extent of \(crc.compressedSize) and \(crc.uncompressedSize) sectors "
          + "cannot hold sectors from \(first) on")
    }
    try readStored(pointer, version)
    let stored = self.stored
    let range = 0..<Int(crc.compressedSize) * 512
    guard crc.isCompressed else {
      let start = Int(first) * 512
      target.copy(stored.bytes.extracting(start..<start + target.byteCount), to: 0)
      return
    }
    try decompress(stored.bytes.extracting(range), crc)
    let plain = self.plain
    let start = Int(first) * 512
    target.copy(plain.bytes.extracting(start..<start + target.byteCount), to: 0)
  }

  /// Reads, verifies and decrypts all that the checksum covers, to `stored`.
  private func readStored(_ pointer: DecodedPtr, _ version: BVersion) throws(VolumeError) {
    let crc = pointer.crc
    let byteCount = Int(crc.compressedSize) * 512
    if stored.byteCount < byteCount { stored = HeapBuffer(byteCount: byteCount) }
    let buffer = stored
    var all = buffer.mutableBytes
    var bytes = all._mutatingExtracting(0..<byteCount)
    try readSectors(pointer, from: 0, into: &bytes)
    let type = ChecksumType(rawValue: crc.checksumType)
    let nonce = crc.nonce(version: version)
    do throws(ChecksumError) {
      let computed = try type.checksum(bytes.bytes, key: media.key, nonce: nonce)
      guard crc.checksum.truncated(toByteCount: type.fieldBytes).matches(computed) else {
        throw ChecksumError.noKey
      }
    } catch {
      let reason =
        type.isEncryption && media.key == nil ? "\(error)" : "checksum (\(type)) is wrong"
      throw VolumeError(.corrupt, reason)
    }
    if type.isEncryption, let key = media.key { key.applyChaCha20(to: &bytes, nonce: nonce) }
  }

  private func decompress(_ source: RawSpan, _ crc: ExtentCrc) throws(VolumeError) {
    guard let algorithm = CompressionAlgorithm(rawValue: crc.compressionType) else {
      throw VolumeError(.unsupported, "compression type \(crc.compressionType) is not known")
    }
    let byteCount = Int(crc.uncompressedSize) * 512
    if plain.byteCount < byteCount { plain = HeapBuffer(byteCount: byteCount) }
    let buffer = plain
    var all = buffer.mutableBytes
    var target = all._mutatingExtracting(0..<byteCount)
    do throws(CompressionError) {
      try decompressor.decompress(source, into: &target, algorithm: algorithm)
    } catch {
      throw VolumeError(.corrupt, "\(error)")
    }
  }

  /// Reads sectors of a copy from its device, or rebuilds them from its stripe.
  private func readSectors(
    _ pointer: DecodedPtr, from sector: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    guard let device = media.device(pointer.ptr.device) else {
      throw VolumeError(.missingMembers, "the device is missing")
    }
    do throws(DeviceError) {
      try device.read(into: &target, atByte: (pointer.ptr.offset + sector) * 512)
    } catch {
      throw VolumeError(error)
    }
  }
}
