// SPDX-License-Identifier: GPL-2.0
// In which snapshots a key is seen, as keys of a btree come by in order.
//
// How it works
//   1. At one place (inode and offset) keys come by ascending snapshots: whatever overwrites a key
//      in a descendant has come before it.
//   2. So a key is seen in a descendant unless one that came by since is nearer to it.
// Invariants
//   (1) `places` holds the keys at one place only, whiteouts too, ascending by snapshot.
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
  private(set) var places: [SnapshotPlace] = []

  /// A key comes by.
  mutating func add(_ inode: UInt64, _ offset: UInt64, _ place: SnapshotPlace) {
    if self.inode != inode || self.offset != offset {
      places.removeAll(keepingCapacity: true)
      self.inode = inode
      self.offset = offset
    }
    if places.last != place { places.append(place) }
  }

  /// Whether the key that came last is seen in a snapshot.
  func lastIsVisible(in other: SnapshotPlace) -> Bool {
    guard let own = places.last, own.isAncestor(of: other) else { return false }
    if own == other { return true }
    var index = places.count - 2
    while index >= 0, places[index].id >= other.id {
      if places[index].isAncestor(of: other) { return false }
      index -= 1
    }
    return true
  }

  /// Whether there is a snapshot that sees both the key that came last and one that it refers to.
  func lastRefers(to target: SnapshotPlace) -> Bool {
    guard let own = places.last else { return false }
    return target.id <= own.id ? lastIsVisible(in: target) : target.isAncestor(of: own)
  }

  /// Keys that overwrite the one that came last in a descendant.
  var overwriters: [SnapshotPlace] {
    guard places.count > 1, let own = places.last else { return [] }
    return places.dropLast().filter { own.isAncestor(of: $0) }
  }
}
