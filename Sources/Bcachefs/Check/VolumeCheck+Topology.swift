// SPDX-License-Identifier: GPL-2.0
// The shape of btrees: the children of a node cover what it covers, without a gap, every node can
// be read, and every key in it is what its type says.
//
// How it works
//   1. Nodes are walked from each root down, and read as the other passes read them. What two
//      neighbours both have, or neither, is said of the one that has to change: where they overlap
//      the older gives way.
//   2. A key that is none is told of here, once, with upstream's number for what is wrong with it.
//      The other passes leave it out.
// Source: btree_gc.c (bch2_check_topology), btree_io.c (bch2_btree_node_read_done).

internal import BcachefsFormat
internal import BcachefsSupport

extension VolumeCheck {
  func checkTopology() throws(VolumeError) {
    for btree in forest.roots.keys.sorted() {
      guard let root = forest.roots[btree] else { continue }
      try passNode()
      let node: BTreeNode
      do throws(VolumeError) {
        node = try forest.nodes.node(root.pointer, btree: btree, level: root.level)
      } catch {
        report(
          .btree_root_read_error, "error reading btree root \(btree) l=\(root.level): \(error)")
        continue
      }
      if node.minKey != .min {
        report(.btree_root_bad_min_key, "btree root with incorrect min_key: \(node.minKey)")
      }
      if node.maxKey != .max {
        report(.btree_root_bad_max_key, "btree root with incorrect max_key: \(node.maxKey)")
      }
      try check(node, root.pointer, from: .min)
    }
  }

  /// - Parameter start: What is before it was looked at.
  private func check(
    _ node: BTreeNode, _ pointer: KeyReference, from start: BPos
  ) throws(VolumeError) {
    checkKeys(of: node, from: start)
    guard node.level > 0 else { return }
    var previous: (pointer: KeyReference, node: BTreeNode?)?
    var children = NodeChildren(of: node, in: forest, from: start)
    while let position = children.position, let child = children.next() {
      let found = try read(child, node)
      if let found {
        let expected = previous.map { $0.pointer.key.position.successor } ?? node.minKey
        compare(found, child, expectedStart: expected, previous, Place(node, pointer))
        try check(found, child, from: position)
      }
      previous = (child, found)
    }
    guard let previous else {
      report(
        .btree_node_topology_interior_node_empty,
        "empty interior btree node at btree \(node.btree) level \(node.level)\n  "
          + text(pointer))
      return
    }
    if previous.pointer.key.position != node.maxKey {
      report(
        .btree_node_topology_bad_max_key,
        "btree node with incorrect max_key" + text(of: Place(node, pointer))
          + "\n  child: \(text(previous.pointer))")
    }
  }

  /// - Returns: nil if it cannot be read.
  private func read(_ child: KeyReference, _ parent: BTreeNode) throws(VolumeError) -> BTreeNode? {
    try passNode()
    let level = parent.level - 1
    do throws(VolumeError) {
      return try forest.nodes.node(child, btree: parent.btree, level: level)
    } catch {
      report(
        .btree_node_unreadable,
        "Topology repair: unreadable btree node at btree \(parent.btree) level \(level):\n"
          + "  \(text(child))\n  \(error)")
      return nil
    }
  }

  // MARK: - Neighbours

  /// A node whose children are looked at.
  private struct Place {
    let node: BTreeNode
    let pointer: KeyReference

    init(_ node: BTreeNode, _ pointer: KeyReference) { (self.node, self.pointer) = (node, pointer) }
  }

  /// - Parameter expectedStart: nil behind the last position that there is.
  private func compare(
    _ node: BTreeNode, _ pointer: KeyReference, expectedStart: BPos?,
    _ previous: (pointer: KeyReference, node: BTreeNode?)?, _ place: Place
  ) {
    guard node.minKey != expectedStart else { return }
    let words: (FsckErrorID, String)
    let isGap = expectedStart.map { $0 < node.minKey } ?? false
    if let before = previous?.node, !isGap, node.sequence > before.sequence {
      words =
        node.minKey <= before.minKey
        ? (.btree_node_topology_overwritten_by_next_node, "overwritten by next node")
        : (.btree_node_topology_bad_max_key, "with incorrect max_key")
    } else if !isGap, expectedStart.map({ node.maxKey <= $0 }) ?? true {
      words = (.btree_node_topology_overwritten_by_prev_node, "overwritten by prev node")
    } else {
      words = (.btree_node_topology_bad_min_key, "with incorrect min_key")
    }
    report(
      words.0,
      "btree node \(words.1)" + text(of: place)
        + (previous.map { "\n  prev: \(text($0.pointer))" } ?? "") + "\n  next: \(text(pointer))")
  }

  private func text(of place: Place) -> String {
    "  at btree \(place.node.btree) level \(place.node.level):\n  parent: \(text(place.pointer))"
  }

  // MARK: - Keys

  private func checkKeys(of node: BTreeNode, from start: BPos) {
    for index in node.lowerBound(start)..<node.entries.count {
      let found = node.reference(at: index)
      do throws(FormatError) {
        try found.withValue { (value) throws(FormatError) in
          try BKeyValue.validate(
            key: found.key, value: value, btree: node.btree, level: node.level, context: context)
        }
      } catch {
        report(error.fsckError ?? .bkey_val_size_nonzero, "invalid bkey \(text(found))\n  \(error)")
      }
    }
  }
}
