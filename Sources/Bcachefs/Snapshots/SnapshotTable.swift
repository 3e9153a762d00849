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

/// Walks the keys of a btree that are seen in one snapshot.
struct SnapshotCursor {
  private let cursor: BTreeCursor
  private let table: SnapshotTable
  private let snapshot: UInt32
  /// The place whose first visible key was found: others there are hidden by it.
  private var decided: (inode: UInt64, offset: UInt64)?

  init(_ forest: BTreeForest, _ btree: BTreeID, snapshot: UInt32, table: SnapshotTable) {
    cursor = BTreeCursor(forest, btree)
    self.table = table
    self.snapshot = snapshot
  }

  /// The next `next()` returns the first visible key at or behind (`inode`, `offset`).
  mutating func seek(_ inode: UInt64, _ offset: UInt64) {
    cursor.seek(BPos(inode, offset, 0))
    decided = nil
  }

  /// The next key that is seen in the snapshot; whiteouts hide and are not returned.
  mutating func next() throws(VolumeError) -> KeyReference? {
    while let found = try cursor.next() {
      let position = found.key.position
      if let decided, decided == (position.inode, position.offset) { continue }
      guard
        position.snapshot == snapshot || table.isAncestor(position.snapshot, of: snapshot)
      else { continue }
      decided = (position.inode, position.offset)
      if found.key.type == .whiteout { continue }
      return found
    }
    return nil
  }

  /// After `next()` threw: goes on behind the node that could not be read; nil if that is not why.
  mutating func skipUnreadable() -> BPos? { cursor.skipUnreadable() }

  /// The key at exactly (`inode`, `offset`) that is seen in the snapshot.
  mutating func lookup(
    _ inode: UInt64, _ offset: UInt64
  ) throws(VolumeError) -> KeyReference? {
    seek(inode, offset)
    guard let found = try next(), found.key.position.inode == inode,
      found.key.position.offset == offset
    else { return nil }
    return found
  }
}
