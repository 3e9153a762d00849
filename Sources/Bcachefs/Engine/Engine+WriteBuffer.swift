// SPDX-License-Identifier: GPL-2.0
// Putting what is in the write buffer into its leaves.
//
// Invariants
//   (1) A key is in its leaf, and the leaf holds its journal entry, before the buffer lets go of
//       either.
//   (2) Whoever flushes never waits for another flush: allocating places for nodes may want one.
// Locks: none is held; those of transactions.
// Source: btree_write_buffer.c (bch2_btree_write_buffer_flush_locked).

internal import BcachefsFormat
internal import BcachefsSupport

extension Engine {
  /// Puts all keys that were committed into their leaves.
  ///
  /// - Throws: what transactions throw; the keys stay in the buffer then.
  func flushWriteBuffer() throws(VolumeError) {
    guard !writeBuffer.isEmpty else { return }
    writeBuffer.beginFlush()
    defer { writeBuffer.endFlush() }
    journal.fillCurrent()
    try flushTaken()
  }

  /// As `flushWriteBuffer`, unless somebody flushes, perhaps who calls this; deltas of accounting
  /// only as far as journal entries are filled.
  ///
  /// - Returns: whether it was flushed.
  func tryFlushWriteBuffer() throws(VolumeError) -> Bool {
    guard !writeBuffer.isEmpty, writeBuffer.tryBeginFlush() else { return false }
    defer { writeBuffer.endFlush() }
    try flushTaken()
    return true
  }

  private func flushTaken() throws(VolumeError) {
    let taken = writeBuffer.take(journal)
    do throws(VolumeError) { try put(taken) } catch {
      writeBuffer.putBack(taken, journal)
      throw error
    }
    writeBuffer.finish(taken, journal)
  }

  private func put(_ taken: borrowing BufferedKeys) throws(VolumeError) {
    // A small part of a node.
    let words = trees.parameters.nodeBytes / 64
    var next = 0
    while next < taken.keys.count {
      let start = next
      next = try run("btree_write_buffer_flush", watermark: .reclaim) {
        (transaction) throws(TransactionError) in
        try transaction.put(taken, from: start, upToWords: words)
      }
    }
  }
}

extension Transaction {
  /// Updates that one transaction of a flush has at most.
  private static var keysAtOnce: Int { 128 }

  /// Puts keys of the write buffer into their leaves.
  ///
  /// - Returns: the index behind them.
  fileprivate func put(
    _ taken: borrowing BufferedKeys, from start: Int, upToWords limit: Int
  ) throws(TransactionError) -> Int {
    (pinnedSequence, newestSequence) = (.max, 0)
    var (next, words) = (start, 0)
    while next < taken.keys.count, updateCount < Self.keysAtOnce, words < limit {
      let first = next
      repeat {
        pinnedSequence = min(pinnedSequence, taken.keys[next].sequence)
        newestSequence = max(newestSequence, taken.keys[next].sequence)
        next += 1
      } while next < taken.keys.count && taken.keys[next].isAt(taken.keys[first])
      words += try put(taken, first..<next)
    }
    try commit()
    return next
  }

  /// Makes keys of one position an update: the newest, or the sum of deltas.
  ///
  /// - Returns: the words of it.
  private func put(
    _ taken: borrowing BufferedKeys, _ range: Range<Int>
  ) throws(TransactionError) -> Int {
    let btree = taken.keys[range.lowerBound].btree
    if btree == .accounting {
      try addDeltas(taken.keys[range.lowerBound].position) { (add) in
        for index in range { taken.withKey(index, add) }
      }
    } else {
      taken.withKey(range.upperBound - 1) { (key, value) in
        update(btree, key, value, flags: [.noTriggers, .notJournalled])
      }
    }
    return taken.withKey(range.lowerBound) { (key, _) in Int(key.u64s) }
  }
}
