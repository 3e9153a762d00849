// SPDX-License-Identifier: GPL-2.0
// The engine's own threads: what otherwise waits until somebody needs its result.
//
// How it works
//   1. One writes nodes: it does the jobs of the queue as they come.
//   2. One keeps the journal short: it flushes what was committed when the flush delay is over,
//      writes the nodes that hold the oldest entries once half of the journal is in use, and dirty
//      nodes when the cache is over its limit. It lets a journal grow that is full all the time,
//      empties the write buffer when that is half full, and tells the superblock which devices
//      failed.
//   3. One discards buckets that became empty in what is flushed by now, and frees those that wait
//      for their generations.
//   4. One moves what is left in buckets that are mostly empty (Data/Move).
//   They are started by whoever opens a volume for others to use. Without them everything is done
//   by those who wait, on one thread, in an order that a seed repeats.
// Invariants
//   (1) Between two steps a thread holds nothing, and looks whether it shall end.
//   (2) What stops a thread stops the engine's writing, with the reason.
// Locks: those of the steps.
// Source: journal_reclaim.c (bch2_journal_reclaim_thread), btree_update_interior.c
// (btree_interior_update_work), alloc_background.c (bch2_do_discards_work).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// The threads of an open volume. They end when it goes: to let go of it waits for them.
final class EngineThreads: Sendable {
  private enum Work: CaseIterable {
    case nodes
    case journal
    case discards
    case copygc
  }

  private let stopping = StopSignal()
  private let engine: Engine
  private let pool = WorkerPool(workers: Work.allCases.count)

  init(_ engine: Engine) {
    self.engine = engine
    for work in Work.allCases {
      pool.submit { [stopping] _ in Self.run(work, engine, until: stopping) }
    }
  }

  /// Has all threads end after the step that they are at.
  func stop() {
    stopping.set()
    engine.nodeWrites.wake()
  }

  private static func run(_ work: Work, _ engine: Engine, until stopping: StopSignal) {
    do throws(VolumeError) {
      switch work {
      case .nodes: try engine.writeNodes(until: stopping)
      case .journal: try engine.keepJournalShort(until: stopping)
      case .discards: try engine.discardBuckets(until: stopping)
      case .copygc: try engine.collectGarbage(until: stopping)
      }
    } catch {
      engine.stopWriting(because: error)
    }
  }
}

/// Something to wait for that ends all waiting.
private final class StopSignal: Sendable {
  private let condition = Condition()
  private let value = Atomic<Bool>(false)

  var isSet: Bool { value.load(ordering: .acquiring) }

  func set() {
    condition.withLock { value.store(true, ordering: .releasing) }
    condition.broadcast()
  }

  /// Waits for so long, or until it is set.
  func wait(nanoseconds: UInt64) {
    condition.withLock {
      if !isSet { _ = condition.wait(nanoseconds: nanoseconds) }
    }
  }
}

extension Engine {
  /// Starts the engine's threads. `close` and `letGo` end them.
  func startThreads() {
    threads.withLock { if $0 == nil { $0 = EngineThreads(self) } }
  }

  /// Ends the engine's threads, and waits for that: the time of a step.
  func stopThreads() {
    let running = threads.withLock { threads in
      defer { threads = nil }
      return threads
    }
    running?.stop()
  }

  fileprivate func writeNodes(until stopping: StopSignal) throws(VolumeError) {
    while !stopping.isSet {
      try checkWritable()
      if !nodeWrites.step(self) { nodeWrites.waitForJob(nanoseconds: Self.longestWait) }
    }
  }

  fileprivate func keepJournalShort(until stopping: StopSignal) throws(VolumeError) {
    let delay = min(media.options[.journalReclaimDelay] * 1_000_000, Self.longestWait)
    while !stopping.isSet {
      try checkWritable()
      try retireFailedDevices()
      if journal.isFlushDue { try journal.flush(upTo: journal.currentSequence) }
      if writeBuffer.isHalfFull { try flushWriteBuffer() }
      while !stopping.isSet, journal.isHalfFull {
        journal.noteReclaim(isDirect: false)
        guard try reclaimJournal(.reclaim) else { break }
      }
      try growJournalsIfShort()
      if trees.cache.isOverLimit { try makeRoomInCache(.reclaim) }
      stopping.wait(nanoseconds: delay)
    }
  }

  fileprivate func discardBuckets(until stopping: StopSignal) throws(VolumeError) {
    var seen: UInt64 = 0
    while !stopping.isSet {
      try checkWritable()
      let flushed = journal.flushedUpTo
      if flushed != seen {
        try discardBuckets()
        seen = flushed
      }
      if areGenerationsDue { try collectGenerations(until: { stopping.isSet }) }
      stopping.wait(nanoseconds: Self.longestWait)
    }
  }

  fileprivate func collectGarbage(until stopping: StopSignal) throws(VolumeError) {
    while !stopping.isSet {
      try checkWritable()
      if try !collect(until: { stopping.isSet }) { stopping.wait(nanoseconds: Self.longestWait) }
    }
  }

  /// Threads end within a second.
  private static var longestWait: UInt64 { 500_000_000 }

  /// Devices that could not write are only read from when the volume is opened next: somebody has
  /// to look at them first. The last device to write to stays what it is.
  func retireFailedDevices() throws(VolumeError) {
    guard failures.count > 0 else { return }
    let members = store.superblock.members
    var writable = members.indices.filter { members[$0].isAlive && members[$0].state == .rw }
    for index in writable where failures.contains(UInt8(truncatingIfNeeded: index)) {
      guard writable.count > 1 else { return }
      try store.setState(.ro, ofMember: index)
      writable.removeAll { $0 == index }
    }
  }
}
