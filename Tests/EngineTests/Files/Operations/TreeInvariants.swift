// SPDX-License-Identifier: GPL-2.0
// What is true of the files of a volume whatever was done to it, as the driver's fsck asks it.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

/// Walks all files of a volume with one subvolume.
struct TreeInvariants {
  private let volume: Volume
  private var names: [UInt64: [(directory: UInt64, offset: UInt64)]] = [:]
  private var subdirectories: [UInt64: UInt32] = [:]
  private(set) var lines: [String] = []

  /// What is wrong: a line each.
  static func violations(in volume: Volume) throws -> [String] {
    var walk = TreeInvariants(volume: volume)
    try walk.collect()
    try walk.check()
    return Array(walk.lines.prefix(8))
  }

  private init(volume: Volume) { self.volume = volume }

  /// Every name can be found, once.
  private mutating func collect() throws {
    var directories = [volume.root]
    while let directory = directories.popLast() {
      let entries = try volume.entries(of: directory)
      for entry in entries {
        let found = try volume.lookup(entry.name, in: directory)
        if found != entry.id { lines.append("\(entry.text) in \(directory) leads to \(found)") }
        names[entry.id.inode, default: []].append((directory.inode, entry.nextOffset - 1))
        guard entry.kind == .directory else { continue }
        subdirectories[directory.inode, default: 0] += 1
        if names[entry.id.inode]?.count == 1 { directories.append(entry.id) }
      }
      if Set(entries.map(\.name)).count != entries.count { lines.append("\(directory): twice") }
    }
  }

  private mutating func check() throws {
    let cursor = BTreeCursor(volume.forest, .inodes)
    var count: UInt64 = 0
    while let found = try cursor.next() {
      guard found.key.type.isInode else { continue }
      count += 1
      let inode = try volume.inode(FileID(subvolume: 1, inode: found.key.position.offset))
      try check(inode)
    }
    let usage = try volume.usage()
    if usage.inodeCount != count { lines.append("\(usage.inodeCount) counted, \(count) there") }
    let dead = BTreeCursor(volume.forest, .deletedInodes)
    if let left = try dead.next() { lines.append("\(left.key.position) waits to be deleted") }
  }

  private mutating func check(_ inode: Inode) throws {
    guard inode.number != Positions.rootInode else { return }
    let places = names[inode.number] ?? []
    if inode.flags.contains(.unlinked) || places.isEmpty {
      return lines.append("inode \(inode.number) has \(places.count) names, \(inode.flags)")
    }
    let expected =
      inode.isDirectory ? 2 + (subdirectories[inode.number] ?? 0) : UInt32(places.count)
    if inode.linkCount != expected {
      lines.append("inode \(inode.number): \(inode.linkCount) links, not \(expected)")
    }
    let pointsBack = places.contains {
      $0.directory == inode.directory && $0.offset == inode.directoryOffset
    }
    if inode.directory != 0 || inode.isDirectory || places.count == 1 && inode.nlink == 0 {
      let mayBeWithout = !inode.isDirectory && inode.directory == 0
      if !pointsBack, !mayBeWithout { lines.append("inode \(inode.number) points elsewhere") }
    }
  }
}
