// SPDX-License-Identifier: GPL-2.0
// Where subvolumes and files are in the volume's tree.
//
// How it works
//   A subvolume's root directory says in which directory of the parent subvolume its name stands;
//   each directory, and each file, says the same of itself, up to the root of the volume. What was
//   looked up for one subvolume is kept for the next: they usually stand side by side.
// Invariants
//   (1) Climbing ends after `depthMax` names: a damaged volume may have circles.
//   (2) All paths of a list together take at most `stepMax` names and `byteMax` bytes: a damaged
//       volume may promise millions of the longest. What is beyond has no path.
// Locks: none; it belongs to one thread.
// Source: subvolume.c, inode.c (bch2_inum_to_path).

internal import BcachefsFormat
internal import BcachefsSupport

/// Finds the paths of the subvolumes, or files, of one list.
final class SubvolumePaths {
  /// More names than any path has that Linux can be told at once.
  private static let depthMax = 4096
  private static let stepMax = 1 << 24
  private static let byteMax = 256 << 20
  private static let keptMax = 1 << 18

  private struct Step {
    let name: [UInt8]
    let parent: FileID
  }

  private let volume: Volume
  private var kept: [FileID: Step] = [:]
  private var stepsLeft = stepMax
  private var bytesLeft = byteMax

  init(_ volume: Volume) { self.volume = volume }

  /// The path from the volume's root, without a `/` at either end; nil where no path leads there.
  func path(of id: UInt32) -> [UInt8]? {
    guard let info = try? volume.subvolume(id) else { return nil }
    return path(of: FileID(subvolume: id, inode: info.inode))
  }

  /// The path of a file, as its inode knows it; nil where no path leads there: it was unlinked, or
  /// the name that it had is gone and others may be left.
  func path(of file: FileID) -> [UInt8]? {
    var names: [[UInt8]] = []
    var byteCount = 0
    var current = file
    while current != volume.root {
      guard names.count < Self.depthMax, stepsLeft > 0, byteCount < bytesLeft,
        let step = step(above: current)
      else { return nil }
      stepsLeft -= 1
      byteCount += step.name.count + 1
      names.append(step.name)
      current = step.parent
    }
    bytesLeft -= min(byteCount, bytesLeft)
    return Array(names.reversed().joined(separator: [UInt8(ascii: "/")]))
  }

  private func step(above id: FileID) -> Step? {
    if let step = kept[id] { return step }
    guard let info = try? volume.subvolume(id.subvolume), let inode = try? volume.inode(id),
      inode.directory != 0
    else { return nil }
    var subvolume = id.subvolume
    if id.inode == info.inode {
      guard inode.parentSubvolume != 0 else { return nil }
      subvolume = inode.parentSubvolume
    }
    guard
      let name = try? volume.name(
        of: id, inode.directory, inode.directoryOffset, in: subvolume)
    else { return nil }
    let step = Step(name: name, parent: FileID(subvolume: subvolume, inode: inode.directory))
    if kept.count < Self.keptMax { kept[id] = step }
    return step
  }
}

extension Volume {
  /// The name that stands at a place in a directory.
  ///
  /// - Throws: `.notFound` if there is none, or it is not that of `file`.
  fileprivate func name(
    of file: FileID, _ directory: UInt64, _ offset: UInt64, in subvolumeID: UInt32
  ) throws(VolumeError) -> [UInt8] {
    let snapshot = try subvolume(subvolumeID).snapshot
    var cursor = SnapshotCursor(forest, .dirents, snapshot: snapshot, table: snapshots)
    guard let found = try cursor.lookup(directory, offset), found.key.type == .dirent else {
      throw VolumeError(.notFound, "no name at \(directory):\(offset)")
    }
    let (name, isIt) = try found.decoded { (value) throws(FormatError) in
      let dirent = try Dirent(decoding: value)
      let isIt =
        switch dirent.target {
        case .inode(let number): number == file.inode
        case .subvolume(let child, _): child == file.subvolume
        }
      return (dirent.name.copiedBytes, isIt)
    }
    guard isIt else {
      throw VolumeError(
        .notFound, "the name at \(directory):\(offset) is not that of inode \(file.inode)")
    }
    return name
  }
}
