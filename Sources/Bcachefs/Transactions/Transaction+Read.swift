// SPDX-License-Identifier: GPL-2.0
// What a transaction sees: keys of the nodes, and its own updates over them.
//
// How it works
//   1. `lookup` and `next` lock the leaf and return a view of the key where it stands. The leaf
//      stays locked, so the view is good until the transaction unlocks or commits.
//   2. A walk with a `KeyWalk` gives each leaf back when it has the next one, unless it was locked
//      before, or for changes. Not earlier: a key may move from one leaf to the one before, to
//      another snapshot, and would be seen in neither.
// Invariants
//   (1) An own update hides what is in the node; one of type `deleted` shows as nothing.
//   (2) What was read with `.intent` cannot have been changed by others when the transaction
//       commits; what was read with `.read` cannot as long as it is not unlocked.
//   (3) Reads of a btree with a write buffer see what was committed before the runner began, but
//       for those of reclaim, which the buffer itself may wait for.
// Locks: Transaction+Search.swift.
// Source: btree_iter.c (bch2_btree_iter_peek_slot, bch2_btree_iter_peek_max).

internal import BcachefsFormat
internal import BcachefsSupport

/// A walk over keys of a btree's leaves.
struct KeyWalk {
  let btree: BTreeID
  let end: BPos
  let mode: LockMode
  /// Where the next key is looked for; nil behind the end.
  fileprivate(set) var position: BPos?
  fileprivate var node: NodeRef?
  fileprivate var slot = IndexSlot(row: 0, entry: 0)
  /// Where the key that was found last is in its node.
  fileprivate var found = IndexSlot(row: 0, entry: 0)
  /// The node was not locked before the walk came by.
  fileprivate var isPassing = false
  fileprivate var lockSequence: UInt32 = 0

  init(_ btree: BTreeID, from start: BPos, upTo end: BPos = .max, mode: LockMode = .read) {
    self.btree = btree
    self.end = end
    self.mode = mode
    position = start
  }
}

extension Transaction {
  /// The key at exactly a position; nil if there is none.
  @inline(__always)
  func lookup(
    _ btree: BTreeID, _ position: BPos, _ mode: LockMode = .read
  ) throws(TransactionError) -> KeyView? {
    if let own = ownKey(btree, from: position, upTo: position) {
      return own.type == .deleted ? nil : own.view
    }
    try seeBuffered(btree)
    guard let node = try node(btree, level: 0, position, mode) else { return nil }
    let slot = paths.lowerBound(btree, position, in: node)
    paths.note(btree, position, at: slot)
    return node.with { $0.key(at: slot, position) }
  }

  /// The first key at or behind a position, up to `end`; nil if there is none.
  func next(
    _ btree: BTreeID, from start: BPos, upTo end: BPos = .max, _ mode: LockMode = .read
  ) throws(TransactionError) -> KeyView? {
    var walk = KeyWalk(btree, from: start, upTo: end, mode: mode)
    guard let view = try next(&walk) else { return nil }
    paths.note(btree, view.key.position, at: walk.found)
    return view
  }

  /// The next key of a walk; nil at its end.
  @inline(__always)
  func next(_ walk: inout KeyWalk) throws(TransactionError) -> KeyView? {
    while let position = walk.position, position <= walk.end {
      guard try enter(&walk, position) != nil, let node = walk.node else {
        walk.position = nil
        return nil
      }
      let visible = node.with { node in
        node.firstVisible(from: walk.slot).map { slot in (slot, node.view(at: slot)) }
      }
      let leafEnd = node.with { $0.maxKey }
      if updateCount > 0,
        let own = ownKey(
          walk.btree, from: position,
          upTo: min(visible?.1.key.position ?? leafEnd, walk.end))
      {
        advance(&walk, behind: own.position, leafEnd)
        if own.type != .deleted { return own.view }
        continue
      }
      guard let visible else {
        advance(&walk, behind: leafEnd, leafEnd)
        continue
      }
      guard visible.1.key.position <= walk.end else {
        walk.position = nil
        return nil
      }
      walk.found = visible.0
      walk.slot = node.with { $0.index.after(visible.0) }
      walk.position = visible.1.key.position.successor
      return visible.1
    }
    return nil
  }

