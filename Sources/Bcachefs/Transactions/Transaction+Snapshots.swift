// SPDX-License-Identifier: GPL-2.0
// A transaction's keys as one snapshot sees them, and what hides an ancestor's.
//
// How it works
//   1. Of the keys at one place the nearest ancestor's comes first; it decides, and hides the
//      others.
//   2. Whoever removes a key that is seen from an ancestor too leaves a whiteout in its place.
//   3. Where a part of a key moves to a new position, what hid it from descendants moves along.
// Invariants
//   (1) Each place (inode, offset) is given once at most.
// Locks: Transaction+Search.swift; the table of snapshots is a leaf.
// Source: btree_iter.c (bch2_btree_iter_peek_max), btree_update.c (need_whiteout_for_snapshot,
// __bch2_insert_snapshot_whiteouts).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// A walk over the keys of one inode that a snapshot sees.
struct SnapshotWalk {
  fileprivate var walk: KeyWalk
  let snapshot: UInt32
  /// The offset whose first visible key was found.
  fileprivate var decided: UInt64?

  /// - Parameter snapshot: 0 in btrees without snapshots.
  init(
    _ btree: BTreeID, _ inode: UInt64, from start: UInt64, upTo end: UInt64 = .max,
    snapshot: UInt32, mode: LockMode = .read
  ) {
    walk = KeyWalk(
      btree, from: BPos(inode, start), upTo: BPos(inode, end, .max), mode: mode)
    self.snapshot = snapshot
  }
}

extension Transaction {
  /// The next visible key; nil at the end. Whiteouts hide, and are not returned.
  func next(_ walk: inout SnapshotWalk) throws(TransactionError) -> KeyView? {
    while let found = try next(&walk.walk) {
      let position = found.key.position
      guard walk.decided != position.offset,
        isAncestor(position.snapshot, of: walk.snapshot)
      else { continue }
      walk.decided = position.offset
      if !found.key.isWhiteout { return found }
    }
    return nil
  }

  /// Whether what was written in one snapshot may be seen in another.
  @inline(__always) func isAncestor(_ ancestor: UInt32, of snapshot: UInt32) -> Bool {
    if ancestor == snapshot { return true }
    if newSnapshots.contains(snapshot) {
      return newSnapshots.parent != 0 && isAncestorOfCommitted(ancestor, newSnapshots.parent)
    }
    return isAncestorOfCommitted(ancestor, snapshot)
  }

  @inline(__always)
  private func isAncestorOfCommitted(_ ancestor: UInt32, _ snapshot: UInt32) -> Bool {
    ancestor == snapshot || engine.snapshots.withLock { $0.isAncestor(ancestor, of: snapshot) }
  }

  /// Removes what a snapshot has at a position, so that it sees nothing there.
  ///
  /// - Parameter isInherited: It is an ancestor's key that has to be hidden.
  func deleteVisible(
    _ btree: BTreeID, _ position: BPos, isInherited: Bool
  ) throws(TransactionError) {
    var hides = isInherited
    if !hides { hides = try isSeenFromAncestor(btree, position) }
    update(btree, BKey(type: hides ? .whiteout : .deleted, position: position), RawSpan())
  }

  /// Whether an ancestor's key would show if nothing were at a position.
  func isSeenFromAncestor(
    _ btree: BTreeID, _ position: BPos
  ) throws(TransactionError) -> Bool {
    guard btree.hasSnapshots, position.snapshot < .max else { return false }
    var walk = KeyWalk(
      btree, from: BPos(position.inode, position.offset, position.snapshot + 1),
      upTo: BPos(position.inode, position.offset, .max))
    while let found = try next(&walk) {
      if isAncestor(found.key.position.snapshot, of: position.snapshot) {
        return !found.key.isWhiteout
      }
    }
    return false
  }

  /// Whether a snapshot that descends from a position's has a key of its own there that is as asked
  /// for; whiteouts are keys.
  func hasKeyBelow(
    _ btree: BTreeID, _ position: BPos, where isWanted: (KeyView) -> Bool = { _ in true }
  ) throws(TransactionError) -> Bool {
    guard position.snapshot > 0 else { return false }
    var walk = KeyWalk(
      btree, from: BPos(position.inode, position.offset),
      upTo: BPos(position.inode, position.offset, position.snapshot - 1))
    while let found = try next(&walk) {
      if isAncestor(position.snapshot, of: found.key.position.snapshot), isWanted(found) {
        return true
      }
    }
    return false
  }

  /// Hides the part of a key that ends at `new` from those descendants that do not see the key that
  /// ends at `old`, of which it is a part.
  func moveWhiteouts(
    _ btree: BTreeID, from old: BPos, to new: BPos
  ) throws(TransactionError) {
    guard btree.hasSnapshots, old != new else { return }
    var hiding: [UInt32] = []
    _ = try hasKeyBelow(btree, old) { found in
      hiding.append(found.key.position.snapshot)
      return false
    }
    for snapshot in hiding {
      let place = BPos(new.inode, new.offset, snapshot)
      // Below another one that hides it already, a whiteout would change nothing.
      let isHidden = hiding.contains { $0 != snapshot && isAncestor($0, of: snapshot) }
      if !isHidden, try lookup(btree, place, .intent) == nil {
        update(btree, BKey(type: .whiteout, position: place), RawSpan())
      }
    }
  }
}

extension BTreeID {
  var hasSnapshots: Bool { row?.flags.contains(.snapshots) == true }
}
