// SPDX-License-Identifier: GPL-2.0
// How far a pass is: by the leaves that it has come through, of those that it walks over.
//
// How it works
//   How many nodes a btree has is what accounting counts for it: an estimate, as interior nodes are
//   among them, and damage may be. Keys of one leaf lie in one buffer, so that a new buffer is a
//   new leaf.
// Invariants
//   (1) It never decides anything.

internal import BcachefsFormat
internal import BcachefsSupport

struct PassProgress {
  private let forest: BTreeForest
  private let nodeSectors: Int64
  private var expected = 0.0
  private var passed = 0.0
  private var leaf: ObjectIdentifier?

  init(_ forest: BTreeForest) {
    self.forest = forest
    nodeSectors = Int64(max(forest.nodes.decoder.nodeBytes / 512, 1))
  }

  /// A pass begins, which walks over these btrees, one of them twice if it is there twice.
  mutating func begin(_ btrees: [BTreeID]) {
    passed = 0
    leaf = nil
    expected = btrees.reduce(1.0) { $0 + nodeCount($1) }
  }

  private func nodeCount(_ btree: BTreeID) -> Double {
    let position = AccountingKey.btree(id: UInt32(btree.rawValue)).position
    let found = try? BTreeCursor(
      BTreeForest(nodes: forest.nodes, roots: forest.roots, overlay: nil), .accounting
    ).lookup(position)
    let sectors = (try? found?.counters())?.first ?? 0
    return Double(max(sectors / nodeSectors, 1))
  }

  /// A key comes by.
  ///
  /// - Returns: Whether it is the first of a leaf.
  mutating func pass(_ found: KeyReference) -> Bool {
    let leaf = ObjectIdentifier(found.storage)
    guard self.leaf != leaf else { return false }
    self.leaf = leaf
    passed += 1
    return true
  }

  /// A node comes by whose keys do not.
  mutating func passNode() { passed += 1 }

  /// 0 to 1.
  var share: Double { min(passed / expected, 1) }
}
