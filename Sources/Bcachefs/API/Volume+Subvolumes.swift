// SPDX-License-Identifier: GPL-2.0
// Subvolumes with their paths (SubvolumePaths), and the tree of snapshots, as lists.

public import BcachefsFormat
internal import BcachefsSupport

/// A subvolume and where it is.
public struct SubvolumeInfo: Sendable {
  public let id: UInt32
  public let subvolume: Subvolume
  /// From the volume's root, without a `/` at either end; empty for the root. nil where no path
  /// leads there: it was deleted, or names are damaged.
  public let path: [UInt8]?
  /// When it was made, in nanoseconds since 1970.
  public let creationTime: Int64
}

/// A node of the tree of snapshots.
public struct SnapshotInfo: Sendable {
  public let id: UInt32
  public let snapshot: Snapshot
  /// Sectors of data that were written in it, nil if nobody counted.
  public let sectors: Int64?
}

extension Volume {
  /// All subvolumes, by ascending number.
  public func subvolumes() throws(VolumeError) -> [SubvolumeInfo] {
    let cursor = BTreeCursor(forest, .subvolumes)
    let paths = SubvolumePaths(self)
    var result: [SubvolumeInfo] = []
    while let found = try cursor.next() {
      guard found.key.type == .subvolume, let id = UInt32(exactly: found.key.position.offset)
      else { continue }
      let value = try decoding(found) { (value) throws(FormatError) in
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
  public func snapshotTree() throws(VolumeError) -> [SnapshotInfo] {
    var sectors: [UInt32: Int64] = [:]
    for count in try accounting() {
      if case .snapshot(let id) = count.key { sectors[id] = count.counters.first }
    }
    return snapshots.ids.reversed().compactMap { id in
      snapshots[id].map { SnapshotInfo(id: id, snapshot: $0, sectors: sectors[id]) }
    }
  }
}
