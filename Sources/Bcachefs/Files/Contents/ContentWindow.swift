// SPDX-License-Identifier: GPL-2.0
// A part of a file in memory that is not written yet, block by block.

internal import BcachefsFormat
internal import BcachefsSupport

/// A set of the blocks of a window, by their numbers in it.
struct BlockSet {
  /// Blocks of 512 bytes in the largest window.
  static let countMax = 256
  private var words = InlineArray<4, UInt64>(repeating: 0)

  var isEmpty: Bool { words[0] | words[1] | words[2] | words[3] == 0 }

  var count: Int {
    words[0].nonzeroBitCount + words[1].nonzeroBitCount + words[2].nonzeroBitCount
      + words[3].nonzeroBitCount
  }

  func contains(_ block: Int) -> Bool { words[block >> 6] >> UInt64(block & 63) & 1 != 0 }

  mutating func insert(_ blocks: Range<Int>) {
    for block in blocks { words[block >> 6] |= 1 << UInt64(block & 63) }
  }

  mutating func remove(_ blocks: Range<Int>) {
    for block in blocks { words[block >> 6] &= ~(1 << UInt64(block & 63)) }
  }

  /// How many of these it has not.
  func missing(_ blocks: Range<Int>) -> Int {
    blocks.reduce(0) { $0 + (contains($1) ? 0 : 1) }
  }

  /// The first blocks in a row, from one on.
  func run(from start: Int = 0) -> Range<Int>? {
    var first = start
    while first < Self.countMax, !contains(first) { first += 1 }
    guard first < Self.countMax else { return nil }
    var end = first + 1
    while end < Self.countMax, contains(end) { end += 1 }
    return first..<end
  }
}

/// The contents of a window of a file, as far as they are in memory.
///
/// Its owner (FileContents.swift) says who may touch it when.
final class ContentWindow {
  static let byteCount = 128 << 10

  private(set) var buffer: HeapBuffer
  /// Blocks that are in the buffer as they should be.
  var valid = BlockSet()
  /// Those of them that are not written.
  var dirty = BlockSet()
  /// What was promised to those.
  var reservation = DiskReservation()

  init() { buffer = HeapBuffer(byteCount: 0) }

  /// Sees to it that so many bytes from the start are there.
  func grow(to byteCount: Int) {
    guard buffer.byteCount < byteCount else { return }
    var size = 4096
    while size < byteCount { size *= 2 }
    let larger = HeapBuffer(byteCount: size)
    var bytes = larger.mutableBytes
    bytes.copy(buffer.bytes, to: 0)
    buffer = larger
  }
}
