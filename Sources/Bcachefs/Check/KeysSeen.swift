// SPDX-License-Identifier: GPL-2.0
// In which snapshots a key is seen, as keys of a btree come by in order.
//
// How it works
//   1. At one place (inode and offset) keys come by ascending snapshots: whatever overwrites a key
//      in a descendant has come before it.
//   2. So a key is seen in a descendant unless one that came before it is nearer to that.
//   3. A key that is on its way to another snapshot counts as one of that, unless it has its own.
// Invariants
//   (1) `places` holds the keys at one place only, whiteouts too, each snapshot once.
// Source: fsck.c (snapshots_seen, key_visible_in_snapshot, ref_visible).

/// A node in the tree of snapshots, with what tells its descendants.
struct SnapshotPlace: Hashable {
  let id: UInt32
  /// Places of the node, its own first, and of all that descend from it.
  let range: Range<Int>

  /// Whether what was written here may be seen in `other`; each is its own ancestor.
  func isAncestor(of other: SnapshotPlace) -> Bool { range.contains(other.range.lowerBound) }
}

struct KeysSeen {
  private var inode: UInt64 = 0
  private var offset: UInt64 = 0
  /// Ascending by snapshot.
  private var places: [SnapshotPlace] = []
  /// Where among them the key is that came last.
  private var index = 0

  /// A key comes by.
  ///
  /// - Returns: False for one whose place another has, which is nearer: nobody sees it.
  mutating func add(_ inode: UInt64, _ offset: UInt64, _ place: SnapshotPlace) -> Bool {
    if self.inode != inode || self.offset != offset {
      places.removeAll(keepingCapacity: true)
      self.inode = inode
      self.offset = offset
    }
    index = places.count
    // Keys come in their order, but for those that are on their way to another snapshot.
    while index > 0, places[index - 1].id > place.id { index -= 1 }
    if index > 0, places[index - 1] == place { return false }
    places.insert(place, at: index)
    return true
  }

  /// The place of the key that came last; nil before the first.
  var last: SnapshotPlace? { index < places.count ? places[index] : nil }

  /// Whether the key that came last is seen in a snapshot.
  func lastIsVisible(in other: SnapshotPlace) -> Bool {
    guard let own = last, own.isAncestor(of: other) else { return false }
    if own == other { return true }
    var nearer = index - 1
    while nearer >= 0, places[nearer].id >= other.id {
      if places[nearer].isAncestor(of: other) { return false }
      nearer -= 1
    }
    return true
  }

  /// Whether there is a snapshot that sees both the key that came last and one that it refers to.
  func lastRefers(to target: SnapshotPlace) -> Bool {
    guard let own = last else { return false }
    return target.id <= own.id ? lastIsVisible(in: target) : target.isAncestor(of: own)
  }

  /// Keys that overwrite the one that came last in a descendant.
  var overwriters: [SnapshotPlace] {
    guard index > 0, let own = last else { return [] }
    return places[..<index].filter { own.isAncestor(of: $0) }
  }
}
