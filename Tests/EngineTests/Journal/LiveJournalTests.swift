// SPDX-License-Identifier: GPL-2.0
// The journal that is written: who waits for an entry gets it flushed, whatever became of it.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct LiveJournalTests {
  private func commit(_ engine: Engine, _ offset: UInt64) throws -> UInt64 {
    try engine.run("test_journal") { (transaction) throws(TransactionError) in
      transaction.set(.xattrs, BPos(1, offset, .max), offset)
      return try transaction.commit()
    }
  }

  @Test func whatWasWrittenWithoutAFlushCanStillBeFlushed() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    // The first entry is always flushed; the next one need not be.
    try engine.journal.flush(upTo: try commit(engine, 1))
    let sequence = try commit(engine, 2)
    engine.journal.condition.withLock { engine.journal.closeEntry() }
    #expect(engine.journal.writeStep())
    #expect(engine.journal.condition.withLock { engine.journal.writtenSequence } == sequence)
    #expect(engine.journal.flushedUpTo < sequence)
    try engine.journal.flush(upTo: sequence)
    #expect(engine.journal.flushedUpTo >= sequence)
  }

  @Test func thoseWhoWaitShareFlushes() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    try engine.journal.flush(upTo: try commit(engine, 0))
    let before = engine.journal.flushedUpTo
    let failures = Atomic<Int>(0)
    onThreads(16) { thread in
      for round in 0..<20 {
        do {
          let sequence = try commit(engine, UInt64(1 + thread * 20 + round))
          try engine.journal.flush(upTo: sequence)
          if engine.journal.flushedUpTo < sequence { failures.wrappingAdd(1, ordering: .relaxed) }
        } catch {
          failures.wrappingAdd(1, ordering: .relaxed)
        }
      }
    }
    #expect(failures.load(ordering: .relaxed) == 0)
    // 320 flushes were asked for; an entry is what one flush makes durable.
    #expect(engine.journal.flushedUpTo - before <= 320)
  }

  /// A flush that runs while a node is written does not cover it: the next one has to.
  @Test func aNodeWrittenDuringAFlushIsFlushedByTheNextEntry() throws {
    let hook = Mutex<(@Sendable () -> Void)?>(nil)
    let setting = FreshVolume(testDescription: "") { setting in
      setting.sizes = [64 << 20, 64 << 20]
      setting.build.dataAllowed = [0: [.journal, .user], 1: [.btree, .user]]
      setting.during = { device in
        guard device == 1 else { return }
        // Not while it is at work: a flush is an operation too.
        let flush = hook.withLock { hook in
          defer { hook = nil }
          return hook
        }
        flush?()
        hook.withLock { $0 = flush ?? $0 }
      }
    }
    let devices = try setting.format()
    let bare = try setting.engine(on: devices)
    let engine = bare.engine
    defer { try? setting.letGo(bare) }
    for offset in 0..<UInt64(100) { _ = try commit(engine, offset) }
    try engine.journal.flushAll()
    let flushes = Atomic<Int>(0)
    hook.withLock { hook in
      hook = {
        flushes.wrappingAdd(1, ordering: .relaxed)
        do { try engine.journal.flushAll() } catch { Issue.record("\(error)") }
      }
    }
    try engine.writeAllNodes()
    hook.withLock { $0 = nil }
    #expect(flushes.load(ordering: .relaxed) > 0, "nodes were written to the other device")
    try engine.journal.flushAll()
    #expect(devices[1].unflushedCount == 0)
  }

  @Test func aTransactionLargerThanAnEntryIsRefused() throws {
    let engine = try BareEngine().engine
    defer { engine.letGo() }
    #expect(throws: VolumeError.self) {
      try engine.run("test_journal") { (transaction) throws(TransactionError) in
        for offset in 0..<UInt64(engine.journal.reservationMax / 8) {
          transaction.set(.xattrs, BPos(offset, 1, .max), 1)
        }
        try transaction.commit()
      }
    }
  }
}
