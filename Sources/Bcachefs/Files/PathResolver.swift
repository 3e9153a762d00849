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

enum PathResolver {
  private static let maxLinks = 40
  private static let maxNames = 1 << 16

  /// The file that a path from a root names.
  ///
  /// - Parameters:
  ///   - path: Names with `/` between them; empty for the root.
  ///   - followsLast: Whether the last name may be a symbolic link that is followed; links on the
  ///     way always are.
  ///   - lookup: What a name in a directory leads to, and whether that is a symbolic link.
  ///   - readLink: A symbolic link's target.
  /// - Throws: `.limit` for circles of links, and what the two throw.
  static func resolve(
    _ path: [UInt8], from root: FileID, followsLast: Bool,
    lookup: ([UInt8], FileID) throws(VolumeError) -> (FileID, isLink: Bool),
    readLink: (FileID) throws(VolumeError) -> [UInt8]
  ) throws(VolumeError) -> FileID {
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
      let (found, isLink) = try lookup(Array(name), passed[passed.count - 1])
      guard isLink, followsLast || !names.isEmpty else {
        passed.append(found)
        continue
      }
      links += 1
      let target = try readLink(found)
      if target.first == slash { passed = [root] }
      names += target.split(separator: slash).reversed()
      guard links <= maxLinks, names.count <= maxNames else {
        throw VolumeError(.limit, "\(SafeText.text(path)): too many symbolic links")
      }
    }
    return passed[passed.count - 1]
  }
}
