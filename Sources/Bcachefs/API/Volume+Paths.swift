// SPDX-License-Identifier: GPL-2.0
// Files of a volume by their paths.

internal import BcachefsFormat

extension Volume {
  /// The file that a path from the volume's root names: `resolve("etc/passwd")`.
  ///
  /// - Parameters:
  ///   - path: Names with `/` between them; empty for the root.
  ///   - followsLast: Whether the last name may be a symbolic link that is followed; links on the
  ///     way always are.
  /// - Throws: `.notFound`, `.notADirectory`, `.limit` (circles of links), and what reading a node
  ///   throws: `.allCopiesBad`, `.corrupt`, `.device`.
  /// - Complexity: a lookup by hash for each name of the path, and of the links on it.
  public func resolve(_ path: String, followsLast: Bool = true) throws(VolumeError) -> FileID {
    try resolve(Array(path.utf8), followsLast: followsLast)
  }

  /// The same for a path whose names need not be UTF-8.
  public func resolve(_ path: [UInt8], followsLast: Bool = true) throws(VolumeError) -> FileID {
    try PathResolver.resolve(path, from: root, followsLast: followsLast) {
      (name, directory) throws(VolumeError) in
      let found = try lookup(name, in: directory)
      return (found, try inode(found).fileType == FileKind.symbolicLink.rawValue)
    } readLink: { (link) throws(VolumeError) in
      try readLink(link)
    }
  }
}
