// SPDX-License-Identifier: GPL-2.0
// Extents: each belongs to a file, ends within it, and lies on no other that the same snapshot
// sees; and files know how many sectors they have.
//
// How it works
//   1. Extents come by file, then by where they end. For each snapshot the end of its last extent
//      is kept: an extent that starts before such an end, where some snapshot sees both, overlaps.
//   2. Sectors are counted for each version of the file that sees the extent, and compared when
//      the next file comes. What two extents cover counts once, as it will when one is cut.
//   3. Extents without a file, or behind its end, are told of and do not count: upstream deletes
//      them.
// Invariants
//   (1) Ends kept take no more than `memoryBytes`; with more snapshots than that the oldest ends
//       are forgotten, and overlaps with them not seen.
// Source: fsck.c (bch2_check_extents).

internal import BcachefsFormat
internal import BcachefsSupport

/// Where the last extent of one snapshot ends.
private struct ExtentEnd {
  let place: SnapshotPlace
  let position: BPos
  let start: UInt64
  /// Keys at the same position that overwrite it for a descendant.
  let overwriters: [SnapshotPlace]

  /// Whether a descendant sees the extent.
  func isVisible(in other: SnapshotPlace) -> Bool {
    place.isAncestor(of: other) && !overwriters.contains { $0.isAncestor(of: other) }
  }
}

/// The ends of one file's extents.
private struct ExtentEnds {
  private var number: UInt64?
  /// Ascending by snapshot.
  private(set) var ends: [ExtentEnd] = []
  private var weight = 0

  /// Forgets the ends of another file.
  mutating func enter(_ number: UInt64) {
    guard self.number != number else { return }
    self.number = number
    ends.removeAll(keepingCapacity: true)
    weight = 0
  }

  mutating func set(_ end: ExtentEnd, limit: Int) {
    if weight > limit {
      ends.removeAll(keepingCapacity: true)
      weight = 0
    }
    let index = ends.sortedIndex(notBefore: { $0.place.id < end.place.id })
    weight += 1 + end.overwriters.count
    if index < ends.count, ends[index].place == end.place {
      weight -= 1 + ends[index].overwriters.count
      ends[index] = end
    } else {
      ends.insert(end, at: index)
    }
  }
}

extension VolumeCheck {
  /// What is known of the file whose extents come by.
  private struct ExtentWalk {
    var seen = KeysSeen()
    var owner = InodeVersions()
    var ends = ExtentEnds()
    let other: BTreeCursor
  }

  func checkExtents() throws(VolumeError) {
    var walk = ExtentWalk(other: BTreeCursor(forest, .extents))
    try forEachKey(of: .extents, from: BPos(Positions.rootInode, 0, 0)) {
      (found) throws(VolumeError) in
      guard let place = existingPlace(of: found) else { return }
      let position = found.key.position
      if walk.owner.number != position.inode { compareSectors(walk.owner) }
      guard walk.seen.add(position.inode, position.offset, place) else { return }
      let index = owner(of: found, place, in: &walk.owner) {
        $0.fileType == 0x8000 || $0.fileType == 0xa000
      }
      guard let index, !found.key.isWhiteout else { return }
      walk.ends.enter(position.inode)
      let overlapped = overlaps(of: found, place, walk)
      if !isBehindEnd(found, walk, from: index), found.key.type.isAllocation {
        count(found, overlapped, &walk, from: index)
      }
      let end = ExtentEnd(
        place: place, position: position, start: found.key.start.offset,
        overwriters: walk.seen.overwriters)
      walk.ends.set(end, limit: options.memoryBytes / MemoryLayout<ExtentEnd>.stride)
    }
    compareSectors(walk.owner)
  }

  // MARK: - Sectors

  private func count(
    _ found: KeyReference, _ overlapped: [ExtentEnd], _ walk: inout ExtentWalk, from last: Int
  ) {
    let (start, end) = (found.key.start.offset, found.key.position.offset)
    for index in (0...last).reversed()
    where walk.seen.lastIsVisible(in: walk.owner.versions[index].place) {
      var sectors = UInt64(found.key.size)
      for other in overlapped where other.isVisible(in: walk.owner.versions[index].place) {
        let (first, behind) = (max(start, other.start), min(end, other.position.offset))
        sectors -= min(sectors, behind - min(first, behind))
      }
      walk.owner.versions[index].count &+= sectors
    }
  }

  private func compareSectors(_ owner: InodeVersions) {
    for own in owner.versions where own.inode.sectors != own.count {
      guard !own.inode.flags.contains(.sectorsDirty) else { continue }
      report(
        .inode_i_sectors_wrong,
        "inode \(own.inode.number):\(own.place.id) has incorrect i_sectors: got "
          + "\(own.inode.sectors), should be \(own.count)")
    }
  }

  // MARK: - Ends

  /// Whether an extent lies behind the end of a file that sees it.
  private func isBehindEnd(_ found: KeyReference, _ walk: ExtentWalk, from last: Int) -> Bool {
    guard found.key.type != .reservation else { return false }
    for index in (0...last).reversed() {
      let own = walk.owner.versions[index]
      guard found.key.position.offset > sectorsWithin(own.inode.size),
        walk.seen.lastIsVisible(in: own.place)
      else { continue }
      if isUnwritten(found) { return false }
      report(
        .extent_past_end_of_inode,
        "extent type past end of inode \(own.inode.number):\(own.place.id), i_size "
          + "\(own.inode.size)\n  \(text(found))")
      return true
    }
    return false
  }

  /// Sectors of as many bytes, in whole blocks.
  private func sectorsWithin(_ byteCount: UInt64) -> UInt64 {
    let blockBytes = UInt64(max(volume.superblock.blockSizeSectors, 1)) * 512
    let (last, overflow) = byteCount.addingReportingOverflow(blockBytes - 1)
    return overflow ? .max : last / blockBytes * (blockBytes / 512)
  }

  /// Whether an extent is a promise of space, as fallocate makes it.
  private func isUnwritten(_ found: KeyReference) -> Bool {
    guard found.key.type == .extent else { return false }
    let isUnwritten = try? media.withEntries(of: found) { entries in
      var pointers = entries.pointers
      while let pointer = pointers.next() {
        if pointer.ptr.isUnwritten { return true }
      }
      return false
    }
    return isUnwritten ?? false
  }

  // MARK: - Overlaps

  /// The extents that an extent overlaps with; says so.
  private func overlaps(
    of found: KeyReference, _ place: SnapshotPlace, _ walk: ExtentWalk
  ) -> [ExtentEnd] {
    var overlapped: [ExtentEnd] = []
    for end in walk.ends.ends where end.position.offset > found.key.start.offset {
      let isShared =
        place.id <= end.place.id
        ? end.isVisible(in: place) : walk.seen.lastIsVisible(in: end.place)
      guard isShared else { continue }
      overlapped.append(end)
      let isFirst = end.place.id >= place.id
      let other = (try? walk.other.lookup(end.position)).map(text)
      report(
        .extent_overlapping,
        "overlapping extents\n  \(other ?? "\(end.position)")\n  \(text(found))\n  overwriting "
          + "\(isFirst ? "first" : "second") extent")
    }
    return overlapped
  }
}
