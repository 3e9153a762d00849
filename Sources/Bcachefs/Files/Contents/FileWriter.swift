// SPDX-License-Identifier: GPL-2.0
// Writes contents of a file: encoded, to devices, then into the extents btree.
//
// How it works
//   1. Data goes in chunks of at most `encoded_extent_max`. A chunk is compressed where that saves
//      a block, encrypted and checksummed; what is none of the first two is written from where it
//      lies.
//   2. It takes room in the file's stream (WritePoint.swift). Where the open buckets have less, a
//      chunk that is stored as it is becomes shorter; a compressed one gets new buckets.
//   3. Once it is on its devices the key goes in, with the file's counters
//      (Transaction+FileExtents.swift). Then the buckets are not needed any more.
//   4. A copy that could not be written is left out; where that leaves none, the data goes to other
//      devices.
//   5. A last part so small that it fits into a key goes there (`inline_data`).
//   6. Data of files with the option `nocow` goes to where theirs is already, as far as that may be
//      written over (Data/InPlace); only the rest is written as all else.
// Invariants
//   (1) No key is committed before its data is written.
//   (2) Only in files with `nocow` anything is ever written over: of others a reader sees the old
//       contents or the new ones.
// Locks: none is held while devices are at work. A writer belongs to one thread at a time.
// Source: io_write.c (bch2_write, __bch2_write, bch2_write_extent, bch2_write_data_inline).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// Where contents go.
struct FileWrite {
  let file: FileID
  let options: DataOptions
  let change: InodeChange
}

/// Working memory for writing.
final class FileWriter: @unchecked Sendable {
  // Safety: it belongs to one thread at a time.
  private let engine: Engine
  private let compressor = ChunkCompressor()
  private var stored = HeapBuffer(byteCount: 0)
  private let value = HeapBuffer(byteCount: BKey.maxValueU64s * 8, alignment: 16)

  init(_ engine: Engine) { self.engine = engine }

  /// Writes whole blocks of a file, whose range is the caller's.
  ///
  /// - Parameters:
  ///   - sector: The first one.
  ///   - reservation: What is used is taken from it.
  /// - Throws: `.noSpace`, `.device` where no device takes it, `.notFound` where the file is gone,
  ///   `.readOnly`; what was written before that stays.
  func write(
    _ bytes: RawSpan, atSector sector: UInt64, _ write: FileWrite,
    _ reservation: inout DiskReservation
  ) throws(VolumeError) {
    invariant(
      bytes.byteCount % write.options.parameters.blockBytes == 0, "whole blocks are written")
    // A file is cut off, and its last block gets its zeros, at once.
    guard write.options.isWrittenInPlace, !write.change.cutsOff else {
      return try writeNew(bytes, atSector: sector, write, &reservation)
    }
    var done = 0
    while done < bytes.byteCount {
      let start = sector + UInt64(done / 512)
      switch try engine.writeInPlace(bytes.extracting(done...), atSector: start, write) {
      case .written(let sectors): done += Int(sectors) * 512
      case .refused(let sectors, let failure):
        let end = done + Int(sectors) * 512
        try writeNew(
          bytes.extracting(done..<end), atSector: start, write, &reservation, after: failure)
        done = end
      }
    }
  }

  /// Writes whole blocks to places that nobody uses.
  ///
  /// - Parameter failure: Of a device that was to have them.
  private func writeNew(
    _ bytes: RawSpan, atSector sector: UInt64, _ write: FileWrite,
    _ reservation: inout DiskReservation, after failure: DeviceError? = nil
  ) throws(VolumeError) {
    let parameters = write.options.parameters
    let start = sector * 512
    let length = min(UInt64(bytes.byteCount), write.change.size - min(write.change.size, start))
    if length > 0, length <= UInt64(parameters.inlineDataMaxBytes) {
      try writeInline(bytes, Int(length), sector, write, &reservation)
      return
    }
    var done = 0
    while done < bytes.byteCount {
      let end = min(done + parameters.chunkMaxBytes, bytes.byteCount)
      done += try writeChunk(
        bytes.extracting(done..<end), sector + UInt64(done / 512), write, &reservation, failure)
    }
  }

  private func writeInline(
    _ bytes: RawSpan, _ length: Int, _ sector: UInt64, _ write: FileWrite,
    _ reservation: inout DiskReservation
  ) throws(VolumeError) {
    try engine.features.use(.inlineData)
    let value = self.value
    var target = value.mutableBytes
    let words: Int
    do throws(FormatError) {
      words = try InlineData.encode(bytes.extracting(first: length), into: &target)
    } catch {
      throw VolumeError(error)
    }
    let size = bytes.byteCount / 512
    try put(
      BKey(
        type: .inlineData, position: BPos(0, sector + UInt64(size)), size: UInt32(size),
        valueU64s: words),
      write, &reservation)
  }

  // MARK: - Chunks

