// SPDX-License-Identifier: GPL-2.0
// Nodes of the tree of snapshots: made for new subvolumes, taken out when nothing is left in them.
//
// How it works
//   1. A new node's ID is below all that there are. A new subvolume's node is the root of a tree of
//      its own; a snapshot adds two nodes below its source's, one for each of both.
//   2. Short cuts (`skip`) are three ancestors at random, to walk up fast.
//   3. A node without children goes together with those above it that are left with nothing below
//      them, and with the subvolume whose it was. One with a single child gives way to that: all
//      below it come one step nearer to the root, in the same transaction.
// Invariants
//   (1) After each transaction parents and children agree, depths and short cuts are right, and
//       each tree names a subvolume that is in it.
//   (2) Only nodes without keys go.
// Locks: keys of snapshots are read with intent: changes of the tree come one after the other.
// Source: snapshot.c (bch2_snapshot_node_create, bch2_snapshot_node_delete,
// bch2_fix_child_of_deleted_snapshot, bch2_snapshot_tree_master_subvol).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// Nodes that a transaction is about to make: their ancestors are known before they are committed.
struct NewSnapshotNodes {
  var ids: Range<UInt32> = 0..<0
  /// 0 for the root of a tree.
  var parent: UInt32 = 0

  static let none = NewSnapshotNodes()

  @inline(__always) func contains(_ id: UInt32) -> Bool { ids.contains(id) }
}

extension Transaction {
  /// The node above one; 0 for a root, and for none.
  func parentSnapshot(of id: UInt32) -> UInt32 {
    if newSnapshots.contains(id) { return newSnapshots.parent }
    return engine.snapshots.withLock { $0[id]?.parent ?? 0 }
  }

  // MARK: - New nodes

  /// The tree below which a new subvolume's node is to stand.
  ///
  /// - Throws: `.limit` where there is no number left.
  func newSnapshotTree(
    of subvolume: UInt32, root: UInt32
  ) throws(TransactionError) -> UInt32 {
    let last = try previous(.snapshotTrees, from: .max, downTo: .min, .intent)
    guard let id = UInt32(exactly: (last?.key.position.offset ?? 0) + 1) else {
      throw .failed(VolumeError(.limit, "there is no number for another tree of snapshots"))
    }
    put(SnapshotTree(masterSubvolume: subvolume, rootSnapshot: root), at: id)
    return id
  }

  /// IDs for new nodes, below all that there are.
  ///
  /// - Throws: `.limit` where there are none left.
  func freeSnapshotIDs(_ count: UInt32) throws(TransactionError) -> Range<UInt32> {
    let lowest = try next(.snapshots, from: .min, upTo: .max, .intent)
    let end = lowest.map { UInt32(clamping: $0.key.position.offset) } ?? .max
    guard end > count else {
      throw .failed(VolumeError(.limit, "there is no number for another snapshot"))
    }
    return end - count..<end
  }

  /// A node for a subvolume.
  ///
  /// - Parameter parent: 0 for the root of a tree.
  func newSnapshotNode(
    of subvolume: UInt32, below parent: UInt32, tree: UInt32, now: UInt64,
    _ random: inout SplitMix64
  ) -> Snapshot {
    var node = Snapshot()
    node.isSubvolume = true
    node.subvolume = subvolume
    node.tree = tree
    node.btime = Time128(lo: now)
    if parent != 0 { engine.snapshots.withLock { $0.place(&node, below: parent, &random) } }
    return node
  }

  // MARK: - Keys

  /// A node of the tree; nil if there is none.
  func snapshotNode(_ id: UInt32) throws(TransactionError) -> Snapshot? {
    guard let found = try lookup(.snapshots, BPos(0, UInt64(id)), .intent),
      found.key.type == .snapshot
    else { return nil }
    return try found.decoded { (value) throws(FormatError) in try Snapshot(decoding: value) }
  }

  func put(_ node: Snapshot, at id: UInt32) {
    put(.snapshots, .snapshot, BPos(0, UInt64(id)), Snapshot.encodedU64s) {
      node.encode(into: &$0)
    }
  }

  private func put(_ tree: SnapshotTree, at id: UInt32) {
    put(.snapshotTrees, .snapshotTree, BPos(0, UInt64(id)), SnapshotTree.encodedU64s) {
      tree.encode(into: &$0)
    }
  }

  private func snapshotTree(_ id: UInt32) throws(TransactionError) -> SnapshotTree? {
    guard let found = try lookup(.snapshotTrees, BPos(0, UInt64(id)), .intent),
      found.key.type == .snapshotTree
    else { return nil }
    return try found.decoded { (value) throws(FormatError) in try SnapshotTree(decoding: value) }
  }

  // MARK: - Nodes that go

  /// Removes a node without children, the subvolume it was of, and the nodes above that have
  /// nothing below them then. A node that a subvolume needs stays.
  func removeDeadSnapshot(_ id: UInt32) throws(TransactionError) {
    guard let node = try snapshotNode(id), node.child0 == 0, node.child1 == 0 else { return }
    if node.isSubvolume {
      guard let subvolume = try storedSubvolume(node.subvolume, .intent), subvolume.isUnlinked,
        subvolume.snapshot == id
      else { return }
      try replaceMaster(node.subvolume, in: node.tree, mayBeUnlinked: true)
      delete(.subvolumes, BPos(0, UInt64(node.subvolume)))
    }
    var (id, parent) = (id, node.parent)
    delete(.snapshots, BPos(0, UInt64(id)))
    while parent != 0 {
      guard var above = try snapshotNode(parent) else {
        throw Self.missing(parent)
      }
      above.replaceChild(id, by: 0)
      guard above.child0 == 0, !above.isSubvolume else { return put(above, at: parent) }
      delete(.snapshots, BPos(0, UInt64(parent)))
      (id, parent) = (parent, above.parent)
    }
    delete(.snapshotTrees, BPos(0, UInt64(node.tree)))
  }

