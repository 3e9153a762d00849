// SPDX-License-Identifier: GPL-2.0
// Extents as updates: what a new one covers is cut, split, or hidden.
//
// How it works
//   1. The extents that the new one's snapshot sees, and that it overlaps, are walked. What stands
//      before the new one and behind it stays, as keys of their own.
//   2. Those of an ancestor stay whole for the others that see them, but are split at the new one's
//      ends: so a key hides exactly what ends where it ends.
//   3. What ends inside the new one is removed, or hidden by a whiteout.
// Invariants
//   (1) Extents that one snapshot sees do not overlap, before and after.
// Source: btree_update.c (bch2_trans_update_extent, bch2_trans_update_extent_overwrite).

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// The sectors of a key hold this from here on, as its snapshot sees them; type `deleted` with a
  /// size leaves nothing there.
  ///
  /// - Parameter value: `key.valueByteCount` bytes.
  func updateExtent(
    _ btree: BTreeID, _ key: BKey, _ value: RawSpan
  ) throws(TransactionError) {
    guard key.size > 0, UInt64(key.size) <= key.position.offset else {
      throw .failed(
        VolumeError(.corrupt, "\(key): an extent has a size, and starts at 0 or behind"))
    }
    var walk = SnapshotWalk(
      btree, key.position.inode, from: key.start.offset + 1, snapshot: key.position.snapshot,
      mode: .intent)
    while let old = try next(&walk), old.key.start.offset < key.position.offset {
      try overwrite(btree, old, by: key)
      if old.key.position.offset > key.position.offset { break }
    }
    if key.type != .deleted { update(btree, key, value) }
  }

  private func overwrite(
    _ btree: BTreeID, _ old: KeyView, by new: BKey
  ) throws(TransactionError) {
    let (start, end) = (new.start.offset, new.position.offset)
    let hasFront = old.key.start.offset < start
    let hasBack = old.key.position.offset > end
    let isInherited = old.key.position.snapshot != new.position.snapshot
    if hasFront { try keep(btree, old, upTo: start) }
    if isInherited, hasFront || hasBack { try keep(btree, old, from: start, upTo: end) }
    if hasBack { try keep(btree, old, from: end) }
    if isInherited || !hasBack {
      // Where the new key ends it takes this place itself, unless it is a hole.
      try deleteVisible(
        btree,
        BPos(new.position.inode, min(old.key.position.offset, end), new.position.snapshot),
        isInherited: isInherited)
    }
  }

  /// Makes a part of an extent a key of its own.
  private func keep(
    _ btree: BTreeID, _ old: KeyView, from start: UInt64 = 0, upTo end: UInt64 = .max
  ) throws(TransactionError) {
    var key = old.key
    var words = InlineArray<250, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var value = unsafe span.mutableBytes
    old.withValue { value.copy($0, to: 0) }
    do throws(FormatError) {
      try key.cutFront(to: start, &value, sizes: engine.media.entrySizes)
    } catch {
      throw .failed(VolumeError(error))
    }
    key.cutBack(to: end)
    try moveWhiteouts(btree, from: old.key.position, to: key.position)
    update(btree, key, value.bytes.extracting(first: key.valueByteCount))
  }
}
