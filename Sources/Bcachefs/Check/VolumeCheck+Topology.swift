// SPDX-License-Identifier: GPL-2.0
// The shape of btrees: the children of a node cover what it covers, without a gap, and every node
// can be read.
// Source: btree_gc.c (bch2_check_topology).

internal import BcachefsFormat
internal import BcachefsSupport

extension VolumeCheck {
  func checkTopology() throws(VolumeError) {
    for btree in forest.roots.keys.sorted() {
      guard let root = forest.roots[btree] else { continue }
      try checkNode(root.pointer, btree, root.level)
    }
  }

  private func checkNode(
    _ pointer: KeyReference, _ btree: BTreeID, _ level: Int
  ) throws(VolumeError) {
    try passNode()
    let node: BTreeNode
    do throws(VolumeError) {
      node = try forest.nodes.node(pointer, btree: btree, level: level)
    } catch {
      report(
        .btree_node_unreadable,
        "Topology repair: unreadable btree node at btree \(btree) level \(level):\n"
          + "  \(text(pointer))\n  \(error)")
      return
    }
    guard level > 0 else { return }
    var previous: KeyReference?
    var start: BPos? = node.minKey
    var children = NodeChildren(of: node, in: forest)
    while let child = children.next() {
      if let own = minKey(of: child), own != start {
        report(
          .btree_node_topology_bad_min_key,
          "btree node with incorrect min_key"
            + place(btree, level - 1, parent: pointer, previous, child))
      }
      try checkNode(child, btree, level - 1)
      start = child.key.position.successor
      previous = child
    }
    guard let previous else {
      report(
        .btree_node_topology_interior_node_empty,
        "empty interior btree node at btree \(btree) level \(level)\n  \(text(pointer))")
      return
    }
    if previous.key.position != node.maxKey {
      report(
        .btree_node_topology_bad_max_key,
        "btree node with incorrect max_key"
          + place(btree, level - 1, parent: pointer, previous, nil))
    }
  }

  private func minKey(of pointer: KeyReference) -> BPos? {
    guard pointer.key.type == .btreePtrV2 else { return nil }
    return pointer.withValue { (try? BTreePtrV2(decoding: $0))?.minKey }
  }

  private func place(
    _ btree: BTreeID, _ level: Int, parent: KeyReference, _ previous: KeyReference?,
    _ next: KeyReference?
  ) -> String {
    " at btree \(btree) level \(level):\n  parent: \(text(parent))\n  prev: "
      + "\(previous.map(text) ?? "(none)")\n  next: \(next.map(text) ?? "(none)")"
  }
}