  /// Removes a node whose only child takes its place.
  func removeLinkingSnapshot(
    _ id: UInt32, _ random: inout SplitMix64
  ) throws(TransactionError) {
    guard let node = try snapshotNode(id), !node.isSubvolume, node.child0 != 0, node.child1 == 0
    else { return }
    var table = engine.snapshots.withLock { $0 }
    let below = table.ids(below: id)
    table[id] = nil
    delete(.snapshots, BPos(0, UInt64(id)))
    if node.parent != 0 {
      guard var above = try snapshotNode(node.parent) else { throw Self.missing(node.parent) }
      above.replaceChild(id, by: node.child0)
      put(above, at: node.parent)
    } else if var tree = try snapshotTree(node.tree) {
      tree.rootSnapshot = node.child0
      put(tree, at: node.tree)
    }
    // From the highest ID on: ancestors first.
    for other in below.reversed() {
      guard var changed = try snapshotNode(other) else { throw Self.missing(other) }
      if changed.parent == id { changed.parent = node.parent }
      table.replace(&changed, without: id, &random)
      table[other] = changed
      put(changed, at: other)
    }
  }

  private static func missing(_ id: UInt32) -> TransactionError {
    .failed(VolumeError(.corrupt, "there is no snapshot node \(id), though others point to it"))
  }

  /// Gives a tree another subvolume to name than one that goes: the oldest that is there to stay.
  ///
  /// - Parameter mayBeUnlinked: Where there is no such one, another that goes.
  func replaceMaster(
    _ old: UInt32, in treeID: UInt32, mayBeUnlinked: Bool
  ) throws(TransactionError) {
    guard var tree = try snapshotTree(treeID), tree.masterSubvolume == old else { return }
    let others = engine.snapshots.withLock { $0.subvolumes(ofTree: treeID) }
    var best: (id: UInt32, subvolume: Subvolume)?
    for id in others where id != old {
      guard let subvolume = try storedSubvolume(id, .intent) else { continue }
      if best == nil, mayBeUnlinked || !subvolume.isUnlinked { best = (id, subvolume) }
      guard subvolume.isUnlinked else {
        best = (id, subvolume)
        break
      }
    }
    guard var best else { return }
    tree.masterSubvolume = best.id
    put(tree, at: treeID)
    best.subvolume.isSnapshot = false
    put(best.subvolume, at: best.id)
  }
}

extension Snapshot {
  /// Has a child give way to another one; 0 for none.
  fileprivate mutating func replaceChild(_ old: UInt32, by new: UInt32) {
    if child0 == old { child0 = new } else if child1 == old { child1 = new }
    if child0 < child1 { swap(&child0, &child1) }
  }

  fileprivate var skips: [UInt32] {
    get { [skip0, skip1, skip2] }
    set {
      let sorted = newValue.sorted()
      (skip0, skip1, skip2) = (sorted[0], sorted[1], sorted[2])
    }
  }
}

extension SnapshotTable {
  /// An ancestor at random; the node itself where it is a root.
  private func ancestor(of id: UInt32, _ random: inout SplitMix64) -> UInt32 {
    guard let node = self[id], node.parent > id else { return id }
    var left = random.next() % UInt64(max(node.depth, 1))
    var (result, above) = (id, node.parent)
    while above > result {
      result = above
      if left == 0 { break }
      left -= 1
      above = self[result]?.parent ?? 0
    }
    return result
  }

  /// Gives a new node its place below another one.
  fileprivate func place(
    _ node: inout Snapshot, below parent: UInt32, _ random: inout SplitMix64
  ) {
    node.parent = parent
    node.depth = (self[parent]?.depth ?? 0) &+ 1
    node.skips = (0..<3).map { _ in ancestor(of: parent, &random) }
  }

  /// Gives a node, whose ancestors are as they will be, its place one step nearer to the root.
  fileprivate func replace(
    _ node: inout Snapshot, without removed: UInt32, _ random: inout SplitMix64
  ) {
    guard node.parent != 0 else {
      node.depth = 0
      node.skips = [0, 0, 0]
      return
    }
    node.depth = (self[node.parent]?.depth ?? 0) &+ 1
    let parent = node.parent
    node.skips = node.skips.map { skip in
      skip == removed || skip < parent ? ancestor(of: parent, &random) : skip
    }
  }

  /// All that descend from a node, in the order of their IDs.
  func ids(below id: UInt32) -> [UInt32] { ids.filter { $0 != id && isAncestor(id, of: $0) } }

  /// The subvolumes that have a node below another one, in the order of their numbers.
  func subvolumes(below id: UInt32) -> [UInt32] {
    ids(below: id).compactMap { other in
      guard let node = self[other], node.isSubvolume else { return nil }
      return node.subvolume
    }.sorted()
  }

  /// The subvolumes that have a node in a tree, in the order of their numbers.
  fileprivate func subvolumes(ofTree tree: UInt32) -> [UInt32] {
    ids.compactMap { id in
      guard let node = self[id], node.isSubvolume, node.tree == tree else { return nil }
      return node.subvolume
    }.sorted()
  }
}
