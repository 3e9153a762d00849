// SPDX-License-Identifier: GPL-2.0
// Gives encoded data a place and writes it: large sequential writes on every device.
//
// How it works
//   1. Chunks take sectors from the data write point, in order; one that does not fit into the open
//      buckets is cut at their end if it is stored as it is, else it starts in new ones.
//   2. Stored bytes are collected per device while they are contiguous, and written a megabyte at a
//      time.
// Invariants
//   (1) Pointers within a device ascend, so the device's backpointers come sorted.
//   (2) After `finish` everything is handed to the devices.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// Collects contiguous writes to one device.
private final class RunWriter {
  private static let capacityBytes = 1 << 20
  private let device: BlockDevice
  private let buffer = HeapBuffer(byteCount: RunWriter.capacityBytes)
  private var usedBytes = 0
  private var startByte: UInt64 = 0

  init(_ device: BlockDevice) { self.device = device }

  func append(_ bytes: RawSpan, atByte offset: UInt64) throws(ImageError) {
    let isContiguous = offset == startByte + UInt64(usedBytes)
    if !isContiguous || usedBytes + bytes.byteCount > Self.capacityBytes { try flush() }
    if usedBytes == 0 { startByte = offset }
    guard bytes.byteCount <= Self.capacityBytes - usedBytes else {
      try usingDevice { () throws(DeviceError) in try device.write(bytes, atByte: offset) }
      return
    }
    let buffer = self.buffer
    var target = buffer.mutableBytes
    target.copy(bytes, to: usedBytes)
    usedBytes += bytes.byteCount
  }

  func flush() throws(ImageError) {
    guard usedBytes > 0 else { return }
    let buffer = self.buffer
    let bytes = buffer.bytes.extracting(0..<usedBytes)
    try usingDevice { () throws(DeviceError) in try device.write(bytes, atByte: startByte) }
    usedBytes = 0
  }
}

final class DataWriter {
  private let parameters: DataParameters
  private var writePoint: ImageWritePoint
  private let runs: [UInt8: RunWriter]
  private let spools: [UInt8: BackpointerSpool]

  init(
    parameters: DataParameters, writePoint: ImageWritePoint, devices: [UInt8: BlockDevice],
    spools: [UInt8: BackpointerSpool]
  ) {
    self.parameters = parameters
    self.writePoint = writePoint
    self.spools = spools
    runs = devices.mapValues { RunWriter($0) }
  }

  /// Places and writes a chunk.
  ///
  /// - Parameter emit: Called with each piece (one, or several if it was cut) and its pointers.
  func write(
    _ chunk: EncodedChunk, stored: RawSpan, inode: UInt64,
    emit: (EncodedChunk, [ExtentPtr]) throws(ImageError) -> Void
  ) throws(ImageError) {
    var rest = chunk
    var bytes = stored
    while true {
      if writePoint.freeSectors == 0 { try writePoint.openBuckets() }
      let free = usableSectors(writePoint.freeSectors)
      if rest.storedSectors <= free {
        try place(rest, bytes, inode, emit)
        return
      }
      if rest.crc.isCompressed || free == 0 {
        try writePoint.openBuckets()
        guard usableSectors(writePoint.freeSectors) > 0 else { throw .noSpace }
        if rest.crc.isCompressed && writePoint.freeSectors < rest.storedSectors {
          throw .invalidOptions(
            "encoded_extent_max is larger than a bucket; choose larger buckets")
        }
        continue
      }
      let (first, second) = try split(rest, at: free, bytes)
      let cut = Int(free) * 512
      try place(first, bytes.extracting(0..<cut), inode, emit)
      rest = second
      bytes = bytes.extracting(cut..<bytes.byteCount)
    }
  }

  private func split(
    _ chunk: EncodedChunk, at sectors: UInt32, _ stored: RawSpan
  ) throws(ImageError) -> (EncodedChunk, EncodedChunk) {
    do throws(ChecksumError) {
      return try parameters.split(chunk, at: sectors, stored: stored)
    } catch {
      throw .checksum(error)
    }
  }

  /// Sectors of the blocks that `bytes` take.
  func roundedToBlockSectors(_ bytes: Int) -> UInt32 {
    UInt32(parameters.roundedToBlocks(bytes) / 512)
  }

  private func usableSectors(_ sectors: UInt32) -> UInt32 {
    let blockSectors = UInt32(parameters.blockBytes / 512)
    return sectors / blockSectors * blockSectors
  }

  private func place(
    _ chunk: EncodedChunk, _ bytes: RawSpan, _ inode: UInt64,
    _ emit: (EncodedChunk, [ExtentPtr]) throws(ImageError) -> Void
  ) throws(ImageError) {
    let pointers = writePoint.take(sectors: chunk.storedSectors)
    for pointer in pointers {
      try runs[pointer.device]?.append(bytes, atByte: pointer.offset * 512)
      try spools[pointer.device]?.append(
        DataBackpointer(
          sector: pointer.offset, sectors: chunk.storedSectors, inode: inode,
          endSector: chunk.fileSector + UInt64(chunk.sectors)))
    }
    try emit(chunk, pointers)
  }

  /// Writes what is still held back.
  func finish() throws(ImageError) {
    for device in runs.keys.sorted() { try runs[device]?.flush() }
  }
}
