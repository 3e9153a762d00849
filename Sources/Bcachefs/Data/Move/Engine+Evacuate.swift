// SPDX-License-Identifier: GPL-2.0
// Buckets that are emptied: all that is in them is moved elsewhere.
//
// How it works
//   1. The fragmentation LRU names buckets that are in use and not full, the emptiest first. Those
//      that somebody fills are left alone.
//   2. Backpointers of a bucket tell the keys that lead into it. They are read some at a time;
//      which of them still hold, the keys say.
//   3. Extents are moved (ExtentMover.swift), btree nodes replaced by new ones.
// Invariants
//   (1) What is read of a bucket at a time is bounded, whatever its backpointers say.
//   (2) A bucket that gets a new generation is another one: nothing of it is moved any more.
// Locks: none is held but those of transactions.
// Source: movinggc.c (bch2_copygc_get_buckets, bch2_bucket_is_movable), move.c
// (bch2_evacuate_bucket).

internal import BcachefsFormat
internal import BcachefsSupport

/// A bucket that is in use and not full.
struct FragmentedBucket {
  let position: BPos
  let generation: UInt8
  /// In use.
  let sectors: UInt64
  /// Not in use.
  let wasted: UInt64
}

/// What was moved out of buckets.
struct EvacuationCounts {
  var sectors: UInt64 = 0
  var nodes: UInt64 = 0
  /// Keys that had changed before theirs was written.
  var raced: UInt64 = 0
  /// Extents that could not be moved.
  var failed: UInt64 = 0
}

extension Engine {
  /// Entries of the LRU that one transaction looks at.
  private static var entriesAtOnce: Int { 32 }
  /// Backpointers that are read at a time.
  private static var backpointersAtOnce: Int { 256 }

  /// Fragmented buckets, the emptiest first.
  ///
  /// - Parameters:
  ///   - devices: Bit n stands for member n.
  ///   - tried: Are left out.
  func fragmentedBuckets(
    on devices: UInt64, limit: Int, without tried: Set<BPos>
  ) throws(VolumeError) -> [FragmentedBucket] {
    var result: [FragmentedBucket] = []
    var position: BPos? = Positions.lru(
      id: Positions.fragmentationLRU, bucketWord: 0, time: 0)
    let end = Positions.lru(
      id: Positions.fragmentationLRU, bucketWord: .max, time: AllocV4.maxTime)
    while let start = position, result.count < limit {
      let found: [FragmentedBucket]
      (found, position) = try run("copygc_buckets", watermark: .btreeCopygc) {
        (transaction) throws(TransactionError) in
        try transaction.fragmentedBuckets(
          from: start, upTo: end, count: Self.entriesAtOnce, on: devices)
      }
      result += found.filter { !tried.contains($0.position) }
    }
    return Array(result.prefix(limit))
  }

  /// Moves all that is in a bucket elsewhere.
  ///
  /// - Parameter isStopped: Asked between two extents.
  /// - Throws: `.noSpace`; what transactions and writing throw.
  func evacuate(
    _ bucket: FragmentedBucket, _ mover: ExtentMover, _ counts: inout EvacuationCounts,
    until isStopped: () -> Bool
  ) throws(VolumeError) {
    var position: BPos? = .min
    while let start = position, !isStopped() {
      let found: [Backpointer]
      (found, position) = try run("copygc_backpointers", watermark: .btreeCopygc) {
        (transaction) throws(TransactionError) in
        try transaction.backpointers(of: bucket, from: start, limit: Self.backpointersAtOnce)
      }
      for backpointer in found where !isStopped() {
        if backpointer.level > 0 {
          if try moveNode(backpointer, bucket) { counts.nodes += 1 }
          continue
        }
        switch try mover.move(
          backpointer, from: bucket.position, generation: bucket.generation)
        {
        case .moved(let sectors): counts.sectors += sectors
        case .raced: counts.raced += 1
        case .impossible: counts.failed += 1
        }
      }
    }
  }

