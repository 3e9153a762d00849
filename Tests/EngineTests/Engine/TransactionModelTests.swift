// SPDX-License-Identifier: GPL-2.0
// Random transactions beside an ordered map: what is committed is there, whole, and nothing else.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct TransactionModelTests {
  private typealias Model = [BTreeID: [BPos: UInt64]]

  private struct Change {
    let btree: BTreeID
    let position: BPos
    let value: UInt64?
  }

  /// One transaction of several updates; a part of them deletes a range.
  ///
  /// - Returns: how many keys it changed.
  @discardableResult
  private static func step(
    _ engine: Engine, _ model: inout Model, _ random: inout SplitMix64, inode: UInt64
  ) throws(VolumeError) -> Int {
    let seed = random.next()
    // The body may run again: what it did counts when it is through.
    let changes = try engine.run("test_model") { (transaction) throws(TransactionError) in
      var random = SplitMix64(seed: seed)
      var changes: [Change] = []
      for _ in 0..<1 + random.next() % 4 {
        let btree = BareEngine.btrees[Int(random.next() % UInt64(BareEngine.btrees.count))]
        let position = BPos(inode, random.next() % 4096, .max)
        switch random.next() % 8 {
        case 0:
          let end = BPos(inode, position.offset + random.next() % 64, .max)
          var walk = KeyWalk(btree, from: position, upTo: end, mode: .intent)
          var found: [BPos] = []
          while let key = try transaction.next(&walk) { found.append(key.key.position) }
          for position in found {
            transaction.delete(btree, position)
            changes.append(Change(btree: btree, position: position, value: nil))
          }
        case 1, 2:
          transaction.delete(btree, position)
          changes.append(Change(btree: btree, position: position, value: nil))
        default:
          let old = try transaction.lookup(btree, position, .intent)
          let value = (old?.withValue { $0[LEField<UInt64>(0)] } ?? 0) &+ random.next()
          transaction.set(btree, position, value)
          changes.append(Change(btree: btree, position: position, value: value))
        }
      }
      try transaction.commit()
      return changes
    }
    for change in changes { model[change.btree, default: [:]][change.position] = change.value }
    return changes.count
  }

  /// Keys that each of the long tests changes: with five arguments of theirs ten million.
  private static var longOperations: Int { 2_000_000 }

  @Test(arguments: [UInt64(1), 2, 3])
  func aSingleThreadLeavesWhatTheMapHolds(seed: UInt64) throws {
    let bare = try BareEngine(seed: seed)
    var random = SplitMix64(seed: seed)
    var model: Model = [:]
    var operations = 0
    var round = 0
    var progress = Progress("model, one thread, seed \(seed)", of: Self.longOperations)
    while round < 20 || runsLongTests && operations < Self.longOperations {
      for _ in 0..<1000 {
        operations += try Self.step(bare.engine, &model, &random, inode: random.next() % 3)
      }
      bare.check()
      for btree in BareEngine.btrees {
        #expect(
          try bare.differences(of: btree, from: model[btree] ?? [:]) == [],
          "seed \(seed), round \(round), \(btree)")
      }
      bare.engine.nodeWrites.drain(bare.engine)
      round += 1
      progress.reached(operations)
    }
    let levels = BareEngine.btrees.map { bare.engine.trees.root($0)?.with { $0.level } ?? -1 }
    #expect(levels.allSatisfy { $0 > 0 }, "seed \(seed): \(levels)")
    try bare.engine.checkWritable()
  }

  /// Runs `body` on so many threads, beside one that writes nodes and lets them go.
  private func run(
    _ engine: Engine, threads: Int, _ body: @escaping @Sendable (Int) throws -> Void
  ) throws {
    let left = Atomic<Int>(threads)
    onThreads(threads + 1) { index in
      do {
        if index < threads {
          defer { left.wrappingSubtract(1, ordering: .releasing) }
          return try body(index)
        }
        while left.load(ordering: .acquiring) > 0 {
          for node in engine.trees.cache.allNodes { try engine.flush(node) }
          engine.nodeWrites.drain(engine)
          _ = engine.trees.cache.shrink()
        }
      } catch {
        Issue.record("\(error)")
        engine.stopWriting(because: error as? VolumeError ?? VolumeError(.cancelled))
      }
    }
  }

  @Test(arguments: [UInt64(1), 2])
  func severalThreadsLeaveWhatTheirMapsHold(seed: UInt64) throws {
    // A cache that holds a part of the nodes: they come and go.
    let bare = try BareEngine(cacheBytes: 1 << 20, seed: seed)
    let engine = bare.engine
    let models = Mutex<[Int: Model]>([:])
    try run(engine, threads: 3) { thread in
      var random = SplitMix64(seed: seed * 100 + UInt64(thread))
      var model: Model = [:]
      var (transactions, operations) = (0, 0)
      var progress = Progress(
        "model, thread \(thread) of 3, seed \(seed)", of: Self.longOperations / 3)
      while transactions < 4000 || runsLongTests && operations < Self.longOperations / 3 {
        // Neighbours in the btree belong to different threads.
        operations += try Self.step(
          engine, &model, &random, inode: UInt64(thread) + random.next() % 3 * 3)
        transactions += 1
        progress.reached(operations)
      }
      let result = model
      models.withLock { $0[thread] = result }
    }
    bare.check()
    let all = models.withLock { $0 }
    for btree in BareEngine.btrees {
      let expected = all.values.reduce(into: [BPos: UInt64]()) { sum, model in
        sum.merge(model[btree] ?? [:]) { a, _ in a }
      }
      let found = try bare.differences(of: btree, from: expected)
      #expect(found == [], "seed \(seed), \(btree)")
    }
    try engine.writeAllNodes()
    #expect(engine.trees.cache.shrink(), "everything is clean and can go")
    for btree in BareEngine.btrees { #expect(try !bare.contents(of: btree).isEmpty) }
    try engine.checkWritable()
  }

  /// What writes nodes may have to read some, and must not wait for itself to make room for them.
  @Test func aCacheThatHoldsAlmostNothingIsEnough() throws {
    let bare = try BareEngine(nodeBytes: 4 << 10, cacheBytes: 64 << 10)
    var random = SplitMix64(seed: 1)
    var model: Model = [:]
    for round in 0..<3000 {
      try Self.step(bare.engine, &model, &random, inode: random.next() % 3)
      if round % 64 == 0 { try bare.engine.writeAllNodes() }
    }
    for btree in BareEngine.btrees {
      #expect(try bare.contents(of: btree) == model[btree] ?? [:])
    }
  }

  /// Room for one node is not made by letting go of another that the same transaction needs.
  @Test(.timeLimit(.minutes(5)), arguments: [1, 256 << 10])
  func aTransactionGetsThroughThoughItsNodesDoNotFitTheCache(cacheBytes: Int) throws {
    let bare = try BareEngine(nodeBytes: 4 << 10, cacheBytes: cacheBytes)
    var random = SplitMix64(seed: 1)
    var model: Model = [:]
    for _ in 0..<2000 { try Self.step(bare.engine, &model, &random, inode: random.next() % 3) }
    let there = (model[.xattrs] ?? [:]).keys.sorted()
    let positions = stride(from: 0, to: there.count, by: 20).map { there[$0] }
    #expect(positions.count > 40)
    for round in 0..<10 {
      try bare.engine.writeAllNodes()
      try bare.engine.run("test_many") { (transaction) throws(TransactionError) in
        for position in positions {
          _ = try transaction.lookup(.xattrs, position, .intent)
          transaction.set(.xattrs, position, UInt64(round))
        }
        try transaction.commit()
      }
    }
    for position in positions { model[.xattrs]?[position] = 9 }
    #expect(try bare.differences(of: .xattrs, from: model[.xattrs] ?? [:]) == [])
  }

  @Test func noIncrementIsLost() throws {
    let bare = try BareEngine()
    let engine = bare.engine
    try run(engine, threads: 4) { thread in
      var random = SplitMix64(seed: UInt64(thread))
      for _ in 0..<2000 {
        let position = BPos(random.next() % 4, random.next() % 16, .max)
        try engine.run("test_increment") { (transaction) throws(TransactionError) in
          let old = try transaction.lookup(.xattrs, position, .intent)
          transaction.set(
            .xattrs, position, (old?.withValue { $0[LEField<UInt64>(0)] } ?? 0) + 1)
          try transaction.commit()
        }
      }
    }
    #expect(try bare.contents(of: .xattrs).values.reduce(0, +) == 8000)
  }

  @Test func aBtreeGrowsAndShrinks() throws {
    let bare = try BareEngine(nodeBytes: 8 << 10)
    let engine = bare.engine
    func change(_ offset: UInt64, _ value: UInt64?) throws {
      try engine.run("test_shrink") { (transaction) throws(TransactionError) in
        transaction.set(.xattrs, BPos(1, offset, .max), value)
        try transaction.commit()
      }
    }
    for offset in 0..<UInt64(40_000) { try change(offset, offset) }
    #expect(engine.trees.root(.xattrs)?.with { $0.level } == 2)
    for offset in 0..<UInt64(40_000) where offset % 1000 != 0 { try change(offset, nil) }
    engine.nodeWrites.drain(engine)
    #expect(
      try bare.contents(of: .xattrs)
        == Dictionary(uniqueKeysWithValues: (0..<40).map { (BPos(1, $0 * 1000, .max), $0 * 1000) }))
    // The journal still has keys of the upper levels: they go when it has forgotten them.
    for level in (0..<2).reversed() {
      #expect(engine.trees.root(.xattrs)?.with { $0.level } == level + 1)
      try engine.writeAllNodes()
      try engine.journal.flushAll()
      try engine.journal.flushAll()
      try engine.rewrite(.xattrs, level: level, .min, .btreeCopygc)
    }
    #expect(engine.trees.root(.xattrs)?.with { $0.level } == 0)
  }
}
