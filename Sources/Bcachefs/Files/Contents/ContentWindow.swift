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

  /// Those bytes of it that are in memory.
  private(set) var buffer = HeapBuffer(byteCount: 0)
  /// Where the buffer starts in the window.
  private(set) var start = 0
  /// Blocks that are in the buffer as they should be.
  var valid = BlockSet()
  /// Those of them that are not written.
  var dirty = BlockSet()
  /// Bytes of the buffer that count against the limit.
  var countedBytes = 0
  /// What was promised to those.
  var reservation = DiskReservation()

  /// Sees to it that a range of bytes of the window is in the buffer. Of what lies far apart all
  /// between is, too.
  func cover(_ range: Range<Int>) {
    let page = 4096
    let range = range.lowerBound / page * page..<(range.upperBound + page - 1) / page * page
    let end = start + buffer.byteCount
    guard buffer.byteCount == 0 || range.lowerBound < start || range.upperBound > end else {
      return
    }
    var wanted = range
    if buffer.byteCount > 0 {
      wanted = min(start, range.lowerBound)..<max(end, range.upperBound)
      // Who writes one piece behind the other does not have it copied each time.
      if range.lowerBound >= start {
        let doubled = min(start + 2 * buffer.byteCount, Self.byteCount)
        wanted = wanted.lowerBound..<max(wanted.upperBound, doubled)
      }
    }
    let (old, larger) = (buffer, HeapBuffer(byteCount: wanted.count))
    var bytes = larger.mutableBytes
    bytes.copy(old.bytes, to: old.byteCount == 0 ? 0 : start - wanted.lowerBound)
    (buffer, start) = (larger, wanted.lowerBound)
  }
}
