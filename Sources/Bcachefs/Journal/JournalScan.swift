// SPDX-License-Identifier: GPL-2.0
// Finding the journal entries on one device.
//
// How it works
//   1. The first block of each bucket tells whether the bucket is in use: it begins with an entry
//      of this volume, or the bucket is done. A bucket in use is read whole.
//   2. Entries follow each other, each padded to whole blocks. An entry with a bad checksum is
//      remembered as damaged, and its size believed as long as it lies in the bucket; what follows
//      is looked for block by block from then on. What lies within a damaged entry is never looked
//      at: file contents may stand there that were made to look like an entry.
//   3. An entry older than the one before it is of the time before the bucket was used again: the
//      rest of the bucket is that old too.
//   4. A good, flushed entry that is not blacklisted says from which number on entries are needed.
//      Older ones are forgotten as soon as that is known, unless everything is asked for.
//   5. Those who list a journal need headers and places alone: of the bytes a digest is kept, by
//      which copies are compared.
// Invariants
//   (1) Bytes of good entries are kept, of bad ones never; those of one bucket do not overlap, so
//       memory is bounded by the journal's size (without bytes: by a small part of it), time by
//       that and `checksumFactor`.
//   (2) Nothing found here depends on another device.
// Source: journal_io.c, `journal_read_bucket`, `jset_validate_early`.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// One copy of a journal entry on a device.
struct FoundJournalEntry: Sendable {
  let header: JSetHeader
  let place: JournalPlace
  /// The whole entry, decrypted; nil when the checksum is bad, or it was not to be kept.
  var bytes: HeapBuffer?
  /// Of the decrypted bytes, where those are not kept.
  var digest: UInt64 = 0

  var isGood: Bool { place.isChecksumGood }
}

/// What is kept of a journal.
enum JournalKeeping: Sendable {
  /// Entries that replay may need, with their bytes.
  case needed
  /// Everything, however old, with its bytes.
  case everything
  /// Everything, without its bytes.
  case headers
}

/// What a device's journal holds.
struct JournalScan: Sendable {
  /// A bucket's bytes may be checksummed this many times, in case damaged sizes overlap.
  static var checksumFactor: Int { 8 }
  /// After a failed read the bucket is read again in pieces of this many bytes.
  static var pieceByteCount: Int { 4096 }

  let map: JournalMap
  let decoder: JournalEntryDecoder
  let blockByteCount: Int
  /// Entries on it say nothing of what is needed.
  let blacklist: JournalBlacklist
  let keeping: JournalKeeping

  private(set) var found: [FoundJournalEntry] = []
  private(set) var warnings = JournalWarnings()
  /// Entries below this are not needed: the largest `last_seq` of good, flushed entries
  /// that are not blacklisted.
  private var neededFrom: UInt64 = 0
  /// What stands in `found` and is not needed any more is removed when it has doubled.
  private var nextForgetting = 1024

  init(
    _ map: JournalMap, media: VolumeMedia, _ blacklist: JournalBlacklist, keeping: JournalKeeping
  ) {
    self.map = map
    self.blacklist = blacklist
    decoder = JournalEntryDecoder(media)
    blockByteCount = max(1, Int(media.superblock.blockSizeSectors)) << 9
    self.keeping = keeping
  }

  /// Reads all buckets.
  ///
  /// - Throws: `.locked` for encrypted entries without a key, `.unsupported` for entries of a
  ///   format that cannot be read. Read errors are warnings.
  mutating func run(_ device: BlockDevice) throws(VolumeError) {
    let firstBlock = HeapBuffer(byteCount: min(blockByteCount, map.bucketByteCount))
    var whole: HeapBuffer?
    var index = 0
    for range in map.ranges {
      for bucket in range.start..<range.start + range.count {
        let place = JournalPlace(
          device: map.device, index: index, bucket: bucket, offsetSectors: 0,
          sector: bucket * UInt64(map.bucketByteCount >> 9), isChecksumGood: true)
        index += 1
        guard read(firstBlock, at: place, from: device) else { continue }
        let head = firstBlock.bytes
        guard head.byteCount >= JSetHeader.Layout.byteCount,
          head[JSetHeader.Layout.magic] == decoder.magic
        else { continue }
        let buffer = whole ?? HeapBuffer(byteCount: map.bucketByteCount)
        whole = buffer
        guard read(buffer, at: place, from: device) else { continue }
        try scan(buffer, place)
      }
    }
    forget()
  }

