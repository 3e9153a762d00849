// SPDX-License-Identifier: GPL-2.0
// The first names of files that have several, for an archive to point back to.
//
// How it works
//   A name is kept with the number of its directory, a directory with that of the one above it.
//   Only directories that hold such files are numbered, and those above them.
// Invariants
//   (1) Memory is that of the names, however long the paths are: each component is kept once.

internal import Bcachefs

/// Names of files, found again by the files. Directories come before what is in them.
struct LinkNames {
  private struct Directory {
    let parent: Int?
    let name: [UInt8]
  }

  private struct Name {
    let directory: Int?
    let name: [UInt8]
  }

  private var directories: [Directory] = []
  /// The way down to where the walk is: each directory's name, and its number once it has one.
  private var way: [(name: [UInt8], number: Int?)] = []
  private var names: [FileID: Name] = [:]

  /// A directory is entered.
  ///
  /// - Parameter depth: 0 for the walk's root, whose own name is not part of paths.
  mutating func enter(_ name: [UInt8], depth: Int) {
    way.removeSubrange(min(depth, way.count)...)
    way.append((name, nil))
  }

  /// Keeps the name of a file in the directory that is `depth` - 1 down the way.
  mutating func keep(_ name: [UInt8], of file: FileID, depth: Int) {
    way.removeSubrange(min(depth, way.count)...)
    var number: Int?
    for index in way.indices.dropFirst() {
      if way[index].number == nil {
        way[index].number = directories.count
        directories.append(Directory(parent: number, name: way[index].name))
      }
      number = way[index].number
    }
    names[file] = Name(directory: number, name: name)
  }

  /// The path that was kept, from the walk's root; nil for a file without.
  func path(of file: FileID) -> [UInt8]? {
    guard let name = names[file] else { return nil }
    var parts = [name.name]
    var next = name.directory
    while let number = next {
      parts.append(directories[number].name)
      next = directories[number].parent
    }
    return Array(parts.reversed().joined(separator: [UInt8(ascii: "/")]))
  }
}
