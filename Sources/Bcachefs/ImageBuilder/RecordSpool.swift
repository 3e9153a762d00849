// SPDX-License-Identifier: GPL-2.0
// Holds what is produced in one pass and needed in a later one: in memory while it is small, in an
// unlinked temporary file beyond that, so that a build's memory does not grow with the volume.
//
// Invariants
//   (1) Records come back in the order in which they were appended, as often as asked.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// A backpointer to user data, before it is a key.
struct DataBackpointer {
  /// First sector on the device.
  var sector: UInt64
  /// Sectors on the device.
  var sectors: UInt32
  /// The extent's key.
  var inode: UInt64
  var endSector: UInt64

  static let byteCount = 28

  func encode(into bytes: inout MutableRawSpan, at offset: Int) {
    bytes[LEField<UInt64>(offset)] = sector
    bytes[LEField<UInt64>(offset + 8)] = inode
    bytes[LEField<UInt64>(offset + 16)] = endSector
    bytes[LEField<UInt32>(offset + 24)] = sectors
  }

  init(sector: UInt64, sectors: UInt32, inode: UInt64, endSector: UInt64) {
    self.sector = sector
    self.sectors = sectors
    self.inode = inode
    self.endSector = endSector
  }

  init(decoding bytes: RawSpan, at offset: Int) {
    sector = bytes[LEField<UInt64>(offset)]
    inode = bytes[LEField<UInt64>(offset + 8)]
    endSector = bytes[LEField<UInt64>(offset + 16)]
    sectors = bytes[LEField<UInt32>(offset + 24)]
  }
}

/// The backpointers of one device, in ascending order of their sectors.
final class BackpointerSpool {
  private static let recordsInMemory = 1 << 16

  private let temporaryDirectory: String?
  private let tail: HeapBuffer
  private var tailCount = 0
  private var file: SpillFile?
  private(set) var count = 0

  init(temporaryDirectory: String?) {
    self.temporaryDirectory = temporaryDirectory
    tail = HeapBuffer(byteCount: Self.recordsInMemory * DataBackpointer.byteCount)
  }

  func append(_ record: DataBackpointer) throws(ImageError) {
    if tailCount == Self.recordsInMemory { try spill() }
    let tail = self.tail
    var bytes = tail.mutableBytes
    record.encode(into: &bytes, at: tailCount * DataBackpointer.byteCount)
    tailCount += 1
    count += 1
  }

  private func spill() throws(ImageError) {
    let tail = self.tail
    do throws(HostError) {
      if file == nil { file = try SpillFile(near: temporaryDirectory) }
      _ = try file?.append(tail.bytes)
    } catch {
      throw .host(error)
    }
    tailCount = 0
  }

  /// Reads the records from the first on.
  struct Reader: ~Copyable {
    private let spool: BackpointerSpool
    private let buffer: HeapBuffer
    private var bufferStart = 0
    private var bufferCount = 0
    private var next = 0

    fileprivate init(_ spool: BackpointerSpool) {
      self.spool = spool
      buffer = HeapBuffer(byteCount: 4096 * DataBackpointer.byteCount)
    }

    /// The next record without taking it, nil at the end.
    mutating func peek() throws(ImageError) -> DataBackpointer? {
      guard next < spool.count else { return nil }
      if next >= bufferStart + bufferCount {
        bufferStart = next
        bufferCount = try spool.read(from: next, into: buffer)
      }
      return DataBackpointer(
        decoding: buffer.bytes, at: (next - bufferStart) * DataBackpointer.byteCount)
    }

    mutating func advance() { next += 1 }
  }

  func makeReader() -> Reader { Reader(self) }

  /// Copies records from `index` on; at least one, at most as many as fit.
  private func read(from index: Int, into buffer: HeapBuffer) throws(ImageError) -> Int {
    let capacity = buffer.byteCount / DataBackpointer.byteCount
    let spilled = count - tailCount
    var bytes = buffer.mutableBytes
    if index < spilled, let file {
      let records = min(capacity, spilled - index)
      var part = bytes._mutatingExtracting(0..<records * DataBackpointer.byteCount)
      do throws(HostError) {
        try file.read(into: &part, atByte: UInt64(index * DataBackpointer.byteCount))
      } catch {
        throw .host(error)
      }
      return records
    }
    let records = min(capacity, count - index)
    let tail = self.tail
    for offset in 0..<records {
      DataBackpointer(
        decoding: tail.bytes, at: (index - spilled + offset) * DataBackpointer.byteCount
      ).encode(into: &bytes, at: offset * DataBackpointer.byteCount)
    }
    return records
  }
}
