// SPDX-License-Identifier: GPL-2.0
// Keys of snapshots that go: deleted, or moved to who inherits them.
//
// How it works
//   1. A btree is walked from a position on, some keys at a time. What is in a dead node is
//      deleted.
//   2. What is in a node that gives way goes to its heir, unless there is a key at the same place
//      nearer to that: then it was hidden from all that are left, and is deleted.
//   3. A whiteout of an heir goes when there is nothing left for it to hide, not before.
//   4. Each step tells in which inodes it found keys of nodes that go: those are walked once more
//      (Engine+DeadSnapshots.swift).
// Invariants
//   (1) What a snapshot that stays sees is the same before and after each transaction.
// Locks: as all transactions. Others may change the same btrees meanwhile, and take snapshots.
// Source: snapshot.c (delete_dead_snapshots_process_key).

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// Keys that a transaction looks at, at most.
  private static var keysSeenAtOnce: Int { 4096 }

  /// Keys that a transaction changes, at most: those of extents have many others to follow.
  private func keysAtOnce(_ btree: BTreeID) -> Int { btree == .extents ? extentsAtOnce(16) : 48 }
  /// Words of the keys that it changes, but for the last one: half a node takes all of them.
  private var wordsAtOnce: Int {
    max(1, min(300, engine.trees.parameters.nodeBytes / 16 - Self.wordsOfLastMax))
  }
  /// What an inode takes that moves, what is left where it was, and a node's head.
  private static var wordsOfLastMax: Int { 80 }

  /// Deals with some keys of a btree, and commits.
  ///
  /// - Returns: where to go on, nil at the end; and the inodes that had keys of nodes that go.
  func cleanSome(
    _ btree: BTreeID, _ places: ClosedRange<BPos>, _ plan: SnapshotPlan
  ) throws(TransactionError) -> (next: BPos?, inodes: [UInt64]) {
    var walk = KeyWalk(btree, from: places.lowerBound, upTo: places.upperBound)
    var inodes: [UInt64] = []
    var (seen, left, words) = (Self.keysSeenAtOnce, keysAtOnce(btree), wordsAtOnce)
    // The journal has what was there before, too.
    var journalWords = engine.journal.reservationMax / 2
    var position: BPos?
    while seen > 0, left > 0, words > 0, journalWords > 0 {
      guard let found = try next(&walk) else {
        try commit()
        return (nil, inodes)
      }
      seen -= 1
      let key = found.key
      position = key.position.successor
      guard try clean(btree, found, plan) else { continue }
      if plan.place(of: key.position.snapshot) != key.position.snapshot
        || plan.isDead(key.position.snapshot)
      {
        inodes.append(btree == .inodes ? key.position.offset : key.position.inode)
      }
      left = key.type == .reflinkP ? 0 : left - 1
      words -= BKey.headerU64s
      journalWords -= Int(key.u64s) + 2 * BKey.headerU64s
      if plan.heir(of: key.position.snapshot) != nil {
        words -= Int(key.u64s)
        journalWords -= Int(key.u64s)
      }
    }
    try commit()
    return (position, inodes)
  }

  /// - Returns: Whether a key is to be changed.
  private func clean(
    _ btree: BTreeID, _ found: KeyView, _ plan: SnapshotPlan
  ) throws(TransactionError) -> Bool {
    let position = found.key.position
    if plan.isDead(position.snapshot) {
      delete(btree, position)
      return true
    }
    if let heir = plan.heir(of: position.snapshot) {
      let isHidden = try hasNearerKey(btree, position, to: heir, plan)
      let hidesNothing = try isUseless(found.key, btree)
      if !isHidden, !hidesNothing {
        var key = found.key
        key.position.snapshot = heir
        // What is there is read with intent: nobody puts a key there before the commit.
        if try lookup(btree, key.position, .intent) == nil {
          found.withValue { update(btree, key, $0) }
        }
      }
      delete(btree, position)
      // What hid it may have hidden nothing else.
      let place = BPos(position.inode, position.offset, heir)
      if isHidden, let nearest = try lookup(btree, place, .intent),
        try isUseless(nearest.key, btree)
      {
        delete(btree, place)
      }
      return true
    }
    guard found.key.isWhiteout, plan.isHeir(position.snapshot) else { return false }
    guard try isUseless(found.key, btree) else { return false }
    delete(btree, position)
    return true
  }

  /// Whether there is a key at the same place that comes before one for all that see the heir.
  private func hasNearerKey(
    _ btree: BTreeID, _ position: BPos, to heir: UInt32, _ plan: SnapshotPlan
  ) throws(TransactionError) -> Bool {
    var walk = KeyWalk(
      btree, from: BPos(position.inode, position.offset, heir), upTo: position, mode: .intent)
    while let found = try next(&walk), found.key.position != position {
      if plan.place(of: found.key.position.snapshot) == heir { return true }
    }
    return false
  }

  /// Whether a whiteout hides nothing, as the transaction leaves it.
  private func isUseless(
    _ key: BKey, _ btree: BTreeID
  ) throws(TransactionError) -> Bool {
    guard key.isWhiteout, let above = key.position.successor else { return false }
    var walk = KeyWalk(
      btree, from: above, upTo: BPos(key.position.inode, key.position.offset, .max),
      mode: .intent)
    while let found = try next(&walk) {
      if isAncestor(found.key.position.snapshot, of: key.position.snapshot) {
        return found.key.isWhiteout
      }
    }
    return true
  }
}
