// SPDX-License-Identifier: GPL-2.0
// Keys that the Linux 6.12 driver wrote, with the line that it printed for each.
//
// Golden/keys/NAME.tsv: the first line is the volume (sectors of a node; for each device bucket
// size, first bucket, buckets, stored durability, state; targets by name); then a key a line: btree
// (and level, if not 0), 40 bytes of header, value, text with \n, \t and \\ escaped. Keys of newer
// formats have no text.

import BcachefsFormat
import Foundation
import Testing

/// One key of a golden file.
struct GoldenKey: CustomTestStringConvertible {
  let btree: String
  let header: [UInt8]
  let value: [UInt8]
  let text: String

  var testDescription: String { "\(btree) \(text.prefix(60))" }
}

/// One golden file.
struct GoldenVolume: CustomTestStringConvertible {
  let name: String
  let context: BKeyContext
  let keys: [GoldenKey]

  var testDescription: String { name }

  /// All of them, by name.
  static let all: [GoldenVolume] = {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Golden/keys")
    let files = try? FileManager.default.contentsOfDirectory(
      at: folder, includingPropertiesForKeys: nil)
    return (files ?? []).filter { $0.pathExtension == "tsv" }
      .sorted { $0.path < $1.path }.compactMap(GoldenVolume.init(reading:))
  }()

  private init?(reading file: URL) {
    guard let data = try? Data(contentsOf: file) else { return nil }
    let lines = data.split(separator: 10).map {
      $0.split(separator: 9, omittingEmptySubsequences: false)
    }
    guard let head = lines.first else { return nil }
    name = file.deletingPathExtension().lastPathComponent
    context = GoldenVolume.context(head.map { String(decoding: $0, as: UTF8.self) })
    keys = lines.dropFirst().compactMap { fields in
      guard fields.count == 4 else { return nil }
      return GoldenKey(
        btree: String(decoding: fields[0], as: UTF8.self), header: bytes(hex: fields[1]),
        value: bytes(hex: fields[2]), text: unescape(fields[3]))
    }
  }

  private static func context(_ fields: [String]) -> BKeyContext {
    var context = BKeyContext.none
    for field in fields {
      if field.hasPrefix("node_sectors=") {
        context.btreeNodeSectors = UInt32(field.dropFirst(13)) ?? 0
      } else if field.hasPrefix("target=") {
        let parts = field.dropFirst(7).split(separator: ":", maxSplits: 1)
        if parts.count == 2, let number = UInt16(parts[0]) {
          context.targetNames[number] = String(parts[1])
        }
      } else {
        let numbers = field.split(separator: ",").compactMap { UInt64($0) }
        guard numbers.count == 5 else { continue }
        context.devices.append(
          .init(
            bucketSizeSectors: UInt32(numbers[0]), firstBucket: numbers[1],
            bucketCount: numbers[2],
            durability: numbers[3] == 0 ? 1 : UInt8(numbers[3]) - 1, isFailed: numbers[4] == 2))
      }
    }
    return context
  }
}

/// The bytes that hexadecimal digits spell.
func bytes(hex: some Sequence<UInt8>) -> [UInt8] {
  var result: [UInt8] = []
  var high: UInt8?
  for digit in hex {
    guard let value = Character(UnicodeScalar(digit)).hexDigitValue else { continue }
    if let first = high {
      result.append(first << 4 | UInt8(value))
      high = nil
    } else {
      high = UInt8(value)
    }
  }
  return result
}

private func unescape(_ text: Data) -> String {
  var result: [UInt8] = []
  var escaped = false
  for byte in text {
    if escaped {
      result.append(byte == UInt8(ascii: "n") ? 10 : byte == UInt8(ascii: "t") ? 9 : byte)
      escaped = false
    } else if byte == UInt8(ascii: "\\") {
      escaped = true
    } else {
      result.append(byte)
    }
  }
  return String(decoding: result, as: UTF8.self)
}
