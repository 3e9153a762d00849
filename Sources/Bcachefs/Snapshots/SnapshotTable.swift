// SPDX-License-Identifier: GPL-2.0
// The tree of snapshots, and which keys are seen in which of them.
//
// How it works
//   1. Every snapshot has an ID below its parent's. A key written in a snapshot is seen in it and
//      in all that descend from it, until one of them has a key of its own at that position.
//   2. At one position keys are sorted by snapshot ID, so the nearest ancestor's key comes first.
// Invariants
//   (1) An ancestor's ID is larger: climbing ends after at most as many steps as there are
//       snapshots.
// Source: snapshot.c (bch2_snapshot_is_ancestor).

internal import BcachefsFormat
internal import BcachefsSupport

struct SnapshotTable: Sendable {
  private var nodes: [UInt32: Snapshot] = [:]

  /// Reads the snapshots btree.
  init(_ forest: BTreeForest) throws(VolumeError) {
    let cursor = BTreeCursor(forest, .snapshots)
    while let found = try cursor.next() {
      guard found.key.type == .snapshot, let id = UInt32(exactly: found.key.position.offset) else {
        continue
      }
      do throws(FormatError) {
        nodes[id] = try found.withValue { (value) throws(FormatError) in
          try Snapshot(decoding: value)
        }
      } catch {
        throw VolumeError(error)
      }
    }
  }

  /// The snapshot with an ID.
  subscript(id: UInt32) -> Snapshot? { nodes[id] }

  var ids: [UInt32] { nodes.keys.sorted() }

  /// Whether what was written in `ancestor` may be seen in `id`.
  func isAncestor(_ ancestor: UInt32, of id: UInt32) -> Bool {
    var current = id
    while current < ancestor, let node = nodes[current], node.parent > current {
      current = node.parent
    }
    return current == ancestor
  }
}
