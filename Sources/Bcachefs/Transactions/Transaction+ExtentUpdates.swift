// SPDX-License-Identifier: GPL-2.0
// Extents as updates: what a new one covers is cut, split, or hidden.
//
// How it works
//   1. The extents that the new one's snapshot sees, and that it overlaps, are walked. What stands
//      before the new one and behind it stays, as keys of their own.
//   2. Those of an ancestor stay whole for the others that see them, but are split at the new one's
//      ends: so a key hides exactly what ends where it ends.
//   3. What ends inside the new one is removed, or hidden by a whiteout.
//   4. Neighbours that the new one is a continuation of become one key with it, unless a descendant
//      has keys where one of them ends: those hide what ends there, and nothing longer.
// Invariants
//   (1) Extents that one snapshot sees do not overlap, before and after.
// Source: btree_update.c (bch2_trans_update_extent, bch2_trans_update_extent_overwrite).

internal import BcachefsFormat
internal import BcachefsSupport

/// A key with its value, out of the btree.
private struct JoinedKey {
  var key: BKey
  var words: [UInt64]

  init(key: BKey, words: [UInt64]) {
    self.key = key
    self.words = words
  }

  init(_ key: BKey, _ value: RawSpan) {
    self.key = key
    words = (0..<value.byteCount / 8).map { value[LEField<UInt64>($0 * 8)].littleEndian }
  }

  init(_ view: KeyView) { self = view.withValue { JoinedKey(view.key, $0) } }
}

extension Transaction {
  /// The sectors of a key hold this from here on, as its snapshot sees them; type `deleted` with a
  /// size leaves nothing there.
  ///
  /// - Parameter value: `key.valueByteCount` bytes.
  /// - Returns: how many of its sectors counted as allocated before, as its snapshot sees them.
  @discardableResult
  func updateExtent(
    _ btree: BTreeID, _ key: BKey, _ value: RawSpan
  ) throws(TransactionError) -> UInt64 {
    guard key.size > 0, UInt64(key.size) <= key.position.offset else {
      throw .failed(
        VolumeError(.corrupt, "\(key): an extent has a size, and starts at 0 or behind"))
    }
    var walk = SnapshotWalk(
      btree, key.position.inode, from: key.start.offset, snapshot: key.position.snapshot,
      mode: .intent)
    var (front, back): (JoinedKey?, JoinedKey?)
    var allocated: UInt64 = 0
    while let old = try next(&walk), old.key.start.offset <= key.position.offset {
      if old.key.position == key.start {
        front = JoinedKey(old)
      } else if old.key.start == key.position {
        back = JoinedKey(old)
        break
      } else if old.key.position.offset > key.start.offset,
        old.key.start.offset < key.position.offset
      {
        if old.key.type.isAllocation {
          allocated +=
            min(old.key.position.offset, key.position.offset)
            - max(old.key.start.offset, key.start.offset)
        }
        try overwrite(btree, old, by: key)
        if old.key.position.offset > key.position.offset { break }
      }
    }
    if key.type == .deleted { return allocated }
    if front != nil || back != nil {
      try insert(btree, key, value, front, back)
    } else {
      update(btree, key, value)
    }
    return allocated
  }

  /// Puts a key in, as one with its neighbours where it continues them.
  private func insert(
    _ btree: BTreeID, _ key: BKey, _ value: RawSpan, _ front: JoinedKey?, _ back: JoinedKey?
  ) throws(TransactionError) {
    var whole = JoinedKey(key, value)
    if let front, let joined = try join(btree, front, whole) {
      try deleteVisible(btree, front.key.position, isInherited: false)
      whole = joined
    }
    if let back, let joined = try join(btree, whole, back) { whole = joined }
    unsafe update(btree, whole.key, whole.words.span.bytes)
  }

  private func join(
    _ btree: BTreeID, _ left: JoinedKey, _ right: JoinedKey
  ) throws(TransactionError) -> JoinedKey? {
    let media = engine.media
    let joined = unsafe left.key.joined(
      with: right.key, left.words.span.bytes, right.words.span.bytes, sizes: media.entrySizes
    ) { pointer, sectors in
      guard let member = media.member(pointer.device), member.bucketSizeSectors > 0 else {
        return false
      }
      return pointer.offset % member.bucketSizeSectors + sectors <= member.bucketSizeSectors
    }
    // `bch2_key_has_snapshot_overwrites`
    guard let joined, try !hasKeyBelow(btree, left.key.position),
      try !hasKeyBelow(btree, right.key.position)
    else { return nil }
    return JoinedKey(key: joined, words: left.words)
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