  /// Replaces the node that is in a bucket.
  ///
  /// - Returns: False where there is none any more.
  private func moveNode(
    _ backpointer: Backpointer, _ bucket: FragmentedBucket
  ) throws(VolumeError) -> Bool {
    let level = Int(backpointer.level) - 1
    let isThere = try run("copygc_node", watermark: .btreeCopygc) {
      (transaction) throws(TransactionError) in
      guard backpointer.btree.row != nil, level < BTreeNodeHeader.maxDepth,
        self.trees.root(backpointer.btree) != nil,
        let node = try transaction.node(
          backpointer.btree, level: level, backpointer.position, .read)
      else { return false }
      let places = node.with { $0.pointer.isNone ? [] : $0.pointer.places }
      let (device, member) = try transaction.device(ofBucket: bucket.position)
      return places.contains {
        $0.device == device && $0.offset / member.bucketSizeSectors == bucket.position.offset
      }
    }
    guard isThere else { return false }
    // What moved nodes leave is free only when the queue is through.
    if try !hasPlacesForNodes(.btree) { try freeWhatWasReplaced() }
    try rewrite(backpointer.btree, level: level, backpointer.position, .btreeCopygc)
    return true
  }
}

extension Transaction {
  /// Buckets that entries of the fragmentation LRU name, and where the next entries are.
  fileprivate func fragmentedBuckets(
    from start: BPos, upTo end: BPos, count: Int, on devices: UInt64
  ) throws(TransactionError) -> ([FragmentedBucket], BPos?) {
    var result: [FragmentedBucket] = []
    var walk = KeyWalk(.lru, from: start, upTo: end)
    for _ in 0..<count {
      guard let found = try next(&walk) else { return (result, nil) }
      let entry = found.key.position
      if let bucket = try movableBucket(entry, on: devices) { result.append(bucket) }
    }
    return (result, walk.position)
  }

  private func movableBucket(
    _ entry: BPos, on devices: UInt64
  ) throws(TransactionError) -> FragmentedBucket? {
    let position = Positions.bucket(ofWord: entry.offset)
    guard position.inode < 64, devices >> position.inode & 1 != 0,
      !engine.openBuckets.contains(position)
    else { return nil }
    // What is wrong with the LRU is not for who makes room to find.
    guard let member = engine.media.member(UInt8(truncatingIfNeeded: position.inode)),
      position.offset >= member.firstBucket, position.offset < member.bucketCount
    else { return nil }
    let alloc = try bucket(position, .read)
    let size = UInt32(truncatingIfNeeded: member.bucketSizeSectors)
    let time = alloc.fragmentationLRUTime(bucketSizeSectors: size)
    guard time != 0, time <= Positions.lruTime(entry) else { return nil }
    let used = min(alloc.dirtyTotalSectors, size)
    return FragmentedBucket(
      position: position, generation: alloc.generation, sectors: UInt64(used),
      wasted: UInt64(size - used))
  }

  /// Backpointers of a bucket, and where more are; none where it is another one by now.
  fileprivate func backpointers(
    of bucket: FragmentedBucket, from start: BPos, limit: Int
  ) throws(TransactionError) -> ([Backpointer], BPos?) {
    let (_, member) = try device(ofBucket: bucket.position)
    guard try self.bucket(bucket.position, .read).generation == bucket.generation else {
      return ([], nil)
    }
    let size = UInt32(truncatingIfNeeded: member.bucketSizeSectors)
    let first = Positions.backpointer(
      bucket: bucket.position, bucketSizeSectors: size, bucketOffset: 0)
    let behind = Positions.backpointer(
      bucket: BPos(bucket.position.inode, bucket.position.offset + 1), bucketSizeSectors: size,
      bucketOffset: 0)
    var result: [Backpointer] = []
    var walk = KeyWalk(
      .backpointers, from: max(start, first), upTo: behind.predecessor ?? behind)
    while let found = try next(&walk) {
      guard found.key.type == .backpointer else { continue }
      result.append(
        try found.decoded { (value) throws(FormatError) in try Backpointer(decoding: value) })
      if result.count == limit { return (result, walk.position) }
    }
    return (result, nil)
  }
}
