// SPDX-License-Identifier: GPL-2.0
// Where a file's contents are, for people and as JSON.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport

/// The map of one file.
struct ExtentMapText {
  private let extents: [FileExtent]
  private let volume: Volume

  /// - Parameter losses: Takes ranges of which nobody knows where they are.
  init(_ file: FileHandle, _ volume: Volume, _ losses: FileLosses) throws(VolumeError) {
    var found: [FileExtent] = []
    try file.forEachExtent(onLost: { losses.add($0, $1) }) {
      found.append($0)
      return true
    }
    extents = found
    self.volume = volume
  }

  /// A line a piece, and one below it for each copy.
  var text: String {
    var out = ""
    for extent in extents {
      out += "Extent: bytes \(extent.range.lowerBound)-\(extent.range.upperBound - 1)"
      out += " \(extent.kind.rawValue)\(extent.isShared ? " shared" : "")\n"
      for copy in extent.copies { out += "        \(line(copy))\n" }
    }
    return out
  }

  private func line(_ copy: FileExtent.Copy) -> String {
    var text = "device \(copy.device)"
    if let name = volume.deviceName(copy.device) { text += " (\(SafeText.text(name.utf8)))" }
    text += " sector \(copy.sector) gen \(copy.generation)"
    if copy.isCached { text += " cached" }
    if let stripe = copy.stripe { text += " stripe \(stripe)" }
    text += " csum \(copy.checksumType) compress \(copy.compressionType)"
    guard copy.isCompressed || copy.contentSectors != copy.storedSectors
    else { return text }
    return text + " \(copy.storedSectors) of \(copy.contentSectors) sectors"
      + " from \(copy.offsetSectors)"
  }

  var json: JSONValue {
    .array(
      extents.map { extent in
        .object([
          .init("start", .integer(extent.range.lowerBound)),
          .init("end", .integer(extent.range.upperBound)),
          .init("kind", .string(extent.kind.rawValue)),
          .init("shared", .bool(extent.isShared)),
          .init("copies", .array(extent.copies.map(object))),
        ])
      })
  }

  private func object(_ copy: FileExtent.Copy) -> JSONValue {
    var members: [JSONValue.Member] = [
      .init("device", .number(copy.device)),
      .init("sector", .integer(copy.sector)),
      .init("generation", .number(copy.generation)),
      .init("cached", .bool(copy.isCached)),
      .init("checksum", .string("\(copy.checksumType)")),
      .init("compression", .string("\(copy.compressionType)")),
      .init("encrypted", .bool(copy.isEncrypted)),
      .init("stored_sectors", .number(copy.storedSectors)),
      .init("content_sectors", .number(copy.contentSectors)),
      .init("offset_sectors", .number(copy.offsetSectors)),
    ]
    if let name = volume.deviceName(copy.device) {
      members.append(.init("device_name", .string(name)))
    }
    if let stripe = copy.stripe { members.append(.init("stripe", .integer(stripe))) }
    return .object(members)
  }
}
