// SPDX-License-Identifier: GPL-2.0
// Writes contents of a file: encoded, to devices, then into the extents btree.
//
// How it works
//   1. Data is encoded, up to a mebibyte at a time (ChunkBatch.swift). Blocks that lie apart in the
//      file are put together first: they go to devices side by side.
//   2. It takes room in the file's stream (WritePoint.swift): as many chunks as the open buckets
//      have room for, or a part of the first one. They go to devices in one piece.
//   3. Once they are there their keys go in, with the file's counters, in one transaction
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
  private let batch = ChunkBatch()
  private let value = HeapBuffer(byteCount: BKey.maxValueU64s * 8, alignment: 16)
  /// Blocks that are put together, and where they belong.
  private var gathered = HeapBuffer(byteCount: 0)
  private var gatheredRuns = FileRuns()
  /// Where the logged_ops btree says what is to be cut off yet.
  private var logged: BPos?

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
    let runs = FileRuns(sector: sector, byteCount: bytes.byteCount)
    try self.write(bytes, runs, write, &reservation)
  }

  /// Writes the block that a file is to end in, and cuts it off there, in one transaction.
  ///
  /// - Parameter write: Its change says so.
  /// - Returns: as `Engine.truncate`.
  /// - Throws: as `write`; nothing was changed then.
  func cutOff(
    _ bytes: RawSpan, atSector sector: UInt64, _ write: FileWrite,
    _ reservation: inout DiskReservation
  ) throws(VolumeError) -> BPos? {
    logged = nil
    let run = FileRuns(sector: sector, byteCount: bytes.byteCount)
    // It is never written over: the file's zeros would be there before its end is.
    try writeNew(bytes, run, write, &reservation)
    return logged
  }

  // MARK: - Blocks that lie apart

  /// So many bytes can be gathered.
  static var gatheredMax: Int { 1 << 20 }

  /// Begins to gather blocks of a file.
  func beginGathering() {
    gatheredRuns.removeAll()
    if gathered.byteCount == 0 { gathered = HeapBuffer(byteCount: Self.gatheredMax) }
  }

  /// Adds whole blocks of the file, behind those that were added before.
  func gather(_ bytes: RawSpan, atSector sector: UInt64) {
    let gathered = self.gathered
    var target = gathered.mutableBytes
    target.copy(bytes, to: gatheredRuns.byteCount)
    gatheredRuns.append(sector: sector, byteCount: bytes.byteCount)
  }

  /// Writes what was gathered; as `write`.
  func writeGathered(
    _ write: FileWrite, _ reservation: inout DiskReservation
  ) throws(VolumeError) {
    let gathered = self.gathered
    try self.write(
      gathered.bytes.extracting(first: gatheredRuns.byteCount), gatheredRuns, write, &reservation)
  }

  // MARK: - Runs

  private func write(
    _ bytes: RawSpan, _ runs: FileRuns, _ write: FileWrite, _ reservation: inout DiskReservation
  ) throws(VolumeError) {
    guard write.options.isWrittenInPlace else {
      return try writeNew(bytes, runs, write, &reservation)
    }
    var start = 0
    for run in runs.all {
      let part = bytes.extracting(start..<start + run.byteCount)
      try writeInPlace(part, atSector: run.sector, write, &reservation)
      start += run.byteCount
    }
  }

  private func writeInPlace(
    _ bytes: RawSpan, atSector sector: UInt64, _ write: FileWrite,
    _ reservation: inout DiskReservation
  ) throws(VolumeError) {
    var done = 0
    while done < bytes.byteCount {
      let start = sector + UInt64(done / 512)
      switch try engine.writeInPlace(bytes.extracting(done...), atSector: start, write) {
      case .written(let sectors): done += Int(sectors) * 512
      case .refused(let sectors, let failure):
        let end = done + Int(sectors) * 512
        let run = FileRuns(sector: start, byteCount: end - done)
        try writeNew(bytes.extracting(done..<end), run, write, &reservation, after: failure)
        done = end
      }
    }
  }

  /// Writes runs to places that nobody uses.
  ///
  /// - Parameter failure: Of a device that was to have them.
  private func writeNew(
    _ bytes: RawSpan, _ runs: FileRuns, _ write: FileWrite, _ reservation: inout DiskReservation,
    after failure: DeviceError? = nil
  ) throws(VolumeError) {
    let parameters = write.options.parameters
    invariant(bytes.byteCount % parameters.blockBytes == 0, "whole blocks are written")
    guard let last = runs.all.last else { return }
    // Only what ends a file can be so small that it goes into a key.
    let start = last.sector * 512
    let tail = min(UInt64(last.byteCount), write.change.size - min(write.change.size, start))
    let isInline = tail > 0 && tail <= UInt64(parameters.inlineDataMaxBytes)
    let end = runs.all.count - (isInline ? 1 : 0)
    var place = FileRuns.Place()
    while place.run < end {
      try batch.encode(
        bytes, runs, from: &place, upTo: end, parameters, version: engine.journal.nextKeyVersion)
      try writeBatch(bytes, write, &reservation, failure)
    }
    guard isInline else { return }
    try writeInline(
      bytes.extracting(last: last.byteCount), Int(tail), last.sector, write, &reservation)
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
    let key = BKey(
      type: .inlineData, position: BPos(0, sector + UInt64(size)), size: UInt32(size),
      valueU64s: words)
    try put(from: sector, to: key.position.offset, write, &reservation) {
      (transaction, update, start) throws(TransactionError) in
      _ = try put(key, from: start, transaction, &update)
    }
  }

  // MARK: - Chunks

  /// Writes the chunks of a batch to devices, as many together as a bucket has room for.
  ///
  /// - Parameter plain: What was encoded.
  private func writeBatch(
    _ plain: RawSpan, _ write: FileWrite, _ reservation: inout DiskReservation,
    _ failure: DeviceError?
  ) throws(VolumeError) {
    for chunk in batch.chunks {
      let type = CompressionType(rawValue: chunk.crc.compressionType)
      if let feature = type.feature { try engine.features.use(feature) }
    }
    var failure = failure
    var next = 0
    while next < batch.chunks.count {
      let found = try allocate(request(for: next, write.options), for: write.file, after: failure)
      defer { engine.settle(found) }
      let end = try batch.fit(found.sectors, from: next, plain)
      let places = batch.withStored(next..<end, plain) {
        engine.writeData($0, to: found.places, &failure)
      }
      // Devices that failed are not asked again: the next places are elsewhere, or there are none.
      guard !places.isEmpty else { continue }
      try put(next..<end, places, write, &reservation)
      next = end
    }
  }

  private func request(for first: Int, _ options: DataOptions) -> AllocationRequest {
    let sizes = batch.sizes(from: first)
    let chunk = batch.chunks[first]
    let least =
      chunk.crc.isCompressed
      ? Int(chunk.storedSectors) : options.parameters.blockBytes / 512
    return AllocationRequest(
      sectors: sizes.sum, minSectors: UInt64(least), pieces: sizes, replicas: options.replicas,
      target: engine.targets.members(of: options.foregroundTarget))
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

  // MARK: - Keys

  /// Puts chunks that are on devices into the file.
  ///
  /// - Parameter places: Of the first one; the others are behind it.
  private func put(
    _ chunks: Range<Int>, _ places: [ExtentPtr], _ write: FileWrite,
    _ reservation: inout DiskReservation
  ) throws(VolumeError) {
    let last = batch.chunks[chunks.upperBound - 1]
    try put(
      from: batch.chunks[chunks.lowerBound].fileSector,
      to: last.fileSector + UInt64(last.sectors), write, &reservation
    ) { (transaction, update, start) throws(TransactionError) in
      var places = places
      for chunk in batch.chunks[chunks] {
        if chunk.fileSector + UInt64(chunk.sectors) > start {
          let key = try encode(chunk, places, write.options)
          guard try put(key, from: start, transaction, &update) else { return }
        }
        for index in places.indices { places[index].offset += UInt64(chunk.storedSectors) }
      }
    }
  }

  private func encode(
    _ chunk: EncodedChunk, _ places: [ExtentPtr], _ options: DataOptions
  ) throws(TransactionError) -> BKey {
    let value = self.value
    var bytes = value.mutableBytes
    var key = BKey(
      type: .extent, position: BPos(0, chunk.fileSector + UInt64(chunk.sectors)),
      size: chunk.sectors, version: chunk.version)
    do throws(FormatError) {
      var words = try chunk.encode(places, into: &bytes)
      let entries = ExtentEntries(value.bytes.extracting(first: words * 8), keySize: key.size)
      if engine.targets.sectorsToRebalance(entries, options.atRest) != 0 {
        words = try chunk.encode(places, atRest: options.atRest, into: &bytes)
      }
      key.u64s = UInt8(BKey.headerU64s + words)
    } catch {
      throw .failed(VolumeError(error))
    }
    return key
  }

  /// Puts what a key, whose value is in `value`, has from a sector on.
  ///
  /// - Returns: whether all of it went in.
  private func put(
    _ whole: BKey, from start: UInt64, _ transaction: Transaction, _ update: inout FileUpdate
  ) throws(TransactionError) -> Bool {
    var key = whole
    let value = self.value
    if start > key.start.offset {
      var bytes = value.mutableBytes
      do throws(FormatError) {
        try key.cutFront(to: start, &bytes, sizes: engine.media.entrySizes)
      } catch {
        throw .failed(VolumeError(error))
      }
    }
    return try transaction.put(key, value.bytes.extracting(first: key.valueByteCount), &update)
  }

  /// Puts extents into the file, in as many transactions as it takes.
  ///
  /// - Parameters:
  ///   - start: The first sector.
  ///   - end: The one behind the last.
  ///   - body: Puts what is from a sector on, as much as the transaction may.
  private func put(
    from start: UInt64, to end: UInt64, _ write: FileWrite, _ reservation: inout DiskReservation,
    _ body: (Transaction, inout FileUpdate, UInt64) throws(TransactionError) -> Void
  ) throws(VolumeError) {
    var start = start
    while start < end {
      let (promised, first) = (reservation, start)
      (start, logged, reservation) = try engine.run("data_write") {
        (transaction) throws(TransactionError) in
        transaction.promisedSectors = promised.sectors
        transaction.quotas.promise = promised.quota
        var update = try transaction.beginUpdate(of: write.file)
        try body(transaction, &update, first)
        var change = write.change
        if update.end < end { change.cutsOff = false }
        let (done, logged) = try transaction.finish(update, change)
        let left = DiskReservation(
          sectors: transaction.promisedSectors, quota: transaction.quotas.promise)
        return (done, logged, left)
      }
    }
  }
}
