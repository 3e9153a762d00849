// SPDX-License-Identifier: GPL-2.0
// The nodes that a transaction visited last, a path for each btree.
//
// Invariants
//   (1) Addresses are hints: a node is what it was as long as its incarnation is, and that is
//       looked at with the node locked.

internal import BcachefsFormat
internal import BcachefsSupport

/// A node that was visited, and which one it was.
struct PathNode {
  var node: NodeRef?
  var incarnation: UInt32 = 0
}

/// The nodes of all paths.
@safe
struct TreePaths: ~Copyable {
  private let nodes: UnsafeMutablePointer<PathNode>
  private static var levels: Int { BTreeNodeHeader.maxDepth }

  init() {
    let count = Int(BTreeID.maxCount) * Self.levels
    unsafe nodes = .allocate(capacity: count)
    unsafe nodes.initialize(repeating: PathNode(), count: count)
  }

  deinit { unsafe nodes.deallocate() }

  @inline(__always) subscript(btree: BTreeID, level: Int) -> PathNode {
    get { unsafe nodes[Int(btree.rawValue) &* Self.levels &+ level] }
    set { unsafe nodes[Int(btree.rawValue) &* Self.levels &+ level] = newValue }
  }
}
