// SPDX-License-Identifier: GPL-2.0
// Which inodes are to be looked at once more.

internal import BcachefsSupport

/// Numbers of inodes, as a bounded number of ranges: where there are more, some of what is between
/// them is in it too.
struct InodeRanges {
  private static var limit: Int { 512 }

  /// Ascending; none touches another.
  private(set) var ranges: [ClosedRange<UInt64>]

  static let none = InodeRanges(ranges: [])
  static let all = InodeRanges(ranges: [0...UInt64.max])

  var isEmpty: Bool { ranges.isEmpty }

  mutating func insert(_ number: UInt64) {
    let index = ranges.sortedIndex(notBefore: { $0.upperBound < number })
    if index < ranges.count, ranges[index].contains(number) { return }
    var new = number...number
    if index < ranges.count, ranges[index].lowerBound == number + 1 {
      new = number...ranges.remove(at: index).upperBound
    }
    if index > 0, ranges[index - 1].upperBound == number - 1 {
      ranges[index - 1] = ranges[index - 1].lowerBound...new.upperBound
    } else {
      ranges.insert(new, at: index)
    }
    if ranges.count > Self.limit { joinPairs() }
  }

  private mutating func joinPairs() {
    ranges = stride(from: 0, to: ranges.count, by: 2).map { index in
      ranges[index].lowerBound...ranges[min(index + 1, ranges.count - 1)].upperBound
    }
  }
}
