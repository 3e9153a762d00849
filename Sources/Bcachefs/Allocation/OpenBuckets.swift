// SPDX-License-Identifier: GPL-2.0
// The buckets that somebody writes to, and how free ones are found.
//
// How it works
//   1. A free bucket is looked for in the freespace btree, from where the last one of its device
//      was found, round and round. Nothing in the btrees changes when it is taken: it is in `users`
//      here until the keys of what was put into it are committed. It gets there while its key is
//      locked: so nobody can have taken it, filled it and let go of it since it was found free.
//   2. Who has a bucket open counts: the write point that fills it, or the list of partial ones,
//      and each allocation in it that is not settled yet.
//   3. A bucket that its write point does not need any more, and that has room, becomes partial:
//      the next that needs one for the same type of data gets it.
//   4. A bucket whose freeing is not flushed yet is left alone: after a crash its old contents may
//      be wanted.
//   5. Until the first key in it is committed, a bucket counts as free though it is open. For most,
//      all that are open are taken off what is free, which leaves a margin to those who are most
//      urgent: for them it is looked up which ones are used by now.
// Invariants
//   (1) No bucket is given out twice while it is open.
//   (2) None is given out that somebody still writes to in place (Data/InPlace/NocowLocks.swift).
//   (3) The last buckets of a device are left to those who are more urgent (`reservedBuckets`).
// Locks: `state` is a leaf, and not held while btrees are read.
// Source: alloc_foreground.c (`struct open_bucket`, bch2_bucket_alloc_trans,
// bch2_open_bucket_to_partial).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// A bucket, and how far it is filled. Sectors count from the start of the device.
struct OpenBucket: Sendable {
  let device: UInt8
  let position: BPos
  let generation: UInt8
  let dataType: DataType
  var nextSector: UInt64
  let endSector: UInt64

  var freeSectors: UInt64 { endSector - nextSector }
}

final class OpenBuckets: Sendable {
  fileprivate struct State {
    /// How many reasons there are to keep a bucket open.
    var users: [BPos: Int] = [:]
    /// Of those, the ones that were free when they were opened, and are not known to be used yet.
    var unused: Set<BPos> = []
    var partial: [OpenBucket] = []
    /// By device: where the last bucket was found, and how many are open.
    var cursors = [UInt64](repeating: 0, count: 256)
    var counts = [UInt64](repeating: 0, count: 256)
  }

  /// Partial buckets that are kept; the driver has about as many open ones.
  private static var partialMax: Int { 1024 }

  private let state = Mutex(State())
  private let opened = Atomic<UInt64>(0)
  private let nodeSectors: UInt64

  init(_ media: VolumeMedia) {
    nodeSectors = UInt64(media.superblock[Superblock.Layout.btreeNodeSize])
  }

  /// What dumps show: how many reasons there are for each, and those that lie about partly filled.
  var shown: (users: [BPos: Int], partial: [OpenBucket]) {
    state.withLock { ($0.users, $0.partial) }
  }

  /// Free buckets that were opened so far, but by those who make room.
  var openedCount: UInt64 { opened.load(ordering: .relaxed) }

  /// How many buckets of a device are open.
  func count(of device: UInt8) -> UInt64 { state.withLock { $0.counts[Int(device)] } }

  /// Whether a device has free buckets but those that are left to who is more urgent.
  ///
  /// - Parameters:
  ///   - takesTheLast: Whether half of what is kept from this watermark may be used.
  ///   - isExact: Whether open buckets that are used by now do not count, which is looked up.
  /// - Throws: what reading btrees throws.
  func hasFree(
    on device: UInt8, _ watermark: Watermark, takesTheLast: Bool = false, isExact: Bool,
    _ engine: Engine
  ) throws(VolumeError) -> Bool {
    guard let member = engine.media.member(device) else { return false }
    let reserve = watermark.reservedBuckets(
      of: member.bucketCount, nodesInBucket: member.bucketSizeSectors / nodeSectors)
    let kept = takesTheLast ? reserve / 2 : reserve
    if engine.usage.buckets(.free, of: device) > kept + count(of: device) { return true }
    return isExact ? try leftCount(of: device, engine) > kept : false
  }

