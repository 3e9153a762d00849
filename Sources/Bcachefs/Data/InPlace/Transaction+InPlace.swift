// SPDX-License-Identifier: GPL-2.0
// Extents that may be written over where they are, as a file's key tells.
//
// How it works
//   1. An extent may be, if nobody else sees it and nothing vouches for what it holds: it is in the
//      file's own snapshot, not an ancestor's, nor shared with another file; all its copies are
//      there, on devices that can be written to, plain, without checksum, outside of stripes, and
//      not just cached.
//   2. An extent that was only allocated (`unwritten`) reads as zeros until a transaction says that
//      it was written. That one looks whether the extent is still where the data went: it may have
//      been moved meanwhile, without data.
// Invariants
//   (1) Nobody writes to a place because a key says so that contradicts its bucket: it is one of
//       user data, of the pointer's generation, and has all that is written.
// Locks: as all transactions.
// Source: io_write.c (bch2_extent_is_writeable, bch2_nocow_write,
// bch2_nocow_write_convert_one_unwritten).

internal import BcachefsFormat
internal import BcachefsSupport

/// A part of an extent that may be written over.
struct WritableExtent {
  /// Of the file.
  let sectors: Range<UInt64>
  /// Where the first of them is.
  let places: [ExtentPtr]
  let buckets: [BPos]

  /// Nothing was written there yet. All places say so, or none does.
  var isUnwritten: Bool { places.contains { $0.isUnwritten } }
}

/// What is at the start of a range of sectors.
enum FoundPlace {
  case writable(WritableExtent)
  /// Up to a sector, nothing that may be written over.
  case other(upTo: UInt64)
}

extension Transaction {
  /// Keys that are looked at, at a time.
  private static var keysAtOnce: Int { 32 }

  /// What a file has at the start of a range of whole blocks, for somebody who wants to write
  /// there.
  ///
  /// - Parameter range: In sectors, not empty.
  /// - Throws: `.notFound`, `.readOnly`.
  func placeToOverwrite(
    _ file: FileID, _ range: Range<UInt64>, replicas: Int
  ) throws(TransactionError) -> FoundPlace {
    let snapshot = try snapshotToChange(file.subvolume)
    let block = UInt64(engine.media.superblock.blockSizeSectors)
    var walk = SnapshotWalk(.extents, file.inode, from: range.lowerBound + 1, snapshot: snapshot)
    var end = range.lowerBound
    for _ in 0..<Self.keysAtOnce {
      guard let found = try next(&walk), found.key.start.offset < range.upperBound else {
        return .other(upTo: range.upperBound)
      }
      // Whole blocks of it, though it should have no others.
      let keyEnd = min(found.key.position.offset, range.upperBound)
      // It begins where the one before it ends at the earliest, though keys may overlap: only the
      // first key is written over, as that is the one that is marked as written afterwards.
      let first = max((found.key.start.offset + block - 1) / block * block, end)
      let last = keyEnd / block * block
      if first < last,
        let extent = try writableExtent(found, first..<last, snapshot, replicas: replicas)
      {
        return first > range.lowerBound ? .other(upTo: first) : .writable(extent)
      }
      end = min((keyEnd + block - 1) / block * block, range.upperBound)
      if end == range.upperBound { break }
    }
    return .other(upTo: end)
  }

  /// - Returns: nil where it must not be written over.
  private func writableExtent(
    _ found: KeyView, _ part: Range<UInt64>, _ snapshot: UInt32, replicas: Int
  ) throws(TransactionError) -> WritableExtent? {
    let key = found.key
    guard key.type == .extent, key.position.snapshot == snapshot,
      UInt64(key.size) <= key.position.offset
    else { return nil }
    let sizes = engine.media.entrySizes
    let parts = try found.decoded { (value) throws(FormatError) -> ExtentParts? in
      let entries = try ExtentEntries(key: key, value: value, sizes: sizes)
      return entries.flags.isPoisoned ? nil : ExtentParts(entries)
    }
    guard let pointers = parts?.pointers, let first = pointers.first else { return nil }
    var (places, buckets, copies): ([ExtentPtr], [BPos], Int) = ([], [], 0)
    for pointer in pointers {
      guard !pointer.ptr.isCached, pointer.stripe == nil, !pointer.crc.isEncoded,
        pointer.ptr.isUnwritten == first.ptr.isUnwritten
      else { return nil }
      var place = pointer.ptr
      let skipped = UInt64(pointer.crc.offset) + (part.lowerBound - key.start.offset)
      guard place.offset + skipped <= ExtentPtr.maxOffset else { return nil }
      place.offset += skipped
      guard let bucket = try writableBucket(of: place, sectors: UInt64(part.count)) else {
        return nil
      }
      places.append(place)
      buckets.append(bucket)
      copies += Int(engine.media.member(place.device)?.durability ?? 0)
    }
    guard copies >= replicas else { return nil }
    return WritableExtent(sectors: part, places: places, buckets: buckets)
  }

