// SPDX-License-Identifier: GPL-2.0
// Some of a file's data as it will be stored: chunks that go to devices and into btrees together.
//
// How it works
//   1. Runs of blocks, which may lie anywhere in the file, are cut into chunks of at most
//      `encoded_extent_max`. What is neither compressed nor encrypted stays where it lies; all else
//      is put into a buffer here.
//   2. Each chunk is encrypted and checksummed once. Whether a device does not take it, or it goes
//      to several places: its stored bytes stay as they are.
//   3. Where a bucket has less room than a chunk, one that is stored as it is can be cut: both
//      parts get checksums of their own.
// Invariants
//   (1) Stored bytes of chunks follow each other without a gap, in the order of the file.
// Locks: none; it belongs to one thread at a time.
// Source: io_write.c (bch2_write_extent).

internal import BcachefsFormat
internal import BcachefsSupport

final class ChunkBatch {
  /// At most so many bytes of a file.
  private static let bytesMax = 1 << 20

  private let compressor = ChunkCompressor()
  private var stored = HeapBuffer(byteCount: 0)
  private var parameters: DataParameters?
  /// In the order of the file.
  private(set) var chunks: [EncodedChunk] = []

  init() { chunks.reserveCapacity(PieceSizes.countMax + 1) }

  /// Whether the stored bytes are the batch's own, and not where the data lies.
  private var isCopied: Bool {
    guard let parameters else { return false }
    return parameters.compression != nil || parameters.checksumType.isEncryption
  }

  /// Encodes runs of a file, or the first of them.
  ///
  /// - Parameters:
  ///   - plain: The bytes of all runs.
  ///   - place: Where to begin; afterwards, what comes next.
  ///   - end: The run behind the last.
  ///   - version: Makes the version of a key, for what is encrypted.
  /// - Throws: `.locked` without a key.
  func encode(
    _ plain: RawSpan, _ runs: FileRuns, from place: inout FileRuns.Place, upTo end: Int,
    _ parameters: DataParameters, version: () -> BVersion
  ) throws(VolumeError) {
    self.parameters = parameters
    chunks.removeAll(keepingCapacity: true)
    let first = place.byte
    let limit = min(plain.byteCount - first, max(Self.bytesMax, parameters.chunkMaxBytes))
    if isCopied, stored.byteCount < limit { stored = HeapBuffer(byteCount: limit) }
    var used = 0
    while place.run < end, place.byte < first + limit, chunks.count < PieceSizes.countMax {
      let run = runs.all[place.run]
      let count = min(
        parameters.chunkMaxBytes, run.byteCount - place.byteInRun, first + limit - place.byte)
      var chunk = try encode(
        plain.extracting(place.byte..<place.byte + count), at: used,
        run.sector + UInt64(place.byteInRun / 512), parameters, version)
      chunk.bufferOffset = isCopied ? used : place.byte
      used += Int(chunk.storedSectors) * 512
      chunks.append(chunk)
      runs.advance(&place, by: count)
    }
  }

  private func encode(
    _ plain: RawSpan, at offset: Int, _ sector: UInt64, _ parameters: DataParameters,
    _ version: () -> BVersion
  ) throws(VolumeError) -> EncodedChunk {
    let sectors = UInt32(plain.byteCount / 512)
    do throws(ChecksumError) {
      guard isCopied else {
        return try parameters.describe(
          plain, fileSector: sector, sectors: sectors, compressionType: .none)
      }
      let stored = self.stored
      var all = stored.mutableBytes
      var target = all._mutatingExtracting(offset..<offset + plain.byteCount)
      let (byteCount, type) = compressor.store(plain, into: &target, parameters)
      var part = target._mutatingExtracting(0..<byteCount)
      return try parameters.seal(
        &part, fileSector: sector, sectors: sectors, compressionType: type,
        version: parameters.checksumType.isEncryption ? version() : .zero, bufferOffset: offset)
    } catch {
      throw VolumeError(error)
    }
  }

  /// The sizes of the chunks from one on, as they are stored.
  func sizes(from first: Int) -> PieceSizes {
    var sizes = PieceSizes()
    for chunk in chunks[first...] where !sizes.isFull { sizes.append(chunk.storedSectors) }
    return sizes
  }

  /// How many of the chunks from one on have so much room; that one is cut if it has not, and may
  /// be.
  ///
  /// - Returns: the index behind the last of them.
  func fit(_ sectors: UInt64, from first: Int, _ plain: RawSpan) throws(VolumeError) -> Int {
    var left = sectors
    var end = first
    while end < chunks.count, UInt64(chunks[end].storedSectors) <= left {
      left -= UInt64(chunks[end].storedSectors)
      end += 1
    }
    guard end == first, let parameters else { return end }
    invariant(left > 0 && !chunks[first].crc.isCompressed, "what is not cut has room")
    do throws(ChecksumError) {
      let whole = try withStored(first..<first + 1, plain) { (bytes) throws(ChecksumError) in
        try parameters.split(chunks[first], at: UInt32(left), stored: bytes)
      }
      chunks[first] = whole.0
      chunks.insert(whole.1, at: first + 1)
    } catch {
      throw VolumeError(error)
    }
    return first + 1
  }

  /// The stored bytes of chunks.
  ///
  /// - Parameter plain: The data that was encoded.
  func withStored<Result, Failure: Error>(
    _ range: Range<Int>, _ plain: RawSpan, _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let start = chunks[range.lowerBound].bufferOffset
    let last = chunks[range.upperBound - 1]
    let bytes = start..<last.bufferOffset + Int(last.storedSectors) * 512
    guard isCopied else { return try body(plain.extracting(bytes)) }
    let stored = self.stored
    return try body(stored.bytes.extracting(bytes))
  }
}
