// SPDX-License-Identifier: GPL-2.0
// Room where no bucket is free: what was emptied is discarded, then what was read longest ago of
// cached data is given up, then what is left in buckets that are mostly empty is moved.
//
// How it works
//   1. Emptied buckets wait for the journal entry that emptied them: it is flushed. Buckets that
//      nobody will fill any more are closed.
//   2. The LRU of each device names its cached buckets by the time they were read last. One is
//      invalidated by a new generation: all pointers into it are stale from then on, and nobody
//      has to find them.
//   3. Buckets that wait for their generations are looked after (Engine+Generations.swift), then
//      fragmented ones are emptied (Data/Move/Copygc.swift), unless that is who asks.
// Invariants
//   (1) Only buckets with nothing but cached data are invalidated, none that somebody writes to.
//   (2) Who makes room takes the last buckets, and never waits for room himself.
//   (3) A volume that is being frozen waits for who makes room.
// Locks: none is held.
// Source: alloc_background.c (bch2_do_invalidates, invalidate_one_bucket).

internal import BcachefsFormat
internal import BcachefsSupport

extension Engine {
  /// Makes buckets free that were emptied: nodes that were replaced are in the way until that is on
  /// disk.
  ///
  /// - Returns: how many.
  @discardableResult
  func freeWhatWasReplaced() throws(VolumeError) -> Int {
    nodeWrites.drain(self)
    try journal.flushAll()
    return try discardBuckets(.reclaim)
  }

  /// Buckets that are invalidated at a time, for each device, at least.
  private static var invalidatedAtOnce: Int { 16 }

  /// Makes buckets of devices free.
  ///
  /// - Parameter watermark: Of who asks. Below `.copygc` he has no transaction running.
  /// - Returns: False where there is nothing to give up.
  func makeSpace(on devices: [UInt8], _ watermark: Watermark) throws(VolumeError) -> Bool {
    // Work of the engine's own goes on while the volume is frozen: so it is not, as long as this
    // is somebody's work.
    let admission = watermark < .copygc ? takeTransaction(watermark) : nil
    defer { if let admission { giveBack(admission) } }
    if try freeWhatWasReplaced() > 0 { return true }
    if openBuckets.closeNearlyFull(media) > 0 { return true }
    var count = 0
    for device in devices {
      guard let member = media.member(device) else { continue }
      count += try invalidateBuckets(
        of: device, upTo: max(Self.invalidatedAtOnce, Int(clamping: member.bucketCount >> 7)))
    }
    if count > 0 {
      try journal.flushAll()
      if try discardBuckets(.reclaim) > 0 { return true }
    }
    guard watermark != .copygc, watermark < .btreeCopygc else { return false }
    if try collectGenerations() { return true }
    let goal = devices.reduce(Self.collectedAtOnce) { goal, device in
      max(goal, Int(clamping: (media.member(device)?.bucketCount ?? 0) >> 7))
    }
    return try collectNow(on: devices, goal: goal)
  }

  /// Free buckets that are made by moving data, at least.
  private static var collectedAtOnce: Int { 8 }

  /// Gives up cached data of a device, what was read longest ago first.
  ///
  /// - Returns: how many buckets.
  @discardableResult
  func invalidateBuckets(of device: UInt8, upTo limit: Int) throws(VolumeError) -> Int {
    _ = try tryFlushWriteBuffer()
    let id = UInt16(device)
    var position: BPos? = Positions.lru(id: id, bucketWord: 0, time: 0)
    let end = Positions.lru(id: id, bucketWord: .max, time: AllocV4.maxTime)
    var count = 0
    while let start = position, count < limit {
      let (next, isDone) = try run("bucket_invalidate", watermark: .reclaim) {
        (transaction) throws(TransactionError) -> (BPos?, Bool) in
        guard let found = try transaction.next(.lru, from: start, upTo: end) else {
          return (nil, false)
        }
        let entry = found.key.position
        return (entry.successor, try transaction.invalidate(entry))
      }
      position = next
      if isDone {
        count += 1
        instruments.count(.bucketInvalidate)
      }
    }
    return count
  }
}

extension Transaction {
  /// Invalidates the bucket that an entry of an LRU names, and commits.
  ///
  /// - Returns: False where somebody writes to it.
  fileprivate func invalidate(_ entry: BPos) throws(TransactionError) -> Bool {
    let bucket = Positions.bucket(ofWord: entry.offset)
    let (device, _) = try device(ofBucket: bucket)
    guard !engine.openBuckets.contains(bucket) else { return false }
    let alloc = try self.bucket(bucket, .intent)
    guard alloc.dataType == DataType.cached.rawValue, alloc.dirtyTotalSectors == 0,
      alloc.stripe == 0, alloc.readLRUTime == Positions.lruTime(entry)
    else {
      // That the bucket is not there any more may be in the write buffer still.
      guard engine.writeBuffer.isEmpty else { return false }
      throw .failed(
        VolumeError(
          .corrupt,
          "\(FsckErrorID.lru_entry_bad): lru read time \(Positions.lruTime(entry)) for bucket "
            + "\(bucket.inode):\(bucket.offset), which is \(alloc)"))
    }
    account(
      .replicas(
        AccountingReplicas(dataType: DataType.cached.rawValue, required: 1, devices: [device])),
      [-Int64(alloc.cachedSectors)])
    let clocks = (engine.journal.readClock, engine.journal.writeClock)
    try changeBucket(bucket) { (alloc) throws(VolumeError) in
      alloc.needsGenerationIncrement = false
      alloc.generation &+= 1
      alloc.dataType = 0
      alloc.cachedSectors = 0
      (alloc.readTime, alloc.writeTime) = clocks
    }
    try commit()
    return true
  }
}
