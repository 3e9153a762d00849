// SPDX-License-Identifier: GPL-2.0
// Replacing nodes: from the moment when new ones are in memory to that when the disk leads to them.
//
// How it works
//   1. `Transaction.replace` makes the new nodes, puts pointers to them into the parent (in memory)
//      or makes one of them the root, and retires the old ones: all under locks, without I/O. The
//      images of the new nodes are made then and there, and stand in the update.
//   2. The queue (NodeWriteQueue.swift) writes the images, then commits a transaction that journals
//      the pointers, with their triggers: new places are marked used, old ones free.
//   3. Until then the parent is not written (`LiveNode.blockers`), the new nodes are unreachable
//      and not written again, and the journal keeps everything from the oldest key on that the old
//      nodes had not written, by the update's pin.
// Invariants
//   (1) Updates complete in the order in which they were made: a later one may replace the nodes of
//       an earlier one.
//   (2) Whatever happens in between, the disk leads to the old nodes, and the journal has the rest.
// Locks: an update belongs to the queue once it is in it.
// Source: `struct btree_update`, btree_update_interior.c. Upstream composes a node when it is
// written and has to cancel and re-parent updates for that; here an image is made once.

internal import BcachefsFormat
internal import BcachefsSupport

/// A node that was replaced by others, and what is still to be done about it.
final class InteriorUpdate {
  /// What has to be written before the rest.
  struct NewNode {
    let node: LiveNode
    let incarnation: UInt32
    let level: Int
    let pointer: NodePointer
    let image: NodeImage
    let allocation: SectorAllocation
  }

  let btree: BTreeID
  /// Of the nodes that were replaced.
  let level: Int
  var newNodes: [NewNode] = []
  /// Pointers to the nodes that were replaced, as far as they were on disk, and the nodes' levels.
  var oldPointers: [(level: Int, pointer: NodePointer)] = []
  /// Positions of the parent whose pointers go without another in their place.
  var deleted: [BPos] = []
  /// The node that holds the new pointers; nil when the root changed.
  var parent: (node: LiveNode, incarnation: UInt32)?
  /// The root that the journal has to name.
  var newRoot: (level: Int, pointer: NodePointer)?
  let pin = JournalPin(.interiorUpdate)
  /// When it was begun, by the clock that never goes back.
  let startNanoseconds: UInt64

  init(btree: BTreeID, level: Int, startNanoseconds: UInt64) {
    self.btree = btree
    self.level = level
    self.startNanoseconds = startNanoseconds
  }

  /// Has a node's place freed when the disk leads to it no more.
  func replaces(_ node: LiveNode) {
    if !node.pointer.isNone { oldPointers.append((node.level, node.pointer)) }
  }
}

/// A node's dirty keys on their way to the disk.
struct NodeAppend {
  let node: LiveNode
  let incarnation: UInt32
  let btree: BTreeID
  let level: Int
  /// As it will be when the image is written.
  let pointer: NodePointer
  let image: NodeImage
  /// The newest entry with keys that are in it.
  let journalSequence: UInt64
}
