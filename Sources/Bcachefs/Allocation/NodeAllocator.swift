// SPDX-License-Identifier: GPL-2.0
// Places for btree nodes: buckets taken from the freespace btree, filled node by node.
//
// How it works
//   1. On each device that may hold metadata there is a bucket that nodes are put into. When it is
//      full, the next free one is looked for in the freespace btree, from where the last one was
//      found, round and round.
//   2. Nothing in the btrees changes when a bucket is taken: it is kept in `open` until the keys of
//      the nodes in it are committed, and nobody takes an open bucket.
//   3. A bucket whose freeing is not flushed yet is left alone: after a crash its old contents may
//      be wanted.
//   4. Replicas go to different devices, those with most room behind them first.
//   5. Where no device has a bucket for somebody who is not himself making room, room is made
//      (Engine+MakeSpace.swift), and tried once more.
// Invariants
//   (1) No bucket is given out twice while it is open.
//   (2) The last buckets of a device are left to those who are more urgent (`reserve`).
// Locks: `state` is a leaf, and not held while btrees are read.
// Source: alloc_foreground.c (bch2_bucket_alloc_trans), btree_update_interior.c
// (bch2_btree_reserve_get).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

final class NodeAllocator: NodePlaces {
  /// A bucket that nodes are put into.
  fileprivate struct WriteBucket {
    let device: UInt8
    let bucket: BPos
    let generation: UInt8
    var next: UInt64
    let end: UInt64
  }

  fileprivate struct State {
    var writeBuckets: [UInt8: WriteBucket] = [:]
    /// How many allocations, and whether the device's write bucket, keep a bucket open.
    var open: [BPos: Int] = [:]
    var returned: [NodeAllocation] = []
    /// Where the last bucket was found.
    var cursors: [UInt8: UInt64] = [:]
  }

  private let state = Mutex(State())
  private let nodeSectors: UInt64
  private let replicas: Int
  private let devices: [(index: UInt8, member: MemberInfo)]
  private let owner = Mutex(Owner())

  private struct Owner {
    weak var engine: Engine?
  }

  init(_ media: VolumeMedia) {
    let superblock = media.superblock
    nodeSectors = UInt64(superblock[Superblock.Layout.btreeNodeSize])
    replicas = max(1, Int(media.options[.metadataReplicas]))
    let slots = superblock.members
    devices = media.members.enumerated().compactMap { index, member in
      guard member.isAlive, member.state == .rw, member.durability > 0,
        media.devices[index] != nil, slots[index].dataAllowed.contains(.btree)
      else { return nil }
      return (UInt8(index), member)
    }
  }

  /// Which engine's btrees say what is free; nil when it is closed.
  func attach(_ engine: Engine?) { owner.withLock { $0.engine = engine } }

  // MARK: - Taking

  func take(_ watermark: Watermark) throws(VolumeError) -> NodeAllocation {
    if let returned = state.withLock({ $0.returned.popLast() }) { return returned }
    if let found = try takePlaces(watermark) { return found }
    if watermark < .reclaim, let engine = owner.withLock({ $0.engine }),
      try engine.makeSpace(on: devices.map(\.index)), let found = try takePlaces(watermark)
    {
      return found
    }
    throw VolumeError(.limit, "no space: no device has a free bucket for a btree node")
  }

  private func takePlaces(_ watermark: Watermark) throws(VolumeError) -> NodeAllocation? {
    var places: [ExtentPtr] = []
    for (device, member) in devices.shuffledByUse(state.withLock { $0.cursors }) {
      guard places.count < replicas else { break }
      if let place = try takePlace(device, member, watermark) { places.append(place) }
    }
    guard places.count == min(replicas, max(devices.count, 1)) else {
      for place in places { close(place) }
      return nil
    }
    return NodeAllocation(places: places)
  }

  /// Room on a device; nil when it has none.
  private func takePlace(
    _ device: UInt8, _ member: MemberInfo, _ watermark: Watermark
  ) throws(VolumeError) -> ExtentPtr? {
    while true {
      let place: ExtentPtr? = state.withLock { state in
        guard var bucket = state.writeBuckets[device] else { return nil }
        guard bucket.next + nodeSectors <= bucket.end else {
          state.writeBuckets[device] = nil
          state.close(bucket.bucket)
          return nil
        }
        defer { state.writeBuckets[device] = bucket }
        bucket.next += nodeSectors
        state.open[bucket.bucket, default: 0] += 1
        return ExtentPtr(
          device: device, offset: bucket.next - nodeSectors, generation: bucket.generation)
      }
      if let place { return place }
      guard try openBucket(device, member, watermark) else { return nil }
    }
  }

