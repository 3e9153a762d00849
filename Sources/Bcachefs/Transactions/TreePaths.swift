// SPDX-License-Identifier: GPL-2.0
// The nodes that a transaction visited last, a path for each btree.
//
// Invariants
//   (1) Addresses are hints: a node is what it was as long as its incarnation is, and that is
//       looked at with the node locked.
//   (2) So is a guess: where it leads is compared with its neighbours (NodeIndex).

internal import BcachefsFormat
internal import BcachefsSupport

/// A node that was visited, and which one it was.
struct PathNode {
  var node: NodeRef?
  var incarnation: UInt32 = 0
}

/// Where a key was found last in its leaf: what comes next is often that key, or the one behind.
struct SlotGuess {
  var position = BPos.min
  var slot = IndexSlot(row: 0, entry: 0)

  /// Whether it is worth a look: others are likely to be far away.
  @inline(__always) func isNear(_ position: BPos) -> Bool {
    position.inode == self.position.inode && position.offset &- self.position.offset <= 1
  }
}

/// The nodes of all paths.
@safe
struct TreePaths: ~Copyable {
  private let nodes: UnsafeMutablePointer<PathNode>
  /// Of each btree's leaves.
  private let guesses: UnsafeMutablePointer<SlotGuess>
  private static var levels: Int { BTreeNodeHeader.maxDepth }

  init() {
    let count = Int(BTreeID.maxCount) * Self.levels
    unsafe nodes = .allocate(capacity: count)
    unsafe nodes.initialize(repeating: PathNode(), count: count)
    unsafe guesses = .allocate(capacity: Int(BTreeID.maxCount))
    unsafe guesses.initialize(repeating: SlotGuess(), count: Int(BTreeID.maxCount))
  }

  deinit {
    unsafe nodes.deallocate()
    unsafe guesses.deallocate()
  }

  /// The lower bound of a position in the leaf that covers it, locked by the caller.
  @inline(__always)
  func lowerBound(_ btree: BTreeID, _ position: BPos, in node: NodeRef) -> IndexSlot {
    let guess = unsafe guesses[Int(btree.rawValue)]
    return node.with { node in
      guess.isNear(position)
        ? node.index.lowerBound(position, near: guess.slot) : node.index.lowerBound(position)
    }
  }

  /// A position has been found in its leaf, or is about to be put there.
  @inline(__always)
  mutating func note(_ btree: BTreeID, _ position: BPos, at slot: IndexSlot) {
    unsafe guesses[Int(btree.rawValue)] = SlotGuess(position: position, slot: slot)
  }

  @inline(__always) subscript(btree: BTreeID, level: Int) -> PathNode {
    get {
      expensiveCheck { invariant(level < Self.levels, "a btree has no such level") }
      return unsafe nodes[Int(btree.rawValue) &* Self.levels &+ level]
    }
    set { unsafe nodes[Int(btree.rawValue) &* Self.levels &+ level] = newValue }
  }
}
