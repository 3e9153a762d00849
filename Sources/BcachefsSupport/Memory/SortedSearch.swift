// SPDX-License-Identifier: GPL-2.0

extension Array {
  /// The index of the first element of a sorted array that is not before what is looked for,
  /// `count` if there is none.
  ///
  /// - Parameter isBefore: True for a first part of the array, false for the rest.
  /// - Complexity: O(log n).
  @inlinable public func sortedIndex(notBefore isBefore: (Element) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if isBefore(self[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
