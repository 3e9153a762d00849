// SPDX-License-Identifier: GPL-2.0
// Fills a batch: reads files, xattrs and symlink targets, and encodes file data.
//
// How it works
//   1. A file is opened, its data ranges are read block by block into the batch's buffer, and its
//      state is compared with what the scanner saw: a file that changed meanwhile is an error.
//   2. Small files become inline data; other data is cut into chunks, compressed where that saves
//      a block, encrypted, checksummed.
// Invariants
//   (1) Holes stay holes: chunks only cover blocks that hold data.
//   (2) A batch's version numbers are (batch, chunk): unique in the volume, the same in every run.
// Locks: none; a reader belongs to one thread.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

final class BatchReader: @unchecked Sendable {
  // Safety: each worker thread has one of its own and no other touches it.
  private let data: DataParameters
  private let xattrs: XattrEncoder
  private let compressor = ChunkCompressor()
  private var plain = HeapBuffer(byteCount: 0)

  init(data: DataParameters, xattrs: XattrEncoder) {
    self.data = data
    self.xattrs = xattrs
    if data.compression != nil {
      plain = HeapBuffer(byteCount: BuildBatch.dataBytes + data.chunkMaxBytes)
    }
  }

  /// Fills `batch`; what goes wrong is left in `batch.error`.
  func fill(_ batch: BuildBatch) {
    do throws(ImageError) {
      var capacity = 0
      for step in batch.steps {
        guard case .inode(let item) = step else { continue }
        capacity += data.roundedToBlocks(item.dataRange.count) + 8
      }
      batch.buffer = HeapBuffer(byteCount: capacity)
      for index in batch.steps.indices {
        guard case .inode(var item) = batch.steps[index] else { continue }
        try fill(&item, batch)
        batch.steps[index] = .inode(item)
      }
    } catch {
      batch.error = error
    }
  }

  private func fill(_ item: inout BuildItem, _ batch: BuildBatch) throws(ImageError) {
    if !item.hostXattrs.isEmpty {
      item.xattrs = try xattrs.records(
        item.hostXattrs, for: item.inode, path: ".", warnings: &batch.warnings)
    }
    guard let parent = item.parent, let stat = item.stat else { return }
    let firstChunk = batch.chunks.count
    do throws(HostError) {
      if stat.isRegularFile && !item.dataRange.isEmpty {
        try readFile(&item, stat, parent, batch)
      } else {
        if item.isFirstPart {
          try collectXattrs(try parent.xattrs(of: item.name), &item, batch)
        }
        if stat.kind == .symbolicLink { try readSymlink(&item, parent, batch) }
      }
    } catch {
      throw .host(error)
    }
    item.chunks = firstChunk..<batch.chunks.count
    if let failure = batch.error { throw failure }
  }

  private func collectXattrs(
    _ found: [HostXattr], _ item: inout BuildItem, _ batch: BuildBatch
  ) throws(HostError) {
    guard !found.isEmpty else { return }
    do throws(ImageError) {
      item.xattrs = try xattrs.records(
        found, for: item.inode, path: item.parent?.path.appending(item.name).description ?? "",
        warnings: &batch.warnings)
    } catch {
      batch.error = error
    }
  }

  // MARK: - Files

  private func readFile(
    _ item: inout BuildItem, _ stat: HostStat, _ parent: HostDirectory, _ batch: BuildBatch
  ) throws(HostError) {
    let file = try parent.file(item.name)
    if item.isFirstPart { try collectXattrs(try file.xattrs(), &item, batch) }
    let isInline =
      item.isFirstPart && item.isLastPart && stat.byteCount <= UInt64(data.inlineDataMaxBytes)
    if stat.mayHaveHoles {
      var position = item.dataRange.lowerBound
      while position < item.dataRange.upperBound,
        let range = try file.dataRange(from: position), range.lowerBound < item.dataRange.upperBound
      {
        let blockBytes = UInt64(data.blockBytes)
        let start = max(range.lowerBound / blockBytes * blockBytes, position)
        let roundedEnd = (range.upperBound + blockBytes - 1) / blockBytes * blockBytes
        let end = min(roundedEnd, item.dataRange.upperBound)
        if isInline {
          try readInline(file, item.dataRange, &item, batch)
          break
        }
        try readExtents(file, start..<end, item.inode, batch)
        position = max(end, position + 1)
      }
    } else if isInline {
      try readInline(file, item.dataRange, &item, batch)
    } else {
      try readExtents(file, item.dataRange, item.inode, batch)
    }
    try file.verifyUnchanged(since: stat)
  }

  private func readInline(
    _ file: HostFile, _ range: Range<UInt64>, _ item: inout BuildItem, _ batch: BuildBatch
  ) throws(HostError) {
    let (start, buffer) = (batch.usedBytes, batch.buffer)
    var bytes = buffer.mutableBytes
    var target = bytes._mutatingExtracting(start..<start + range.count)
    try read(file, into: &target, range)
    item.inlineData = start..<start + range.count
    // Inline data takes whole words: the rest of the last one stays zero.
    batch.usedBytes = start + (range.count + 7) / 8 * 8
  }

