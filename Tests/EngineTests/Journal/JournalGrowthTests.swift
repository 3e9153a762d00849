// SPDX-License-Identifier: GPL-2.0
// Journals that get more buckets while the volume is in use.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct JournalGrowthTests {
  /// So short that it is full at once.
  private static let setting = FreshVolume(testDescription: "short journal") {
    $0.build.bucketBytes = 64 << 10
    $0.sizes = [8 << 20]
    $0.build.options[.btreeNodeSize] = 16 << 10
  }

  private static func grow(_ engine: Engine) throws {
    for _ in 0..<64 { engine.journal.noteShortage() }
    try engine.growJournalsIfShort()
  }

  private static func bucketCount(_ engine: Engine) -> Int {
    engine.store.journalBuckets(of: 0).count
  }

  /// Enough for the journal to come round several times.
  private static func write(_ engine: Engine, _ count: UInt64, flushedEach: UInt64 = 8) throws {
    for number in 0..<count {
      try engine.run("test_quota") { (transaction) throws(TransactionError) in
        for index in UInt64(0)..<16 {
          let words = [number, 0, 0, 0]
          unsafe transaction.update(
            .quotas, BKey(type: .quota, position: BPos(0, index, 0), valueU64s: 4),
            words.span.bytes)
        }
        try transaction.commit()
      }
      if number % flushedEach == 0 {
        try engine.journal.flush(upTo: engine.journal.currentSequence)
      }
    }
  }

  private static func newest(_ engine: Engine) throws -> UInt64 {
    try engine.run("test_quota") { (transaction) throws(TransactionError) in
      guard let found = try transaction.lookup(.quotas, BPos(0, 15, 0)) else { return 0 }
      return found.withValue { $0[LEField<UInt64>(0)] }
    }
  }

  @Test func whatWasTooShortForLongGetsHalfAsMuchMore() throws {
    let devices = try Self.setting.format()
    var sizes: [Int] = []
    for round in UInt64(0)..<3 {
      let bare = try Self.setting.engine(on: devices, seed: round + 1)
      #expect(bare.engine.wasClean)
      sizes.append(Self.bucketCount(bare.engine))
      try Self.write(bare.engine, 3000)
      try Self.grow(bare.engine)
      try Self.write(bare.engine, 3000)
      #expect(try Self.newest(bare.engine) == 2999)
      try bare.engine.close()
      try Self.setting.letGo(bare)
      try Self.setting.expectNew(devices, "round \(round)")
    }
    #expect(sizes == [8, 13, 20])
  }

  @Test func aFewWhoHadToWaitChangeNothing() throws {
    let devices = try Self.setting.format()
    let bare = try Self.setting.engine(on: devices)
    defer { try? Self.setting.letGo(bare) }
    for _ in 0..<63 { bare.engine.journal.noteShortage() }
    try bare.engine.growJournalsIfShort()
    #expect(Self.bucketCount(bare.engine) == 8)
  }

  /// Nobody asks for it: those who find the journal full are enough.
  @Test func anEngineWithThreadsLetsItGrow() throws {
    let devices = try Self.setting.format()
    let bare = try Self.setting.engine(on: devices)
    bare.engine.startThreads()
    var rounds = 0
    while Self.bucketCount(bare.engine) == 8, rounds < 100 {
      try Self.write(bare.engine, 2000, flushedEach: 1)
      rounds += 1
    }
    #expect(Self.bucketCount(bare.engine) > 8)
    try bare.engine.close()
    try Self.setting.letGo(bare)
    try Self.setting.expectNew(devices, "closed")
  }

  /// No more than a quarter of what is free, and never more than there is.
  @Test func aFullDeviceKeepsItsJournal() throws {
    let devices = try Self.setting.format()
    let bare = try Self.setting.engine(on: devices)
    for _ in 0..<32 { try Self.grow(bare.engine) }
    let free = bare.engine.usage.buckets(.free, of: 0)
    let count = Self.bucketCount(bare.engine)
    #expect(free > 0 && count > 8)
    try bare.engine.close()
    try Self.setting.letGo(bare)
    try Self.setting.expectNew(devices, "\(count) buckets, \(free) free")
  }

  @Test func aMemberWithoutAJournalGetsOne() throws {
    let setting = FreshVolume(testDescription: "two devices") { $0.sizes = [8 << 20, 8 << 20] }
    let devices = try setting.format()
    let first = try setting.engine(on: devices)
    let old = first.engine.store.journalBuckets(of: 1)
      .map { Positions.bucket(device: 1, bucket: $0) }
    try first.engine.close()
    try setting.letGo(first)
    let open = try FreshVolume.open(devices)
    let volume = try VolumeOpener.openForWriting(devices: open)
    try volume.store.setJournalBuckets([], of: 1)
    for device in open { try device.close() }
    let second = try setting.engine(on: devices)
    #expect(second.engine.store.journalBuckets(of: 1).count == 8)
    #expect(Set(second.engine.store.journalBuckets(of: 1)).isDisjoint(with: old.map(\.offset)))
    // What is the journal's by its keys alone is freed after a crash; here there was none.
    try second.engine.setDataType(.free, ofWhole: old)
    try second.engine.close()
    try setting.letGo(second)
    try setting.expectNew(devices, "closed")
  }

  @Test func aVolumeWithoutAnyJournalIsRefused() throws {
    let devices = try Self.setting.format()
    let first = try Self.setting.engine(on: devices)
    try first.engine.close()
    try Self.setting.letGo(first)
    let open = try FreshVolume.open(devices)
    let volume = try VolumeOpener.openForWriting(devices: open)
    try volume.store.setJournalBuckets([], of: 0)
    let writes = devices[0].operationCount
    let error = #expect(throws: VolumeError.self) {
      _ = try Engine.open(volume, EngineOptions(seed: 1))
    }
    #expect(error?.code == .corrupt)
    #expect(devices[0].operationCount == writes)
    for device in open { try device.close() }
  }

  /// Power fails at any moment while the journal grows, and is used for a while.
  @Test func thePowerMayFailWhileItGrows() throws {
    let devices = try Self.setting.format(recorded: true)
    let device = devices[0]
    let bare = try Self.setting.engine(on: devices)
    try Self.write(bare.engine, 400)
    let start = device.operationCount
    try Self.grow(bare.engine)
    let grown = device.operationCount
    try Self.write(bare.engine, 400)
    let end = device.operationCount
    try Self.setting.letGo(bare)
    var sizes: Set<Int> = []
    for operation in Array(start...grown) + stride(from: grown, to: end, by: 16) {
      for (index, survivors) in [
        CrashSurvivors.none, .all, .tornSubset(seed: operation),
      ].enumerated() {
        let comment: Comment = "operation \(operation - start) of \(end - start), \(index)"
        let image = try #require(
          device.crashImage(beforeOperation: operation, survivors, recordsContents: true))
        let again = try Self.setting.engine(on: [image], seed: operation)
        let count = Self.bucketCount(again.engine)
        #expect(again.engine.usage.buckets(.journal, of: 0) == UInt64(count), comment)
        sizes.insert(count)
        try Self.write(again.engine, 100)
        try again.engine.close()
        try Self.setting.letGo(again)
        try Self.setting.expectNew([image], comment)
      }
    }
    #expect(sizes == [8, 13])
  }
}
