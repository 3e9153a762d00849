// SPDX-License-Identifier: GPL-2.0
// From a position to the node that covers it, locked.
//
// How it works
//   1. The node that was visited last is tried first, then its parents, then the root. On the way
//      down each node is locked before its parent is given back.
//   2. What is locked is compared with what was looked for: incarnation, bounds, identity.
//   3. A lock that cannot be had within a short time ends the attempt: the transaction gives back
//      all it holds, waits for that lock with empty hands, and begins again. The same where a node
//      has to be read.
// Invariants
//   (1) Nobody ever waits for anything while he holds a node's lock: so there is no deadlock,
//       whatever the order in which nodes are locked.
//   (2) A node that is returned covers the position, is alive, and is in `held`.
// Source: btree_iter.c (bch2_btree_path_traverse_one); the rule is ours (upstream has an order, and
// detects cycles).

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// How often a lock is tried before the transaction begins again.
  private static var tries: Int { 200 }

  /// The node of a level that covers a position, locked.
  ///
  /// - Returns: nil where the btree has no such level.
  /// - Throws: `.restart`; `.failed` where nothing covers the position.
  @inline(__always)
  func node(
    _ btree: BTreeID, level: Int, _ position: BPos, _ mode: LockMode
  ) throws(TransactionError) -> NodeRef? {
    let visited = paths[btree, level]
    if let node = visited.node {
      if try lock(node, mode, visited.incarnation, covering: position) { return node }
    }
    return try descend(btree, level: level, position, mode)
  }

  /// Locks a node if it is still the one that it was and covers a position.
  @inline(__always)
  private func lock(
    _ node: NodeRef, _ mode: LockMode, _ incarnation: UInt32, covering position: BPos
  ) throws(TransactionError) -> Bool {
    if let row = held.row(of: node) {
      // It may be held as the node of another btree that it is by now.
      guard node.with({ $0.incarnation == incarnation && $0.covers(position) }) else {
        return false
      }
      try raise(row, to: mode)
      return true
    }
    guard node.with({ $0.incarnation == incarnation }) else {
      count(.btreePathRelockFail)
      return false
    }
    guard node.with({ $0.mayCover(position) }) else { return false }
    guard Self.tryLock(node, mode) else { throw conflict(node, mode) }
    let isRight = node.with {
      $0.incarnation == incarnation && $0.covers(position)
    }
    held.add(node, mode)
    if isRight { return true }
    held.release(held.count &- 1)
    return false
  }

  @inline(__always)
  func raise(_ row: Int, to mode: LockMode) throws(TransactionError) {
    for _ in 0..<Self.tries where held.tryRaise(row, to: mode) { return }
    throw conflict(held.node(row), mode)
  }

  @inline(__always)
  static func tryLock(_ node: NodeRef, _ mode: LockMode) -> Bool {
    node.with { node in
      for _ in 0..<tries {
        if mode == .read ? node.lock.tryRead() : node.lock.tryIntent() { return true }
      }
      return false
    }
  }

  /// Takes note of what stands in the way.
  @inline(never)
  func conflict(_ node: NodeRef, _ mode: LockMode) -> TransactionError {
    waitsFor = (node, mode)
    return .restart(.lockConflict)
  }

  // MARK: - Descent

  /// A node on the way down.
  private struct Step {
    let node: NodeRef
    /// Locked for the descent only.
    let isPassing: Bool
  }

  private func leave(_ step: Step) {
    guard step.isPassing, let row = held.row(of: step.node) else { return }
    held.release(row)
  }

  @inline(never)
  private func descend(
    _ btree: BTreeID, level: Int, _ position: BPos, _ mode: LockMode
  ) throws(TransactionError) -> NodeRef? {
    guard var step = try start(btree, level: level, position, mode) else { return nil }
    while true {
      let here = step.node.with { $0.level }
      if here == level { return step.node }
      let next = try child(of: step, level: here, position, here - 1 == level ? mode : .read)
      leave(step)
      step = next
    }
  }

  /// Where a descent begins: the lowest visited parent that covers the position, or the root.
  private func start(
    _ btree: BTreeID, level: Int, _ position: BPos, _ mode: LockMode
  ) throws(TransactionError) -> Step? {
    for above in level + 1..<BTreeNodeHeader.maxDepth {
      let visited = paths[btree, above]
      guard let node = visited.node else { continue }
      let wasHeld = held.row(of: node) != nil
      if try lock(node, .read, visited.incarnation, covering: position) {
        return Step(node: node, isPassing: !wasHeld)
      }
    }
    while true {
      guard let root = engine.trees.root(btree) else { return nil }
      let rootLevel = root.with { $0.level }
      guard rootLevel >= level else { return nil }
      let wanted: LockMode = rootLevel == level ? mode : .read
      if let row = held.row(of: root) {
        try raise(row, to: wanted)
        return Step(node: root, isPassing: false)
      }
      guard Self.tryLock(root, wanted) else { throw conflict(root, wanted) }
      held.add(root, wanted)
      let isRight =
        engine.trees.root(btree) == root
        && root.with {
          $0.btree == btree && $0.level == rootLevel && !$0.state.contains(.dead)
        }
      if isRight {
        visit(root, btree, rootLevel)
        return Step(node: root, isPassing: rootLevel > level)
      }
      held.release(held.count - 1)
    }
  }

  @inline(__always)
  private func visit(_ node: NodeRef, _ btree: BTreeID, _ level: Int) {
    paths[btree, level] = PathNode(
      node: node, incarnation: node.with { $0.incarnation })
  }

  private func child(
    of step: Step, level: Int, _ position: BPos, _ mode: LockMode
  ) throws(TransactionError) -> Step {
    let found: (view: KeyView, btree: BTreeID)? = step.node.with {
      node in
      guard let slot = node.firstVisible(from: node.index.lowerBound(position)) else { return nil }
      return (node.view(at: slot), node.btree)
    }
    guard let found, found.view.key.type == .btreePtrV2 else {
      throw .failed(uncovered(step.node, position))
    }
    let view = found.view
    var known = engine.trees.knownChild(view)
    for _ in 0..<2 {
      guard let node = known else { break }
      let heldRow = held.row(of: node)
      if heldRow == nil {
        guard Self.tryLock(node, mode) else { throw conflict(node, mode) }
        held.add(node, mode)
      }
      let isRight = node.with {
        Self.isChild($0, view, found.btree, level - 1)
      }
      if isRight {
        if let heldRow { try raise(heldRow, to: mode) }
        guard node.with({ $0.covers(position) }) else {
          throw .failed(uncovered(step.node, position))
        }
        node.with { if !$0.state.contains(.used) { $0.set(.used) } }
        visit(node, found.btree, level - 1)
        return Step(node: node, isPassing: heldRow == nil)
      }
      if heldRow == nil { held.release(held.count - 1) }
      // The address was an old one; the cache knows better, and says so only once.
      known = engine.trees.findChild(view)
    }
    do throws(VolumeError) {
      missing = (
        try view.withValue { (value) throws(VolumeError) in try NodePointer(view.key, value) },
        found.btree, level - 1
      )
    } catch {
      throw .failed(error)
    }
    throw .restart(.nodeRead)
  }

  /// Whether a node, locked, is what a pointer leads to.
  @inline(__always)
  private static func isChild(
    _ node: LiveNode, _ view: KeyView, _ btree: BTreeID, _ level: Int
  ) -> Bool {
    guard node.btree == btree, node.level == level, node.maxKey == view.key.position,
      !node.state.contains(.dead)
    else { return false }
    return view.withValue { value in
      value[BTreePtrV2.Layout.seq] == node.sequence
        && Int(value[BTreePtrV2.Layout.sectorsWritten]) <= node.pointer.sectorsWritten
    }
  }

  private func uncovered(_ node: NodeRef, _ position: BPos) -> VolumeError {
    node.with { node in
      VolumeError(
        .corrupt,
        "btree \(node.btree) level \(node.level) node \(node.minKey) to \(node.maxKey): nothing "
          + "covers \(position); the keys that were there are lost")
    }
  }
}
