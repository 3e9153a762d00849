// SPDX-License-Identifier: GPL-2.0
// Running transactions: again and again until one commits.
//
// How it works
//   A body that ends with `restart` has changed nothing. Before it is called again, what stood in
//   its way is dealt with, with no lock held: waiting for a lock, reading a node, splitting one,
//   waiting for the journal.
// Invariants
//   (1) A body sees no restart; whoever calls `run` sees none either.
//   (2) Nothing is waited for with a lock held.
//   (3) A body that reads a bounded number of nodes gets through, however small the cache is.
// Source: btree_iter.h (lockrestart_do, bch2_trans_do).

internal import BcachefsFormat
internal import BcachefsSupport

extension Engine {
  /// Calls a body until it has committed, or failed.
  ///
  /// - Parameters:
  ///   - name: Told in the journal; the first 32 bytes.
  ///   - rule: What quotas say to what is changed.
  ///   - givesBack: Whether it takes keys away, for which it may use the last nodes that there are:
  ///     a full volume could not be emptied otherwise.
  ///   - body: Reads and updates by the transaction, then commits it; has no other effects.
  func run<Result>(
    _ name: StaticString, watermark: Watermark = .normal, quotas rule: QuotaRule = .unchecked,
    givesBack: Bool = false, _ body: (Transaction) throws(TransactionError) -> Result
  ) throws(VolumeError) -> Result {
    let transaction = takeTransaction(watermark)
    defer { giveBack(transaction) }
    transaction.begin(name, watermark)
    transaction.givesBack = givesBack
    if quotas != nil { transaction.quotas.begin(rule) }
    while true {
      try checkWritable()
      do throws(TransactionError) {
        let result = try body(transaction)
        transaction.unlock()
        mergeSmallNodes(transaction)
        return result
      } catch {
        try prepareRestart(transaction, error)
      }
    }
  }

  /// The same for many changes alike, some in each transaction, which is committed.
  ///
  /// - Parameter change: Makes the updates for one of them.
  func run<Element>(
    _ name: StaticString, watermark: Watermark = .normal, forEach all: [Element],
    _ change: (Transaction, Element) throws(TransactionError) -> Void
  ) throws(VolumeError) {
    var next = 0
    while next < all.count {
      let some = all[next..<min(next + Self.changesAtOnce, all.count)]
      try run(name, watermark: watermark) { (transaction) throws(TransactionError) in
        for element in some { try change(transaction, element) }
        try transaction.commit()
      }
      next = some.endIndex
    }
  }

  private static var changesAtOnce: Int { 32 }

  /// Joins nodes that a commit left nearly empty with a neighbour, then perhaps their parents. That
  /// it cannot be done changes nothing about the commit.
  private func mergeSmallNodes(_ transaction: Transaction) {
    while let small = transaction.takeSmallNode() {
      do throws(VolumeError) { try mergeIfSmall(transaction, small) } catch { transaction.unlock() }
    }
  }

  /// Deals with what stood in a transaction's way.
  func prepareRestart(
    _ transaction: Transaction, _ error: TransactionError
  ) throws(VolumeError) {
    let before = transaction.noteRestart(error)
    defer { transaction.trace.set(before) }
    transaction.unlock()
    let unmarked = transaction.unmarkedReplicas
    transaction.forgetUpdates()
    switch error {
    case .failed(let reason): throw reason
    case .restart(.lockConflict):
      if let (node, mode) = transaction.waitsFor { Self.wait(for: node, mode) }
    case .restart(.nodeRead):
      if let (pointer, btree, level) = transaction.missing {
        transaction.missing = nil
        transaction.nodesRead += 1
        let makesRoom = transaction.nodesRead <= Self.readsThatMakeRoom
        if makesRoom, trees.cache.isOverLimit { try makeRoomInCache(transaction.watermark) }
        _ = try trees.read(pointer, btree: btree, level: level)
      }
    case .restart(.nodeSplit):
      if let need = transaction.roomNeeded {
        transaction.roomNeeded = nil
        try makeRoom(transaction, need)
      }
    case .restart(.journalFull):
      try waitForJournal(words: transaction.journalWords, transaction.watermark)
    case .restart(.writeBufferUnflushed):
      instruments.count(.writeBufferFlushSync)
      instruments.note(.blockedWriteBufferFull, isBlocked: writeBuffer.isFull)
      try flushWriteBuffer()
      instruments.note(.blockedWriteBufferFull, isBlocked: false)
      transaction.seesBuffered = true
    case .restart(.replicasUnmarked):
      if let unmarked { try replicas.mark(unmarked) }
    }
  }

