// SPDX-License-Identifier: GPL-2.0
// Writing what is dirty: because the journal needs its oldest entries no more, because memory is
// short, or because the volume is closed.
//
// How it works
//   1. A node with a place is appended to. A root that was never on disk has none: it is replaced
//      by one that has.
//   2. When the cache is over its limit, dirty nodes are written, some at a time, so that they can
//      go.
// Invariants
//   (1) No lock is held while anything is waited for.
// Source: journal_reclaim.c (bch2_journal_flush_pins), btree_cache.c (bch2_btree_cache_scan).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

extension Engine {
  /// Writes a node's dirty keys, or sees to it that they will be.
  ///
  /// - Returns: False when nothing could be done now.
  @discardableResult
  func flush(_ node: LiveNode) throws(VolumeError) -> Bool {
    guard node.state.contains(.dirty), node.state.isDisjoint(with: .dead) else { return false }
    if node.state.contains(.root), node.isWithoutPlace {
      guard !isReplaying.load(ordering: .relaxed) else { return false }
      try rewrite(node.btree, level: node.level, .min, .reclaim)
      return true
    }
    return write(node)
  }

  /// Waits until a reservation could succeed, and does what there is to be done for that.
  ///
  /// - Throws: why there will be no room any more.
  func waitForJournal(words: Int, _ watermark: Watermark) throws(VolumeError) {
    var (idle, isBlocked) = (0, false)
    while try !journal.hasRoom(u64s: words, watermark: watermark) {
      try checkWritable()
      if journal.writeStep() { continue }
      if journal.isShortOfRoom(watermark) {
        if !isBlocked {
          instruments.count(.transBlockedJournalReclaim)
          journal.noteShortage()
        }
        isBlocked = true
        journal.noteReclaim(isDirect: true)
        if try reclaimJournal(watermark) {
          idle = 0
          continue
        }
      }
      idle += 1
      guard idle < Self.idleMax else {
        throw VolumeError(
          .limit, "the journal is full, and nothing more can be freed of it: \(journal.roomText)")
      }
      journal.waitForWriter(nanoseconds: 10_000_000)
    }
  }

  /// Rounds of 10 ms without any progress after which the journal counts as stuck.
  private static var idleMax: Int { 1000 }

  /// Writes the nodes that hold the oldest entries, or an entry that says how little is held.
  ///
  /// - Returns: False when there was nothing to do.
  func reclaimJournal(_ watermark: Watermark) throws(VolumeError) -> Bool {
    var isBusy = false
    instruments.count(.journalReclaimStart)
    if watermark < .interiorUpdates {
      if journal.isAmongOldest(writeBuffer.oldestSequence), try tryFlushWriteBuffer() {
        isBusy = true
      }
      let count = min(Self.reclaimedAtOnce, journal.updatesThatFit)
      for owner in journal.oldestOwners(max: count) {
        if try flush(owner.node) { isBusy = true }
      }
      if nodeWrites.count > 0 {
        nodeWrites.drain(self)
        isBusy = true
      }
    }
    if journal.canFreeByFlush {
      try journal.flushAll()
      isBusy = true
    }
    instruments.count(.journalReclaimFinish)
    return isBusy
  }

  private static var reclaimedAtOnce: Int { 64 }

  /// Replaces a node by one at another place.
  ///
  /// - Parameter watermark: At least `.btreeCopygc`: who writes what the journal waits for, or
  ///   makes room, does not wait for room.
  func rewrite(
    _ btree: BTreeID, level: Int, _ position: BPos, _ watermark: Watermark
  ) throws(VolumeError) {
    let transaction = takeTransaction(watermark)
    defer { giveBack(transaction) }
    transaction.begin("btree_node_rewrite", watermark)
    try makeRoom(
      transaction,
      RoomNeeded(btree: btree, level: level, position: position, words: 0, isRewrite: true))
  }

  /// Empties the write buffer, puts every dirty node into the queue, and works until none is dirty
  /// any more.
  ///
  /// - Throws: as `checkWritable`; `.limit` if a node stays dirty whatever is done.
  func writeAllNodes() throws(VolumeError) {
    var (idle, collections) = (0, Self.collectionsMax)
    while true {
      try checkWritable()
      try flushWriteBuffer()
      var (isBusy, left) = (nodeWrites.count > 0, LiveNode?.none)
      for node in trees.cache.allNodes where node.state.contains(.dirty) {
        guard node.state.isDisjoint(with: .dead) else { continue }
        left = node
        if try flush(node) { isBusy = true }
        if nodeWrites.count >= Self.writtenBetweenLooks { try writeQueue(&collections) }
      }
      try writeQueue(&collections)
      if let left {
        idle = isBusy ? 0 : idle + 1
        guard idle < Self.idleMax else { throw left.staysDirty() }
        // Somebody has it locked.
        if !isBusy { journal.waitForWriter(nanoseconds: 10_000_000) }
        continue
      }
      guard degradedNodes.withLock({ !$0.isEmpty }) else { return }
      try rewriteDegradedNodes()
    }
  }

  /// Nodes that are written before it is looked whether there are places for more.
  private static var writtenBetweenLooks: Int { 8 }
  /// How often nodes are moved together until all are written: that makes others dirty.
  private static var collectionsMax: Int { 64 }

  /// Does all jobs. A node that is full is replaced, and so are those that tell where it is: where
  /// places get few, nodes that lie scattered in buckets are moved together.
  private func writeQueue(_ collections: inout Int) throws(VolumeError) {
    nodeWrites.drain(self)
    guard collections > 0, try !hasPlacesForNodes(.copygc), try freeWhatWasReplaced() == 0,
      copygc.mayHelp
    else { return }
    collections -= 1
    if try !collectNow(on: writePoints.nodes.devices, goal: 4) { copygc.noteVain() }
  }

  /// Makes room in the cache, writing nodes where all that are old are dirty. The queue of writes
  /// itself does without: it would wait for itself.
  func makeRoomInCache(_ watermark: Watermark) throws(VolumeError) {
    guard watermark < .interiorUpdates else {
      _ = trees.cache.shrink()
      return
    }
    for _ in 0..<4 where !trees.cache.shrink() {
      let limit = min(Self.writtenAtOnce, journal.updatesThatFit)
      var written = 0
      for node in trees.cache.allNodes where node.state.contains(.dirty) {
        if try flush(node) { written += 1 }
        if written == limit { break }
      }
      nodeWrites.drain(self)
    }
  }

  private static var writtenAtOnce: Int { 64 }
}

extension LiveNode {
  /// Whether it was never given a place on disk.
  fileprivate var isWithoutPlace: Bool {
    guard lock.tryRead() else { return false }
    defer { lock.unlockRead() }
    return pointer.isNone
  }

  /// For a node that cannot be written, though nobody is at work on it.
  fileprivate func staysDirty() -> VolumeError {
    VolumeError(
      .limit,
      "node \(btree) level \(level) up to \(maxKey) cannot be written: state "
        + "\(String(flags.load(ordering: .relaxed), radix: 16)), \(blockers) updates before it; "
        + "nothing of the journal is lost, and opening the volume again replays it")
  }
}
