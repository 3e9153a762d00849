// SPDX-License-Identifier: GPL-2.0
// Ranges of one file that somebody is changing.

internal import BcachefsSupport

/// Ranges of bytes, no two of which overlap. Whoever has the lock that guards it waits while it
/// overlaps what he wants.
struct RangeLocks {
  private var ranges: [Range<UInt64>] = []

  /// Adds a range, if nobody has a part of it.
  mutating func take(_ range: Range<UInt64>) -> Bool {
    guard !ranges.contains(where: { $0.overlaps(range) }) else { return false }
    ranges.append(range)
    return true
  }

  mutating func giveBack(_ range: Range<UInt64>) {
    guard let index = ranges.firstIndex(of: range) else {
      unreachable("a range that is given back was taken")
    }
    ranges.remove(at: index)
  }
}
