// SPDX-License-Identifier: GPL-2.0
// Replacing a node by new ones: where there is no room, or too much of it.
//
// How it works
//   1. A full node becomes two, or a compact one when dead keys filled it. Two neighbours with
//      little in them become one. A root that is split gets a new root above it; a root with one
//      child left gives way to that child, when it can (`canGiveWay`).
//   2. Parents get room first, by the same means: so a replacement changes one node's parent and no
//      more. Places are allocated first, with empty hands.
//   3. What is left to do on disk is an `InteriorUpdate`.
// Invariants
//   (1) All locks are held from the first change to the last: others see the old nodes or the new
//       ones.
//   (2) Whoever is thrown out has changed nothing.
//   (3) The journal has no keys of a level that the btree does not have: who replays them would
//       make that level again, or put them over newer ones when there is such a level again.
// Locks: intent and write on the nodes replaced and their parent, on new nodes write.
// Source: btree_update_interior.c (bch2_btree_split_leaf, btree_split,
// __bch2_foreground_maybe_merge, bch2_btree_node_rewrite).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// Where a transaction needs room.
struct RoomNeeded {
  let btree: BTreeID
  let level: Int
  let position: BPos
  /// Unpacked words; `rewrite` asks for a new node whatever room there is.
  let words: Int
  var isRewrite = false
}

/// A node that has little in it.
struct SmallNode: Equatable {
  let btree: BTreeID
  let level: Int
  let position: BPos
}

/// Places that were taken for new nodes and are not used yet.
struct NodeReserve {
  var allocations: [SectorAllocation] = []
  /// What one replacement uses: two halves and a root. After a replay it may be more.
  static var size: Int { 3 }
}

/// How a replacement ended.
enum ReplaceResult {
  case done
  /// So many places have to be reserved.
  case needsPlaces(Int)
  /// The parent has to get room first.
  case parentNeeds(RoomNeeded)
}

extension Transaction {
  /// Words that a replacement adds to a parent.
  private static func parentWords(_ nodes: Int) -> Int { nodes * NodePointer.wordsMax }

  /// Gives a node room.
  ///
  /// - Throws: `.restart` with nothing changed.
  func replace(
    _ need: RoomNeeded, _ reserve: inout NodeReserve
  ) throws(TransactionError) -> ReplaceResult {
    let start = engine.instruments.times.now
    guard let ref = try node(need.btree, level: need.level, need.position, .intent) else {
      return .done
    }
    let old = ref.node
    if !need.isRewrite, old.hasRoom(words: need.words) { return .done }
    // As much finds room once few keys are left in the node, and what is written of it is small.
    guard need.words <= old.capacityWords / 2 else {
      throw .failed(
        VolumeError(
          .limit,
          "a transaction (\(trace.nameText)) puts \(need.words) words into one node of the "
            + "\(need.btree) btree, which takes \(old.capacityWords / 2) at once"))
    }
    let words = need.isRewrite ? 0 : need.words
    let blockBytes = engine.trees.parameters.blockBytes
    let cuts = old.cuts(
      for: need.isRewrite ? nil : need.position, words: words, blockBytes: blockBytes)
    guard Self.parentWords(cuts.count + 1) <= old.capacityWords,
      !cuts.isEmpty || old.hasRoomWhenNew(words: words, blockBytes: blockBytes)
    else {
      throw .failed(
        VolumeError(
          .limit,
          "\(old.liveWords) words of keys in a node of the \(need.btree) btree, and \(words) more, "
            + "cannot be split into nodes of \(old.nodeBytes) bytes"))
    }
    guard cuts.isEmpty || old.level < BTreeNodeHeader.maxDepth - 1 else {
      throw .failed(
        VolumeError(
          .limit,
          "the \(need.btree) btree is full: its root, at level \(old.level), cannot be split"))
    }
    guard reserve.allocations.count >= cuts.count + 2 else { return .needsPlaces(cuts.count + 2) }
    var (parent, retired) = (LiveNode?.none, [ref])
    if !old.state.contains(.root) {
      guard let above = try node(need.btree, level: need.level + 1, old.maxKey, .intent) else {
        return .done
      }
      parent = above.node
      let ofParent = Self.parentWords(cuts.count + 1)
      if let parent, !parent.hasRoom(words: ofParent) {
        return .parentNeeds(
          RoomNeeded(
            btree: need.btree, level: need.level + 1, position: old.maxKey, words: ofParent))
      }
      try raiseToWrite(above)
      if cuts.isEmpty, canGiveWay(above.node, withChildren: 1) { retired.insert(above, at: 0) }
    }
    try raiseToWrite(ref)
    let update = InteriorUpdate(btree: old.btree, level: old.level, startNanoseconds: start)
    do throws(VolumeError) {
      let made = try makeNodes(from: old, cuts: cuts, update, &reserve)
      if let parent, retired.count > 1 { update.replaces(parent) }
      try place(
        made, below: retired.count > 1 ? nil : parent, in: update, replacing: [old], &reserve)
    } catch {
      throw .failed(error)
    }
    finish(update, retiring: retired)
    noteReplaced(need, pieces: cuts.count + 1, since: start)
    return .done
  }

