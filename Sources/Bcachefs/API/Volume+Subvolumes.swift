// SPDX-License-Identifier: GPL-2.0
// Subvolumes with their paths (SubvolumePaths), and the tree of snapshots, as lists.

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
  /// All subvolumes, by ascending number.
  ///
  /// - Throws: what reading a node throws: `.allCopiesBad`, `.corrupt`, `.device`.
  public func subvolumes() throws(VolumeError) -> [SubvolumeInfo] {
    let cursor = BTreeCursor(forest, .subvolumes)
    let paths = SubvolumePaths(self)
    var result: [SubvolumeInfo] = []
    while let found = try cursor.next() {
      guard found.key.type == .subvolume, let id = UInt32(exactly: found.key.position.offset)
      else { continue }
      let value = try found.decoded { (value) throws(FormatError) in
        try Subvolume(decoding: value)
      }
      result.append(
        SubvolumeInfo(
          id: id, subvolume: value, path: paths.path(of: id),
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
}
