// SPDX-License-Identifier: GPL-2.0
// Generations that may be used again.
//
// How it works
//   1. A bucket's generation grows with each use, and has eight bits. A pointer that is left of an
//      earlier use, of cached data, is known by its older generation, as long as that is not too
//      far behind. So a bucket is not used again (need_gc_gens) when the oldest pointer into it
//      that there may be lags 96 behind.
//   2. Here that is looked up: all pointers are read, and each bucket is told the oldest generation
//      that one of them has. Buckets without pointers of earlier uses are free again.
//   3. Pointers that lag far behind are taken out of their keys on the way, where others are left.
// Invariants
//   (1) The oldest generation of a bucket is not newer than any pointer into it: a pointer that is
//       made meanwhile has the bucket's generation of that moment, which is no older than the one
//       that was read before.
// Locks: as all transactions; one at a time does it.
// Source: btree_gc.c (bch2_gc_gens, gc_btree_gens_key, bch2_alloc_write_oldest_gen).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// Who looks up generations, and what came of it.
final class GenerationGC: Sendable {
  fileprivate let isRunning = Atomic<Bool>(false)
  /// Buckets that could not be freed the last time.
  fileprivate let left = Atomic<UInt64>(0)
}

/// Of each bucket, its generation and the oldest one that a pointer into it has.
private struct BucketGenerations {
  private struct Device {
    let bucketSectors: UInt64
    var current: [UInt8]
    var oldest: [UInt8]
  }

  private var devices: [UInt8: Device] = [:]

  /// - Complexity: two bytes a bucket.
  init(_ media: VolumeMedia) {
    for member in WritableMember.all(media) {
      let count = Int(clamping: media.member(member.index)?.bucketCount ?? 0)
      let zeros = [UInt8](repeating: 0, count: count)
      devices[member.index] = Device(
        bucketSectors: member.bucketSectors, current: zeros, oldest: zeros)
    }
  }

  mutating func set(_ bucket: BPos, _ generation: UInt8) {
    guard let device = UInt8(exactly: bucket.inode), let index = Int(exactly: bucket.offset),
      let count = devices[device]?.current.count, index < count
    else { return }
    devices[device]?.current[index] = generation
    devices[device]?.oldest[index] = generation
  }

  private func index(_ pointer: ExtentPtr) -> Int? {
    guard let device = devices[pointer.device],
      let index = Int(exactly: pointer.offset / device.bucketSectors),
      index < device.current.count
    else { return nil }
    return index
  }

  /// By how much a pointer lags behind; 0 for one that does not.
  func lag(_ pointer: ExtentPtr) -> Int {
    guard let index = index(pointer), let device = devices[pointer.device] else { return 0 }
    return max(Int(Int8(bitPattern: device.current[index] &- pointer.generation)), 0)
  }

  mutating func see(_ pointer: ExtentPtr) {
    guard let index = index(pointer), let oldest = devices[pointer.device]?.oldest[index],
      Int8(bitPattern: oldest &- pointer.generation) > 0
    else { return }
    devices[pointer.device]?.oldest[index] = pointer.generation
  }

  func oldest(_ bucket: BPos) -> UInt8? {
    guard let device = UInt8(exactly: bucket.inode), let index = Int(exactly: bucket.offset),
      let oldest = devices[device]?.oldest, index < oldest.count
    else { return nil }
    return oldest[index]
  }
}

extension Engine {
  /// Keys that one transaction reads.
  private static var keysAtOnce: Int { 512 }
  /// Buckets are told from this lag on.
  private static var lagMin: UInt8 { 16 }

  /// Buckets that wait for their generations.
  private var waitingBuckets: UInt64 {
    WritableMember.all(media).reduce(0) { $0 + usage.buckets(.needGcGens, of: $1.index) }
  }

  /// Whether so many buckets wait that it is worth reading all pointers.
  var areGenerationsDue: Bool {
    let waiting = waitingBuckets
    guard waiting > generations.left.load(ordering: .relaxed) else { return false }
    let all = WritableMember.all(media).reduce(UInt64(0)) { sum, member in
      sum + (media.member(member.index)?.bucketCount ?? 0)
    }
    return waiting >= all / 32 + 1
  }

  /// Frees buckets that wait for their generations, if there are more of them than the last time
  /// left.
  ///
  /// - Parameter isStopped: Asked often.
  /// - Returns: False where nothing came of it, or somebody else is at it.
  /// - Throws: what transactions throw.
  /// - Complexity: all extents and all buckets are read; two bytes of memory for each bucket.
  @discardableResult
  func collectGenerations(
    until isStopped: () -> Bool = { false }
  ) throws(VolumeError) -> Bool {
    let before = waitingBuckets
    guard before > generations.left.load(ordering: .relaxed),
      generations.isRunning.compareExchange(
        expected: false, desired: true, ordering: .acquiringAndReleasing
      ).exchanged
    else { return false }
    defer { generations.isRunning.store(false, ordering: .releasing) }
    instruments.count(.gcGensStart)
    var table = BucketGenerations(media)
    try forEachKey(.alloc, until: isStopped) { (transaction, found) throws(TransactionError) in
      table.set(found.key.position, try transaction.bucket(found.key.position, .read).generation)
    }
    for btree in [BTreeID.extents, .reflink] {
      try see(btree, &table, until: isStopped)
    }
    guard !isStopped() else { return false }
    try tellOldest(table, until: isStopped)
    generations.left.store(waitingBuckets, ordering: .relaxed)
    instruments.count(.gcGensEnd)
    return waitingBuckets < before
  }

