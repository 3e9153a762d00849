// SPDX-License-Identifier: GPL-2.0
// LRUs and the keys of buckets say the same: those of cached buckets by the time they were read,
// those of fragmented buckets by how full they are.
// Source: lru.c (bch2_check_lrus), alloc_background.c (bch2_check_alloc_to_lru_refs).

internal import BcachefsFormat
internal import BcachefsSupport

extension VolumeCheck {
  private static func name(_ id: UInt16) -> String {
    id == Positions.fragmentationLRU ? "fragmentation" : "read"
  }

  /// The time of a bucket in an LRU, 0 if it is not in it.
  private func time(_ alloc: AllocV4?, _ bucket: BPos, in id: UInt16) -> UInt64 {
    guard let alloc, let device = UInt8(exactly: bucket.inode), let member = media.member(device)
    else { return 0 }
    return id == Positions.fragmentationLRU
      ? alloc.fragmentationLRUTime(bucketSizeSectors: UInt32(member.bucketSizeSectors))
      : alloc.readLRUTime
  }

  func checkLRUs() throws(VolumeError) {
    let alloc = BTreeCursor(forest, .alloc)
    try forEachKey(of: .lru) { (found) throws(VolumeError) in
      let position = found.key.position
      let bucket = Positions.bucket(ofWord: position.offset)
      guard let device = UInt8(exactly: bucket.inode), let member = media.member(device),
        bucket.offset < member.bucketCount
      else {
        return report(
          .lru_entry_to_invalid_bucket,
          "lru key points to nonexistent device:bucket \(bucket.inode):\(bucket.offset)")
      }
      let id = Positions.lruID(position)
      let own = try? alloc.lookup(bucket)
      let state = own.flatMap { self.alloc($0) }
      guard time(state, bucket, in: id) != Positions.lruTime(position) else { return }
      report(
        .lru_entry_bad,
        "incorrect lru entry: lru \(Self.name(id)) time \(Positions.lruTime(position))\n"
          + "  \(text(found))\n  for \(own.map(text) ?? "\(bucket): no alloc key")")
    }
  }

  func checkBucketsAreInLRUs() throws(VolumeError) {
    let lru = BTreeCursor(forest, .lru)
    try forEachKey(of: .alloc) { (found) throws(VolumeError) in
      let bucket = found.key.position
      guard let state = alloc(found), let device = UInt8(exactly: bucket.inode) else { return }
      if state.dataType == DataType.cached.rawValue, state.readTime == 0 {
        report(
          .alloc_key_cached_but_read_time_zero,
          "cached bucket with read_time 0\n  \(text(found))")
      }
      for id in [UInt16(device), Positions.fragmentationLRU] {
        let time = time(state, bucket, in: id)
        guard time != 0 else { continue }
        let place = Positions.lru(
          id: id, bucketWord: Positions.word(ofBucket: bucket), time: time)
        guard (try? lru.lookup(place)) == nil else { continue }
        report(
          .alloc_key_to_missing_lru_entry,
          "missing \(Self.name(id)) lru entry\n  \(text(found))")
      }
    }
  }
}