  /// The bucket that sectors of user data are in; nil where they cannot be written to.
  private func writableBucket(
    of place: ExtentPtr, sectors: UInt64
  ) throws(TransactionError) -> BPos? {
    let media = engine.media
    guard place.device < 64, media.device(place.device) != nil,
      !engine.failures.contains(place.device),
      let member = media.member(place.device), member.isAlive, member.state == .rw,
      let bucket = member.bucket(ofSector: place.offset), bucket >= member.firstBucket,
      place.offset % member.bucketSizeSectors + sectors <= member.bucketSizeSectors
    else { return nil }
    let position = Positions.bucket(device: place.device, bucket: bucket)
    let alloc = try self.bucket(position, .read)
    return alloc.generation == place.generation && alloc.dataType == DataType.user.rawValue
      ? position : nil
  }

  // MARK: - Afterwards

  /// Says that an extent holds data from here on, and commits.
  ///
  /// - Parameter sectors: The part of it that is not done yet.
  /// - Returns: up to which sector it does; nil where it is somewhere else by now, or gone.
  /// - Throws: `.notFound`, `.readOnly`; what updates throw.
  func markWritten(
    _ extent: WritableExtent, _ sectors: Range<UInt64>, _ write: FileWrite
  ) throws(TransactionError) -> UInt64? {
    // The inode first: changes of one file come one after the other.
    let (snapshot, _) = try inodeToChange(write.file)
    var walk = SnapshotWalk(
      .extents, write.file.inode, from: sectors.lowerBound + 1, snapshot: snapshot, mode: .intent)
    guard let found = try next(&walk), found.key.start.offset <= sectors.lowerBound else {
      return nil
    }
    let part = sectors.lowerBound..<min(sectors.upperBound, found.key.position.offset)
    let now = try writableExtent(found, part, snapshot, replicas: 0)
    let skipped = part.lowerBound - extent.sectors.lowerBound
    guard let now, now.places == extent.places.map({ $0.moved(by: skipped) }) else { return nil }
    var key = found.key
    var words = InlineArray<250, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var value = unsafe span.mutableBytes
    let sizes = engine.media.entrySizes
    do throws(FormatError) {
      key = try found.copy(part, into: &value, sizes: sizes)
      // That it has no entries that are not known was looked at.
      let found = ExtentParts(
        ExtentEntries(
          value.bytes.extracting(first: key.valueByteCount), keySize: key.size, sizes: sizes))
      guard var parts = found else { return nil }
      for index in parts.pointers.indices { parts.pointers[index].ptr.isUnwritten = false }
      let count = try parts.encode(into: &value, at: 0)
      key.u64s = UInt8(BKey.headerU64s + count)
    } catch {
      throw .failed(VolumeError(error))
    }
    return try putFileExtent(
      write.file, key, value.bytes.extracting(first: key.valueByteCount), write.change
    ).end
  }

  /// Says that a file was written up to a sector, and commits. The inode names the journal entry:
  /// so whoever flushes the file flushes one that comes after what was written.
  ///
  /// - Throws: `.notFound`, `.readOnly`.
  func noteOverwritten(
    _ file: FileID, upTo sector: UInt64, _ change: InodeChange
  ) throws(TransactionError) {
    var (snapshot, inode) = try inodeToChange(file)
    inode.snapshot = snapshot
    let size = min(sector * 512, change.size)
    if size > inode.size, !inode.flags.contains(.sizeDirty) { inode.size = size }
    if let time = change.time { inode.noteWritten(at: time) }
    put(inode, snapshot)
    try commit()
  }
}

extension ExtentPtr {
  /// So many sectors further on; the last place that there can be, where that is too far.
  fileprivate func moved(by sectors: UInt64) -> ExtentPtr {
    var result = self
    result.offset = min(offset + sectors, ExtentPtr.maxOffset)
    return result
  }
}
