// SPDX-License-Identifier: GPL-2.0
// What a damaged volume gives beside what the good one gave.
//
// Invariants
//   (1) What is given without an error is what was there: names, attributes, targets, bytes.
//   (2) A name is only missing where its directory said that names are, or its directory is.

internal import BcachefsSupport

extension VolumeContents {
  /// Compares with the good volume's.
  ///
  /// - Parameter checksData: Whether file contents have checksums.
  func compare(with good: VolumeContents, checksData: Bool) throws(FuzzFailure) {
    for (path, file) in files {
      let name = "\"\(String(decoding: path, as: UTF8.self))\""
      guard let expected = good.files[path] else {
        throw FuzzFailure("\(name) was not there before")
      }
      try Self.compare(file, expected, name, checksData: checksData)
      guard file.isListComplete, expected.isListComplete, let names = expected.names else {
        continue
      }
      let found = Set(file.names ?? [])
      for other in names where !found.contains(other) {
        let text = String(decoding: other, as: UTF8.self)
        throw FuzzFailure("\(name): \"\(text)\" is missing without an error")
      }
    }
  }

  private static func compare(
    _ file: ReadFile, _ expected: ReadFile, _ name: String, checksData: Bool
  ) throws(FuzzFailure) {
    if let found = file.attributes {
      try check(
        found == expected.attributes,
        "\(name): attributes are \(found), not \(expected.attributes ?? [])")
    }
    if let found = file.xattrs {
      try check(found == expected.xattrs, "\(name): other extended attributes")
    }
    if let found = file.link, checksData || found.count < 64 {
      try check(found == expected.link, "\(name): another target")
    }
    if let found = file.dataRanges, let good = expected.dataRanges {
      try check(found == good, "\(name): data in \(found), not \(good)")
    }
    for other in file.unfound where !expected.unfound.contains(other) {
      let text = String(decoding: other, as: UTF8.self)
      throw FuzzFailure("\(name): \"\(text)\" is listed, and not found")
    }
    guard checksData, let good = expected.bytes else { return }
    for piece in file.pieces {
      let start = Int(clamping: piece.offset)
      guard start + piece.bytes.count <= good.count else { continue }
      let isGood = piece.bytes.elementsEqual(good[start..<start + piece.bytes.count])
      try check(isGood, "\(name): \(piece.bytes.count) other bytes at \(start)")
    }
    guard let found = file.bytes else { return }
    try check(found.count == good.count, "\(name): \(found.count) bytes, not \(good.count)")
    var start = 0
    for range in file.lost.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      let end = min(Int(clamping: range.lowerBound), good.count)
      if start < end { try compare(found, good, start..<end, name) }
      start = max(start, min(Int(clamping: range.upperBound), good.count))
    }
    try compare(found, good, start..<good.count, name)
  }

  private static func compare(
    _ found: [UInt8], _ good: [UInt8], _ range: Range<Int>, _ name: String
  ) throws(FuzzFailure) {
    guard found[range] != good[range] else { return }
    let at = range.first { found[$0] != good[$0] } ?? 0
    throw FuzzFailure("\(name): byte \(at) is \(found[at]) instead of \(good[at])")
  }
}
