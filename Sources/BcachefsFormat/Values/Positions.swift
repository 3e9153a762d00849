// SPDX-License-Identifier: GPL-2.0
// What positions mean in each btree, and how to make them.
//
// | btree              | inode                | offset                        | snapshot    |
// | ------------------ | -------------------- | ----------------------------- | ----------- |
// | extents            | inode number         | end of the extent, sectors    | snapshot    |
// | inodes             | 0                    | inode number                  | snapshot    |
// | dirents            | directory            | hash of the name, 2 or more   | snapshot    |
// | xattrs             | inode number         | hash of type and name         | snapshot    |
// | alloc, need_discard| device               | bucket                        | 0           |
// | freespace          | device               | end bucket, bits 56-: lag/16  | 0           |
// | bucket_gens        | device               | bucket / 256                  | 0           |
// | backpointers       | device               | sector << 10 + offset         | 0           |
// | lru                | lru << 48 | time     | device << 48 | bucket         | 0           |
// | quotas             | 0 user, 1 group, 2 project | id                      | 0           |
// | stripes            | 0                    | stripe, 1 or more             | 0           |
// | reflink            | 0                    | end, sectors                  | 0           |
// | subvolumes         | 0                    | subvolume                     | 0           |
// | snapshots          | 0                    | snapshot                      | 0           |
// | snapshot_trees     | 0                    | tree                          | 0           |
// | subvolume_children | parent subvolume     | child subvolume               | 0           |
// | deleted_inodes     | 0                    | inode number                  | snapshot    |
// | rebalance_work     | inode number, 0 for reflink | end, sectors           | snapshot    |
// | logged_ops         | kind of operation    | any                           | 0           |
// | accounting         | see `AccountingKey`  |                               |             |
//
// Source: bcachefs alloc_background.h, backpointers.h, lru.h, buckets.h.

/// Makers and readers of positions.
public enum Positions {
  /// `BLOCKDEV_INODE_MAX`: numbers below are not inodes of files.
  @inlinable public static var minInode: UInt64 { 4096 }
  /// `BCACHEFS_ROOT_INO`
  @inlinable public static var rootInode: UInt64 { 4096 }

  // MARK: Files

  /// Where an inode's key stands.
  @inlinable public static func inode(_ number: UInt64, snapshot: UInt32) -> BPos {
    BPos(0, number, snapshot)
  }

  /// The number of the inode whose key stands at `position`.
  @inlinable public static func inodeNumber(_ position: BPos) -> UInt64 { position.offset }

  /// Where a directory entry would like to stand: offsets 0 and 1 are "." and "..".
  @inlinable public static func dirent(
    directory: UInt64, hash: UInt64, snapshot: UInt32
  ) -> BPos {
    BPos(directory, max(hash, 2), snapshot)
  }

  /// Where an extent that ends at sector `end` stands.
  @inlinable public static func extent(inode: UInt64, end: UInt64, snapshot: UInt32) -> BPos {
    BPos(inode, end, snapshot)
  }

  // MARK: Buckets

  /// Where a bucket's alloc key stands.
  @inlinable public static func bucket(device: UInt8, bucket: UInt64) -> BPos {
    BPos(UInt64(device), bucket)
  }

  /// A bucket in 64 bits (`bucket_to_u64`): 16 for the device, 48 for the bucket.
  @inlinable public static func word(ofBucket position: BPos) -> UInt64 {
    position.inode << 48 | position.offset
  }

  /// The reverse (`u64_to_bucket`).
  @inlinable public static func bucket(ofWord word: UInt64) -> BPos {
    BPos(word >> 48, word & (1 << 48 &- 1))
  }

  /// A free bucket in the freespace btree (`alloc_freespace_pos`): the further its oldest
  /// generation lags behind, the later it is found. The key is an extent of size 1, so that its
  /// position is this one's successor in `offset`.
  ///
  /// - Parameter generationLag: `AllocV4.generationLag`.
  @inlinable public static func freespace(bucket: BPos, generationLag: UInt8) -> BPos {
    BPos(bucket.inode, bucket.offset | UInt64(generationLag >> 4) << 56, bucket.snapshot)
  }

  /// The bucket of a position in the freespace btree.
  @inlinable public static func bucket(ofFreespace position: BPos) -> BPos {
    BPos(position.inode, position.offset & (1 << 56 &- 1), position.snapshot)
  }