  /// Nodes that are read for a transaction with room made for each. Where that is not enough, the
  /// nodes that it needs at once do not fit the cache, beside those that cannot go because they are
  /// dirty: room for one would be made by letting go of another. So it reads the rest on top.
  private static var readsThatMakeRoom: Int { 16 }

  private static func wait(for node: NodeRef, _ mode: LockMode) {
    _ = node.with {
      $0.lock.waitUntilFree(for: mode == .read ? .read : mode == .intent ? .intent : .write)
    }
  }

  // MARK: - Room

  /// Replaces a full node, and its parents before it where they are full.
  func makeRoom(_ transaction: Transaction, _ need: RoomNeeded) throws(VolumeError) {
    try withReserve(transaction.watermark) { (reserve) throws(VolumeError) in
      var needs = [need]
      var places = NodeReserve.size
      while let last = needs.last {
        try checkWritable()
        try refill(&reserve, to: places, transaction)
        do throws(TransactionError) {
          switch try transaction.replace(last, &reserve) {
          case .done:
            transaction.unlock()
            needs.removeLast()
          case .needsPlaces(let count):
            transaction.unlock()
            places = count
          case .parentNeeds(let parent):
            transaction.unlock()
            invariant(needs.count < BTreeNodeHeader.maxDepth, "btrees are of bounded depth")
            needs.append(parent)
          }
        } catch {
          try prepareRestart(transaction, error)
        }
      }
    }
    keepQueueShort(transaction.watermark)
  }

  /// Works at the queue when it is long, or when the journal has little room for what its jobs have
  /// to tell. The caller is not at a job, and holds nothing that one could want.
  private func keepQueueShort(_ watermark: Watermark) {
    guard watermark < .interiorUpdates, nodeWrites.count > 0 else { return }
    let limit = min(Self.queueLimit, journal.updatesThatFit)
    if nodeWrites.count > limit { nodeWrites.drain(self, to: limit) }
  }

  /// Joins a node with a neighbour, if there is little in both. It takes one and gives two back: so
  /// it may use the last that there are.
  private func mergeIfSmall(
    _ transaction: Transaction, _ small: SmallNode
  ) throws(VolumeError) {
    if let need = try merge(transaction, small) {
      try makeRoom(transaction, need)
      _ = try merge(transaction, small)
    }
    keepQueueShort(transaction.watermark)
  }

  private func merge(
    _ transaction: Transaction, _ small: SmallNode
  ) throws(VolumeError) -> RoomNeeded? {
    var need: RoomNeeded?
    try withReserve(transaction.watermark) { (reserve) throws(VolumeError) in
      while true {
        try checkWritable()
        try refillToMerge(&reserve, transaction.watermark)
        do throws(TransactionError) {
          need = try transaction.merge(small, &reserve)
          return transaction.unlock()
        } catch {
          try prepareRestart(transaction, error)
        }
      }
    }
    return need
  }

  /// Jobs that may wait for the disk before those who add to them do the work.
  private static var queueLimit: Int { 64 }

  private func withReserve(
    _ watermark: Watermark, _ body: (inout NodeReserve) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    var reserve = NodeReserve()
    defer { for left in reserve.allocations { allocator.giveBack(left) } }
    try body(&reserve)
  }

  private func refill(
    _ reserve: inout NodeReserve, to count: Int, _ transaction: Transaction
  ) throws(VolumeError) {
    while reserve.allocations.count < count {
      do throws(VolumeError) {
        reserve.allocations.append(try allocator.take(max(transaction.watermark, .btree), self))
      } catch {
        instruments.count(.btreeReserveGetFail)
        guard error.code == .noSpace, transaction.givesBack else { throw error }
        reserve.allocations.append(try allocator.takeOneOfTheLast(self))
      }
    }
  }

  /// The same to join two nodes. Who makes room already takes what there is.
  private func refillToMerge(
    _ reserve: inout NodeReserve, _ watermark: Watermark
  ) throws(VolumeError) {
    while reserve.allocations.count < NodeReserve.size {
      reserve.allocations.append(
        watermark < .copygc
          ? try allocator.takeOneOfTheLast(self) : try allocator.take(max(watermark, .btree), self))
    }
  }
}
