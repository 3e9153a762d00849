// SPDX-License-Identifier: GPL-2.0
// Subvolumes with their paths, and the tree of snapshots, as lists.
//
// How it works
//   A subvolume's root directory says in which directory of the parent subvolume its name stands;
//   each directory says the same of itself, up to the root of the volume.
// Invariants
//   (1) Climbing ends after `maxDepth` names: a damaged volume may have circles.
// Source: subvolume.c, inode.c (bch2_inum_to_path).

public import BcachefsFormat
internal import BcachefsSupport

/// A subvolume and where it is.
public struct SubvolumeInfo: Sendable {
  /// Its number; 1 is the one that the volume's root belongs to.
  public let id: UInt32
  /// As found, with every field.
  public let subvolume: Subvolume
  /// From the volume's root, without a `/` at either end; empty for the root. nil where no path
  /// leads there: it was deleted, or names are damaged.
  public let path: [UInt8]?
  /// When it was made, in nanoseconds since 1970.
  public let creationTime: Int64
}

/// A node of the tree of snapshots.
public struct SnapshotInfo: Sendable {
  /// Its number, below its parent's.
  public let id: UInt32
  /// As found, with every field.
  public let snapshot: Snapshot
  /// Sectors of data that were written in it, nil if nobody counted.
  public let sectors: Int64?
}

extension Volume {
  /// More names than any path has that Linux can be told at once.
  private static let maxDepth = 4096

  /// All subvolumes, by ascending number.
  ///
  /// - Throws: what reading a node throws: `.allCopiesBad`, `.corrupt`, `.device`.
  public func subvolumes() throws(VolumeError) -> [SubvolumeInfo] {
    let cursor = BTreeCursor(forest, .subvolumes)
    var result: [SubvolumeInfo] = []
    while let found = try cursor.next() {
      guard found.key.type == .subvolume, let id = UInt32(exactly: found.key.position.offset)
      else { continue }
      let value = try decoding(found) { (value) throws(FormatError) in
        try Subvolume(decoding: value)
      }
      result.append(
        SubvolumeInfo(
          id: id, subvolume: value, path: path(ofSubvolume: id),
          creationTime: time(value.otime.lo)))
    }
    return result
  }

  /// The tree of snapshots, by descending number: parents come before their children.
  ///
  /// - Throws: as `accounting`.
  public func snapshotTree() throws(VolumeError) -> [SnapshotInfo] {
    var sectors: [UInt32: Int64] = [:]
    for count in try accounting() {
      guard case .snapshot(let id) = count.key else { continue }
      // Newer formats count each btree's keys first, and their bytes.
      let counted = count.counters.count >= 3 ? count.counters[2] : count.counters.first ?? 0
      sectors[id] = (sectors[id] ?? 0) &+ counted
    }
    return snapshots.ids.reversed().compactMap { id in
      snapshots[id].map { SnapshotInfo(id: id, snapshot: $0, sectors: sectors[id]) }
    }
  }

  /// Where a subvolume's root is in the volume's tree; nil where no path leads there.
  private func path(ofSubvolume id: UInt32) -> [UInt8]? {
    var names: [[UInt8]] = []
    var current = id
    var number: UInt64?
    while names.count < Self.maxDepth {
      guard let info = try? subvolume(current) else { return nil }
      let inodeNumber = number ?? info.inode
      if current == Subvolume.root && inodeNumber == Positions.rootInode {
        return Array(names.reversed().joined(separator: [UInt8(ascii: "/")]))
      }
      guard let inode = try? inode(FileID(subvolume: current, inode: inodeNumber)),
        inode.directory != 0
      else { return nil }
      if inodeNumber == info.inode {
        guard inode.parentSubvolume != 0 else { return nil }
        current = inode.parentSubvolume
      }
      guard let name = try? name(inode.directory, inode.directoryOffset, in: current) else {
        return nil
      }
      names.append(name)
      number = inode.directory
    }
    return nil
  }

  /// The name that stands at a place in a directory.
  private func name(
    _ directory: UInt64, _ offset: UInt64, in subvolumeID: UInt32
  ) throws(VolumeError) -> [UInt8] {
    let snapshot = try subvolume(subvolumeID).snapshot
    var cursor = SnapshotCursor(forest, .dirents, snapshot: snapshot, table: snapshots)
    guard let found = try cursor.lookup(directory, offset), found.key.type == .dirent else {
      throw VolumeError(.notFound, "no name at \(directory):\(offset)")
    }
    return try decoding(found) { (value) throws(FormatError) in
      try Dirent(decoding: value).name.copiedBytes
    }
  }
}
