// SPDX-License-Identifier: GPL-2.0
// One inode as all snapshots have it, while the keys that belong to it come by.
//
// How it works
//   1. Versions are read once for an inode; a key belongs to that of its nearest ancestor.
//   2. A key in a snapshot that has no version of its own gets one, a copy of its ancestor's, so
//      that what is counted for one snapshot is not counted for its ancestor.
// Invariants
//   (1) Versions ascend by snapshot: the first ancestor of a key is its nearest.
// Source: fsck.c (inode_walker, walk_inode).

internal import BcachefsFormat

struct InodeVersions {
  struct Version {
    let inode: Inode
    let place: SnapshotPlace
    /// What was counted: sectors, or directories.
    var count: UInt64 = 0
  }

  /// The inode; nil before the first one.
  private(set) var number: UInt64?
  var versions: [Version] = []

  /// Reads the versions of an inode, unless it is the one that is here.
  mutating func load(_ number: UInt64, _ cursor: BTreeCursor, _ check: VolumeCheck) {
    guard self.number != number else { return }
    self.number = number
    versions.removeAll(keepingCapacity: true)
    check.forEachVersion(of: number, cursor) { found, place in
      if let inode = found.inode(at: place) {
        versions.append(Version(inode: inode, place: place))
      }
      return true
    }
  }

  /// The version that a key in a snapshot belongs to; nil if there is none.
  mutating func index(for place: SnapshotPlace, isWhiteout: Bool) -> Int? {
    guard let nearest = versions.firstIndex(where: { $0.place.isAncestor(of: place) }) else {
      return nil
    }
    guard versions[nearest].place != place, !isWhiteout else { return nearest }
    let own = Version(
      inode: versions[nearest].inode, place: place, count: versions[nearest].count)
    let index = versions.firstIndex { $0.place.id > place.id } ?? versions.count
    versions.insert(own, at: index)
    return index
  }
}

extension KeyReference {
  /// The inode that a key holds; nil if it holds none, or one that cannot be decoded.
  var inode: Inode? {
    guard key.type.isInode else { return nil }
    return withValue { try? Inode(key: key, value: $0) }
  }

  /// The same as it is judged: in the snapshot that it is on its way to.
  func inode(at place: SnapshotPlace) -> Inode? {
    var inode = inode
    inode?.snapshot = place.id
    return inode
  }
}

extension VolumeCheck {
  /// Calls `body` with all keys at an inode's number whose snapshots exist, ascending by their
  /// places, from one on; false ends it. Of two at one place the nearer comes.
  func forEachVersion(
    of number: UInt64, from snapshot: UInt32 = 0, _ cursor: BTreeCursor,
    _ body: (KeyReference, SnapshotPlace) -> Bool
  ) {
    guard !hasHeirs else {
      for (found, place) in versions(of: number, cursor) where place.id >= snapshot {
        if !body(found, place) { return }
      }
      return
    }
    cursor.seek(BPos(0, number, snapshot))
    while let found = cursor.nextReadable(), found.key.position.inode == 0,
      found.key.position.offset == number
    {
      guard let place = place(of: found.key.position.snapshot) else { continue }
      if !body(found, place) { return }
    }
  }

  private func versions(
    of number: UInt64, _ cursor: BTreeCursor
  ) -> [(key: KeyReference, place: SnapshotPlace)] {
    var result: [(key: KeyReference, place: SnapshotPlace)] = []
    var ids: Set<UInt32> = []
    cursor.seek(BPos(0, number, 0))
    while let found = cursor.nextReadable(), found.key.position.inode == 0,
      found.key.position.offset == number
    {
      guard let place = place(of: found.key.position.snapshot), ids.insert(place.id).inserted
      else { continue }
      result.append((found, place))
    }
    return result.sorted { $0.place.id < $1.place.id }
  }

  /// The key at a place that a snapshot sees; nil if there is none, or it cannot be read.
  func visible(
    _ cursor: BTreeCursor, _ inode: UInt64, _ offset: UInt64, in snapshot: UInt32
  ) -> KeyReference? {
    guard let place = place(of: snapshot) else { return nil }
    cursor.seek(BPos(inode, offset, place.id))
    while let found = cursor.nextReadable(), found.key.position.inode == inode,
      found.key.position.offset == offset
    {
      guard let own = self.place(of: found.key.position.snapshot), own.isAncestor(of: place) else {
        continue
      }
      return found.key.isWhiteout ? nil : found
    }
    return nil
  }

  /// The inode that a snapshot sees.
  func inode(_ number: UInt64, in snapshot: UInt32) -> Inode? {
    guard let found = visible(inodes, 0, number, in: snapshot) else { return nil }
    return place(of: found.key.position.snapshot).flatMap(found.inode(at:))
  }

  /// The text of an inode as upstream's findings have it.
  func text(_ inode: Inode) -> String { "inum: \(inode.number):\(inode.snapshot) \(inode)" }

  /// A subvolume; nil if there is none, or it cannot be read.
  func subvolume(_ id: UInt32) -> Subvolume? { try? volume.subvolume(id) }

  // MARK: - Keys that belong to inodes

  /// Where a key's snapshot is in the tree; says so if there is no such snapshot. Nil also for one
  /// that is on its way out.
  func existingPlace(of found: KeyReference) -> SnapshotPlace? {
    if let place = place(of: found.key.position.snapshot) { return place }
    if anyPlace(of: found.key.position.snapshot) == nil {
      report(.bkey_in_missing_snapshot, "key in missing snapshot \(text(found))")
    }
    return nil
  }

  /// The version of the inode that a key belongs to; says so if there is none, or one of a kind
  /// that has no such keys. Whiteouts may be without.
  func owner(
    of found: KeyReference, _ place: SnapshotPlace, in owner: inout InodeVersions,
    isExpected: (Inode) -> Bool
  ) -> Int? {
    owner.load(found.key.position.inode, inodes, self)
    let isWhiteout = found.key.isWhiteout
    let index = owner.index(for: place, isWhiteout: isWhiteout)
    if isWhiteout { return index }
    guard let index else {
      report(.key_in_missing_inode, "key in missing inode:\n  \(text(found))")
      return nil
    }
    let inode = owner.versions[index].inode
    guard isExpected(inode) else {
      report(
        .key_in_wrong_inode_type,
        "key for wrong inode mode \(String(inode.mode, radix: 8)):\n  \(text(found))")
      return nil
    }
    return index
  }
}
