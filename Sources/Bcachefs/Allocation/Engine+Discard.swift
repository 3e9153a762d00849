// SPDX-License-Identifier: GPL-2.0
// Emptied buckets become free again.
//
// How it works
//   A bucket that was emptied stands in need_discard. When the journal entry in which that happened
//   is flushed, and nobody writes to it, its device is told, where the member says so, and then its
//   key that it is free.
// Invariants
//   (1) Nothing is discarded that a crash could bring back, or whose own key says that it is in
//       use.
// Locks: none is held while a device discards.
// Source: alloc_background.c (bch2_discard_one_bucket, bch2_do_discards).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

extension Engine {
  /// Frees a few buckets for those who write nodes. Each takes room in the journal, and those need
  /// what is left of that to tell where nodes are.
  @discardableResult
  func discardSomeBuckets() throws(VolumeError) -> Int {
    try discardBuckets(.interiorUpdates, atMost: Self.discardedForNodes)
  }

  private static var discardedForNodes: Int { 8 }

  /// Frees all buckets that can be.
  ///
  /// - Parameters:
  ///   - watermark: At least `.btree`: it makes room.
  ///   - limit: After so many it ends.
  /// - Returns: how many.
  @discardableResult
  func discardBuckets(
    _ watermark: Watermark = .btree, atMost limit: Int = .max
  ) throws(VolumeError) -> Int {
    var count = 0
    var position: BPos? = .min
    while count < limit, let start = position {
      let flushed = journal.flushedUpTo
      let found = try run("discard", watermark: watermark) {
        (transaction) throws(TransactionError) -> (BPos, isReady: Bool)? in
        guard let next = try transaction.next(.needDiscard, from: start) else { return nil }
        let bucket = next.key.position
        _ = try transaction.device(ofBucket: bucket)
        let alloc = try transaction.bucket(bucket, .read)
        guard alloc.dataType == DataType.needDiscard.rawValue, alloc.totalSectors == 0 else {
          throw .failed(
            VolumeError(
              .corrupt,
              "bucket \(bucket) is in the need_discard btree, and holds "
                + "\(DataType(rawValue: alloc.dataType)), \(alloc.totalSectors) sectors"))
        }
        return (bucket, alloc.journalSeq <= flushed && !self.openBuckets.contains(bucket))
      }
      guard let (bucket, isReady) = found else { break }
      position = bucket.successor
      guard isReady else { continue }
      try discard(bucket, watermark)
      count += 1
    }
    return count
  }

  private func discard(_ bucket: BPos, _ watermark: Watermark) throws(VolumeError) {
    let index = UInt8(truncatingIfNeeded: bucket.inode)
    if let member = media.member(index), let device = media.device(index),
      device.supportsDiscard, store.superblock.members[Int(index)].discard
    {
      let bytes = member.bucketSizeSectors * 512
      // A device may make use of it or not; that it could not changes nothing for the volume.
      try? device.discard(bucket.offset * bytes..<(bucket.offset + 1) * bytes)
    }
    try run("discard", watermark: watermark) { (transaction) throws(TransactionError) in
      try transaction.changeBucket(bucket) { (alloc) throws(VolumeError) in
        alloc.needsDiscard = false
      }
      try transaction.commit()
    }
    instruments.count(.bucketDiscard)
  }
}