  /// The bits above the bucket of a position in the freespace btree.
  @inlinable public static func generationBits(ofFreespace position: BPos) -> UInt64 {
    position.offset >> 56
  }

  /// Which bucket_gens key has a bucket's generation, and where in it (`alloc_gens_pos`).
  @inlinable public static func bucketGens(bucket: BPos) -> (position: BPos, index: Int) {
    (BPos(bucket.inode, bucket.offset >> 8, bucket.snapshot), Int(bucket.offset & 0xff))
  }

  /// The first bucket of a bucket_gens key; the next 255 follow (`bucket_gens_pos_to_alloc`).
  /// nil if its numbers would not fit 64 bits.
  @inlinable public static func firstBucket(ofGens position: BPos) -> BPos? {
    guard position.offset >> 56 == 0 else { return nil }
    return BPos(position.inode, position.offset << 8, position.snapshot)
  }

  // MARK: Backpointers

  /// `MAX_EXTENT_COMPRESS_RATIO_SHIFT`: room for offsets into decompressed extents between two
  /// sectors.
  @inlinable public static var compressRatioShift: UInt64 { 10 }

  /// Where a backpointer stands (`bucket_pos_to_bp`).
  ///
  /// - Parameters:
  ///   - bucket: Position of the alloc key.
  ///   - bucketOffset: As `Backpointer.bucketOffset`.
  @inlinable public static func backpointer(
    bucket: BPos, bucketSizeSectors: UInt32, bucketOffset: UInt64
  ) -> BPos {
    let sector = bucket.offset &* UInt64(bucketSizeSectors)
    return BPos(bucket.inode, sector << compressRatioShift &+ bucketOffset)
  }

  /// Where the backpointer of something at a sector stands, and its `bucketOffset`.
  ///
  /// - Parameters:
  ///   - offset: Sectors into the decompressed extent of which it is the part (`ExtentCrc.offset`).
  /// - Precondition: the bucket size is not 0.
  @inlinable public static func backpointer(
    device: UInt8, sector: UInt64, bucketSizeSectors: UInt32, offset: UInt64 = 0
  ) -> (position: BPos, bucketOffset: UInt64) {
    let size = UInt64(bucketSizeSectors)
    let bucketOffset = (sector % size) << compressRatioShift &+ offset
    let position = backpointer(
      bucket: bucket(device: device, bucket: sector / size), bucketSizeSectors: bucketSizeSectors,
      bucketOffset: bucketOffset)
    return (position, bucketOffset)
  }

  /// The bucket that a backpointer lies in (`bp_pos_to_bucket`).
  ///
  /// - Precondition: the bucket size is not 0.
  @inlinable public static func bucket(
    ofBackpointer position: BPos, bucketSizeSectors: UInt32
  ) -> BPos {
    BPos(
      position.inode,
      (position.offset >> compressRatioShift) / UInt64(max(bucketSizeSectors, 1)))
  }

  // MARK: LRUs

  /// `BCH_LRU_FRAGMENTATION_START`: the LRU of fragmented buckets. LRUs below are one a device, of
  /// cached buckets.
  @inlinable public static var fragmentationLRU: UInt16 { 0xffff }

  /// Where a bucket stands in an LRU (`lru_pos`).
  ///
  /// - Parameters:
  ///   - bucketWord: As `word(ofBucket:)` makes it.
  ///   - time: Below 2^48, and not 0.
  @inlinable public static func lru(id: UInt16, bucketWord: UInt64, time: UInt64) -> BPos {
    assert(time <= AllocV4.maxTime)
    return BPos(UInt64(id) << 48 | time & AllocV4.maxTime, bucketWord)
  }

  /// Which LRU a position is in (`lru_pos_id`).
  @inlinable public static func lruID(_ position: BPos) -> UInt16 {
    UInt16(truncatingIfNeeded: position.inode >> 48)
  }

  /// The time of a position in an LRU (`lru_pos_time`).
  @inlinable public static func lruTime(_ position: BPos) -> UInt64 {
    position.inode & AllocV4.maxTime
  }

  /// `id:time -> device:bucket` (`bch2_lru_pos_to_text`).
  public static func lruText(_ position: BPos) -> String {
    let bucket = bucket(ofWord: position.offset)
    return "\(lruID(position)):\(lruTime(position)) -> \(bucket.inode):\(bucket.offset)"
  }
}
