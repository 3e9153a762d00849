// SPDX-License-Identifier: GPL-2.0
// Directories: from each there is a way up to the root of its subvolume.
// Source: fsck.c (bch2_check_directory_structure, check_path).

internal import BcachefsFormat
internal import BcachefsSupport

extension VolumeCheck {
  func checkDirectoryStructure() throws(VolumeError) {
    var paths = KnownPaths(directoryCount, limit: options.memoryBytes)
    try forEachKey(of: .inodes) { (found) throws(VolumeError) in
      let position = found.key.position
      guard place(of: position.snapshot) != nil, let inode = found.inode, inode.isDirectory,
        !inode.flags.contains(.unlinked)
      else { return }
      let start = PathPlace(position.offset, position.snapshot)
      let end = try followPath(from: start, &paths, stepUp)
      guard case .loop(let places) = end else { return }
      let lines = places.map { "\n  \($0.number):\($0.snapshot)" }.joined()
      report(.dir_loop, "directory structure loop\(lines)")
    }
  }

  /// From a version of a directory to that of the directory which its name is in.
  private func stepUp(_ place: PathPlace) -> PathStep {
    guard let inode = inode(place.number, in: place.snapshot) else { return .nowhere }
    let own = withGoodSubvolume(inode)
    guard own.subvolume == 0 else { return .top }
    guard nameLeadsBack(to: own, isReported: false),
      let parent = self.inode(own.directory, in: own.snapshot)
    else { return .nowhere }
    return .next(PathPlace(parent.number, parent.snapshot))
  }
}
