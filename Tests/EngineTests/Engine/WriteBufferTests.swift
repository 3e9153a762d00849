// SPDX-License-Identifier: GPL-2.0
// Keys that wait in the write buffer: seen, summed up, and never lost.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct WriteBufferTests {
  private func engine(
    on device: SimulatedDevice, bufferBytes: Int = 8 << 20
  ) throws -> Engine {
    let open = try BlockDevice.open(simulated: device, mode: .exclusiveReadWrite)
    return try Engine.open(
      VolumeOpener.openForWriting(devices: [open]),
      EngineOptions(cacheBytes: 64 << 20, writeBufferBytes: bufferBytes, seed: 5))
  }

  private func small() throws -> SimulatedDevice { try SmallVolume.make(nodeBytes: 16 << 10) }

  private func set(_ engine: Engine, _ offset: UInt64, _ value: UInt64?) throws {
    try engine.run("test_set") { (transaction) throws(TransactionError) in
      transaction.set(.rebalanceWork, BPos(7, offset, .max), value)
      try transaction.commit()
    }
  }

  private func get(_ engine: Engine, _ offset: UInt64) throws -> UInt64? {
    try engine.run("test_get") { (transaction) throws(TransactionError) in
      try transaction.lookup(.rebalanceWork, BPos(7, offset, .max))?.withValue {
        $0[LEField<UInt64>(0)]
      }
    }
  }

  /// The leaf as it is, whatever waits.
  private func isInNode(_ engine: Engine, _ offset: UInt64) throws -> Bool {
    try engine.run("test_look", watermark: .reclaim) { (transaction) throws(TransactionError) in
      try transaction.lookup(.rebalanceWork, BPos(7, offset, .max)) != nil
    }
  }

  @Test func aKeyWaitsUntilSomebodyReadsItsBtree() throws {
    let engine = try engine(on: small())
    try set(engine, 1, 10)
    #expect(try !isInNode(engine, 1))
    #expect(engine.writeBuffer.count > 0)
    #expect(try get(engine, 1) == 10)
    #expect(try isInNode(engine, 1))
    try engine.close()
  }

  @Test func theNewestOfAPositionIsWhatCounts() throws {
    let engine = try engine(on: small())
    for value in UInt64(1)...5 { try set(engine, 1, value) }
    try set(engine, 2, 1)
    try set(engine, 2, nil)
    try set(engine, 3, nil)
    try set(engine, 3, 7)
    #expect(try get(engine, 1) == 5)
    #expect(try get(engine, 2) == nil)
    #expect(try get(engine, 3) == 7)
    try set(engine, 1, nil)
    #expect(try get(engine, 1) == nil)
    try engine.close()
  }

  @Test func aBufferThatIsFullIsEmptiedByWhoAddsToIt() throws {
    let engine = try engine(on: small(), bufferBytes: 4 << 10)
    for offset in 0..<UInt64(500) {
      try set(engine, offset, offset)
      #expect(engine.writeBuffer.byteCount < 8 << 10)
    }
    #expect(try isInNode(engine, 1))
    try engine.close()
  }

  @Test func closingLeavesNothingInIt() throws {
    let device = try small()
    let first = try engine(on: device)
    for offset in 0..<UInt64(500) { try set(first, offset, offset) }
    try first.close()
    #expect(first.writeBuffer.isEmpty)
    for device in first.media.devices { try device?.close() }
    try expectSound(device, "closed")
    let second = try engine(on: device)
    #expect(second.wasClean)
    for offset in 0..<UInt64(500) { #expect(try isInNode(second, offset)) }
    try second.close()
  }

  @Test func whatWaitedWhenPowerFailedIsReplayed() throws {
    let device = try small()
    let first = try engine(on: device)
    for offset in 0..<UInt64(500) { try set(first, offset, offset) }
    try first.journal.flush(upTo: first.journal.currentSequence)
    #expect(first.writeBuffer.count > 0)
    first.letGo()
    for device in first.media.devices { try device?.close() }
    let second = try engine(on: device)
    for offset in 0..<UInt64(500) { #expect(try get(second, offset) == offset) }
    try second.close()
  }

  /// A journal that is written round and round has to let go of what waits in the buffer.
  @Test func theJournalDoesNotFillBecauseOfIt() throws {
    let engine = try engine(on: small(), bufferBytes: 1 << 30)
    for round in 0..<UInt64(40_000) {
      try set(engine, round % 3000, round)
      if round % 64 == 0 { try engine.journal.flush(upTo: engine.journal.currentSequence) }
    }
    #expect(engine.writeBuffer.count < 40_000)
    try engine.close()
  }

  private func accounted(_ engine: Engine, _ key: AccountingKey) throws -> Int64 {
    try engine.run("test_sum") { (transaction) throws(TransactionError) in
      try transaction.lookup(.accounting, key.position)?.withValue { $0[LEField<Int64>(0)] } ?? 0
    }
  }

  private func count(_ engine: Engine, _ key: AccountingKey, _ delta: Int64) throws {
    try engine.run("test_count") { (transaction) throws(TransactionError) in
      transaction.account(key, [delta])
      try transaction.commit()
    }
  }

  /// Each thread flushes at any moment, while others have deltas in entries that are not filled.
  @Test(arguments: [UInt64(1), 2, 3])
  func noDeltaIsLostOrCountedTwice(seed: UInt64) throws {
    let device = try small()
    let first = try engine(on: device, bufferBytes: 2 << 10)
    let keys = (0..<3).map { AccountingKey.snapshot(id: UInt32(1000 + $0)) }
    let sums = Mutex([Int64](repeating: 0, count: keys.count))
    onThreads(4) { thread in
      var random = SplitMix64(seed: seed &* 100 &+ UInt64(thread))
      do {
        for _ in 0..<1500 {
          let (index, delta) = (Int(random.next() % 3), Int64(random.next() % 1000))
          try count(first, keys[index], delta)
          sums.withLock { $0[index] += delta }
          switch random.next() % 64 {
          case 0: try first.flushWriteBuffer()
          case 1: try first.journal.flush(upTo: first.journal.currentSequence)
          default: break
          }
        }
      } catch {
        Issue.record("seed \(seed): \(error)")
      }
    }
    try first.journal.flush(upTo: first.journal.currentSequence)
    let expected = sums.withLock { $0 }
    // As after a crash, and then closed and opened again.
    first.letGo()
    for device in first.media.devices { try device?.close() }
    for round in 0..<2 {
      let next = try engine(on: device)
      for (key, sum) in zip(keys, expected) {
        #expect(try accounted(next, key) == sum, "seed \(seed), round \(round)")
      }
      try next.close()
      for device in next.media.devices { try device?.close() }
    }
  }

  /// What could not be put into a leaf stays, and goes in when it can.
  @Test func whatCouldNotBePutIntoNodesStays() throws {
    let engine = try engine(on: small())
    for offset in 0..<UInt64(100) { try set(engine, offset, offset) }
    let before = engine.writeBuffer.count
    engine.writeBuffer.beginFlush()
    let taken = engine.writeBuffer.take(engine.journal)
    // In the same journal entry, while the others are away.
    for offset in 0..<UInt64(50) { try set(engine, offset, offset + 1) }
    engine.writeBuffer.putBack(taken, engine.journal)
    engine.writeBuffer.endFlush()
    #expect(engine.writeBuffer.count == before + 50)
    for offset in 50..<UInt64(100) { try set(engine, offset, offset + 1) }
    for offset in 0..<UInt64(100) { #expect(try get(engine, offset) == offset + 1) }
    try engine.close()
  }

  /// Extents at places that are far from each other: the leaves of what follows from them are not
  /// touched for each of them.
  @Test func backpointersOfExtentsWait() throws {
    let engine = try engine(on: small())
    var count = 0
    for bucket in UInt64(400)..<700 {
      let position = Positions.extent(
        inode: 9000, end: (1 + bucket) * SmallVolume.bucketSectors, snapshot: .max)
      let place = try engine.run("test_extent") { (transaction) throws(TransactionError) in
        let place = try transaction.putExtent(position, in: BPos(0, bucket))
        try transaction.commit()
        return place
      }
      if place != nil { count += 1 }
    }
    #expect(count > 100)
    #expect(engine.writeBuffer.count >= count)
    try engine.close()
  }
}
