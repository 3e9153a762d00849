// SPDX-License-Identifier: GPL-2.0
// Reads the data of one extent: picks a copy, verifies, decrypts, decompresses, cuts out what was
// asked for.
//
// How it works
//   1. An extent's copies are tried in the order in which their devices are expected to answer
//      (VolumeMedia); those that are only cached last, and only while their bucket's generation is
//      theirs. A copy that fails is reported and the next one tried.
//   2. What is checksummed or compressed is read whole (that is what the checksum covers): right to
//      where it is wanted if all of it is, else to memory where it stays, as the next read is often
//      of the rest. Anything else is read where it is needed.
//   3. When no copy can be read, those that belong to a stripe are rebuilt from the stripe's other
//      blocks, and verified as if they had been read.
// Invariants
//   (1) No byte is returned as good that a checksum covers and contradicts.
//   (2) Sizes come from disk and are checked against the format's bounds before memory is taken.
//   (3) After the first few reads nothing is allocated, unless a copy is bad.
// Locks: none; a reader belongs to one thread (it has working memory of its own).
// Source: io_read.c (__bch2_read_extent, __bch2_read_endio), extents.c
// (bch2_bkey_pick_read_device).

internal import BcachefsFormat
internal import BcachefsSupport

final class ExtentReader {
  /// The longest extent that can be compressed or checksummed, in sectors (crc128: 2^13).
  private static let maxEncodedSectors: UInt32 = 1 << 13

  let media: VolumeMedia
  private let report: (ReadDamage) -> Void
  private let decompressor = Decompressor()
  private let cached: CachedPlaces
  private let stripes: StripeReader
  private var copies: [Copy] = []
  private var stored = HeapBuffer(byteCount: 0)
  private var plain = HeapBuffer(byteCount: 0)
  /// For sectors of which a part is wanted.
  var scratch = HeapBuffer(byteCount: 0)
  /// What was verified last and is in `stored`, or in `plain` if it was compressed.
  private var held: (pointer: DecodedPtr, version: BVersion)?

  /// A copy, and what reading it is expected to cost.
  private struct Copy {
    let pointer: DecodedPtr
    let cost: UInt64
  }

  /// Where the bytes of a copy come from.
  enum Source {
    case device
    case stripe
  }

  /// - Parameter report: Called for every copy found bad.
  init(
    media: VolumeMedia, lookup: @escaping KeyLookup, report: @escaping (ReadDamage) -> Void
  ) {
    self.media = media
    self.report = report
    cached = CachedPlaces(media: media, lookup: lookup)
    stripes = StripeReader(media: media, lookup: lookup, report: report)
  }

  /// Reads sectors of an extent.
  ///
  /// - Parameters:
  ///   - extent: Of type extent or reflink_v.
  ///   - offset: First sector wanted, from the extent's start.
  ///   - target: Gets whole sectors; `offset` and they lie within the extent.
  /// - Throws: `.allCopiesBad` with what was wrong with each copy, `.poisoned`, `.corrupt`.
  func read(
    _ extent: KeyReference, fromSector offset: UInt32, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    guard try collect(extent) else {
      target.zero(0..<target.byteCount)
      return
    }
    let version = extent.key.version
    var failures: [String] = []
    var hasDirty = false
    var hasCurrent = false
    for copy in copies {
      let pointer = copy.pointer
      if pointer.ptr.isCached {
        guard copy.cost < .max, cached.isCurrent(pointer.ptr) else { continue }
        hasCurrent = true
      } else {
        hasDirty = true
      }
      guard copy.cost < .max else {
        failures.append("device \(pointer.ptr.device) is missing")
        continue
      }
      do throws(VolumeError) {
        try read(pointer, from: .device, version, offset, into: &target)
        return
      } catch {
        failures.append(note(pointer.ptr, error))
      }
    }
    for copy in copies where copy.pointer.stripe != nil {
      do throws(VolumeError) {
        try read(copy.pointer, from: .stripe, version, offset, into: &target)
        return
      } catch {
        failures.append("\(error)")
      }
    }
    guard hasDirty || hasCurrent || copies.isEmpty else {
      // All that is left are places where cached copies were: the driver takes it for a hole.
      target.zero(0..<target.byteCount)
      return
    }
    let reason = failures.isEmpty ? "it has no copies" : failures.joined(separator: "; ")
    throw VolumeError(.allCopiesBad, "extent \(extent.key.position): \(reason)")
  }

  /// Fills `copies`, the best first; false if nothing was ever written there.
  private func collect(_ extent: KeyReference) throws(VolumeError) -> Bool {
    copies.removeAll(keepingCapacity: true)
    var isPoisoned = false
    var isUnwritten = false
    try media.withEntries(of: extent) { entries in
      isPoisoned = entries.flags.isPoisoned
      var pointers = entries.pointers
      while let pointer = pointers.next() {
        if pointer.ptr.isUnwritten { isUnwritten = true }
        insert(Copy(pointer: pointer, cost: media.readCost(of: pointer.ptr)))
      }
    }
    guard !isPoisoned else {
      throw VolumeError(
        .poisoned,
        "extent \(extent.key.position) is poisoned: its data was found lost when it was moved, "
          + "before this")
    }
    for copy in copies.dropFirst() { media.leftAlone(copy.pointer.ptr) }
    return !isUnwritten
  }

