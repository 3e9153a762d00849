// SPDX-License-Identifier: GPL-2.0
// Searching a node: where a position stands among its keys.
//
// How it works
//   1. Positions of one node are mostly spread evenly: inode numbers and extents of a file are
//      dense, hashes are random. So the place is guessed from the first and the last key, and a few
//      keys to both sides are looked at: two or three cache lines where halving would touch ten.
//   2. The guess counts in the first word that differs between the ends: inode, else offset.
//   3. What three guesses did not find, halving does.
// Invariants
//   (1) The answer is always within low ... high; each step compares whole positions, so a bad
//       guess costs time only.
//   (2) At most 6 + log2(count) + 1 comparisons.
// Locks: none.

internal import BcachefsFormat

extension BTreeNode {
  /// Guesses look at as many keys to each side.
  private static var reach: Int { 4 }
  private static var guessesMax: Int { 3 }

  /// The index of the first key at or behind `position`; `entries.count` if there is none.
  ///
  /// - Complexity: O(1) where positions are spread evenly, else O(log n). Allocates nothing.
  func lowerBound(_ position: BPos) -> Int {
    let entries = self.entries
    var low = 0
    var high = entries.count
    var guesses = Self.guessesMax
    while guesses > 0, high &- low > 4 &* Self.reach {
      guesses &-= 1
      guard
        let guess = Self.guess(
          position, between: entries[low], entries[high &- 1], high &- 1 &- low)
      else { break }
      let left = max(low &+ guess &- Self.reach, low)
      let right = min(low &+ guess &+ Self.reach, high &- 1)
      if !entries[left].isBefore(position) {
        high = left
      } else if entries[right].isBefore(position) {
        low = right &+ 1
      } else {
        low = left &+ 1
        high = right
      }
    }
    while low < high {
      let middle = low &+ (high &- low) >> 1
      if entries[middle].isBefore(position) { low = middle &+ 1 } else { high = middle }
    }
    return low
  }

  /// The index behind the last key at or before `position`; 0 if there is none.
  func upperBound(_ position: BPos) -> Int {
    let index = lowerBound(position)
    return index < entries.count && entries[index].position == position ? index &+ 1 : index
  }

  /// How many of `steps` steps from `first` to `last` a position is away from the first; nil where
  /// they do not differ.
  @inline(__always)
  private static func guess(
    _ position: BPos, between first: NodeEntry, _ last: NodeEntry, _ steps: Int
  ) -> Int? {
    let isWithinInode = first.inode == last.inode
    let start = isWithinInode ? first.offset : first.inode
    let end = isWithinInode ? last.offset : last.inode
    var wanted = isWithinInode ? position.offset : position.inode
    if isWithinInode && position.inode != first.inode {
      wanted = position.inode < first.inode ? start : end
    }
    guard start < end else { return nil }
    guard wanted > start else { return 0 }
    guard wanted < end else { return steps }
    let share = Double(wanted &- start) / Double(end &- start)
    // Between 0 and 1, rounding included.
    return Int(share * Double(steps))
  }
}
