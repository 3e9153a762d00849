// SPDX-License-Identifier: GPL-2.0
// How readers of data find the keys of other btrees: a volume that is only read has cursors for
// that, one that is open for changes transactions.

internal import BcachefsFormat
internal import BcachefsSupport

/// Gives the key at a position of a btree, nil where there is none; what it refers to is good until
/// it is asked again.
typealias KeyLookup = (BTreeID, BPos) throws(VolumeError) -> KeyReference?

extension BTreeForest {
  /// Looks keys up, for one thread.
  func lookup() -> KeyLookup {
    var cursors: [BTreeID: BTreeCursor] = [:]
    return { (btree, position) throws(VolumeError) in
      let cursor = cursors[btree] ?? BTreeCursor(self, btree)
      cursors[btree] = cursor
      return try cursor.lookup(position)
    }
  }
}
