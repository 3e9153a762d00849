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
    cursor.seek(BPos(0, first, 0))
    while let found = cursor.nextReadable() {
      try step()
      guard let place = place(of: found.key.position.snapshot), let inode = found.inode,
        !inode.isDirectory, inode.nlink != 0
      else { continue }
      guard table.count < limit || table.last?.number == inode.number else { return inode.number }
      table.append(LinkTally(number: inode.number, place: place))
    }
    return nil
  }

  private func countLinks(_ table: inout [LinkTally]) throws(VolumeError) {
    var seen = KeysSeen()
    try forEachKey(of: .dirents) { (found) throws(VolumeError) in
      let position = found.key.position
      guard let place = place(of: position.snapshot) else { return }
      seen.add(position.inode, position.offset, place)
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
    let cursor = BTreeCursor(forest, .inodes)
    for tally in table {
      try step()
      guard let inode = (try? cursor.lookup(BPos(0, tally.number, tally.place.id)))?.inode,
        inode.linkCount != tally.count
      else { continue }
      viewed = tally.place.id
      report(
        .inode_wrong_nlink,
        "inode \(tally.number) type \(Dirent.typeName(UInt8(inode.mode >> 12))) has wrong i_nlink "
          + "(\(inode.linkCount), should be \(tally.count))")
    }
  }
}
