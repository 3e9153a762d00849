// SPDX-License-Identifier: GPL-2.0
// Paths as a kernel resolves them: with symbolic links, `.` and `..`.
//
// How it works
//   The directories passed on the way are kept: `..` and a link's relative target start from them.
//   An absolute target starts at the volume's root, which nothing leads out of.
// Invariants
//   (1) At most `maxLinks` links are followed, and a path has at most `maxNames` names: circles
//       end.

internal import BcachefsFormat

extension Volume {
  private static let maxLinks = 40
  private static let maxNames = 1 << 16

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
    let slash = UInt8(ascii: "/")
    let dot = UInt8(ascii: ".")
    var passed = [root]
    // Names still to be looked up, the next one last.
    var names = Array(path.split(separator: slash).reversed())
    var links = 0
    while let name = names.popLast() {
      if name.elementsEqual([dot]) { continue }
      if name.elementsEqual([dot, dot]) {
        if passed.count > 1 { passed.removeLast() }
        continue
      }
      let directory = passed[passed.count - 1]
      let found = try lookup(Array(name), in: directory)
      guard try inode(found).fileType == 0xa000, followsLast || !names.isEmpty else {
        passed.append(found)
        continue
      }
      links += 1
      let target = try readLink(found)
      if target.first == slash { passed = [root] }
      names += target.split(separator: slash).reversed()
      guard links <= Self.maxLinks, names.count <= Self.maxNames else {
        throw VolumeError(.limit, "\(SafeText.text(path)): too many symbolic links")
      }
    }
    return passed[passed.count - 1]
  }
}
