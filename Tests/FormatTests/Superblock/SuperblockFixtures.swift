// SPDX-License-Identifier: GPL-2.0
// Superblocks that the driver wrote, and what upstream's show-super prints of them.

import BcachefsFormat
import BcachefsSupport
import Foundation
import Testing

/// One superblock of a volume written by Linux 6.12.
struct SuperblockFixture: Sendable, CustomTestStringConvertible {
  let name: String

  /// All of them: one for each device of each volume.
  static let all: [SuperblockFixture] = {
    guard let folder = Bundle.module.url(forResource: "Golden/show-super", withExtension: nil),
      let files = try? FileManager.default.contentsOfDirectory(atPath: folder.path)
    else { return [] }
    return files.filter { $0.hasSuffix(".sb") }.sorted()
      .map { SuperblockFixture(name: String($0.dropLast(3))) }
  }()

  var testDescription: String { name }

  private func file(_ suffix: String) throws -> Data {
    let url = try #require(
      Bundle.module.url(forResource: "Golden/show-super/\(name)", withExtension: suffix))
    return try Data(contentsOf: url)
  }

  /// The bytes on disk.
  func bytes() throws -> [UInt8] { Array(try file("sb")) }

  /// The superblock, decoded.
  func superblock() throws -> Superblock {
    let bytes = try bytes()
    return try Superblock(decoding: bytes.rawBytes)
  }

  /// Upstream's text of it, with all sections and the layout, in UTC.
  func text() throws -> String { String(decoding: try file("txt"), as: UTF8.self) }
}

extension [UInt8] {
  /// Puts a little-endian number somewhere.
  mutating func overwrite(_ value: some FixedWidthInteger, at offset: Int) {
    for index in 0..<(value.bitWidth / 8) {
      self[offset + index] = UInt8(truncatingIfNeeded: value >> (index * 8))
    }
  }
}