  /// How many buckets of a device are free and not open.
  private func leftCount(of device: UInt8, _ engine: Engine) throws(VolumeError) -> UInt64 {
    try noteUsed(on: device, engine)
    let free = engine.usage.buckets(.free, of: device)
    let unused = state.withLock { $0.unused.count { $0.inode == UInt64(device) } }
    return free - min(free, UInt64(unused))
  }

  /// Looks up which open buckets do not count as free any more.
  private func noteUsed(on device: UInt8, _ engine: Engine) throws(VolumeError) {
    let unused = state.withLock { $0.unused.filter { $0.inode == UInt64(device) } }
    guard !unused.isEmpty else { return }
    let used = try engine.run("bucket_alloc", watermark: .interiorUpdates) {
      (transaction) throws(TransactionError) in
      var used: [BPos] = []
      for bucket in unused {
        if try !transaction.bucket(bucket, .read).isFree { used.append(bucket) }
      }
      return used
    }
    state.withLock { $0.unused.subtract(used) }
  }

  /// Whether somebody may still write to a bucket, whatever its key says.
  func contains(_ bucket: BPos) -> Bool { state.withLock { $0.users[bucket] != nil } }

  /// One reason more to keep these open, or to keep away from them.
  func hold(_ buckets: [BPos]) {
    state.withLock { state in
      for bucket in buckets { state.hold(bucket) }
    }
  }

  /// One reason less.
  func release(_ buckets: [BPos]) {
    state.withLock { state in
      for bucket in buckets { state.release(bucket) }
    }
  }

  // MARK: - Partial buckets

  /// Gives back a bucket that is not full.
  func putBack(_ bucket: OpenBucket) {
    state.withLock { state in
      guard bucket.freeSectors > 0, state.partial.count < Self.partialMax else {
        return state.release(bucket.position)
      }
      state.partial.append(bucket)
    }
  }

  /// Closes partial buckets that have less room than a quarter of a bucket: who needs more than
  /// they have would never take them, and what is in them can be moved when they are closed.
  ///
  /// - Returns: how many.
  func closeNearlyFull(_ media: VolumeMedia) -> Int {
    state.withLock { state in
      let closed = state.partial.filter { bucket in
        bucket.freeSectors < (media.member(bucket.device)?.bucketSizeSectors ?? 0) / 4
      }
      for bucket in closed { state.release(bucket.position) }
      state.partial.removeAll { bucket in
        closed.contains { $0.position == bucket.position }
      }
      return closed.count
    }
  }

  /// A bucket of a device that others have not filled.
  func takePartial(
    _ device: UInt8, _ dataType: DataType, minSectors: UInt64
  ) -> OpenBucket? {
    state.withLock { state in
      let index = state.partial.lastIndex {
        $0.device == device && $0.dataType == dataType && $0.freeSectors >= minSectors
      }
      return index.map { state.partial.remove(at: $0) }
    }
  }

  // MARK: - Free buckets

  /// Opens a free bucket of a device. The caller holds no lock of a node.
  ///
  /// - Parameter takesTheLast: Whether half of what is kept from this watermark may be used.
  /// - Returns: nil when it has none to spare for this watermark.
  /// - Throws: what reading btrees throws.
  func take(
    _ device: UInt8, _ dataType: DataType, _ watermark: Watermark, takesTheLast: Bool = false,
    _ engine: Engine
  ) throws(VolumeError) -> OpenBucket? {
    let bucket = try takeFree(device, dataType, watermark, takesTheLast, engine)
    engine.instruments.count(bucket == nil ? .bucketAllocFail : .bucketAlloc)
    engine.instruments.note(.blockedAllocate, isBlocked: bucket == nil)
    return bucket
  }

