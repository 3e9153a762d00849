// SPDX-License-Identifier: GPL-2.0
// Takes filled batches in order and makes keys of them: extents, inodes, dirents, xattrs.
//
// Invariants
//   (1) Batches arrive in the order of their indices, so every btree's keys arrive sorted.
//   (2) An inode's key follows all of its data: it carries the sectors they take.
// Locks: none; the assembler belongs to one thread.

internal import BcachefsFormat
internal import BcachefsSupport

final class TreeAssembler {
  private static let snapshot = UInt32.max
  private let data: DataWriter
  private let extents: BTreeBuilder
  private let inodes: BTreeBuilder
  private let dirents: BTreeBuilder
  private let xattrs: BTreeBuilder
  private(set) var tally: AccountingTally
  private let value = HeapBuffer(byteCount: BKey.maxValueU64s * 8)
  private var sectorsSoFar: UInt64 = 0
  private(set) var progress = BuildProgress()
  /// Storage features that the written data asks for.
  private(set) var usesInlineData = false
  private(set) var compressionTypes: Set<UInt8> = []
  private(set) var maxKeyVersion: UInt64 = 0

  init(data: DataWriter, nodes: NodeWriter) {
    self.data = data
    extents = BTreeBuilder(.extents, writer: nodes)
    inodes = BTreeBuilder(.inodes, writer: nodes)
    dirents = BTreeBuilder(.dirents, writer: nodes)
    xattrs = BTreeBuilder(.xattrs, writer: nodes)
    tally = AccountingTally(firstInode: Positions.rootInode)
  }

  func consume(_ batch: borrowing BuildBatch) throws(ImageError) {
    if let error = batch.error { throw error }
    for step in batch.steps {
      switch step {
      case .dirents(let directory, let records): try addDirents(directory, records)
      case .inode(let item): try add(item, batch)
      }
    }
  }

  /// Closes the four btrees.
  func finish() throws(ImageError) -> [BTreeBuilder.Root] {
    try data.finish()
    return [
      try extents.finish(), try inodes.finish(), try dirents.finish(), try xattrs.finish(),
    ].compactMap { $0 }
  }

  // MARK: - Inodes

  private func add(_ item: BuildItem, _ batch: borrowing BuildBatch) throws(ImageError) {
    let buffer = batch.buffer
    for index in item.chunks {
      let chunk = batch.chunks[index]
      let end = chunk.bufferOffset + Int(chunk.storedSectors) * 512
      let number = item.inode.number
      try data.write(
        chunk, stored: buffer.bytes.extracting(chunk.bufferOffset..<end), inode: number
      ) { (piece, pointers) throws(ImageError) in
        try addExtent(number, piece, pointers)
      }
    }
    if let range = item.inlineData {
      try addInlineData(item.inode.number, buffer.bytes, range)
    }
    for record in item.xattrs { try addXattr(item.inode.number, record) }
    progress.bytes += UInt64(item.dataRange.count)
    guard item.isLastPart else { return }
    var inode = item.inode
    inode.sectors = sectorsSoFar
    sectorsSoFar = 0
    tally.addInode()
    progress.inodes += 1
    let value = self.value
    var bytes = value.mutableBytes
    inode.encode(into: &bytes)
    let key = BKey(
      type: .inodeV3, position: Positions.inode(inode.number, snapshot: Self.snapshot),
      valueU64s: inode.encodedU64s)
    try inodes.add(key, value.bytes.extracting(0..<key.valueByteCount))
  }

  private func addExtent(
    _ inode: UInt64, _ chunk: EncodedChunk, _ pointers: [ExtentPtr]
  ) throws(ImageError) {
    let value = self.value
    var bytes = value.mutableBytes
    let words = try encoding { () throws(FormatError) in
      try chunk.encode(pointers, into: &bytes)
    }
    let end = chunk.fileSector + UInt64(chunk.sectors)
    let key = BKey(
      type: .extent, position: Positions.extent(inode: inode, end: end, snapshot: Self.snapshot),
      size: chunk.sectors, version: chunk.version, valueU64s: words)
    try extents.add(key, value.bytes.extracting(0..<key.valueByteCount))
    tally.addExtent(inode: inode, snapshot: Self.snapshot, chunk: chunk, pointers: pointers)
    sectorsSoFar += UInt64(chunk.sectors)
    progress.storedBytes += UInt64(chunk.storedSectors) * 512
    compressionTypes.insert(chunk.crc.compressionType)
    maxKeyVersion = max(maxKeyVersion, chunk.version.lo)
  }

  private func addInlineData(
    _ inode: UInt64, _ buffer: RawSpan, _ range: Range<Int>
  ) throws(ImageError) {
    let words = (range.count + 7) / 8
    let size = data.roundedToBlockSectors(range.count)
    let key = BKey(
      type: .inlineData,
      position: Positions.extent(inode: inode, end: UInt64(size), snapshot: Self.snapshot),
      size: size, valueU64s: words)
    try extents.add(
      key, buffer.extracting(range.lowerBound..<range.lowerBound + words * 8))
    sectorsSoFar += UInt64(size)
    usesInlineData = true
  }

  // MARK: - Names

  private func addDirents(
    _ directory: UInt64, _ records: [DirentRecord]
  ) throws(ImageError) {
    for record in records {
      let words = Dirent.encodedU64s(nameByteCount: record.name.count)
      let value = self.value
      var bytes = value.mutableBytes
      try encoding { () throws(FormatError) in
        _ = try Dirent.encode(
          target: .inode(record.target), type: record.type, name: record.name.rawBytes,
          into: &bytes)
      }
      let key = BKey(
        type: .dirent,
        position: Positions.dirent(
          directory: directory, hash: record.slot, snapshot: Self.snapshot),
        valueU64s: words)
      try dirents.add(key, value.bytes.extracting(0..<key.valueByteCount))
    }
  }

  private func addXattr(_ inode: UInt64, _ record: XattrRecord) throws(ImageError) {
    let words = Xattr.encodedU64s(
      nameByteCount: record.name.count, valueByteCount: record.value.count)
    let value = self.value
    var bytes = value.mutableBytes
    try encoding { () throws(FormatError) in
      _ = try Xattr.encode(
        type: record.type, name: record.name.rawBytes, value: record.value.rawBytes,
        into: &bytes)
    }
    let key = BKey(
      type: .xattr, position: BPos(inode, record.slot, Self.snapshot), valueU64s: words)
    try xattrs.add(key, value.bytes.extracting(0..<key.valueByteCount))
  }
}
