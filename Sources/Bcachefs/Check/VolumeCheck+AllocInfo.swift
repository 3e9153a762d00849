// SPDX-License-Identifier: GPL-2.0
// Indices of buckets: freespace, need_discard and bucket_gens say what the buckets' keys say.
//
// How it works
//   1. Every bucket's key is looked for in its index; where buckets have no keys they are free, and
//      of generation 0.
//   2. Every entry of an index is compared with the keys of its buckets.
// Invariants
//   (1) A bucket is in freespace if and only if it is free, in need_discard if and only if it has
//       to be discarded.
// Source: alloc_background.c (bch2_check_alloc_info).

internal import BcachefsFormat
internal import BcachefsSupport

extension VolumeCheck {
  func checkAllocInfo() throws(VolumeError) {
    // Others get their lists when the volume is opened for changes.
    for (index, member) in media.members.enumerated()
    where member.isAlive && member.isFreespaceInitialized {
      try checkBuckets(of: index, member)
    }
    try forEachKey(of: .alloc) { (found) throws(VolumeError) in
      guard !isBucket(found.key.position) else { return }
      report(
        .alloc_key_to_missing_dev_bucket,
        "alloc key for invalid device:bucket \(found.key.position.inode):"
          + "\(found.key.position.offset)")
    }
    try checkFreespace()
    try checkNeedDiscard()
    try checkBucketGens()
  }

  private func isBucket(_ position: BPos) -> Bool {
    guard let index = UInt8(exactly: position.inode), let member = media.member(index) else {
      return false
    }
    return member.firstBucket..<max(member.firstBucket, member.bucketCount) ~= position.offset
  }

  private func checkBuckets(of device: Int, _ member: MemberInfo) throws(VolumeError) {
    let freespace = BTreeCursor(forest, .freespace)
    let needDiscard = BTreeCursor(forest, .needDiscard)
    let gens = BTreeCursor(forest, .bucketGens)
    var next = member.firstBucket
    try forEachKey(
      of: .alloc, from: BPos(UInt64(device), member.firstBucket),
      upTo: BPos(UInt64(device), .max, .max)
    ) { (found) throws(VolumeError) in
      let bucket = found.key.position
      guard bucket.offset < member.bucketCount, let alloc = alloc(found) else { return }
      // A damaged btree has two keys of one bucket, that differ in what must be 0.
      try checkHole(device, next..<max(next, bucket.offset), freespace)
      next = max(next, bucket.offset + 1)
      let wanted = BKeyType.set
      let isToDiscard = alloc.dataType == DataType.needDiscard.rawValue
      let discardType = (try? needDiscard.lookup(bucket))?.key.type ?? .deleted
      if (discardType == wanted) != isToDiscard {
        report(
          .need_discard_key_wrong,
          "incorrect key in need_discard btree (got \(discardType) should be "
            + "\(isToDiscard ? wanted : .deleted))\n  \(text(found))")
      }
      let place = Positions.freespace(bucket: bucket, generationLag: alloc.generationLag)
      let isFree = alloc.dataType == DataType.free.rawValue
      let isListed = covers(freespace, place)
      if isListed != isFree {
        report(
          .freespace_key_wrong,
          "incorrect key in freespace btree (got \(isListed ? wanted : .deleted) should be "
            + "\(isFree ? wanted : .deleted))\n  \(text(found))")
      }
      let generation = self.generation(bucket, gens)
      if generation != alloc.generation {
        report(
          .bucket_gens_key_wrong,
          "incorrect gen in bucket_gens btree (got \(generation) should be "
            + "\(alloc.generation))\n  \(text(found))")
      }
    }
    try checkHole(device, next..<max(next, member.bucketCount), freespace)
  }

  /// Whether the freespace btree has a range with this place in it.
  private func covers(_ freespace: BTreeCursor, _ place: BPos) -> Bool {
    guard let behind = place.successor else { return false }
    freespace.seek(behind)
    guard let found = freespace.nextReadable(), found.key.type == .set else { return false }
    return found.key.start <= place && place < found.key.position
  }

  /// Buckets without keys are free.
  private func checkHole(
    _ device: Int, _ buckets: Range<UInt64>, _ freespace: BTreeCursor
  ) throws(VolumeError) {
    var next = buckets.lowerBound
    while next < buckets.upperBound {
      try step()
      freespace.seek(BPos(UInt64(device), next + 1))
      let found = freespace.nextReadable()
      var start = buckets.upperBound
      var end = buckets.upperBound
      if let found, found.key.position.inode == UInt64(device), found.key.type == .set {
        start = min(max(found.key.start.offset, next), buckets.upperBound)
        end = min(found.key.position.offset, buckets.upperBound)
      }
      if start > next {
        report(
          .freespace_hole_missing,
          "hole in alloc btree missing in freespace btree\n  device \(device) buckets "
            + "\(next)-\(start)")
      }
      next = max(end, next + 1)
    }
  }