  private func takeFree(
    _ device: UInt8, _ dataType: DataType, _ watermark: Watermark, _ takesTheLast: Bool,
    _ engine: Engine
  ) throws(VolumeError) -> OpenBucket? {
    guard let member = engine.media.member(device), member.bucketSizeSectors > 0 else { return nil }
    let isExact = watermark >= .btreeCopygc
    let start = state.withLock { max($0.cursors[Int(device)], member.firstBucket) }
    guard
      try hasFree(
        on: device, watermark, takesTheLast: takesTheLast, isExact: isExact, engine),
      let (bucket, generation) = try hold(on: device, from: start, member, engine)
    else { return nil }
    if watermark < .copygc { opened.wrappingAdd(1, ordering: .relaxed) }
    let size = member.bucketSizeSectors
    return OpenBucket(
      device: device, position: bucket, generation: generation, dataType: dataType,
      nextSector: bucket.offset * size, endSector: (bucket.offset + 1) * size)
  }

  /// Finds a free bucket, and holds it.
  private func hold(
    on device: UInt8, from start: UInt64, _ member: MemberInfo, _ engine: Engine
  ) throws(VolumeError) -> (BPos, generation: UInt8)? {
    let flushed = engine.journal.flushedUpTo
    return try engine.run("bucket_alloc", watermark: .interiorUpdates) {
      (transaction) throws(TransactionError) -> (BPos, generation: UInt8)? in
      if let found = try transaction.holdFreeBucket(device, from: start, flushed: flushed) {
        return found
      }
      guard start > member.firstBucket else { return nil }
      return try transaction.holdFreeBucket(device, from: member.firstBucket, flushed: flushed)
    }
  }

  /// Holds a bucket that nobody else holds. The caller has its key locked.
  fileprivate func tryHold(_ bucket: BPos) -> Bool {
    state.withLock { state in
      guard state.users[bucket] == nil else { return false }
      state.hold(bucket)
      state.unused.insert(bucket)
      state.cursors[Int(bucket.inode & 255)] = bucket.offset + 1
      return true
    }
  }
}

extension OpenBuckets.State {
  fileprivate mutating func hold(_ bucket: BPos) {
    let count = users[bucket] ?? 0
    if count == 0 { counts[Int(bucket.inode & 255)] += 1 }
    users[bucket] = count + 1
  }

  fileprivate mutating func release(_ bucket: BPos) {
    guard let count = users[bucket] else { return }
    users[bucket] = count > 1 ? count - 1 : nil
    if count == 1 {
      counts[Int(bucket.inode & 255)] -= 1
      unused.remove(bucket)
    }
  }
}

extension Transaction {
  /// Holds the first bucket at or behind a place that is free, closed, and whose freeing is
  /// flushed.
  ///
  /// It is the last that the transaction does: nothing can make it begin again with a bucket held.
  fileprivate func holdFreeBucket(
    _ device: UInt8, from start: UInt64, flushed: UInt64
  ) throws(TransactionError) -> (BPos, generation: UInt8)? {
    var walk = KeyWalk(
      .freespace, from: BPos(UInt64(device), start + 1), upTo: BPos(UInt64(device), .max, .max))
    while let range = try next(&walk) {
      let first = Positions.bucket(ofFreespace: range.key.start).offset
      let end = Positions.bucket(ofFreespace: range.key.position).offset
      var bucket = max(
        first, Positions.generationBits(ofFreespace: range.key.start) == 0 ? start : first)
      while bucket < end {
        let position = Positions.bucket(device: device, bucket: bucket)
        bucket += 1
        guard !engine.openBuckets.contains(position) else { continue }
        _ = try self.device(ofBucket: position)
        // Nor may anybody be about to commit that it is not.
        let alloc = try self.bucket(position, .intent)
        guard alloc.isFree, alloc.journalSeq <= flushed, !engine.nocowLocks.contains(position),
          engine.openBuckets.tryHold(position)
        else { continue }
        return (position, alloc.generation)
      }
    }
    return nil
  }
}
