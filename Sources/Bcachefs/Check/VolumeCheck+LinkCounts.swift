// SPDX-License-Identifier: GPL-2.0
// Files with several names: how many there are, in the eyes of each snapshot.
//
// How it works
//   As many files that say they have several names as the memory allows are put into a table, in
//   order; one walk over all names counts; the table is compared with the inodes. The walk is
//   repeated for the next ones, and not made where there are none.
// Invariants
//   (1) A table holds all versions of an inode or none.
// Source: fsck.c (bch2_check_nlinks).

internal import BcachefsFormat
internal import BcachefsSupport

/// A version of a file, and how many names were found that lead to it.
private struct LinkTally {
  let number: UInt64
  let place: SnapshotPlace
  /// What the file says of itself.
  let linkCount: UInt32
  let mode: UInt16
  var count: UInt32 = 0
}

extension VolumeCheck {
  func checkLinkCounts() throws(VolumeError) {
    let limit = max(options.memoryBytes / MemoryLayout<LinkTally>.stride, 16)
    var next: UInt64? = 0
    while let first = next {
      var table: [LinkTally] = []
      next = try collectLinked(from: first, limit, &table)
      guard !table.isEmpty else { return }
      try countLinks(&table)
      try compareLinks(table)
    }
  }

  /// Puts files into the table.
  ///
  /// - Returns: The first inode that it has no room for.
  private func collectLinked(
    from first: UInt64, _ limit: Int, _ table: inout [LinkTally]
  ) throws(VolumeError) -> UInt64? {
    let cursor = BTreeCursor(forest, .inodes)
    let versions = BTreeCursor(forest, .inodes)
    cursor.seek(BPos(0, first, 0))
    while let found = cursor.nextReadable() {
      try step()
      let number = found.key.position.offset
      guard number != table.last?.number, let inode = found.inode, isLinked(inode),
        place(of: found.key.position.snapshot) != nil
      else { continue }
      guard table.count < limit else { return number }
      forEachVersion(of: number, versions) { found, place in
        if let inode = found.inode, isLinked(inode) {
          table.append(
            LinkTally(
              number: number, place: place, linkCount: inode.linkCount, mode: inode.mode))
        }
        return true
      }
    }
    return nil
  }

  private func isLinked(_ inode: Inode) -> Bool { !inode.isDirectory && inode.nlink != 0 }

  private func countLinks(_ table: inout [LinkTally]) throws(VolumeError) {
    var seen = KeysSeen()
    try forEachKey(of: .dirents) { (found) throws(VolumeError) in
      let position = found.key.position
      guard let place = place(of: position.snapshot),
        seen.add(position.inode, position.offset, place)
      else { return }
      guard let link = DirentLink(found), link.type != Dirent.directoryType,
        link.type != Dirent.subvolumeType
      else { return }
      var index = table.sortedIndex(notBefore: { $0.number < link.number })
      while index < table.count, table[index].number == link.number {
        let target = table[index].place
        if seen.lastRefers(to: target) {
          table[index].count &+= 1
          if target.id >= place.id { break }
        }
        index += 1
      }
    }
  }

  private func compareLinks(_ table: [LinkTally]) throws(VolumeError) {
    for tally in table where tally.linkCount != tally.count {
      try step()
      report(
        .inode_wrong_nlink,
        "inode \(tally.number) type \(Dirent.typeName(UInt8(tally.mode >> 12))) has wrong i_nlink "
          + "(\(tally.linkCount), should be \(tally.count))")
    }
  }
}