  private func read(
    _ file: HostFile, into target: inout MutableRawSpan, _ range: Range<UInt64>
  ) throws(HostError) {
    // A file that became shorter leaves zeros here, and is found out when it is verified.
    _ = try file.read(into: &target, atByte: range.lowerBound)
  }

  /// Reads and encodes a range that starts on a block.
  private func readExtents(
    _ file: HostFile, _ range: Range<UInt64>, _ inode: Inode, _ batch: BuildBatch
  ) throws(HostError) {
    let byteCount = range.count
    let storedMax = data.roundedToBlocks(byteCount)
    if data.compression == nil {
      let (start, buffer) = (batch.usedBytes, batch.buffer)
      var bytes = buffer.mutableBytes
      var target = bytes._mutatingExtracting(start..<start + byteCount)
      try read(file, into: &target, range)
      encodePlain(start..<start + storedMax, firstSector: range.lowerBound / 512, batch)
    } else {
      let plain = self.plain
      var bytes = plain.mutableBytes
      var target = bytes._mutatingExtracting(0..<byteCount)
      try read(file, into: &target, range)
      bytes.zero(byteCount..<storedMax)
      compressAndEncode(storedMax, firstSector: range.lowerBound / 512, batch)
    }
  }

  /// Cuts what lies in the batch's buffer into chunks, in place.
  private func encodePlain(_ stored: Range<Int>, firstSector: UInt64, _ batch: BuildBatch) {
    var offset = stored.lowerBound
    while offset < stored.upperBound {
      let end = min(offset + data.chunkMaxBytes, stored.upperBound)
      let sector = firstSector + UInt64(offset - stored.lowerBound) / 512
      seal(offset..<end, fileSector: sector, sectors: (end - offset) / 512, .none, batch)
      offset = end
    }
    batch.usedBytes = stored.upperBound
  }

  /// Compresses chunks of `plain` to the batch's buffer; those that do not shrink are copied.
  private func compressAndEncode(_ byteCount: Int, firstSector: UInt64, _ batch: BuildBatch) {
    var offset = 0
    while offset < byteCount {
      let end = min(offset + data.chunkMaxBytes, byteCount)
      let (start, buffer, plain) = (batch.usedBytes, batch.buffer, self.plain)
      var bytes = buffer.mutableBytes
      var target = bytes._mutatingExtracting(start..<start + end - offset)
      let (storedBytes, type) = compressor.store(
        plain.bytes.extracting(offset..<end), into: &target, data)
      seal(
        start..<start + storedBytes, fileSector: firstSector + UInt64(offset / 512),
        sectors: (end - offset) / 512, type, batch)
      batch.usedBytes = start + storedBytes
      offset = end
    }
  }

  private func seal(
    _ stored: Range<Int>, fileSector: UInt64, sectors: Int, _ type: CompressionType,
    _ batch: BuildBatch
  ) {
    let version = BVersion(lo: UInt64(batch.index + 1) << 16 | UInt64(batch.chunks.count))
    let buffer = batch.buffer
    var bytes = buffer.mutableBytes
    var part = bytes._mutatingExtracting(stored)
    do throws(ChecksumError) {
      batch.chunks.append(
        try data.seal(
          &part, fileSector: fileSector, sectors: UInt32(sectors), compressionType: type,
          version: version, bufferOffset: stored.lowerBound))
    } catch {
      batch.error = .checksum(error)
    }
  }

  // MARK: - Symlinks

  private func readSymlink(
    _ item: inout BuildItem, _ parent: HostDirectory, _ batch: BuildBatch
  ) throws(HostError) {
    let target = try parent.readLink(item.name)
    guard target.count == item.dataRange.count else {
      throw HostError(
        .readLink, .changedWhileReading([.size]),
        pathBytes: parent.path.appending(item.name).bytes)
    }
    let (start, buffer) = (batch.usedBytes, batch.buffer)
    var bytes = buffer.mutableBytes
    if target.count <= data.inlineDataMaxBytes {
      bytes.copy(target.rawBytes, to: start)
      item.inlineData = start..<start + target.count
      batch.usedBytes = start + (target.count + 7) / 8 * 8
      return
    }
    let storedMax = data.roundedToBlocks(target.count)
    if data.compression == nil {
      bytes.copy(target.rawBytes, to: start)
      encodePlain(start..<start + storedMax, firstSector: 0, batch)
    } else {
      let plain = self.plain
      var plainBytes = plain.mutableBytes
      plainBytes.copy(target.rawBytes, to: 0)
      plainBytes.zero(target.count..<storedMax)
      compressAndEncode(storedMax, firstSector: 0, batch)
    }
  }
}
