// SPDX-License-Identifier: GPL-2.0
// Putting what only the journal has into live btrees.
//
// How it works
//   1. Keys of interior nodes first, from the top down: where a key of a level belongs is known
//      only when the levels above are right.
//   2. Everything goes into the nodes that there are, in memory, whatever room they have on disk:
//      to split a node places are needed, and where there are any is only known when all of the
//      allocation btrees' keys are in. Then nodes that hold too much are split, into more than two
//      if need be. Others are written before, where they are, when the cache is full: what their
//      parents have to say of it goes into those whatever room they have, too.
//   3. Accounting keys are deltas: those newer than what the btree has are added to it.
//   4. Then it is known what is in use (SpaceUsage.swift).
//   5. Nothing is journalled again: the nodes pin the oldest entry that was replayed, until they
//      are written.
// Invariants
//   (1) No place is taken before all is replayed, and no node written that holds too much.
//   (2) Memory: the cache's, and those nodes that hold too much until the end.
// Locks: as all transactions; nobody else has the engine yet.
// Source: recovery.c (bch2_journal_replay), disk_accounting.c (bch2_accounting_read).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

extension Engine {
  /// Opens all roots, and puts all keys into their btrees. Btrees that the volume does not have yet
  /// are empty, and get a place when something is in them.
  ///
  /// - Returns: How many counts of files and snapshots there are that count nothing.
  /// - Throws: `.corrupt` where a root is lost, and what reading nodes throws.
  func replay(_ contents: JournalContents) throws(VolumeError) -> Int {
    for (index, root) in contents.roots.enumerated() {
      guard let root else { continue }
      let btree = BTreeID(rawValue: UInt8(truncatingIfNeeded: index))
      guard let key = root.key else {
        throw VolumeError(.corrupt, "the root of the \(btree) btree is lost")
      }
      let pointer = try NodePointer(key, root.value.rawBytes)
      try trees.openRoot(btree, level: Int(root.level), pointer)
    }
    for number in 0..<BTreeID.count where trees.root(BTreeID(rawValue: number)) == nil {
      trees.makeEmptyRoot(BTreeID(rawValue: number), sequence: nextNodeSequence())
    }
    isReplaying.store(true, ordering: .relaxed)
    let overlay = contents.overlay
    let sequence = contents.replayed.isEmpty ? 0 : contents.replayed.lowerBound
    var first = 0
    while first < overlay.rows.count {
      let btree = overlay.rows[first].btree
      var end = first
      for level in (0..<BTreeNodeHeader.maxDepth).reversed() {
        let rows = overlay.range(btree, UInt8(level))
        end = max(end, rows.upperBound)
        try replay(overlay, rows, sequence)
      }
      first = end
    }
    let empty = try readUsage(into: usage)
    isReplaying.store(false, ordering: .relaxed)
    try splitOverfullNodes()
    return empty
  }

  private func replay(
    _ overlay: JournalOverlay, _ rows: Range<Int>, _ sequence: UInt64
  ) throws(VolumeError) {
    var next = rows.lowerBound
    while next < rows.upperBound {
      let start = next
      next = try run("journal_replay", watermark: .reclaim) {
        (transaction) throws(TransactionError) in
        var index = start
        while index < rows.upperBound, transaction.updateCount < Self.keysAtOnce {
          index = try transaction.replay(overlay, at: index, end: rows.upperBound)
        }
        try transaction.commitReplay(sequence)
        return index
      }
    }
  }

  private static var keysAtOnce: Int { 64 }

  /// Splits the nodes that hold more than fits their places.
  private func splitOverfullNodes() throws(VolumeError) {
    let transaction = takeTransaction(.reclaim)
    defer { giveBack(transaction) }
    transaction.begin("journal_replay", .reclaim)
    for node in trees.cache.allNodes {
      guard node.state.contains(.dirty), !node.state.contains(.dead), !node.hasRoom(words: 0) else {
        continue
      }
      try makeRoom(
        transaction,
        RoomNeeded(btree: node.btree, level: node.level, position: node.minKey, words: 0))
    }
  }
}

extension Transaction {
  /// Takes a key of the journal, or all deltas of an accounting key.
  ///
  /// - Returns: the row behind them.
  fileprivate func replay(
    _ overlay: JournalOverlay, at index: Int, end: Int
  ) throws(TransactionError) -> Int {
    let row = overlay.rows[index]
    let key = overlay.key(at: index)
    // A root that was replaced since has levels that the btree has no more.
    guard let root = engine.trees.root(row.btree), root.with({ $0.level }) >= Int(row.level) else {
      return end
    }
    guard row.btree == .accounting, row.level == 0 else {
      replayKey(row, key, overlay.value(at: index))
      return index + 1
    }
    var next = index
    while next < end, overlay.rows[next].position == row.position { next += 1 }
    try addDeltas(row.position) { (add) in
      for row in index..<next { add(overlay.key(at: row), overlay.value(at: row)) }
    }
    return next
  }

  private func replayKey(_ row: JournalOverlay.Row, _ key: BKey, _ value: RawSpan) {
    guard row.level > 0, key.type == .btreePtrV2 else {
      return update(
        row.btree, level: Int(row.level), key, value, flags: [.noTriggers, .notJournalled])
    }
    // An address in the memory of who wrote it.
    let copy = HeapBuffer(byteCount: value.byteCount, alignment: 16)
    var bytes = copy.mutableBytes
    bytes.copy(value, to: 0)
    bytes[BTreePtrV2.Layout.memoryPointer] = 0
    update(
      row.btree, level: Int(row.level), key, bytes.bytes, flags: [.noTriggers, .notJournalled])
  }

  /// Puts the updates into the nodes, whatever room they have.
  fileprivate func commitReplay(_ sequence: UInt64) throws(TransactionError) {
    pinnedSequence = sequence
    newestSequence = sequence
    ignoresRoom = true
    defer { ignoresRoom = false }
    try commit()
  }
}
