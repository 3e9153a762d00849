// SPDX-License-Identifier: GPL-2.0
// A transaction becomes part of the volume.
//
// How it works
//   1. Triggers add what follows from the updates (Triggers), until nothing is added.
//   2. The leaf of every update is locked with intent; each must have room for what goes into it.
//   3. The leaves are locked for writing, quotas are asked (Transaction+Quotas.swift), and room is
//      reserved in the open journal entry. From here on nothing can fail.
//   4. The transaction's name, for each update what it overwrites and the new key, and the
//      transaction's own entries go into the journal; the keys into the nodes, which from then on
//      hold the journal entry by their pins. Keys of some btrees go into the write buffer instead
//      (WriteBuffer.swift): no leaf is locked for them, and nothing told of what they overwrite.
//   5. Locks first, then the reservation are given back: giving it back may write the entry.
// Invariants
//   (1) Nothing of a transaction is in a node before its place in the journal is certain.
//   (2) All of a transaction is in one journal entry.
//   (3) A node that becomes dirty pins the entry before the reservation is given back.
// Locks: node locks (tried), then the journal's, which are leaves.
// Source: btree_trans_commit.c.

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// Makes the updates happen.
  ///
  /// - Returns: the sequence number of the journal entry that they are in; 0 if there were none.
  /// - Throws: `.restart`, with nothing changed and all locks still held: the runner gives them
  ///   back.
  @discardableResult
  func commit() throws(TransactionError) -> UInt64 {
    guard updateCount > 0 || entryWords > 0 else { return 0 }
    if engine.quotas != nil { quotas.changes.removeAll(keepingCapacity: true) }
    try runTriggers()
    guard unmarkedReplicas == nil else { throw .restart(.replicasUnmarked) }
    if updateCount > Self.manyUpdates { try checkSize() }
    if engine.writeBuffer.isFull, watermark < .reclaim { throw .restart(.writeBufferUnflushed) }
    try lockLeaves()
    try checkRoom()
    for row in 0..<held.count where held.mode(row) == .intent && isTarget(held.node(row)) {
      try raise(row, to: .write)
    }
    if let known = engine.quotas { try chargeQuotas(known) }
    guard journalWords > 0 else {
      apply(pinnedSequence)
      count(.transactionCommit)
      held.releaseAll()
      forgetUpdates()
      return pinnedSequence
    }
    guard var reservation = engine.journal.reserve(u64s: journalWords, watermark: watermark) else {
      engine.quotas?.takeBack(quotas.changes)
      held.lowerWrites()
      throw .restart(.journalFull)
    }
    writeJournal(&reservation)
    apply(reservation.sequence)
    if changesSnapshots { followSnapshots() }
    held.releaseAll()
    engine.journal.release(reservation)
    count(.transactionCommit)
    forgetUpdates()
    return reservation.sequence
  }

  /// Updates from which on a transaction may be too large for a journal entry.
  private static var manyUpdates: Int { 256 }

  /// Refuses what can never be committed, before nodes are split for it.
  private func checkSize() throws(TransactionError) {
    var words = entryWords
    for index in 0..<updateCount { words += unsafe 1 + updates[index].wordCount }
    guard words <= engine.journal.reservationMax else {
      throw .failed(
        VolumeError(
          .limit,
          "a transaction (\(trace.nameText)) of \(words) words does not fit a journal entry of "
            + "\(engine.journal.reservationMax)"))
    }
  }

  /// Locks the leaf of every update with intent.
  @inline(__always)
  private func lockLeaves() throws(TransactionError) {
    for index in 0..<updateCount {
      let update = unsafe updates[index]
      if update.flags.contains(.buffered) { continue }
      guard
        let node = try node(update.btree, level: Int(update.level), update.position, .intent)
      else {
        throw .failed(VolumeError(.corrupt, "there is no \(update.btree) btree"))
      }
      unsafe updates[index].node = node
    }
  }

  @inline(__always)
  private func isTarget(_ node: NodeRef) -> Bool {
    for index in 0..<updateCount where unsafe updates[index].node == node { return true }
    return false
  }

  /// Whether every leaf has room; also adds up what the journal has to hold.
  @inline(__always)
  private func checkRoom() throws(TransactionError) {
    journalWords = entryWords
    var words = 0
    for index in 0..<updateCount {
      let update = unsafe updates[index]
      guard let node = update.node else {
        journalWords &+= 1 &+ update.wordCount
        continue
      }
      if index > 0, unsafe updates[index &- 1].node != node { words = 0 }
      words &+= update.wordCount
      guard ignoresRoom || node.with({ $0.hasRoom(words: words) }) else {
        roomNeeded = RoomNeeded(
          btree: update.btree, level: Int(update.level), position: update.position,
          words: words)
        throw .restart(.nodeSplit)
      }
      let slot: IndexSlot
      if update.level == 0 {
        slot = paths.lowerBound(update.btree, update.position, in: node)
        paths.note(update.btree, update.position, at: slot)
      } else {
        slot = node.with { $0.index.lowerBound(update.position) }
      }
      unsafe updates[index].slot = slot
      guard !update.flags.contains(.notJournalled) else { continue }
      journalWords &+= 1 &+ update.wordCount
      if engine.journalsNames {
        journalWords &+= 1 &+ node.with { $0.wordsOfOld(at: slot, update.position) }
      }
    }
    if engine.journalsNames, journalWords > 0 { journalWords &+= 1 &+ Self.nameWords }
  }

  // MARK: - Journal

  /// Words of a transaction's name (`JSET_ENTRY_LOG_U64s`).
  private static var nameWords: Int { 4 }

  @inline(__always)
  private func writeJournal(_ reservation: inout JournalReservation) {
    if engine.journalsNames {
      unsafe withUnsafePointer(to: name) { name in
        unsafe reservation.append(
          .log, BTreeID(rawValue: 0), level: 0, UnsafeRawPointer(name), u64s: Self.nameWords)
      }
    }
    for index in 0..<updateCount {
      let update = unsafe updates[index]
      guard !update.flags.contains(.notJournalled) else { continue }
      if update.flags.contains(.delta) {
        Self.setVersion(of: update, reservation.sequence, at: unsafe reservation.wordPosition)
      } else if update.flags.contains(.stampsBucket) {
        Self.stamp(update, reservation.sequence)
      } else if update.flags.contains(.stampsInode) {
        var bytes = update.words
        bytes[LEField<UInt64>(BKey.Layout.byteCount)] = reservation.sequence
      }
      if engine.journalsNames, let node = update.node {
        node.with { node in
          let old = node.key(at: update.slot, update.position)
          let key = old?.key ?? BKey(type: .deleted, position: update.position)
          unsafe reservation.appendKey(
            .overwrite, update.btree, level: update.level, key, old?.unsafeValue)
        }
      }
      unsafe reservation.append(
        .btreeKeys, update.btree, level: update.level, UnsafeRawPointer(update.unsafeWords),
        u64s: update.wordCount)
    }
    if entryWords > 0 {
      unsafe reservation.appendEntries(UnsafeRawPointer(entries), u64s: entryWords)
    }
  }

  // MARK: - What only the reservation tells

  /// The version of a delta: where it stands in the journal. The btree's key has that of the newest
  /// delta in it, so that none is added twice.
  private static func setVersion(of update: TransactionUpdate, _ sequence: UInt64, at word: Int) {
    var bytes = update.words
    bytes[BKey.Layout.versionLo] = sequence << 32 | UInt64(word)
    bytes[BKey.Layout.versionHi] = UInt32(truncatingIfNeeded: sequence >> 32)
  }

  /// In which journal entry a bucket became empty, or was used. Where both is the same one there is
  /// nothing to wait for before it is used again.
  private static func stamp(_ update: TransactionUpdate, _ sequence: UInt64) {
    var bytes = update.words
    let value = BKey.Layout.byteCount
    let field = LEField<UInt64>(value + AllocV4.Layout.journalSeq.offset)
    let type = DataType(rawValue: bytes[LEField<UInt8>(value + AllocV4.Layout.dataType.offset)])
    bytes[field] = type.isEmpty && bytes[field] == sequence ? 0 : sequence
  }

  // MARK: - Nodes

  @inline(__always)
  private func apply(_ sequence: UInt64) {
    var last: NodeRef?
    var buffered = 0
    for index in 0..<updateCount {
      let update = unsafe updates[index]
      guard let ref = update.node else {
        buffered &+= 1
        continue
      }
      let isFirst = ref != last
      last = ref
      ref.with { node in
        let isOld = update.flags.contains(.notJournalled)
        let (pinned, newest) = isOld ? (pinnedSequence, newestSequence) : (sequence, sequence)
        let view = update.view
        // What was put in before may have moved what is behind it.
        let slot = isFirst ? update.slot : node.index.lowerBound(update.position)
        unsafe node.put(view.key, view.unsafeValue, at: slot)
        if node.journalSequence < newest { node.journalSequence = newest }
        node.set(.dirty)
        engine.journal.pin(node.dirtyPin, sequence: pinned)
        // While a journal is replayed it is not known yet where there is room for a new node.
        if update.type == .deleted || update.type == .whiteout, !ignoresRoom,
          node.isWorthMerging()
        {
          noteSmall(SmallNode(btree: node.btree, level: node.level, position: node.maxKey))
        }
      }
    }
    if buffered > 0 { buffer(sequence) }
  }

  // MARK: - The write buffer

  /// Puts the updates of btrees with a write buffer there. What they count counts from here on.
  @inline(never)
  private func buffer(_ sequence: UInt64) {
    var grown: Int64 = 0
    engine.writeBuffer.add(of: sequence, engine.journal) { (keys) in
      for index in 0..<updateCount {
        let update = unsafe updates[index]
        guard update.flags.contains(.buffered) else { continue }
        keys.append(update, sequence)
        if update.flags.contains(.delta) {
          grown &+= update.view.withValue { engine.usage.add(update.position, $0) }
        }
      }
    }
    guard grown > 0, promisedSectors > 0 else { return }
    let used = min(UInt64(grown), promisedSectors)
    promisedSectors -= used
    engine.usage.endPromise(of: used)
  }
}
