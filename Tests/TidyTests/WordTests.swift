// SPDX-License-Identifier: GPL-2.0
// Words: the field's own, nothing left for later, nothing of the machine it was written on.

internal import TestSupport
internal import Testing

@Suite struct WordTests {
  /// What a word must be instead (docs/GLOSSARY.md). Whole words, whatever their case.
  static let synonyms = [
    ("b-tree", "btree"), ("block tree", "btree"), ("btree page", "btree node"),
    ("leaf page", "leaf node"), ("tree page", "btree node"), ("log record", "journal entry"),
    ("write-ahead log", "journal"), ("superblk", "superblock"), ("i-node", "inode"),
    ("direntry", "dirent"), ("directory entry block", "dirent"), ("file system", "filesystem"),
    ("meta data", "metadata"), ("check sum", "checksum"), ("allocation group", "bucket"),
    ("key type id", "key type"), ("x-attr", "xattr"), ("back pointer", "backpointer"),
    ("ref link", "reflink"), ("sub-volume", "subvolume"), ("sub volume", "subvolume"),
  ]

  /// Marks of work that is not done; put together here so that this file holds none.
  static let unfinished = [
    "TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK", "not imple" + "mented",
    "unimple" + "mented",
  ]

  @Test func wordsAreTheFieldsOwn() {
    for file in SourceText.swiftFiles where !file.path.hasPrefix("Tests/TidyTests/") {
      let lower = file.bytes.map { (65...90).contains($0) ? $0 + 32 : $0 }
      for (banned, instead) in Self.synonyms {
        expectNone(file.places(of: banned, in: lower).map { "\($0): '\(banned)' is '\(instead)'" })
      }
    }
  }

  @Test func nothingIsLeftForLater() {
    for file in SourceText.swiftFiles {
      for mark in Self.unfinished {
        expectNone(file.places(of: mark, in: file.bytes).map { "\($0): \(mark)" })
      }
    }
  }

  @Test func noPathOfOneMachineStandsAnywhere() {
    for file in SourceText.allFiles {
      for folder in ["work", "root", "Users"] {
        for (index, line) in file.lines.enumerated() {
          let path = "/\(folder)/"
          var rest = line[...]
          while let range = rest.firstRange(of: path) {
            // an absolute path: what stands before it is no part of a longer one
            let before =
              range.lowerBound > line.startIndex
              ? line[line.index(before: range.lowerBound)] : " "
            if !before.isLetter && !before.isNumber && !".}_-*$)".contains(before) {
              expectNone(["\(file.path):\(index + 1): \(path)"])
            }
            rest = rest[range.upperBound...]
          }
        }
      }
    }
  }
}