  /// Looks for a free bucket and makes it the one that nodes are put into.
  private func openBucket(
    _ device: UInt8, _ member: MemberInfo, _ watermark: Watermark
  ) throws(VolumeError) -> Bool {
    guard let engine = owner.withLock({ $0.engine }) else {
      throw VolumeError(.cancelled, "the volume has been closed")
    }
    let start = state.withLock { $0.cursors[device] ?? member.firstBucket }
    let flushed = engine.journal.flushedUpTo
    let reserve = watermark.reservedBuckets(
      of: member.bucketCount,
      nodesInBucket: member.bucketSizeSectors / nodeSectors)
    let openCount = state.withLock { state in
      UInt64(state.open.keys.count { $0.inode == UInt64(device) })
    }
    let found = try engine.run("bucket_alloc", watermark: .interiorUpdates) {
      (transaction) throws(TransactionError) -> (BPos, generation: UInt8)? in
      guard try transaction.freeBuckets(of: device) > reserve + openCount else { return nil }
      if let found = try transaction.freeBucket(device, from: start, flushed: flushed, self) {
        return found
      }
      return try transaction.freeBucket(device, from: member.firstBucket, flushed: flushed, self)
    }
    guard let (bucket, generation) = found else { return false }
    let size = member.bucketSizeSectors
    return state.withLock { state in
      guard state.open[bucket] == nil, state.writeBuckets[device] == nil else { return true }
      state.open[bucket] = 1
      state.cursors[device] = bucket.offset + 1
      state.writeBuckets[device] = WriteBucket(
        device: device, bucket: bucket, generation: generation, next: bucket.offset * size,
        end: (bucket.offset + 1) * size)
      return true
    }
  }

  /// Takes nothing from these buckets, whatever their keys say.
  func keepAway(from buckets: [BPos]) {
    state.withLock { state in
      for bucket in buckets { state.open[bucket, default: 0] += 1 }
    }
  }

  /// Ends what `keepAway` began.
  func stopKeepingAway(from buckets: [BPos]) {
    state.withLock { state in
      for bucket in buckets { state.close(bucket) }
    }
  }

  // MARK: - Giving back

  func isOpen(_ bucket: BPos) -> Bool { state.withLock { $0.open[bucket] != nil } }

  func giveBack(_ allocation: NodeAllocation) { state.withLock { $0.returned.append(allocation) } }

  func settle(_ allocation: NodeAllocation) {
    for place in allocation.places { close(place) }
  }

  private func close(_ place: ExtentPtr) {
    guard let member = devices.first(where: { $0.index == place.device })?.member else { return }
    let bucket = Positions.bucket(
      device: place.device, bucket: place.offset / member.bucketSizeSectors)
    state.withLock { $0.close(bucket) }
  }
}

extension NodeAllocator.State {
  /// One reason less to keep a bucket open.
  fileprivate mutating func close(_ bucket: BPos) {
    guard let count = open[bucket] else { return }
    open[bucket] = count > 1 ? count - 1 : nil
  }
}

extension [(index: UInt8, member: MemberInfo)] {
  /// The devices that were taken from least come first, by their share.
  fileprivate func shuffledByUse(_ cursors: [UInt8: UInt64]) -> Self {
    sorted { a, b in
      let (x, y) = (cursors[a.index] ?? 0, cursors[b.index] ?? 0)
      return x * b.member.bucketCount < y * a.member.bucketCount
    }
  }
}

extension Transaction {
  /// How many buckets of a device are free, by its counters.
  fileprivate func freeBuckets(of device: UInt8) throws(TransactionError) -> UInt64 {
    let key = AccountingKey.deviceDataType(device: device, dataType: DataType.free.rawValue)
    guard let found = try lookup(.accounting, key.position) else { return 0 }
    return found.withValue { value in
      value.byteCount < 8 ? 0 : UInt64(clamping: value[LEField<Int64>(0)])
    }
  }

  /// The first bucket at or behind a place that is free, closed, and whose freeing is flushed.
  fileprivate func freeBucket(
    _ device: UInt8, from start: UInt64, flushed: UInt64, _ allocator: NodeAllocator
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
        guard !allocator.isOpen(position) else { continue }
        _ = try self.device(ofBucket: position)
        let alloc = try self.bucket(position, .read)
        guard alloc.isFree, alloc.journalSeq <= flushed else { continue }
        return (position, alloc.generation)
      }
    }
    return nil
  }
}
