// SPDX-License-Identifier: GPL-2.0
// Keys that lead from an old place to a new one, where the same data is by now.
//
// How it works
//   1. A key was copied, its data read and written elsewhere, with no lock held. Meanwhile others
//      may have overwritten it, in part or as a whole, or split it.
//   2. So the sectors are walked again, in the key's own snapshot. Of each key found there that
//      still has the old pointer, the part that was written changes it for the new ones. What
//      has it no more stays as it is: the new place is not used for it.
//   3. What a descendant hid of the key it hides of each part.
// Invariants
//   (1) A pointer is only changed where the same one was read: so the data is the key's.
//   (2) Pointers of one key are to different devices.
//   (3) What a reader sees is the same before and after.
// Locks: as all transactions.
// Source: data_update.c (__bch2_data_update_index_update).

internal import BcachefsFormat
internal import BcachefsSupport

/// A key with a pointer that is to lead elsewhere.
struct MovedExtent {
  let btree: BTreeID
  /// As it was read.
  let key: BKey
  let parts: ExtentParts
  /// The pointer to be changed.
  let old: DecodedPtr
  /// What new data of its file is given.
  let options: DataOptions
}

/// Sectors of a key that were written to new places.
struct MovedPiece {
  /// Sectors of the file, or of the reflink btree.
  let sectors: Range<UInt64>
  /// How they are stored there.
  let crc: ExtentCrc
  /// None where enough other copies are left.
  let places: [ExtentPtr]
}

extension MovedPiece {
  /// The pointers of a part of it.
  fileprivate func pointers(to part: Range<UInt64>) -> [DecodedPtr] {
    let cut = part.lowerBound - sectors.lowerBound
    var crc = crc
    let isPlain = !crc.needsEntry
    crc.liveSize = UInt32(part.count)
    if isPlain {
      crc = ExtentCrc(plainSectors: UInt32(part.count))
    } else {
      // Less than the size that the data has when it is decompressed, which fits.
      crc.offset &+= UInt16(truncatingIfNeeded: cut)
    }
    return places.map { place in
      var place = place
      if isPlain { place.offset += cut }
      return DecodedPtr(ptr: place, crc: crc)
    }
  }
}

extension Transaction {
  /// Has the first key at or behind a sector that still leads to the old place lead to the new one,
  /// and commits.
  ///
  /// - Returns: up to which sector everything is done, and for how many of them the new place is
  ///   used.
  func move(
    _ extent: MovedExtent, to piece: MovedPiece, from start: UInt64
  ) throws(TransactionError) -> (end: UInt64, used: UInt64) {
    let (position, end) = (extent.key.position, piece.sectors.upperBound)
    var walk = KeyWalk(
      extent.btree, from: BPos(position.inode, start + 1),
      upTo: BPos(position.inode, position.offset, .max), mode: .intent)
    while let found = try next(&walk) {
      guard found.key.position.snapshot == position.snapshot else { continue }
      let first = max(found.key.start.offset, start)
      guard first < end else { break }
      let part = first..<min(found.key.position.offset, end)
      guard found.key.type == extent.key.type, !part.isEmpty,
        try replacePlace(in: found, part, extent, piece)
      else { continue }
      try commit()
      return (part.upperBound, UInt64(part.count))
    }
    return (end, 0)
  }

  /// - Returns: False where the key does not lead to the old place, or to one of the new devices
  ///   already.
  private func replacePlace(
    in found: KeyView, _ part: Range<UInt64>, _ extent: MovedExtent, _ piece: MovedPiece
  ) throws(TransactionError) -> Bool {
    var key = found.key
    var words = InlineArray<250, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var value = unsafe span.mutableBytes
    let sizes = engine.media.entrySizes
    do throws(FormatError) {
      key = try found.copy(part, into: &value, sizes: sizes)
      let head = try ExtentEntries.range(of: key, value: value.bytes).lowerBound
      guard var parts = parts(key, value.bytes.extracting(head..<key.valueByteCount)),
        parts.replace(extent, key, piece.pointers(to: part))
      else { return false }
      let wish = parts.rebalance ?? extent.options.atRest
      parts.rebalance = nil
      var count = try parts.encode(into: &value, at: head)
      if needsRebalance(key, value.bytes.extracting(head..<count * 8), wish) {
        parts.rebalance = wish
        count = try parts.encode(into: &value, at: head)
      }
      guard count <= ExtentWriter.maxU64s + head / 8 else { return false }
      key.u64s = UInt8(BKey.headerU64s + count)
    } catch {
      throw .failed(VolumeError(error))
    }
    if extent.btree == .extents {
      try moveWhiteouts(extent.btree, from: found.key.position, to: key.position)
    }
    try updateExtent(extent.btree, key, value.bytes.extracting(first: key.valueByteCount))
    return true
  }
}

extension Transaction {
  private func parts(_ key: BKey, _ entries: RawSpan) -> ExtentParts? {
    ExtentParts(ExtentEntries(entries, keySize: key.size, sizes: engine.media.entrySizes))
  }

  private func needsRebalance(_ key: BKey, _ entries: RawSpan, _ wish: ExtentRebalance) -> Bool {
    let entries = ExtentEntries(entries, keySize: key.size, sizes: engine.media.entrySizes)
    return engine.targets.sectorsToRebalance(entries, wish) != 0
  }
}

extension ExtentParts {
  /// Changes the old pointer for new ones.
  ///
  /// - Returns: False where it is not there, or a copy on one of the new devices is.
  fileprivate mutating func replace(
    _ extent: MovedExtent, _ key: BKey, _ new: [DecodedPtr]
  ) -> Bool {
    let index = pointers.firstIndex {
      !$0.ptr.isCached
        && $0.leadsToSame(
          as: extent.old, start: key.start.offset, otherStart: extent.key.start.offset)
    }
    guard let index else { return false }
    pointers.remove(at: index)
    for pointer in new {
      let device = pointer.ptr.device
      guard !pointers.contains(where: { $0.ptr.device == device && !$0.ptr.isCached }) else {
        return false
      }
      pointers.removeAll { $0.ptr.device == device }
      pointers.append(pointer)
    }
    return pointers.contains { !$0.ptr.isCached }
  }
}