  /// Puts a copy where its cost belongs, behind those of the same cost.
  private func insert(_ copy: Copy) {
    var index = copies.count
    while index > 0, copy.cost < copies[index - 1].cost { index -= 1 }
    copies.insert(copy, at: index)
  }

  private func note(_ pointer: ExtentPtr, _ error: VolumeError) -> String {
    let text = "device \(pointer.device) sector \(pointer.offset): \(error)"
    report(ReadDamage(device: pointer.device, sector: pointer.offset, text: text))
    return text
  }

  // MARK: - One copy

  private func read(
    _ pointer: DecodedPtr, from source: Source, _ version: BVersion, _ offset: UInt32,
    into target: inout MutableRawSpan
  ) throws(VolumeError) {
    let crc = pointer.crc
    let first = UInt64(crc.offset) + UInt64(offset)
    guard crc.isEncoded else {
      try readSectors(pointer, source, from: first, into: &target)
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
    if first == 0, target.byteCount == Int(crc.uncompressedSize) * 512 {
      try readWhole(pointer, source, version, into: &target)
      return
    }
    try hold(pointer, source, version)
    let buffer = crc.isCompressed ? plain : stored
    let start = Int(first) * 512
    target.copy(buffer.bytes.extracting(start..<start + target.byteCount), to: 0)
  }

  /// Reads all of an encoded copy.
  private func readWhole(
    _ pointer: DecodedPtr, _ source: Source, _ version: BVersion, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    guard pointer.crc.isCompressed else {
      try readVerified(pointer, source, version, into: &target)
      return
    }
    try readStored(pointer, source, version)
    try decompress(pointer.crc, into: &target)
  }

  /// Sees to it that all of an encoded copy is in `stored`, or in `plain` if it is compressed.
  private func hold(
    _ pointer: DecodedPtr, _ source: Source, _ version: BVersion
  ) throws(VolumeError) {
    if let held, held.pointer == pointer, held.version == version { return }
    try readStored(pointer, source, version)
    if pointer.crc.isCompressed {
      let byteCount = Int(pointer.crc.uncompressedSize) * 512
      if plain.byteCount < byteCount { plain = HeapBuffer(byteCount: byteCount) }
      let buffer = plain
      var all = buffer.mutableBytes
      var target = all._mutatingExtracting(0..<byteCount)
      try decompress(pointer.crc, into: &target)
    }
    held = (pointer, version)
  }

  /// Reads all that the checksum covers to `stored`.
  private func readStored(
    _ pointer: DecodedPtr, _ source: Source, _ version: BVersion
  ) throws(VolumeError) {
    held = nil
    let byteCount = Int(pointer.crc.compressedSize) * 512
    if stored.byteCount < byteCount { stored = HeapBuffer(byteCount: byteCount) }
    let buffer = stored
    var all = buffer.mutableBytes
    var bytes = all._mutatingExtracting(0..<byteCount)
    try readVerified(pointer, source, version, into: &bytes)
  }

  /// Reads, verifies and decrypts all that the checksum covers.
  private func readVerified(
    _ pointer: DecodedPtr, _ source: Source, _ version: BVersion, into bytes: inout MutableRawSpan
  ) throws(VolumeError) {
    let crc = pointer.crc
    try readSectors(pointer, source, from: 0, into: &bytes)
    if let problem = media.problem(with: bytes.bytes, crc, version) {
      throw VolumeError(.corrupt, problem)
    }
    if ChecksumType(rawValue: crc.checksumType).isEncryption, let key = media.key {
      key.applyChaCha20(to: &bytes, nonce: crc.nonce(version: version))
    }
  }

  /// Decompresses what is in `stored`.
  private func decompress(
    _ crc: ExtentCrc, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    guard let algorithm = CompressionAlgorithm(rawValue: crc.compressionType) else {
      throw VolumeError(.unsupported, "compression type \(crc.compressionType) is not known")
    }
    let buffer = stored
    let source = buffer.bytes.extracting(0..<Int(crc.compressedSize) * 512)
    do throws(CompressionError) {
      try decompressor.decompress(source, into: &target, algorithm: algorithm)
    } catch {
      throw VolumeError(.corrupt, "\(error)")
    }
  }

  /// Reads sectors of a copy from its device, or rebuilds them from its stripe.
  private func readSectors(
    _ pointer: DecodedPtr, _ source: Source, from sector: UInt64,
    into target: inout MutableRawSpan
  ) throws(VolumeError) {
    switch source {
    case .device:
      try media.read(pointer.ptr.device, atSector: pointer.ptr.offset + sector, into: &target)
    case .stripe: try stripes.rebuild(pointer, fromSector: sector, into: &target)
    }
  }
}