  /// Writes a chunk, or its beginning.
  ///
  /// - Returns: how many bytes of it.
  private func writeChunk(
    _ plain: RawSpan, _ sector: UInt64, _ write: FileWrite,
    _ reservation: inout DiskReservation, _ failure: DeviceError?
  ) throws(VolumeError) -> Int {
    let parameters = write.options.parameters
    let isCopied = parameters.compression != nil || parameters.checksumType.isEncryption
    var (byteCount, type) = (plain.byteCount, CompressionType.none)
    if isCopied {
      if stored.byteCount < byteCount { stored = HeapBuffer(byteCount: parameters.chunkMaxBytes) }
      let stored = self.stored
      var all = stored.mutableBytes
      var target = all._mutatingExtracting(0..<byteCount)
      (byteCount, type) = compressor.store(plain, into: &target, parameters)
    }
    if let feature = type.feature { try engine.features.use(feature) }
    var request = AllocationRequest(
      sectors: UInt64(byteCount / 512), minSectors: UInt64(parameters.blockBytes / 512),
      replicas: write.options.replicas,
      target: engine.targets.members(of: write.options.foregroundTarget))
    if type.isCompressed { request.minSectors = request.sectors }
    var failure = failure
    while true {
      let found = try allocate(request, for: write.file, after: failure)
      defer { engine.settle(found) }
      byteCount = Int(found.sectors) * 512
      let count = type.isCompressed ? plain.byteCount : byteCount
      let source = plain.extracting(first: count)
      let chunk = try seal(
        isCopied ? nil : source, byteCount, sector: sector, sectors: count / 512, type, parameters)
      let stored = self.stored
      let places = engine.writeData(
        isCopied ? stored.bytes.extracting(first: byteCount) : source, to: found.places, &failure)
      // Devices that failed are not asked again: the next places are elsewhere, or there are none.
      guard !places.isEmpty else { continue }
      try put(chunk, places, write, &reservation)
      return count
    }
  }

  /// - Throws: the failure of a device, where that is why there is no other one to write to.
  private func allocate(
    _ request: AllocationRequest, for file: FileID, after failure: DeviceError?
  ) throws(VolumeError) -> SectorAllocation {
    do throws(VolumeError) {
      return try engine.allocateSectors(request, in: engine.writePoints.user(file.inode))
    } catch {
      if let failure { throw VolumeError(failure) }
      throw error
    }
  }

  /// - Parameter source: What is stored as it lies there; nil for what is in `stored`.
  private func seal(
    _ source: RawSpan?, _ byteCount: Int, sector: UInt64, sectors: Int, _ type: CompressionType,
    _ parameters: DataParameters
  ) throws(VolumeError) -> EncodedChunk {
    do throws(ChecksumError) {
      if let source {
        return try parameters.describe(
          source, fileSector: sector, sectors: UInt32(sectors), compressionType: type)
      }
      let stored = self.stored
      var all = stored.mutableBytes
      var part = all._mutatingExtracting(0..<byteCount)
      let isEncrypted = parameters.checksumType.isEncryption
      return try parameters.seal(
        &part, fileSector: sector, sectors: UInt32(sectors), compressionType: type,
        version: isEncrypted ? engine.journal.nextKeyVersion() : .zero, bufferOffset: 0)
    } catch {
      throw VolumeError(error)
    }
  }

  // MARK: - Keys

  private func put(
    _ chunk: EncodedChunk, _ places: [ExtentPtr], _ write: FileWrite,
    _ reservation: inout DiskReservation
  ) throws(VolumeError) {
    let value = self.value
    var bytes = value.mutableBytes
    var key = BKey(
      type: .extent, position: BPos(0, chunk.fileSector + UInt64(chunk.sectors)),
      size: chunk.sectors, version: chunk.version)
    do throws(FormatError) {
      var words = try chunk.encode(places, into: &bytes)
      let entries = ExtentEntries(value.bytes.extracting(first: words * 8), keySize: key.size)
      if engine.targets.sectorsToRebalance(entries, write.options.atRest) != 0 {
        words = try chunk.encode(places, atRest: write.options.atRest, into: &bytes)
      }
      key.u64s = UInt8(BKey.headerU64s + words)
    } catch {
      throw VolumeError(error)
    }
    try put(key, write, &reservation)
  }

  /// Puts a key, whose value is in `value`, into the file.
  private func put(
    _ key: BKey, _ write: FileWrite, _ reservation: inout DiskReservation
  ) throws(VolumeError) {
    var key = key
    let value = self.value
    while true {
      let (promised, whole) = (reservation, key)
      let (end, logged): (UInt64, BPos?)
      (end, logged, reservation) = try engine.run("data_write") {
        (transaction) throws(TransactionError) in
        transaction.promisedSectors = promised.sectors
        transaction.quotas.promise = promised.quota
        let (end, logged) = try transaction.putFileExtent(
          write.file, whole, value.bytes.extracting(first: whole.valueByteCount), write.change)
        let left = DiskReservation(
          sectors: transaction.promisedSectors, quota: transaction.quotas.promise)
        return (end, logged, left)
      }
      if let logged {
        try engine.completeTruncation(of: write.file, to: write.change.size, at: logged)
      }
      guard end < key.position.offset else { return }
      var bytes = value.mutableBytes
      do throws(FormatError) {
        try key.cutFront(to: end, &bytes, sizes: engine.media.entrySizes)
      } catch {
        throw VolumeError(error)
      }
    }
  }
}
