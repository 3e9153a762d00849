// SPDX-License-Identifier: GPL-2.0
// Waiting until what was committed is on disk.
//
// How it works
//   The first who waits writes, for all who wait meanwhile: they find their entry flushed when he
//   is done, or one of them writes the next one. So many waiters share one flush.
// Invariants
//   (1) When `flush` returns, everything up to the entry is on stable storage.
//   (2) Nobody waits for ever: whoever finds nobody writing writes himself.
// Locks: `condition`; callers hold none.
// Source: journal.c (bch2_journal_flush_seq).

internal import BcachefsFormat
internal import BcachefsSupport

extension Journal {
  /// The newest entry that there is.
  var currentSequence: UInt64 { condition.withLock { nextSequence - 1 } }

  /// Whether no entry is needed but the newest, which is flushed.
  var holdsNothing: Bool {
    condition.withLock {
      pins.count == 1 && queue.isEmpty && flushedSequence == nextSequence - 1
        && lastSequenceOnDisk >= flushedSequence
    }
  }

  /// What the clean section holds: key version, clocks, roots. Nobody uses the journal any more.
  func cleanEntries() -> [CleanEntry] {
    var entries: [CleanEntry] = []
    let words = commonEnd() + rootEntries()
    var index = 0
    while index < words.count {
      let head = UInt64(littleEndian: words[index])
      let count = Int(UInt16(truncatingIfNeeded: head))
      let payload = words[index + 1..<index + 1 + count].flatMap { word in
        (0..<8).map { UInt8(truncatingIfNeeded: UInt64(littleEndian: word) >> UInt64($0 * 8)) }
      }
      entries.append(
        CleanEntry(
          type: JSetEntryType(rawValue: UInt8(truncatingIfNeeded: head >> 32)),
          btreeID: BTreeID(rawValue: UInt8(truncatingIfNeeded: head >> 16)),
          level: UInt8(truncatingIfNeeded: head >> 24), payload: payload))
      index += 1 + count
    }
    return entries
  }

  /// The newest entry that is on stable storage.
  var flushedUpTo: UInt64 { condition.withLock { flushedSequence } }

  /// Whether there is something that is not flushed, and the last flush is long ago.
  var isFlushDue: Bool {
    let now = media.clocks.monotonicNanoseconds()
    return condition.withLock {
      failure == nil && flushedSequence < nextSequence - 1
        && now &- lastFlushNanoseconds >= parameters.flushDelayNanoseconds
    }
  }

  /// Waits until an entry, and all before it, are on stable storage.
  ///
  /// - Throws: why the journal writes nothing any more.
  func flush(upTo sequence: UInt64) throws(VolumeError) {
    let start = instruments.times.now
    var hasWaited = false
    while true {
      condition.lock()
      let isDone = flushedSequence >= min(sequence, nextSequence - 1)
      let failure = failure
      if !isDone, failure == nil {
        // Where it is written already, and was not flushed, the next entry is.
        if queue.isEmpty { _ = openEntry() }
        flushWanted = max(flushWanted, min(sequence, nextSequence - 1), writtenSequence + 1)
      }
      condition.unlock()
      if let failure { throw failure }
      if isDone {
        if hasWaited { instruments.times.record(.journalFlushSeq, from: start) }
        return
      }
      hasWaited = true
      if writeStep() { continue }
      condition.withLock {
        // Somebody writes, or fills his part of the entry.
        if flushedSequence < sequence, self.failure == nil, isWriting || !isFirstReady {
          _ = condition.wait(nanoseconds: 10_000_000)
        }
      }
    }
  }

  private var isFirstReady: Bool { queue.first.map { $0.isFilled } ?? false }

  /// Whether less is needed than the disk says.
  var canFreeByFlush: Bool {
    condition.withLock { failure == nil && min(pins.front, nextSequence - 1) > lastSequenceOnDisk }
  }

  /// Closes the open entry, and waits until everybody has filled his part: nobody waits for
  /// anything with a reservation.
  func fillCurrent() {
    condition.withLock {
      let sequence = nextSequence - 1
      closeEntry()
      while failure == nil, queue.contains(where: { $0.sequence <= sequence && !$0.isFilled }) {
        _ = condition.wait(nanoseconds: 10_000_000)
      }
    }
  }

  /// Waits while somebody else writes, or for as long as given.
  func waitForWriter(nanoseconds: UInt64) {
    condition.withLock { _ = condition.wait(nanoseconds: nanoseconds) }
  }

  /// Flushes an entry that says how little of the journal is needed by now.
  func flushAll() throws(VolumeError) {
    condition.withLock {
      if queue.last.map({ $0.isClosed }) ?? true { _ = openEntry() }
    }
    try flush(upTo: currentSequence)
  }
}
