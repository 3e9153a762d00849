// SPDX-License-Identifier: GPL-2.0
// The keys of a btree as one snapshot sees them.
//
// How it works
//   1. Forwards: of the keys at one place the nearest ancestor's comes first; it decides, and hides
//      the others. A whiteout that decides hides itself too. A walk ends with the inode that was
//      sought: what follows may be any number of keys that this snapshot does not see.
//   2. Backwards: the farthest comes first, so each place is looked up forwards.
// Invariants
//   (1) Each place (inode, offset) is given once at most.
// Locks: none; a cursor belongs to one thread.
// Source: btree_iter.c (bch2_btree_iter_peek, bch2_btree_iter_peek_prev_min).

internal import BcachefsFormat
internal import BcachefsSupport

/// Walks the keys of a btree that are seen in one snapshot.
struct SnapshotCursor {
  private let cursor: BTreeCursor
  private let table: SnapshotTable
  private let snapshot: UInt32
  /// The place whose first visible key was found: others there are hidden by it.
  private var decided: (inode: UInt64, offset: UInt64)?
  /// The inode that was sought.
  private var inode: UInt64 = 0

  init(_ forest: BTreeForest, _ btree: BTreeID, snapshot: UInt32, table: SnapshotTable) {
    cursor = BTreeCursor(forest, btree)
    self.table = table
    self.snapshot = snapshot
  }

  /// The next `next()` returns the first visible key of `inode` at or behind `offset`.
  mutating func seek(_ inode: UInt64, _ offset: UInt64) {
    cursor.seek(BPos(inode, offset, 0))
    self.inode = inode
    decided = nil
  }

  /// The next key of the inode that is seen in the snapshot; whiteouts hide and are not returned.
  mutating func next() throws(VolumeError) -> KeyReference? {
    while let found = try cursor.next() {
      let position = found.key.position
      guard position.inode == inode else { return nil }
      if let decided, decided == (position.inode, position.offset) { continue }
      guard isVisible(position) else { continue }
      decided = (position.inode, position.offset)
      if !found.key.isWhiteout { return found }
    }
    return nil
  }

  private func isVisible(_ position: BPos) -> Bool {
    table.isAncestor(position.snapshot, of: snapshot)
  }

  /// The last key of `inode` at or before `offset` that is seen in the snapshot. What `next()`
  /// gives after this is undefined until the next `seek`.
  mutating func last(upTo inode: UInt64, _ offset: UInt64) throws(VolumeError) -> KeyReference? {
    var bound = BPos(inode, offset, .max)
    while true {
      cursor.seek(bound)
      guard let place = try cursor.previous()?.key.position, place.inode == inode else {
        return nil
      }
      // Backwards the farthest ancestor comes first: which key counts is found forwards.
      if let visible = try lookup(place.inode, place.offset) { return visible }
      guard place.offset > 0 else { return nil }
      bound = BPos(inode, place.offset - 1, .max)
    }
  }

  /// After `next()` threw: goes on behind the node that could not be read; nil if that is not why.
  mutating func skipUnreadable() -> BPos? { cursor.skipUnreadable() }

  /// The key at exactly (`inode`, `offset`) that is seen in the snapshot.
  mutating func lookup(
    _ inode: UInt64, _ offset: UInt64
  ) throws(VolumeError) -> KeyReference? {
    seek(inode, offset)
    while let found = try cursor.next(), found.key.position.inode == inode,
      found.key.position.offset == offset
    {
      guard isVisible(found.key.position) else { continue }
      decided = (inode, offset)
      return found.key.isWhiteout ? nil : found
    }
    return nil
  }
}

extension BKey {
  /// From 1.29 on what hides an extent has a size and a type of its own.
  var isWhiteout: Bool { type == .whiteout || type == .extentWhiteout }
}
