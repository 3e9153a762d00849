// SPDX-License-Identifier: GPL-2.0
// Noise on a device: what a failing disk or a stray write leaves of it.

internal import BcachefsSupport

/// Noise over image files.
public enum Noise {
  /// A copy of an image with noise at random places; the first superblock is always hit.
  public static func copy(_ source: String, to path: String, seed: UInt64, places: Int) throws {
    var generator = SplitMix64(seed: seed)
    var bytes = try readFile(source)
    if places > 0 { overwrite(&bytes, 4096..<8192, &generator) }
    for _ in 0..<places {
      // Lengths from a byte to 64 KiB, as many short as long ones.
      let length = Int.random(
        in: 1...1 << Int.random(in: 0...16, using: &generator), using: &generator)
      let start = Int.random(in: 0...bytes.count - length, using: &generator)
      overwrite(&bytes, start..<start + length, &generator)
    }
    try writeFile(path, bytes)
  }

  /// Nothing is left of what was there.
  public static func overwriteAll(_ path: String, seed: UInt64) throws {
    var generator = SplitMix64(seed: seed)
    var bytes = try readFile(path)
    overwrite(&bytes, bytes.indices, &generator)
    try writeFile(path, bytes)
  }

  private static func overwrite(
    _ bytes: inout [UInt8], _ range: Range<Int>, _ generator: inout SplitMix64
  ) {
    var index = range.lowerBound
    while index < range.upperBound {
      var word = generator.next()
      let end = min(index + 8, range.upperBound)
      while index < end {
        bytes[index] = UInt8(truncatingIfNeeded: word)
        word >>= 8
        index += 1
      }
    }
  }
}