  /// Reads from the start of a bucket; what cannot be read is zero. False when nothing can.
  private mutating func read(
    _ buffer: HeapBuffer, at place: JournalPlace, from device: BlockDevice
  ) -> Bool {
    var span = buffer.mutableBytes
    do throws(DeviceError) {
      try device.read(into: &span, atByte: place.sector << 9)
      return true
    } catch {
      warnings.append(.bucketUnread(device: map.device, bucket: place.bucket, "\(error)"))
    }
    var hasAny = false
    var offset = 0
    while offset < buffer.byteCount {
      let end = min(offset + Self.pieceByteCount, buffer.byteCount)
      var whole = buffer.mutableBytes
      var piece = whole.subrange(offset..<end)
      do throws(DeviceError) {
        try device.read(into: &piece, atByte: place.sector << 9 + UInt64(offset))
        hasAny = true
      } catch {
        piece.zero(0..<piece.byteCount)
      }
      offset = end
    }
    return hasAny
  }

  /// Takes the entries out of a bucket.
  private mutating func scan(_ buffer: HeapBuffer, _ bucket: JournalPlace) throws(VolumeError) {
    let bytes = buffer.bytes
    var offset = 0
    var sawBad = false
    var newest: UInt64 = 0
    var budget = Self.checksumFactor * bytes.byteCount
    while bytes.byteCount - offset >= JSetHeader.Layout.byteCount, budget > 0 {
      let rest = bytes.extracting(offset..<bytes.byteCount)
      guard rest[JSetHeader.Layout.magic] == decoder.magic else {
        guard sawBad else { return }
        offset += blockByteCount
        continue
      }
      let header: JSetHeader
      do throws(FormatError) { header = try JSetHeader(decoding: rest) } catch { return }
      var place = bucket
      place.offsetSectors = offset >> 9
      place.sector += UInt64(offset >> 9)
      let fits =
        header.byteCount <= rest.byteCount && header.byteCount <= JSetHeader.byteCountMax
      if fits { budget -= header.byteCount }
      place.isChecksumGood = fits ? try decoder.isChecksumGood(header, rest) : false
      guard place.isChecksumGood else {
        sawBad = true
        found.append(FoundJournalEntry(header: header, place: place, bytes: nil))
        guard fits else { return }
        offset += (header.byteCount + blockByteCount - 1) / blockByteCount * blockByteCount
        continue
      }
      guard header.seq >= newest else { return }
      newest = header.seq
      try add(header, rest, place)
      offset += (header.byteCount + blockByteCount - 1) / blockByteCount * blockByteCount
    }
  }

  /// Takes an entry whose checksum is good.
  private mutating func add(
    _ stored: JSetHeader, _ bytes: RawSpan, _ place: JournalPlace
  ) throws(VolumeError) {
    do throws(FormatError) {
      try stored.validateEarly(magic: decoder.magic, bytesLeft: bytes.byteCount)
    } catch {
      throw VolumeError(error)
    }
    if keeping == .needed, stored.seq < neededFrom { return }
    let copy = decoder.decrypted(stored, bytes)
    let header: JSetHeader
    do throws(FormatError) {
      header = try JSetHeader(decoding: copy.bytes)
      try header.validate()
    } catch {
      // `last_seq` after `seq`, under a good checksum: nothing of it is to be believed.
      var bad = place
      bad.isChecksumGood = false
      found.append(FoundJournalEntry(header: stored, place: bad, bytes: nil))
      return
    }
    found.append(
      keeping == .headers
        ? FoundJournalEntry(
          header: header, place: place, bytes: nil, digest: XXHash64.hash(copy.bytes))
        : FoundJournalEntry(header: header, place: place, bytes: copy))
    if header.isFlush && !blacklist.isBlacklisted(header.seq) {
      neededFrom = max(neededFrom, header.lastSeq)
    }
    if found.count >= nextForgetting {
      forget()
      nextForgetting = max(1024, 2 * found.count)
    }
  }

  private mutating func forget() {
    guard keeping == .needed else { return }
    let from = neededFrom
    found.removeAll { $0.header.seq < from }
  }
}
