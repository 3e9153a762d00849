// SPDX-License-Identifier: GPL-2.0
// A range of one file becomes a range of another, without its data being copied.
//
// How it works
//   1. Extents of the source become indirect ones, unless they are; the destination gets pointers
//      to the same. Where the source has nothing, or only a promise, the destination gets a hole.
//   2. A step is one extent, or one hole, or a part of it: what a transaction can overwrite of the
//      destination. It changes source, destination and the destination's inode at once.
// Invariants
//   (1) After each step the destination has, up to there, what the source had.
// Locks: as all transactions. The caller sees to it that nobody else changes the ranges.
// Source: reflink.c (bch2_remap_range).

internal import BcachefsFormat
internal import BcachefsSupport

/// Sectors of a file, and where they are to be in another; whole blocks.
struct SectorCopy {
  let source: FileID
  let destination: FileID
  var from: UInt64
  var to: UInt64
  var count: UInt64
}

extension Engine {
  /// Shares a range of sectors.
  ///
  /// - Parameters:
  ///   - change: Of the destination, with each step as far as it has come.
  ///   - promise: What the destination gets is taken from it.
  ///   - done: Gets how many sectors were shared, whatever happens.
  /// - Throws: `.notFound`, `.readOnly`; `.allCopiesBad` where the source's data is known to be
  ///   lost. What was done before that stays.
  func share(
    _ copy: SectorCopy, _ change: InodeChange, _ promise: inout QuotaPromise, _ done: inout UInt64
  ) throws(VolumeError) {
    try features.use(.reflink)
    var rest = copy
    while rest.count > 0 {
      let (step, needsInline) = (rest, !features.has(.reflinkInlineData))
      let promised = promise
      let shared: UInt64?
      (shared, promise) = try run("remap_range") { (transaction) throws(TransactionError) in
        transaction.quotas.promise = promised
        let shared = try transaction.shareSome(step, change, refusesInline: needsInline)
        return (shared, transaction.quotas.promise)
      }
      guard let shared else {
        try features.use(.reflinkInlineData)
        continue
      }
      rest.from += shared
      rest.to += shared
      rest.count -= shared
      done += shared
    }
  }
}

extension Transaction {
  /// Sectors of a hole that one step makes.
  private static var holeMax: UInt64 { 1 << 30 }

  /// Shares the first part of a range, and commits.
  ///
  /// - Parameter refusesInline: The volume does not say yet that inline data is shared.
  /// - Returns: how many sectors; nil, with nothing done, where inline data would have been.
  fileprivate func shareSome(
    _ copy: SectorCopy, _ change: InodeChange, refusesInline: Bool
  ) throws(TransactionError) -> UInt64? {
    // The destination's inode first: two who copy to one file come one after the other.
    _ = try inodeToChange(copy.destination)
    let snapshot = try subvolume(copy.source.subvolume).snapshot
    var walk = SnapshotWalk(
      .extents, copy.source.inode, from: copy.from + 1, snapshot: snapshot, mode: .intent)
    let end = copy.from + copy.count
    var found = try next(&walk)
    while let view = found, view.key.start.offset < end,
      try !view.hasData(engine.media.entrySizes)
    {
      found = try next(&walk)
    }
    let start = min(found.map { $0.key.start.offset } ?? end, end)
    guard let found, start <= copy.from else {
      let count = min(start - copy.from, Self.holeMax)
      return try putShared(
        BKey(type: .deleted, position: BPos(0, copy.to + count), size: UInt32(count)), nil, copy,
        change)
    }
    if found.key.type == .inlineData, refusesInline { return nil }
    let (keyStart, keyEnd) = (found.key.start.offset, found.key.position.offset)
    var pointer = try indirect(found)
    pointer.index &+= copy.from - keyStart
    (pointer.frontPad, pointer.backPad, pointer.flags) = (0, 0, 0)
    var count = min(keyEnd, end) - copy.from
    var left = overwrittenAtOnce
    count = min(
      count, try sectorsOfIndirect(pointer.index..<pointer.index &+ count, upTo: &left))
    return try putShared(
      BKey(
        type: .reflinkP, position: BPos(0, copy.to + count), size: UInt32(count),
        valueU64s: ReflinkP.encodedU64s), pointer, copy, change)
  }

  private func putShared(
    _ key: BKey, _ pointer: ReflinkP?, _ copy: SectorCopy, _ change: InodeChange
  ) throws(TransactionError) -> UInt64 {
    var words = InlineArray<2, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var value = unsafe span.mutableBytes
    if let pointer { pointer.encode(into: &value) }
    let (end, _) = try putFileExtent(
      copy.destination, key, value.bytes.extracting(first: key.valueByteCount), change)
    return end - copy.to
  }
}