  /// Looks at all pointers of a btree.
  private func see(
    _ btree: BTreeID, _ table: inout BucketGenerations, until isStopped: () -> Bool
  ) throws(VolumeError) {
    let sizes = media.entrySizes
    var tooOld: Set<BPos> = []
    try forEachKey(btree, until: isStopped) { (_, found) throws(TransactionError) in
      guard found.key.type == .extent || found.key.type == .reflinkV else { return }
      try found.decoded { (value) throws(FormatError) in
        var pointers = try ExtentEntries(key: found.key, value: value, sizes: sizes).pointers
        while let pointer = pointers.next() {
          if table.lag(pointer.ptr) > Self.lagMin {
            tooOld.insert(found.key.position)
          } else {
            table.see(pointer.ptr)
          }
        }
      }
    } afterSome: { () throws(VolumeError) in
      for position in tooOld {
        for pointer in try dropStale(btree, position, table) { table.see(pointer.ptr) }
      }
      tooOld.removeAll(keepingCapacity: true)
    }
  }

  /// Calls `body` with all keys of a btree, some in each transaction; a transaction that begins
  /// again brings some twice.
  private func forEachKey(
    _ btree: BTreeID, until isStopped: () -> Bool,
    _ body: (Transaction, KeyView) throws(TransactionError) -> Void,
    afterSome: () throws(VolumeError) -> Void = { () throws(VolumeError) in }
  ) throws(VolumeError) {
    var position: BPos? = .min
    while let start = position, !isStopped() {
      position = try run("gc_gens", watermark: .reclaim) { (transaction) throws(TransactionError) in
        var walk = KeyWalk(btree, from: start)
        for _ in 0..<Self.keysAtOnce {
          guard let found = try transaction.next(&walk) else { return nil }
          try body(transaction, found)
        }
        return walk.position
      }
      try afterSome()
    }
  }

  private func tellOldest(
    _ table: BucketGenerations, until isStopped: () -> Bool
  ) throws(VolumeError) {
    var late: Set<BPos> = []
    try forEachKey(.alloc, until: isStopped) { (transaction, found) throws(TransactionError) in
      let position = found.key.position
      let alloc = try transaction.bucket(position, .read)
      guard alloc.generationLag >= Self.lagMin, let oldest = table.oldest(position),
        oldest &- alloc.oldestGeneration <= alloc.generationLag, oldest != alloc.oldestGeneration
      else { return }
      late.insert(position)
    } afterSome: { () throws(VolumeError) in
      try run("gc_gens", watermark: .reclaim, forEach: Array(late)) {
        (transaction, position) throws(TransactionError) in
        try transaction.changeBucket(position) { (alloc) throws(VolumeError) in
          guard let oldest = table.oldest(position) else { return }
          alloc.oldestGeneration = oldest
        }
      }
      late.removeAll(keepingCapacity: true)
    }
  }

  /// Takes pointers that lag far behind out of a key that has others.
  ///
  /// - Returns: those that are left.
  private func dropStale(
    _ btree: BTreeID, _ position: BPos, _ table: BucketGenerations
  ) throws(VolumeError) -> [DecodedPtr] {
    try run("gc_gens", watermark: .reclaim) { (transaction) throws(TransactionError) in
      guard let found = try transaction.lookup(btree, position, .intent) else { return [] }
      guard let old = try transaction.parts(of: found) else {
        return try transaction.pointers(of: found)
      }
      var parts = old
      parts.pointers.removeAll { $0.ptr.isCached && table.lag($0.ptr) > Self.lagMin }
      guard !parts.pointers.isEmpty, parts.pointers.count < old.pointers.count else {
        return old.pointers
      }
      try transaction.put(parts, in: btree, found)
      try transaction.commit()
      return parts.pointers
    }
  }
}

extension Transaction {
  /// The pointers of a key, whatever else is in it.
  fileprivate func pointers(of found: KeyView) throws(TransactionError) -> [DecodedPtr] {
    let sizes = engine.media.entrySizes
    return try found.decoded { (value) throws(FormatError) in
      var pointers = try ExtentEntries(key: found.key, value: value, sizes: sizes).pointers
      var result: [DecodedPtr] = []
      while let pointer = pointers.next() { result.append(pointer) }
      return result
    }
  }

  /// Has a key lead to other pointers.
  fileprivate func put(
    _ parts: ExtentParts, in btree: BTreeID, _ found: KeyView
  ) throws(TransactionError) {
    var key = found.key
    var words = InlineArray<250, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var value = unsafe span.mutableBytes
    found.withValue { value.copy($0, to: 0) }
    do throws(FormatError) {
      let head = try ExtentEntries.range(of: key, value: value.bytes).lowerBound
      key.u64s = UInt8(BKey.headerU64s + (try parts.encode(into: &value, at: head)))
    } catch {
      throw .failed(VolumeError(error))
    }
    update(btree, key, value.bytes.extracting(first: key.valueByteCount))
  }
}
