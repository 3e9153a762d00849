// SPDX-License-Identifier: GPL-2.0
// Inodes that know of no name that leads to them: until a name is found they cannot be reached.
//
// How it works
//   1. check_inodes puts them into a table, in order, as many as the memory allows. A volume
//      without damage has few: files whose first of several names was removed.
//   2. check_dirents gives each the first name that leads to it, as upstream's would in mending it;
//      further names are judged by that one.
//   3. check_unreachable_inodes tells of those that are left, then makes a table of the next ones
//      and walks all names again for these, until there are no more.
// Invariants
//   (1) A table holds all versions of an inode or none.
//   (2) Of several versions that cannot be reached only the oldest is told of.
// Source: fsck.c (bch2_check_unreachable_inodes, find_oldest_inode_needs_reattach).

internal import BcachefsFormat
internal import BcachefsSupport

struct AdriftInode {
  let number: UInt64
  let snapshot: UInt32
  /// Whether a name was found, and where it stands.
  var hasName = false
  var directory: UInt64 = 0
  var directoryOffset: UInt64 = 0
}

struct AdriftInodes {
  private(set) var table: [AdriftInode] = []
  private let limit: Int
  /// The first inode that the table had no room for.
  private(set) var next: UInt64?
  /// The table begins with this inode.
  private let first: UInt64

  init(limit: Int = 0, from first: UInt64 = 0) {
    self.limit = max(limit, 16)
    self.first = first
  }

  /// Inodes come in order, their versions nearly so: some are on their way to another snapshot.
  mutating func add(_ inode: Inode) {
    guard next == nil else { return }
    guard table.count < limit || table.last?.number == inode.number else {
      next = inode.number
      return
    }
    table.insert(
      AdriftInode(number: inode.number, snapshot: inode.snapshot),
      at: place(of: inode.number, inode.snapshot))
  }

  /// Where a version is, or belongs.
  private func place(of number: UInt64, _ snapshot: UInt32) -> Int {
    table.sortedIndex(notBefore: {
      $0.number < number || $0.number == number && $0.snapshot < snapshot
    })
  }

  /// Whether the table knows all of an inode.
  func covers(_ number: UInt64) -> Bool { number >= first && next.map { number < $0 } ?? true }

  func index(of number: UInt64, _ snapshot: UInt32) -> Int? {
    let index = place(of: number, snapshot)
    guard index < table.count, table[index].number == number, table[index].snapshot == snapshot
    else { return nil }
    return index
  }

  /// Gives an inode of the table a name.
  mutating func setName(_ index: Int, _ directory: UInt64, _ offset: UInt64) {
    table[index].hasName = true
    table[index].directory = directory
    table[index].directoryOffset = offset
  }
}

extension Inode {
  /// Whether it knows of no name, and should have one (`inode_should_reattach`).
  var isAdrift: Bool {
    directory == 0 && !flags.contains(.unlinked)
      && (number != Positions.rootInode || subvolume != Subvolume.root)
  }
}

extension VolumeCheck {
  func checkUnreachableInodes() throws(VolumeError) {
    while true {
      for inode in adrift.table where !inode.hasName {
        try step()
        reportUnreachable(inode)
      }
      guard let next = adrift.next else { break }
      try collectAdrift(from: next)
      try judgeNamesOfAdrift()
    }
    adrift = AdriftInodes()
  }

  private func collectAdrift(from first: UInt64) throws(VolumeError) {
    adrift = AdriftInodes(
      limit: options.memoryBytes / MemoryLayout<AdriftInode>.stride, from: first)
    var seen = KeysSeen()
    let cursor = BTreeCursor(forest, .inodes)
    cursor.seek(BPos(0, first, 0))
    while adrift.next == nil, let found = cursor.nextReadable() {
      try step()
      let position = found.key.position
      guard let place = place(of: position.snapshot),
        seen.add(position.inode, position.offset, place), let inode = found.inode(at: place)
      else { continue }
      let mended = mendedLink(of: withOwnSubvolume(inode), isReported: false)
      if mended.isAdrift { adrift.add(mended) }
    }
  }

  private func reportUnreachable(_ own: AdriftInode) {
    guard let place = place(of: own.snapshot) else { return }
    var inode: Inode?
    var hasOlder = false
    forEachVersion(of: own.number, from: own.snapshot, inodes) { found, other in
      if other == place {
        inode = found.inode(at: place)
        return true
      }
      guard other.isAncestor(of: place) else { return true }
      if let index = adrift.index(of: own.number, other.id) {
        hasOlder = !adrift.table[index].hasName
      }
      return false
    }
    guard let inode, !hasOlder else { return }
    report(.inode_unreachable, "unreachable inode:\n\(text(inode))")
  }
}
