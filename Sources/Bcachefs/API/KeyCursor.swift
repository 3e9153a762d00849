// SPDX-License-Identifier: GPL-2.0
// The keys of a btree in order, for those who look into a volume.

public import BcachefsFormat
internal import BcachefsSupport

/// Walks the keys of one btree, of all snapshots, with what the journal has laid over the nodes.
///
/// It belongs to one thread at a time; a volume may have any number of them. Nodes that it passed
/// stay in memory while it does, one a level.
public final class KeyCursor {
  private let cursor: BTreeCursor

  init(_ cursor: BTreeCursor) { self.cursor = cursor }

  /// The next `next` gives the first key at or behind `position`, `previous` the last one at or
  /// before it. It is needed before each change of direction.
  public func seek(_ position: BPos) { cursor.seek(position) }

  /// Calls `body` with the next key and its value.
  ///
  /// - Returns: false at the end; `body` was not called.
  /// - Throws: what reading a node throws: `.allCopiesBad`, `.corrupt`, `.device`;
  ///   `skipUnreadable` then goes on behind it.
  /// - Complexity: no I/O and no allocation while the nodes are cached.
  public func next(
    _ body: (BKey, RawSpan) throws(VolumeError) -> Void
  ) throws(VolumeError) -> Bool {
    guard let found = try cursor.next() else { return false }
    try found.withValue { (value) throws(VolumeError) in try body(found.key, value) }
    return true
  }

  /// Calls `body` with the key before, from the position of the last `seek` on.
  ///
  /// - Returns: false at the start; `body` was not called.
  /// - Throws: as `next`.
  public func previous(
    _ body: (BKey, RawSpan) throws(VolumeError) -> Void
  ) throws(VolumeError) -> Bool {
    guard let found = try cursor.previous() else { return false }
    try found.withValue { (value) throws(VolumeError) in try body(found.key, value) }
    return true
  }

  /// Calls `body` with the key at exactly `position`.
  ///
  /// - Returns: false if there is none; `body` was not called.
  /// - Throws: as `next`.
  public func lookup(
    _ position: BPos, _ body: (BKey, RawSpan) throws(VolumeError) -> Void
  ) throws(VolumeError) -> Bool {
    guard let found = try cursor.lookup(position) else { return false }
    try found.withValue { (value) throws(VolumeError) in try body(found.key, value) }
    return true
  }

  /// After `next` threw: goes on behind the positions that could not be read.
  ///
  /// - Returns: The last position that was skipped; nil if no node was at fault.
  public func skipUnreadable() -> BPos? { cursor.skipUnreadable() }
}

extension Volume {
  /// A cursor at the start of a btree.
  public func keyCursor(of btree: BTreeID) -> KeyCursor { KeyCursor(BTreeCursor(forest, btree)) }
}
