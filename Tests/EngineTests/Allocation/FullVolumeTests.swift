// SPDX-License-Identifier: GPL-2.0
// Volumes without room: cached data gives way, the last buckets are left to those who free some,
// and what is refused is refused whole.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct FullVolumeTests {
  private func open(_ device: SimulatedDevice) throws -> BareEngine {
    try BareEngine(on: [try BlockDevice.open(simulated: device, mode: .exclusiveReadWrite)])
      .withRoots()
  }

  private func freeBuckets(_ engine: Engine) throws -> [BPos] {
    try engine.run("test_free") { (transaction) throws(TransactionError) in
      var result: [BPos] = []
      var walk = KeyWalk(.freespace, from: .min)
      while let found = try transaction.next(&walk) {
        let first = Positions.bucket(ofFreespace: found.key.start).offset
        let end = Positions.bucket(ofFreespace: found.key.position).offset
        result += (first..<end).map { Positions.bucket(device: 0, bucket: $0) }
      }
      return result
    }
  }

  /// Puts an extent into each free bucket, up to so many that are left.
  ///
  /// - Returns: how many.
  private func fill(_ engine: Engine, leaving left: Int, isCached: Bool) throws -> Int {
    let buckets = try freeBuckets(engine).filter { !engine.openBuckets.contains($0) }
    let chosen = buckets.prefix(max(0, buckets.count - left))
    for (number, bucket) in chosen.enumerated() {
      try engine.run("test_fill") { (transaction) throws(TransactionError) in
        _ = try transaction.putExtent(Self.position(number), in: bucket, isCached: isCached)
        try transaction.commit()
      }
    }
    return chosen.count
  }

  private static func position(_ number: Int) -> BPos {
    Positions.extent(
      inode: 5000, end: UInt64(number + 1) * SmallVolume.bucketSectors, snapshot: .max)
  }

  private func insert(_ engine: Engine, _ numbers: Range<Int>) throws {
    for number in numbers {
      try engine.run("test_insert") { (transaction) throws(TransactionError) in
        let mixed = UInt64(number) &* 0x9e37_79b9_7f4a_7c15
        transaction.set(.xattrs, BPos(mixed >> 60, mixed & 0xffff_ffff, .max), UInt64(number))
        try transaction.commit()
      }
    }
  }

  private func closeAndExpectSound(_ bare: BareEngine, _ device: SimulatedDevice) throws {
    bare.check()
    try bare.engine.close()
    for device in bare.engine.media.devices { try device?.close() }
    try expectSound(device, ofFiles: false)
  }

  private func freeRanges(_ engine: Engine) throws -> Int {
    try engine.run("test_free") { (transaction) throws(TransactionError) in
      var count = 0
      var walk = KeyWalk(.freespace, from: .min)
      while try transaction.next(&walk) != nil { count += 1 }
      return count
    }
  }

  @Test func bucketsThatAreFreeAgainAreFewRanges() throws {
    let device = try SmallVolume.make(nodeBytes: 16 << 10)
    let bare = try open(device)
    let count = try fill(bare.engine, leaving: 100, isCached: false)
    // In an order in which most have no free neighbour at first.
    for step in 0..<7 {
      for number in stride(from: step, to: count, by: 7) {
        try bare.engine.run("test_delete", watermark: .reclaim) {
          (transaction) throws(TransactionError) in
          transaction.delete(.extents, Self.position(number))
          try transaction.commit()
        }
      }
      try bare.engine.journal.flushAll()
      #expect(try bare.engine.discardBuckets() > 50)
    }
    #expect(try freeRanges(bare.engine) < 20)
    try closeAndExpectSound(bare, device)
  }

  @Test func cachedDataGivesWayToNodes() throws {
    let device = try SmallVolume.make(nodeBytes: 16 << 10)
    let bare = try open(device)
    let cached = try fill(bare.engine, leaving: 24, isCached: true)
    #expect(cached > 500)
    try insert(bare.engine, 0..<60_000)
    let invalidated = bare.engine.store.counters[.bucketInvalidate]
    #expect(invalidated > 16 && invalidated < UInt64(cached))
    try closeAndExpectSound(bare, device)
  }

  @Test func withoutRoomNothingIsDoneByHalvesAndDeletingMakesRoom() throws {
    let device = try SmallVolume.make(nodeBytes: 16 << 10)
    let bare = try open(device)
    let count = try fill(bare.engine, leaving: 24, isCached: false)
    var number = 0
    let error = #expect(throws: VolumeError.self) {
      while number < 200_000 {
        try insert(bare.engine, number..<number + 1)
        number += 1
      }
    }
    #expect(error?.code == .noSpace)
    #expect(number > 1000)
    #expect(try bare.contents(of: .xattrs).count == number)
    // Who frees room may take the last of it.
    for extent in 0..<count / 2 {
      try bare.engine.run("test_delete", watermark: .reclaim) {
        (transaction) throws(TransactionError) in
        transaction.delete(.extents, Self.position(extent))
        try transaction.commit()
      }
    }
    try insert(bare.engine, number..<number + 20_000)
    #expect(try bare.contents(of: .xattrs).count == number + 20_000)
    try closeAndExpectSound(bare, device)
  }
}
