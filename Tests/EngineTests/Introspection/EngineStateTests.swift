// SPDX-License-Identifier: GPL-2.0
// What is shown of an engine, while it rests and while others work with it.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct EngineStateTests {
  @discardableResult
  private func put(
    _ engine: Engine, _ offset: UInt64, _ name: StaticString = "test_state"
  ) throws -> UInt64 {
    try engine.run(name) { (transaction) throws(TransactionError) in
      transaction.set(.xattrs, BPos(1, offset, .max), offset)
      return try transaction.commit()
    }
  }

  private func identity(
    _ btree: BTreeID, level: Int, _ lock: RunningTransaction.Lock?
  ) -> Bool {
    lock?.node.identity?.btree == btree && lock?.node.identity?.level == level
  }

  // MARK: - Transactions

  @Test func theLocksOfARunningTransactionAreShownWithTheirNodes() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    try put(engine, 1)
    #expect(engine.runningTransactions().isEmpty)
    let seen = try engine.run("test_look") {
      (transaction) throws(TransactionError) -> [RunningTransaction] in
      _ = try transaction.next(.xattrs, from: .min, .intent)
      _ = try transaction.lookup(.rebalanceWork, .min)
      return engine.runningTransactions()
    }
    let running = try #require(seen.first)
    #expect(seen.count == 1 && running.name == "test_look" && running.activity == .running)
    #expect(running.locks.map(\.mode) == [.intent, .read])
    #expect(identity(.xattrs, level: 0, running.locks.first))
    #expect(identity(.rebalanceWork, level: 0, running.locks.last))
    #expect(running.waitsFor == nil)
    #expect(Engine.text(seen).contains("  holds intent xattrs level 0 "))
    #expect(engine.runningTransactions().isEmpty)
    #expect(engine.runningTransactions(isIdleShown: true).allSatisfy { $0.locks.isEmpty })
  }

  @Test func moreLocksThanTheFirstTableHoldsAreAllShown() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    for offset in 0..<UInt64(30_000) { try put(engine, offset) }
    let (seen, held) = try engine.run("test_walk") {
      (transaction) throws(TransactionError) -> ([RunningTransaction], Int) in
      var walk = KeyWalk(.xattrs, from: .min, mode: .intent)
      while try transaction.next(&walk) != nil {}
      return (engine.runningTransactions(), transaction.held.count)
    }
    #expect(held > 32)
    let locks = try #require(seen.first).locks
    #expect(locks.count == held)
    #expect(Set(locks.compactMap { $0.node.identity?.maxKey }).count == held)
  }

  @Test func whoWaitsForALockSaysForWhich() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    try put(engine, 1)
    let root = try #require(engine.trees.root(.xattrs)).node
    let isMine = root.lock.tryIntent()
    #expect(isMine)
    let shown = Mutex<RunningTransaction?>(nil)
    onThreads(2) { thread in
      do {
        if thread == 0 {
          try put(engine, 2, "test_wait")
          return
        }
        while shown.withLock({ $0 == nil }) {
          let found = engine.runningTransactions().first { $0.waitsFor != nil }
          shown.withLock { $0 = found }
        }
        root.lock.unlockIntent()
      } catch {
        Issue.record("\(error)")
      }
    }
    let waiting = try #require(shown.withLock { $0 })
    #expect(waiting.name == "test_wait" && waiting.activity == .waitingForLock)
    #expect(waiting.locks.isEmpty && waiting.waitsFor?.mode == .intent)
    #expect(identity(.xattrs, level: 0, waiting.waitsFor))
    #expect(waiting.restarts[.lockConflict, default: 0] >= 1)
    #expect(engine.instruments.counters.sinceOpen(.transRestartWouldDeadlock) >= 1)
    let text = Engine.text([waiting])
    #expect(text.hasPrefix("test_wait: waiting_for_lock\n"))
    #expect(text.contains("  waits for intent xattrs level 0 "))
    #expect(text.contains("  restarts: lock_conflict "))
  }

  @Test func aNodeThatIsWrittenIsNotWaitedFor() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    let root = try #require(engine.trees.root(.xattrs))
    let isMine = root.node.lock.tryIntent() && root.node.lock.tryWrite()
    #expect(isMine)
    #expect(root.sight.identity == nil)
    #expect("\(root.sight)" == "(being changed)")
    #expect(engine.nodeCacheState.unseen == 1)
    root.node.lock.unlockWrite()
    root.node.lock.unlockIntent()
    #expect(root.sight.identity?.btree == .xattrs)
    #expect(engine.nodeCacheState.unseen == 0)
  }

  // MARK: - Journal

  @Test func theJournalShowsWhatIsDirtyAndWhoseItIs() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    try engine.journal.flushAll()
    let sequence = try put(engine, 1)
    let open = engine.journal.state
    #expect(open.sequence == sequence && open.flushedSequence < sequence)
    #expect(open.flags == [.running] && open.failure == nil && open.watermark == .stripe)
    #expect(open.unwritten.map(\.sequence) == [sequence])
    #expect(open.unwritten.map(\.isClosed) == [false])
    #expect(UInt64(open.dirtyEntries) == open.sequence - open.lastSequence + 1)
    let pins = try #require(open.pins.last)
    #expect(pins.sequence == sequence && pins.isHeld && pins.counts == [.dirtyNode: 1])
    #expect(pins.nodes.map { $0.identity?.btree } == [.xattrs])
    try engine.journal.flush(upTo: sequence)
    let flushed = engine.journal.state
    #expect(flushed.flushedSequence == sequence && flushed.writtenSequence == sequence)
    #expect(flushed.unwritten.isEmpty)
    #expect(flushed.tally.flushWrites == open.tally.flushWrites + 1)
    #expect(flushed.tally.averageBytes > 0)
    #expect(flushed.pins.last?.isHeld == false)
    for row in ["seq:  ", "last_seq_ondisk:  ", "nr flush writes:  ", "    xattrs level 0 "] {
      #expect(flushed.text.contains(row), "\(row): \(flushed.text)")
    }
  }

  @Test func theJournalsBucketsAreCounted() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    try engine.journal.flushAll()
    let device = try #require(engine.journal.state.devices.first)
    let buckets = engine.store.journalBuckets(of: 0)
    #expect(device.device == 0 && device.buckets == buckets.count)
    #expect(device.currentSequence == engine.journal.flushedUpTo)
    #expect(device.freeBuckets < device.buckets && device.freeSectors < device.bucketSectors)
    let state = engine.journal.state
    #expect(state.freeEntries == device.freeBuckets && state.totalEntries == device.buckets)
  }

  @Test func aJournalThatFailedSaysWhy() throws {
    let engine = try BareEngine().engine
    engine.stopWriting(because: VolumeError(.corrupt, "a test says so"))
    let state = engine.journal.state
    #expect(state.flags.contains(.error))
    #expect(state.text.contains("a test says so"))
    engine.letGo()
  }

  @Test func aJournalThatIsShortOfRoomIsCountedAndMeasured() throws {
    let device = try SmallVolume.make(nodeBytes: 16 << 10)
    let bare = try BareEngine(
      on: [try BlockDevice.open(simulated: device, mode: .exclusiveReadWrite)]
    ).withRoots()
    let engine = bare.engine
    let counters = engine.instruments.counters
    // One key that is never written but in the journal: it holds the first entry that it is in.
    var entries = 0
    while !engine.journal.state.flags.contains(.spaceLow), entries < 100_000 {
      try put(engine, 1)
      try engine.journal.flushAll()
      entries += 1
    }
    #expect(counters.sinceOpen(.journalFull) >= 1)
    #expect(engine.journal.state.watermark == .reclaim)
    #expect(engine.instruments.times.blockedFor(.blockedJournalLowOnSpace) != nil)
    try put(engine, 1)
    #expect(counters.sinceOpen(.journalReclaimStart) > 0)
    #expect(counters.sinceOpen(.journalReclaimStart) == counters.sinceOpen(.journalReclaimFinish))
    #expect(counters.sinceOpen(.transRestartJournalResGet) > 0)
    #expect(counters.sinceOpen(.transBlockedJournalReclaim) > 0)
    #expect(engine.instruments.times[.blockedJournalLowOnSpace].count > 0)
    #expect(engine.journal.state.tally.directReclaims > 0)
    engine.letGo()
  }

  // MARK: - Nodes and buckets

  @Test func theNodeCacheIsShownByBTreeAndState() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    for offset in 0..<UInt64(3000) { try put(engine, offset) }
    let state = engine.nodeCacheState
    let share = try #require(state.shares.first { $0.btree == .xattrs })
    #expect(share.nodes > 3 && share.interior == 1)
    #expect(share.dirty > 0 && share.unreachable > 0 && share.bytes > 0)
    #expect(state.queuedWrites > 0 && state.limitBytes == 64 << 20)
    #expect(state.nodeBytes == 16 << 10 && state.free > 0)
    try engine.writeAllNodes()
    let written = engine.nodeCacheState
    #expect(written.dirty == 0 && written.writing == 0 && written.queuedWrites == 0)
    #expect(written.nodes >= state.nodes)
    #expect(written.text.contains("xattrs"))
  }

  @Test func openBucketsAreShownWithWhoeverHasThem() throws {
    let setting = FreshVolume(testDescription: "")
    let devices = try setting.format()
    let bare = try setting.engine(on: devices)
    defer { try? setting.letGo(bare) }
    let engine = bare.engine
    let before = engine.openBucketStates
    let point = engine.writePoints.user(1)
    let allocation = try engine.allocateSectors(
      AllocationRequest(sectors: 40, replicas: 1), in: point)
    let bucket = try #require(allocation.buckets.first)
    func found() -> OpenBucketState? {
      engine.openBucketStates.first { $0.bucket == bucket.offset }
    }
    let filled = try #require(found())
    #expect(engine.openBucketStates.count == before.count + 1)
    #expect(filled.references == 2 && filled.freeSectors == 128 - 40)
    #expect(filled.dataType == .user && filled.device == 0 && filled.generation != nil)
    let stream = try #require(engine.writePointStates.first { $0.buckets.contains(filled) })
    #expect(filled.holder == .writePoint(stream.name) && stream.name.hasPrefix("user "))
    #expect(stream.clocks.contains { $0.clock > 0 })
    #expect(
      "\(filled)" == "0:\(bucket.offset) ref 2 gen \(allocation.places[0].generation)"
        + " user free 88 write point \(stream.name)")
    point.retire(engine.openBuckets)
    #expect(found()?.holder == .partial)
    let rest = try engine.allocateSectors(
      AllocationRequest(sectors: 88, minSectors: 88, replicas: 1), in: point)
    #expect(rest.buckets == [bucket])
    #expect(found()?.holder == .allocations && found()?.freeSectors == nil)
    engine.settle(allocation)
    engine.settle(rest)
    #expect(found() == nil)
  }

  @Test func devicesWithoutFreeBucketsAreCountedAndMeasured() throws {
    let setting = FreshVolume(testDescription: "")
    let devices = try setting.format()
    let bare = try setting.engine(on: devices)
    defer { try? setting.letGo(bare) }
    let engine = bare.engine
    var held: [SectorAllocation] = []
    do throws(VolumeError) {
      while held.count < 2000 {
        held.append(
          try engine.allocateSectors(
            AllocationRequest(sectors: 128, minSectors: 128, replicas: 1),
            in: engine.writePoints.user(1)))
      }
    } catch {
      #expect(error.code == .noSpace)
    }
    let counters = engine.instruments.counters
    #expect(counters.sinceOpen(.bucketAllocFail) > 0)
    #expect(counters.sinceOpen(.bucketAlloc) >= UInt64(held.count))
    #expect(engine.instruments.times.blockedFor(.blockedAllocate) != nil)
    for allocation in held { engine.settle(allocation) }
    _ = try engine.allocateSectors(
      AllocationRequest(sectors: 128, minSectors: 128, replicas: 1),
      in: engine.writePoints.user(2))
    #expect(engine.instruments.times.blockedFor(.blockedAllocate) == nil)
    #expect(engine.instruments.times[.blockedAllocate].count == 1)
  }

  // MARK: - Write buffer

  private func putBuffered(_ engine: Engine, _ offset: UInt64) throws -> UInt64 {
    try engine.run("test_buffer") { (transaction) throws(TransactionError) in
      transaction.set(.rebalanceWork, BPos(7, offset, .max), 1)
      return try transaction.commit()
    }
  }

  @Test func whatWaitsInTheWriteBufferIsShownAndWhoEmptiesItCounted() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    let counters = engine.instruments.counters
    #expect(engine.writeBufferState.keys == 0 && engine.writeBufferState.oldestSequence == 0)
    let sequence = try putBuffered(engine, 1)
    let waiting = engine.writeBufferState
    #expect(waiting.keys == 1 && waiting.byteCount > 0 && waiting.limitBytes == 8 << 20)
    #expect(waiting.oldestSequence == sequence)
    #expect(engine.journal.state.pins.last?.counts == [.writeBuffer: 1])
    #expect(engine.journal.state.text.contains("held, write_buffer 1"))
    try engine.run("test_look") { (transaction) throws(TransactionError) in
      _ = try transaction.lookup(.rebalanceWork, BPos(7, 1, .max))
    }
    #expect(engine.writeBufferState.keys == 0)
    #expect(counters.sinceOpen(.transRestartWriteBufferFlush) == 1)
    #expect(counters.sinceOpen(.writeBufferFlushSync) == 1)
    #expect(engine.instruments.times[.blockedWriteBufferFull].count == 0)
  }

  @Test func aWriteBufferThatIsFullIsMeasured() throws {
    let device = try SmallVolume.make(nodeBytes: 16 << 10)
    let open = try BlockDevice.open(simulated: device, mode: .exclusiveReadWrite)
    let engine = try Engine.open(
      VolumeOpener.openForWriting(devices: [open]), EngineOptions(writeBufferBytes: 2048, seed: 5))
    defer { engine.letGo() }
    for offset in 0..<UInt64(200) { _ = try putBuffered(engine, offset) }
    let flushes = engine.instruments.counters.sinceOpen(.writeBufferFlushSync)
    #expect(flushes > 1)
    #expect(engine.instruments.times[.blockedWriteBufferFull].count == flushes)
    #expect(engine.instruments.times.blockedFor(.blockedWriteBufferFull) == nil)
  }

  // MARK: - While others work

  @Test func everythingCanBeShownWhileThreadsWork() throws {
    let engine = try BareEngine(cacheBytes: 1 << 20).engine
    engine.startThreads()
    let left = Atomic<Int>(3)
    let names = Mutex<Set<String>>([])
    let nodes = Atomic<Int>(0)
    onThreads(4) { thread in
      do {
        guard thread < 3 else {
          while left.load(ordering: .acquiring) > 0 {
            #expect(engine.stateText.contains("time stats:\n"))
            for transaction in engine.runningTransactions() {
              names.withLock { _ = $0.insert(transaction.name) }
              for lock in transaction.locks {
                guard let seen = lock.node.identity else { continue }
                #expect(seen.minKey <= seen.maxKey && seen.level < 4)
                nodes.wrappingAdd(1, ordering: .relaxed)
              }
            }
          }
          return
        }
        defer { left.wrappingSubtract(1, ordering: .releasing) }
        var random = SplitMix64(seed: UInt64(thread))
        var step = 0
        // However fast they are: until somebody was seen.
        while step < 4000 || nodes.load(ordering: .relaxed) == 0 && step < 1_000_000 {
          try put(engine, random.next() % 20_000, thread == 0 ? "test_one" : "test_others")
          step += 1
        }
      } catch {
        Issue.record("\(error)")
      }
    }
    let known: Set = ["test_one", "test_others"]
    let seen = names.withLock { $0 }
    #expect(!seen.isDisjoint(with: known))
    // Besides ours the engine's own run: none of them has a name that is made of two.
    for name in seen {
      #expect(name.allSatisfy { $0.isLowercase || $0 == "_" } && !name.isEmpty, "\(name)")
    }
    #expect(nodes.load(ordering: .relaxed) > 0)
    try engine.close()
  }
}
