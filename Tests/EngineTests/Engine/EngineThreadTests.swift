// SPDX-License-Identifier: GPL-2.0
// What the engine's own threads do while nobody asks for it.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct EngineThreadTests {
  /// Waits until something is so; false after half a minute.
  private func comesTrue(_ isTrue: () throws -> Bool) rethrows -> Bool {
    let condition = Condition()
    for _ in 0..<3000 {
      if try isTrue() { return true }
      condition.withLock { _ = condition.wait(nanoseconds: 10_000_000) }
    }
    return false
  }

  private func put(_ engine: Engine, _ offset: UInt64) throws -> UInt64 {
    try engine.run("test_put") { (transaction) throws(TransactionError) in
      let words = InlineArray<1, UInt64>(repeating: offset)
      unsafe transaction.update(
        .rebalanceWork,
        BKey(type: .cookie, position: BPos(1, offset, 1), valueU64s: 1), words.span.bytes)
      return try transaction.commit()
    }
  }

  @Test func whatIsCommittedIsFlushedThoughNobodyWaits() throws {
    let engine = try BareEngine().engine
    engine.startThreads()
    let sequence = try put(engine, 1)
    #expect(comesTrue { engine.journal.flushedUpTo >= sequence })
    try engine.close()
  }

  @Test func bucketsThatBecomeEmptyAreDiscardedThoughNobodyNeedsThem() throws {
    let devices = try BuildSetting().makeDevices()
    try withTemporaryFolder { folder in _ = try BuildSetting().build(folder, on: devices) }
    let engine = try BareEngine(on: devices).engine
    for _ in 0..<4 { try engine.rewrite(.extents, level: 0, .min, .btreeCopygc) }
    func isEmpty() throws -> Bool {
      try engine.run("test_look") { (transaction) throws(TransactionError) in
        try transaction.next(.needDiscard, from: .min) == nil
      }
    }
    engine.nodeWrites.drain(engine)
    engine.startThreads()
    _ = try put(engine, 2)
    #expect(try comesTrue { try isEmpty() })
    try engine.close()
  }

  @Test func anEngineThatFailedEndsItsThreads() throws {
    let engine = try BareEngine().engine
    engine.startThreads()
    engine.stopWriting(because: VolumeError(.corrupt, "a test says so"))
    engine.letGo()
    #expect(throws: VolumeError.self) { try put(engine, 3) }
  }
}