  /// The last key at or before a position, down to `end`; nil if there is none.
  func previous(
    _ btree: BTreeID, from start: BPos, downTo end: BPos = .min, _ mode: LockMode = .read
  ) throws(TransactionError) -> KeyView? {
    try seeBuffered(btree)
    var position = start
    while end <= position {
      guard let node = try node(btree, level: 0, position, mode) else { return nil }
      let (visible, leafStart): (KeyView?, BPos) = node.with { node in
        var slot = node.index.lowerBound(position)
        if slot.row < node.index.rowCount, node.index[slot].position == position {
          slot = node.index.after(slot)
        }
        return (node.lastVisible(before: slot).map { node.view(at: $0) }, node.minKey)
      }
      let own = lastOwnKey(
        btree, from: position, downTo: max(visible?.key.position ?? leafStart, end))
      if let own {
        if own.type != .deleted { return own.view }
        guard let before = own.position.predecessor else { return nil }
        position = before
        continue
      }
      if let visible { return end <= visible.key.position ? visible : nil }
      guard let before = leafStart.predecessor else { return nil }
      position = before
    }
    return nil
  }

  private func lastOwnKey(
    _ btree: BTreeID, from position: BPos, downTo end: BPos
  ) -> TransactionUpdate? {
    guard updateCount > 0 else { return nil }
    var index = firstUpdate(btree, 0, position)
    if unsafe index == updateCount || updates[index].btree != btree
      || updates[index].level != 0 || updates[index].position != position
    {
      index -= 1
    }
    guard index >= 0 else { return nil }
    let update = unsafe updates[index]
    guard update.btree == btree, update.level == 0, end <= update.position,
      update.position <= position
    else { return nil }
    return update
  }

  /// Has the write buffer emptied before a btree is read that it may hold keys of.
  @inline(__always)
  private func seeBuffered(_ btree: BTreeID) throws(TransactionError) {
    guard btree.isWriteBuffered, !seesBuffered, watermark < .reclaim,
      !engine.writeBuffer.isEmpty
    else { return }
    throw .restart(.writeBufferUnflushed)
  }

  // MARK: - Walks

  /// Locks the leaf of a walk's position, if it is not still.
  @inline(__always)
  private func enter(
    _ walk: inout KeyWalk, _ position: BPos
  ) throws(TransactionError) -> NodeRef? {
    if let node = walk.node {
      if held.row(of: node) != nil,
        node.with({
          $0.lock.sequence == walk.lockSequence && $0.covers(position)
        })
      {
        return node
      }
    }
    try seeBuffered(walk.btree)
    let heldBefore = held.count
    let next = try node(walk.btree, level: 0, position, walk.mode)
    let isNew = held.count > heldBefore && walk.mode == .read
    if next != walk.node { leave(&walk) }
    if isNew { walk.isPassing = true }
    guard let node = next else { return nil }
    walk.node = node
    walk.slot = paths.lowerBound(walk.btree, position, in: node)
    walk.lockSequence = node.with { $0.lock.sequence }
    return node
  }

  @inline(__always)
  private func advance(_ walk: inout KeyWalk, behind position: BPos, _ leafEnd: BPos) {
    walk.position = position.successor
    if position != leafEnd, let next = walk.position, let node = walk.node {
      walk.slot = node.with { $0.index.lowerBound(next) }
    }
  }

  /// Gives the leaf of a walk back, if it was locked for the walk only. Views of it are gone then.
  func leave(_ walk: inout KeyWalk) {
    if walk.isPassing, let node = walk.node, let row = held.row(of: node),
      held.mode(row) == .read
    {
      held.release(row)
    }
    walk.node = nil
    walk.isPassing = false
  }
}
