// SPDX-License-Identifier: GPL-2.0
// What is counted: exactly what happened, by however many threads, over openings.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct CounterTests {
  /// What was counted while `body` ran, without what was not.
  private func counted(
    _ engine: Engine, _ body: () throws -> Void
  ) throws -> [PersistentCounter: UInt64] {
    let before = PersistentCounter.all.map { engine.instruments.counters[$0] }
    try body()
    return PersistentCounter.all.reduce(into: [:]) { result, counter in
      let more = engine.instruments.counters[counter] - before[Int(counter.rawValue)]
      if more > 0 { result[counter] = more }
    }
  }

  private func put(_ engine: Engine, _ offsets: Range<UInt64>, inode: UInt64 = 1) throws {
    for offset in offsets {
      try engine.run("test_count") { (transaction) throws(TransactionError) in
        transaction.set(.xattrs, BPos(inode, offset, .max), offset)
        try transaction.commit()
      }
    }
  }

  // MARK: - What happened

  @Test func aCommitCountsOnceAndAReadDoesNot() throws {
    let bare = try BareEngine()
    defer { bare.engine.letGo() }
    #expect(try counted(bare.engine) { try put(bare.engine, 0..<50) } == [.transactionCommit: 50])
    #expect(try counted(bare.engine) { _ = try bare.contents(of: .xattrs) } == [:])
  }

  @Test func aJournalEntryCountsForEachDeviceThatItIsOn() throws {
    let setting = FreshVolume(testDescription: "") {
      $0.sizes = [64 << 20, 64 << 20]
      $0.build.options[.metadataReplicas] = 2
    }
    let devices = try setting.format()
    let bare = try setting.engine(on: devices).withRoots()
    defer { try? setting.letGo(bare) }
    let engine = bare.engine
    try engine.journal.flushAll()
    try put(engine, 0..<1)
    let flushes = engine.instruments.times[.journalFlushWrite].count
    #expect(try counted(engine) { try engine.journal.flushAll() } == [.journalWrite: 2])
    #expect(engine.instruments.times[.journalFlushWrite].count == flushes + 1)
  }

  @Test func aRootThatIsSplitCountsItsThreeNewNodes() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    var offset: UInt64 = 0
    let happened = try counted(engine) {
      while engine.trees.root(.xattrs).map({ $0.with { $0.level } }) == 0 {
        try put(engine, offset..<offset + 1)
        offset += 1
      }
    }
    #expect(
      happened == [
        .transactionCommit: offset, .transRestartBtreeNodeSplit: 1, .btreeNodeSplit: 1,
        .btreeNodeAlloc: 3, .btreeNodeFree: 1, .btreeNodeSetRoot: 1,
        // The path to the root that is gone.
        .btreePathRelockFail: 1,
      ])
    let times = engine.instruments.times
    #expect(times[.btreeNodeSplit].count == 1)
    #expect(times[.btreeInteriorUpdateForeground].count == 1)
    #expect(times[.btreeInteriorUpdateTotal].count == 0)
    let written = try counted(engine) { engine.nodeWrites.drain(engine) }
    #expect(written[.btreeNodeWrite] == 3)
    #expect(times[.btreeInteriorUpdateTotal].count == 1)
  }

  @Test func nodesThatAreRewrittenAndJoinedCountAsThat() throws {
    let bare = try BareEngine()
    let engine = bare.engine
    defer { engine.letGo() }
    try put(engine, 0..<10)
    let rewritten = try counted(engine) {
      try engine.rewrite(.xattrs, level: 0, .min, .btreeCopygc)
    }
    #expect(
      rewritten == [
        .btreeNodeRewrite: 1, .btreeNodeAlloc: 1, .btreeNodeFree: 1, .btreeNodeSetRoot: 1,
      ])
    try put(engine, 0..<3000)
    let emptied = try counted(engine) {
      for offset in 0..<UInt64(3000) {
        try engine.run("test_delete") { (transaction) throws(TransactionError) in
          transaction.delete(.xattrs, BPos(1, offset, .max))
          try transaction.commit()
        }
      }
    }
    let merges = try #require(emptied[.btreeNodeMerge])
    #expect(engine.instruments.times[.btreeNodeMerge].count == merges)
    #expect(emptied[.btreeNodeFree, default: 0] >= 2 * merges)
  }

  @Test func bucketsThatAreTakenAndDiscardedAreCounted() throws {
    let devices = try BuildSetting().makeDevices()
    try withTemporaryFolder { folder in _ = try BuildSetting().build(folder, on: devices) }
    let engine = try BareEngine(on: devices).engine
    defer { engine.letGo() }
    let taken = try counted(engine) { try engine.rewrite(.extents, level: 0, .min, .btreeCopygc) }
    #expect(taken[.bucketAlloc, default: 0] > 0 && taken[.bucketAllocFail] == nil)
    for _ in 0..<4 { try engine.rewrite(.extents, level: 0, .min, .btreeCopygc) }
    engine.nodeWrites.drain(engine)
    try engine.journal.flushAll()
    var discarded = 0
    let happened = try counted(engine) { discarded = try engine.discardBuckets() }
    #expect(discarded > 0 && happened[.bucketDiscard] == UInt64(discarded))
  }

  @Test func nodesThatAreReadAndLetGoAreCounted() throws {
    let device = try SmallVolume.make(nodeBytes: 16 << 10)
    func open() throws -> BareEngine {
      let open = try BlockDevice.open(simulated: device, mode: .exclusiveReadWrite)
      return try BareEngine(on: [open], cacheBytes: 256 << 10).withRoots()
    }
    func close(_ bare: BareEngine) throws {
      try bare.engine.close()
      for device in bare.engine.media.devices { try device?.close() }
    }
    let first = try open()
    try put(first.engine, 0..<20_000)
    try close(first)
    let second = try open()
    // A leaf at a time: all of them do not fit.
    let happened = try counted(second.engine) {
      for offset in stride(from: UInt64(0), to: 20_000, by: 200) {
        try second.engine.run("test_look") { (transaction) throws(TransactionError) in
          _ = try transaction.lookup(.xattrs, BPos(1, offset, .max))
        }
      }
    }
    let reads = try #require(happened[.btreeNodeRead])
    #expect(reads > 20 && happened[.transRestartRelockAfterFill] == reads)
    #expect(happened[.btreeCacheReap, default: 0] > 0 && happened[.btreeCacheScan, default: 0] > 0)
    #expect(
      second.engine.instruments.times[.btreeNodeRead].count
        == second.engine.instruments.counters.sinceOpen(.btreeNodeRead))
    try close(second)
  }

  @Test func threadsThatCountTheSameLoseNothing() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    let happened = try counted(engine) {
      onThreads(12) { thread in
        do {
          try put(engine, 0..<500, inode: UInt64(thread))
        } catch {
          Issue.record("\(error)")
        }
      }
      engine.nodeWrites.drain(engine)
    }
    // Node writes commit too: one for each replacement, and for each image that is none of theirs.
    let replacements = engine.instruments.times[.btreeInteriorUpdateTotal].count
    let appends = happened[.btreeNodeWrite, default: 0] - happened[.btreeNodeAlloc, default: 0]
    #expect(replacements > 0)
    #expect(happened[.transactionCommit] == 6000 + replacements + appends)
  }

  // MARK: - Over openings

  @Test func countersSurviveClosingAndOpening() throws {
    let devices = try BuildSetting().makeDevices()
    try withTemporaryFolder { folder in _ = try BuildSetting().build(folder, on: devices) }
    var last: [UInt64] = []
    for round in 0..<3 {
      let engine = try BareEngine(on: devices).withRoots().engine
      let counters = engine.instruments.counters
      if round > 0 {
        for counter in PersistentCounter.all where counter != .writeSuper {
          let atOpen = counters[counter] - counters.sinceOpen(counter)
          #expect(atOpen == last[Int(counter.rawValue)], "round \(round), \(counter)")
        }
      }
      try put(engine, 0..<100)
      #expect(counters.sinceOpen(.transactionCommit) >= 100)
      try engine.close()
      last = PersistentCounter.all.map { counters[$0] }
    }
    #expect(last[Int(PersistentCounter.transactionCommit.rawValue)] >= 300)
  }

  @Test func placesOfNewerFormatsAreKeptAndMissingOnesBeginAtZero() throws {
    let short = PersistentCounters([7, 8])
    short.add(.ioWrite, 2, row: 5)
    #expect(short[.ioRead] == 7 && short[.ioWrite] == 10 && short[.writeBufferFlushSync] == 0)
    #expect(short.sinceOpen(.ioWrite) == 2 && short.sinceOpen(.ioRead) == 0)
    let volume = try LiveVolume(fixture: "plain")
    var superblock = try volume.superblock(0)
    superblock.setSection(.counters(CountersSection(values: (0..<UInt64(90)).map { $0 })))
    let counters = PersistentCounters(superblock)
    counters.add(.transactionCommit)
    counters.merge(into: &superblock)
    let values = superblock.section(of: CountersSection.self)?.values ?? []
    #expect(values.count == 90 && values.last == 89)
    #expect(values[72] == 73 && values[71] == 71)
  }

  @Test func aCounterThatIsFullGoesOnFromZero() {
    let counters = PersistentCounters([.max])
    counters.add(.ioRead, 3)
    #expect(counters[.ioRead] == 2 && counters.sinceOpen(.ioRead) == 3)
  }

  // MARK: - Text

  @Test func theTextNamesWhatWasCounted() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    try put(engine, 0..<5)
    let line = engine.countersText.split(separator: "\n").first {
      $0.hasPrefix("transaction_commit ")
    }
    let words = try #require(line).split(separator: " ")
    let counters = engine.instruments.counters
    #expect(words[1] == "\(counters.sinceOpen(.transactionCommit))")
    #expect(words[2] == "\(counters[.transactionCommit])")
  }
}
