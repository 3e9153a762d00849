// SPDX-License-Identifier: GPL-2.0
// What a device holds before anybody allocates: its superblocks, and the buckets of its journal.

internal import BcachefsFormat
internal import BcachefsSupport

enum ReservedBuckets {
  /// The buckets that some sectors take, with how many sectors of each.
  ///
  /// - Parameter limit: Buckets of the device: a backup superblock may lie behind the last one.
  static func buckets(
    of sectors: Range<UInt64>, bucketSectors: UInt64, limit: UInt64
  ) -> [(bucket: UInt64, sectors: UInt32)] {
    invariant(bucketSectors > 0, "a bucket has a size")
    var result: [(UInt64, UInt32)] = []
    var start = sectors.lowerBound
    while start < sectors.upperBound, start / bucketSectors < limit {
      let bucket = start / bucketSectors
      let end = min((bucket + 1) * bucketSectors, sectors.upperBound)
      result.append((bucket, UInt32(truncatingIfNeeded: end - start)))
      start = end
    }
    return result
  }

  /// The sectors of superblocks: the space before the first copy is the superblock's too.
  ///
  /// - Parameter copies: Where copies start; a device may say anything.
  static func superblockSectors(
    _ layout: SuperblockLayout, copies: some Sequence<UInt64>
  ) -> [Range<UInt64>] {
    let sectors = UInt64(layout.maxByteCount / 512)
    return [0..<SuperblockLayout.defaultSuperblockSector]
      + copies.map { start in
        let (end, overflow) = start.addingReportingOverflow(sectors)
        return start..<(overflow ? .max : end)
      }
  }

  /// How long a journal may be: 8192 buckets, or 8 GiB.
  static func journalBucketsMax(bucketSectors: UInt64) -> UInt64 {
    invariant(bucketSectors > 0, "a bucket has a size")
    return max(min(8192, (16 << 20) / bucketSectors), 8)
  }

  /// How many buckets a new journal gets: one in 256 (the driver: one in 128), at least 8.
  /// But not less than 8 MiB where that is no more than a 16th of the device: the driver's journal
  /// gets stuck for good when less is all that it has and much is dirty at once.
  static func journalBucketCount(bucketCount: UInt64, bucketSectors: UInt64) -> UInt64 {
    let most = journalBucketsMax(bucketSectors: bucketSectors)
    let enough = min((8 << 20) / (bucketSectors * 512), bucketCount / 16)
    return min(max(bucketCount / 256, enough, 8), most)
  }
}