  /// Whether a root that has so many children is needed no more when they become one.
  private func canGiveWay(_ root: LiveNode, withChildren count: Int) -> Bool {
    root.state.contains(.root) && root.visibleCount == count && root.blockers == 0
      && engine.journal.hasForgotten(root.journalSequence)
  }

  private func raiseToWrite(_ node: NodeRef) throws(TransactionError) {
    guard let row = held.row(of: node) else { return }
    try raise(row, to: .write)
  }

  /// The nodes that take an old one's place, write-locked.
  private func makeNodes(
    from old: LiveNode, cuts: [IndexSlot], _ update: InteriorUpdate, _ reserve: inout NodeReserve
  ) throws(VolumeError) -> [LiveNode] {
    var made: [LiveNode] = []
    var minKey = old.minKey
    for piece in 0...cuts.count {
      let first = piece == 0 ? old.index.start : cuts[piece - 1]
      var (end, maxKey) = (old.index.end, old.maxKey)
      if piece < cuts.count, let last = old.lastVisible(before: cuts[piece]) {
        (end, maxKey) = (cuts[piece], old.index[last].position)
      }
      let node = engine.trees.cache.take()
      node.fill(
        from: [(old, (first, end))], minKey: minKey, maxKey: maxKey,
        sequence: engine.nextNodeSequence())
      made.append(try seal(node, update, &reserve))
      minKey = maxKey.successor ?? maxKey
    }
    return made
  }

  /// Gives a new node its place, its image and its pointer.
  private func seal(
    _ node: LiveNode, _ update: InteriorUpdate, _ reserve: inout NodeReserve
  ) throws(VolumeError) -> LiveNode {
    guard let allocation = reserve.allocations.popLast() else {
      unreachable("places are reserved before a node is replaced")
    }
    count(.btreeNodeAlloc)
    let image = try node.takeImage(engine.trees.parameters)
    node.pointer = try NodePointer(
      maxKey: node.maxKey, sequence: node.sequence, sectorsWritten: node.writtenBytes / 512,
      minKey: node.minKey, places: allocation.places)
    node.flags.store(LiveNode.State.unreachable.rawValue, ordering: .relaxed)
    update.newNodes.append(
      InteriorUpdate.NewNode(
        node: node, incarnation: node.incarnation, level: node.level, pointer: node.pointer,
        image: image, allocation: allocation))
    return node
  }

  /// Makes new nodes known to their parent, or makes one the root.
  private func place(
    _ made: [LiveNode], below parent: LiveNode?, in update: InteriorUpdate,
    replacing old: [LiveNode], _ reserve: inout NodeReserve
  ) throws(VolumeError) {
    for node in old { update.replaces(node) }
    if let parent {
      for node in old.dropLast() where !made.contains(where: { $0.maxKey == node.maxKey }) {
        parent.removePointer(node.maxKey)
        update.deleted.append(node.maxKey)
      }
      for node in made { parent.putPointer(to: node) }
      parent.set(.dirty)
      parent.blockers += 1
      update.parent = (parent, parent.incarnation)
      return
    }
    var root = made[0]
    if made.count > 1 {
      root = engine.trees.cache.take()
      root.becomeEmpty(
        update.btree, level: update.level + 1, sequence: engine.nextNodeSequence())
      root.fillRoot(made)
      root = try seal(root, update, &reserve)
    }
    update.newRoot = (root.level, root.pointer)
    engine.trees.setRoot(root)
    count(.btreeNodeSetRoot)
  }

  /// Lets go of the old nodes, shows the new ones, and hands the rest to the queue.
  private func finish(_ update: InteriorUpdate, retiring old: [NodeRef]) {
    engine.journal.pinCurrent(update.pin)
    for ref in old {
      ref.with { node in
        engine.journal.move(node.dirtyPin, into: update.pin)
        engine.journal.move(node.writingPin, into: update.pin)
      }
    }
    for new in update.newNodes {
      let isNew = engine.trees.cache.insert(new.node)
      invariant(isNew, "sequence numbers of nodes are not repeated")
    }
    engine.nodeWrites.add(.update(update))
    for ref in old {
      held.forget(ref)
      count(.btreeNodeFree)
      ref.with { engine.trees.cache.retire($0) }
    }
    for new in update.newNodes {
      new.node.lock.unlockWrite()
      new.node.lock.unlockIntent()
    }
    held.releaseAll()
    engine.instruments.times.record(
      .btreeInteriorUpdateForeground, from: update.startNanoseconds)
  }

  // MARK: - Merging

