// SPDX-License-Identifier: GPL-2.0
// Power fails at any moment: what is found then is what was committed up to some moment, not before
// the last flush that had returned.
//
// Each transaction also counts itself in a key of its own: so what is found says up to which one it
// must be whole.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct EngineCrashTests {
  private typealias Contents = [BTreeID: [BPos: UInt64]]
  private static let compared = BareEngine.btrees + [.extents]
  private static let counter = BPos(1 << 40, 0, .max)

  /// A change of one key.
  private struct Change {
    let btree: BTreeID
    let position: BPos
    let value: UInt64?
  }

  /// What was done, and when.
  private struct Run {
    let device: SimulatedDevice
    var changes: [[Change]] = []
    /// After each transaction: what the device had done.
    var operations: [UInt64] = []
    /// Flushes that returned: what the device had done, and how many transactions they cover.
    var flushes: [(operations: UInt64, transactions: Int)] = []
    var start: UInt64 = 0

    /// What should be there after so many transactions.
    func contents(after count: Int) -> Contents {
      var result: Contents = [:]
      for transaction in changes.prefix(count) {
        for change in transaction {
          result[change.btree, default: [:]][change.position] = change.value
        }
      }
      return result
    }
  }

  private static func device(nodeBytes: UInt64) throws -> SimulatedDevice {
    var configuration = SimulatedDevice.Configuration()
    configuration.name = "device"
    configuration.recordsContents = true
    return try SmallVolume.make(nodeBytes: nodeBytes, configuration)
  }

  /// A workload on one thread: so the seed decides everything, unless the engine has threads too.
  private static func run(
    seed: UInt64, transactions: Int, withThreads: Bool = false
  ) throws -> Run {
    var random = SplitMix64(seed: seed)
    let device = try device(nodeBytes: seed % 2 == 0 ? 4 << 10 : 16 << 10)
    let open = try BlockDevice.open(simulated: device, mode: .exclusiveReadWrite)
    let engine = try BareEngine(on: [open], seed: seed).withRoots().engine
    if withThreads { engine.startThreads() }
    var run = Run(device: device)
    run.start = device.operationCount
    run.flushes.append((run.start, 0))
    for number in 1...transactions {
      var changes = (0..<1 + random.next() % 4).map { _ in
        Change(
          btree: BareEngine.btrees[Int(random.next() % 2)],
          position: BPos(random.next() % 4, random.next() % 512, .max),
          value: random.next() % 3 == 0 ? nil : random.next())
      }
      changes.append(Change(btree: .xattrs, position: counter, value: UInt64(number)))
      let extent = Positions.extent(
        inode: 5000 + random.next() % 4, end: (1 + random.next() % 64) * SmallVolume.bucketSectors,
        snapshot: .max)
      let bucket = random.next() % 700
      let change = try engine.run("test_crash") { (transaction) throws(TransactionError) in
        for change in changes { transaction.set(change.btree, change.position, change.value) }
        let place = try transaction.toggleExtent(extent, inBucketFrom: bucket)
        try transaction.commit()
        return Change(btree: .extents, position: extent, value: place?.word)
      }
      run.changes.append(changes + [change])
      switch random.next() % 16 {
      case 0:
        try engine.journal.flush(upTo: engine.journal.currentSequence)
        run.flushes.append((device.operationCount, number))
      case 1: for node in engine.trees.cache.allNodes.prefix(4) { try engine.flush(node) }
      case 2: engine.nodeWrites.drain(engine, to: Int(random.next() % 4))
      case 3: engine.journal.writeStep()
      case 4 where random.next() % 16 == 0: try engine.writeAllNodes()
      case 6 where random.next() % 2 == 0: try engine.flushWriteBuffer()
      case 7 where random.next() % 2 == 0: engine.journal.fillCurrent()
      case 5 where random.next() % 8 == 0: try engine.discardBuckets()
      default: break
      }
      run.operations.append(device.operationCount)
    }
    engine.stopThreads()
    return run
  }

  /// Opens what is left.
  private static func open(_ image: SimulatedDevice, seed: UInt64) throws -> BareEngine {
    let open = try BlockDevice.open(simulated: image, mode: .exclusiveReadWrite)
    return try BareEngine(on: [open], seed: seed)
  }

  /// Compares what is there with what must be.
  ///
  /// - Returns: how many transactions were found.
  @discardableResult
  private static func check(
    _ bare: BareEngine, _ run: Run, atLeast: Int, atMost: Int, _ comment: Comment
  ) throws -> Int {
    bare.check()
    let count = try Int(bare.contents(of: .xattrs)[counter] ?? 0)
    #expect(
      count >= atLeast && count <= atMost, "\(comment): \(count), not \(atLeast)...\(atMost)")
    let expected = run.contents(after: count)
    for btree in compared {
      let differences = try bare.differences(of: btree, from: expected[btree] ?? [:])
      #expect(differences == [], "\(comment), \(btree)")
    }
    return count
  }

  /// Power fails again while the volume is recovered and written: what was found stays.
  private static func crashAgain(
    _ left: (image: SimulatedDevice, atLeast: Int, atMost: Int), _ run: Run,
    _ random: inout SplitMix64, _ comment: Comment
  ) throws -> Int {
    let start = left.image.operationCount
    let first = try Self.open(left.image, seed: 98)
    defer { first.engine.letGo() }
    let count = try check(first, run, atLeast: left.atLeast, atMost: left.atMost, comment)
    let end = left.image.operationCount
    if random.next() % 2 == 0 { try first.engine.writeAllNodes() }
    // Once recovery is over, what it found is what counts.
    let operation = start + random.next() % (left.image.operationCount - start + 1)
    let again = try #require(
      left.image.crashImage(beforeOperation: operation, .random(&random)), comment)
    let second = try Self.open(again, seed: 99)
    defer { second.engine.letGo() }
    try check(
      second, run, atLeast: count, atMost: count,
      "\(comment), again at \(operation - start) of \(end - start)")
    return count
  }

  /// Closes the volume, and opens it clean.
  private static func reopen(
    _ bare: BareEngine, _ image: SimulatedDevice, _ run: Run, _ count: Int, _ comment: Comment
  ) throws {
    try bare.engine.close()
    for device in bare.engine.media.devices { try device?.close() }
    try expectSound(image, "\(comment), closed", ofFiles: false)
    let again = try open(image, seed: 97)
    defer { again.engine.letGo() }
    #expect(again.engine.wasClean, comment)
    try check(again, run, atLeast: count, atMost: count, "\(comment), closed and opened")
  }

  /// A moment of a run, and what may be left of it.
  private static func crash(
    _ run: Run, at operation: UInt64, _ survivors: CrashSurvivors, _ comment: Comment
  ) throws -> (image: SimulatedDevice, atLeast: Int, atMost: Int) {
    let image = try #require(
      run.device.crashImage(beforeOperation: operation, survivors, recordsContents: true), comment)
    let flushed = run.flushes.last { $0.operations <= operation }?.transactions ?? 0
    // The transaction that was under way may have become durable.
    let committed = (run.operations.firstIndex { $0 >= operation } ?? run.operations.count) + 1
    return (image, flushed, min(committed, run.changes.count))
  }

  @Test(arguments: [UInt64(1), 2, 3, 4])
  func whatIsFoundAfterACrashWasCommitted(seed: UInt64) throws {
    let run = try Self.run(seed: seed, transactions: 1500)
    try Self.crash(run, states: runsLongTests ? 25_000 : 500, seed: seed)
  }

  /// Nodes are written, entries flushed and buckets discarded at any moment.
  @Test(arguments: [UInt64(5), 6])
  func whatIsFoundAfterACrashOfAnEngineWithThreadsWasCommitted(seed: UInt64) throws {
    for round in 0..<UInt64(runsLongTests ? 50 : 2) {
      let run = try Self.run(seed: seed &+ 2 &* round, transactions: 1500, withThreads: true)
      try Self.crash(run, states: 60, seed: seed &+ 2 &* round)
    }
  }

  private static func crash(_ run: Run, states: Int, seed: UInt64) throws {
    var random = SplitMix64(seed: seed &* 77)
    var seen: Set<Int> = []
    var progress = Progress("crash, seed \(seed)", of: states)
    for state in 0..<states {
      progress.reached(state)
      let operation = run.start + random.next() % (run.device.operationCount - run.start + 1)
      let comment: Comment = "seed \(seed), state \(state), operation \(operation)"
      let left = try crash(run, at: operation, .random(&random), comment)
      try expectSound(left.image, comment, ofFiles: false)
      if state % 4 == 0 {
        seen.insert(try crashAgain(left, run, &random, comment))
        continue
      }
      let bare = try open(left.image, seed: 98)
      defer { bare.engine.letGo() }
      let count = try check(bare, run, atLeast: left.atLeast, atMost: left.atMost, comment)
      seen.insert(count)
      if state % 4 == 1 { try reopen(bare, left.image, run, count, comment) }
    }
    // Flushes come every sixteenth transaction or so: there are not more moments to find.
    #expect(seen.count > min(states / 4, 60), "seed \(seed)")
  }
}

extension Transaction {
  /// Takes an extent away, or puts one into a free bucket.
  ///
  /// - Returns: where it is, nil if there is none now.
  fileprivate func toggleExtent(
    _ position: BPos, inBucketFrom start: UInt64
  ) throws(TransactionError) -> ExtentPtr? {
    if try lookup(.extents, position, .intent) != nil {
      delete(.extents, position)
      return nil
    }
    var walk = KeyWalk(.freespace, from: BPos(0, start))
    while let found = try next(&walk) {
      let bucket = Positions.bucket(ofFreespace: found.key.start)
      if let place = try putExtent(position, in: bucket) { return place }
    }
    return nil
  }
}