  private func generation(_ bucket: BPos, _ gens: BTreeCursor) -> UInt8 {
    let (position, index) = Positions.bucketGens(bucket: bucket)
    guard let found = try? gens.lookup(position) else { return 0 }
    return found.withValue { $0.byteCount > index ? $0[LEField<UInt8>(index)] : 0 }
  }

  // MARK: - Entries

  private func checkFreespace() throws(VolumeError) {
    try forEachKey(of: .freespace) { (found) throws(VolumeError) in
      let key = found.key
      let first = Positions.bucket(ofFreespace: key.start)
      let end = Positions.bucket(ofFreespace: key.position).offset
      guard isBucket(first), end > first.offset, isBucket(BPos(first.inode, end - 1)) else {
        return reportInvalid(.freespace, first)
      }
      let bits = Positions.generationBits(ofFreespace: key.start)
      try forEachKey(of: .alloc, from: first, upTo: BPos(first.inode, end - 1)) {
        (bucket) throws(VolumeError) in
        guard let alloc = alloc(bucket) else { return }
        let expected = Positions.generationBits(
          ofFreespace: Positions.freespace(
            bucket: bucket.key.position, generationLag: alloc.generationLag))
        let isFree = alloc.dataType == DataType.free.rawValue
        guard !isFree || bits != expected else { return }
        reportBad(.freespace, bucket, isRight: isFree, bits, expected)
      }
    }
  }

  private func checkNeedDiscard() throws(VolumeError) {
    let alloc = BTreeCursor(forest, .alloc)
    try forEachKey(of: .needDiscard) { (found) throws(VolumeError) in
      let bucket = found.key.position
      guard isBucket(bucket) else { return reportInvalid(.needDiscard, bucket) }
      guard let own = try? alloc.lookup(bucket), let state = self.alloc(own) else {
        report(
          .need_discard_freespace_key_bad,
          "\(bucket): no alloc key\n  incorrectly set at need_discard:\(bucket.inode):"
            + "\(bucket.offset):0 (free 0, genbits 0 should be 0)")
        return
      }
      guard state.dataType != DataType.needDiscard.rawValue else { return }
      reportBad(.needDiscard, own, isRight: false, 0, 0)
    }
  }

  private func reportInvalid(_ btree: BTreeID, _ bucket: BPos) {
    report(
      .need_discard_freespace_key_to_invalid_dev_bucket,
      "entry in \(btree) btree for nonexistant dev:bucket \(bucket.inode):\(bucket.offset)")
  }

  private func reportBad(
    _ btree: BTreeID, _ bucket: KeyReference, isRight: Bool, _ bits: UInt64, _ expected: UInt64
  ) {
    let position = bucket.key.position
    report(
      .need_discard_freespace_key_bad,
      "\(text(bucket))\n  incorrectly set at \(btree):\(position.inode):\(position.offset):0 "
        + "(free \(isRight ? 1 : 0), genbits \(bits) should be \(expected))")
  }

  private func checkBucketGens() throws(VolumeError) {
    try forEachKey(of: .bucketGens) { (found) throws(VolumeError) in
      guard let first = Positions.firstBucket(ofGens: found.key.position) else { return }
      guard let index = UInt8(exactly: first.inode), let member = media.member(index) else {
        return report(
          .bucket_gens_to_invalid_dev,
          "bucket_gens key for invalid device:\n  \(text(found))")
      }
      let (end, overflow) = first.offset.addingReportingOverflow(UInt64(BucketGens.count))
      guard !overflow, end > member.firstBucket, first.offset < member.bucketCount else {
        return report(
          .bucket_gens_to_invalid_buckets,
          "bucket_gens key for invalid buckets:\n  \(text(found))")
      }
      let gens = found.withValue { value in
        (0..<min(value.byteCount, BucketGens.count)).map { value[LEField<UInt8>($0)] }
      }
      for (place, generation) in gens.enumerated() where generation != 0 {
        let bucket = BPos(first.inode, first.offset + UInt64(place))
        if !isBucket(bucket) {
          report(
            .bucket_gens_nonzero_for_invalid_buckets,
            "bucket_gens key has nonzero gen for invalid bucket")
        } else if !hasKey(bucket) {
          report(
            .bucket_gens_hole_wrong,
            "hole in alloc btree at \(bucket.inode):\(bucket.offset) with nonzero gen in "
              + "bucket_gens btree (\(generation))")
        }
      }
    }
  }
}