  /// A small node and the one behind it, if both fit one; an empty one goes to the one before it,
  /// too: keys often go in order, and leave nodes behind that are emptied before those that follow.
  private func neighbours(
    _ small: NodeRef, below parent: LiveNode
  ) throws(TransactionError) -> (left: NodeRef, right: NodeRef)? {
    let node = small.node
    if let behind = node.maxKey.successor, parent.covers(behind),
      let next = try self.node(node.btree, level: node.level, behind, .intent),
      node.fits(with: next.node)
    {
      return (small, next)
    }
    let isLast = node.maxKey == parent.maxKey
    if isLast || node.liveWords == 0, let before = node.minKey.predecessor, parent.covers(before),
      let previous = try self.node(node.btree, level: node.level, before, .intent),
      previous.node.fits(with: node)
    {
      return (previous, small)
    }
    return nil
  }

  /// Joins a node with a neighbour, if there is little in both; an only child takes the place of
  /// its root.
  ///
  /// - Returns: what the parent needs first; nil if it is done, or cannot be.
  /// - Throws: `.restart` with nothing changed.
  func merge(
    _ wanted: SmallNode, _ reserve: inout NodeReserve
  ) throws(TransactionError) -> RoomNeeded? {
    let start = engine.instruments.times.now
    let (btree, level, position) = (wanted.btree, wanted.level, wanted.position)
    guard let small = try node(btree, level: level, position, .intent),
      !small.with({ $0.state.contains(.root) }),
      let above = try node(btree, level: level + 1, position, .intent)
    else { return nil }
    let parent = above.node
    if canGiveWay(parent, withChildren: 1) {
      _ = try replace(
        RoomNeeded(btree: btree, level: level, position: position, words: 0, isRewrite: true),
        &reserve)
      return nil
    }
    guard let (ref, next) = try neighbours(small, below: parent) else { return nil }
    guard parent.hasRoom(words: Self.parentWords(2)) else {
      return RoomNeeded(
        btree: btree, level: level + 1, position: position, words: Self.parentWords(2))
    }
    let (left, right) = (ref.node, next.node)
    let seam = left.maxKey
    try raiseToWrite(above)
    try raiseToWrite(ref)
    try raiseToWrite(next)
    let update = InteriorUpdate(btree: btree, level: level, startNanoseconds: start)
    do throws(VolumeError) {
      let whole = engine.trees.cache.take()
      whole.fill(
        from: [
          (left, (left.index.start, left.index.end)), (right, (right.index.start, right.index.end)),
        ],
        minKey: left.minKey, maxKey: right.maxKey, sequence: engine.nextNodeSequence())
      let sealed = try seal(whole, update, &reserve)
      if canGiveWay(parent, withChildren: 2) {
        update.replaces(parent)
        try place([sealed], below: nil, in: update, replacing: [left, right], &reserve)
        finish(update, retiring: [above, ref, next])
      } else {
        try place([sealed], below: parent, in: update, replacing: [left, right], &reserve)
        if parent.isWorthMerging() {
          noteSmall(SmallNode(btree: btree, level: level + 1, position: parent.maxKey))
        }
        finish(update, retiring: [ref, next])
      }
      // Two of its children had no neighbour there before.
      if level > 0 {
        noteSmall(SmallNode(btree: btree, level: level - 1, position: seam))
      }
      count(.btreeNodeMerge)
      engine.instruments.times.record(.btreeNodeMerge, from: start)
    } catch {
      throw .failed(error)
    }
    return nil
  }
}

extension LiveNode {
  /// Puts a pointer to a child in, with the child's address in memory.
  fileprivate func putPointer(to child: LiveNode) {
    child.pointer.withWords { words in
      var copy = InlineArray<14, UInt64>(repeating: 0)
      var span = copy.mutableSpan
      var bytes = unsafe span.mutableBytes
      bytes.copy(words, to: 0)
      bytes[LEField<UInt64>(BKey.Layout.byteCount)] = UInt64(NodeRef(child).address)
      let key = child.pointer.key
      unsafe bytes.withUnsafeBytes { raw in
        unsafe put(key, raw.baseAddress.map { unsafe $0 + BKey.Layout.byteCount })
      }
    }
  }

  fileprivate func removePointer(_ position: BPos) {
    unsafe put(BKey(type: .deleted, position: position), nil)
  }

  /// A new root with pointers to its children.
  fileprivate func fillRoot(_ children: [LiveNode]) {
    var range = BKeyFormatRange()
    range.add(minKey)
    range.add(maxKey)
    for child in children { range.add(child.maxKey) }
    setFormat(range.format())
    set(.dirty)
    for child in children { putPointer(to: child) }
  }

  /// How many keys show, up to three.
  fileprivate var visibleCount: Int {
    var count = 0
    var slot = firstVisible(from: index.start)
    while let here = slot, count < 3 {
      count += 1
      slot = firstVisible(from: index.after(here))
    }
    return count
  }
}
