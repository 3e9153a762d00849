// SPDX-License-Identifier: GPL-2.0
// Journal sequence numbers that never counted: what to ignore, wherever it turns up.
//
// How it works
//   A btree node can be written before the journal entry that its newest keys came with. After a
//   crash that entry may be missing, and the bset of the node holds updates that never happened.
//   Every bset names the newest sequence number it holds updates of; every recovery puts the
//   numbers that were lost (or may have been) on this list, and never uses them again. A bset or a
//   journal entry with such a number is ignored.
// Invariants
//   (1) Ranges ascend, are not empty, do not touch each other.
// Source: journal_seq_blacklist.c.

internal import BcachefsFormat

/// Sequence numbers to ignore. Lookups are a binary search and allocate nothing.
struct JournalBlacklist: Sendable, Equatable {
  /// Upper bounds are one past the last number.
  private(set) var ranges: [Range<UInt64>] = []

  init() {}

  /// What the superblock lists; empty ranges are left out.
  init(_ superblock: Superblock) {
    let section = superblock.section(of: JournalSeqBlacklistSection.self)
    insert((section?.ranges ?? []).compactMap { $0.start < $0.end ? $0.start..<$0.end : nil })
  }

  /// Adds ranges; they may overlap what is there.
  mutating func insert(_ added: [Range<UInt64>]) {
    let sorted = (ranges + added).filter { !$0.isEmpty }
      .sorted { $0.lowerBound < $1.lowerBound }
    var merged: [Range<UInt64>] = []
    for range in sorted {
      if let last = merged.indices.last, merged[last].upperBound >= range.lowerBound {
        let end = max(merged[last].upperBound, range.upperBound)
        merged[last] = merged[last].lowerBound..<end
      } else {
        merged.append(range)
      }
    }
    ranges = merged
  }

  /// Whether a journal entry, or a bset by its `journal_seq`, is to be ignored.
  func isBlacklisted(_ sequence: UInt64) -> Bool {
    let index = firstRange(endingAfter: sequence)
    return index < ranges.count && ranges[index].lowerBound <= sequence
  }

  /// The parts of `range` that are not on the list, ascending.
  func complement(in range: Range<UInt64>) -> [Range<UInt64>] {
    var rest: [Range<UInt64>] = []
    var start = range.lowerBound
    var index = firstRange(endingAfter: start)
    while start < range.upperBound {
      guard index < ranges.count, ranges[index].lowerBound < range.upperBound else {
        rest.append(start..<range.upperBound)
        break
      }
      if start < ranges[index].lowerBound { rest.append(start..<ranges[index].lowerBound) }
      start = ranges[index].upperBound
      index += 1
    }
    return rest
  }

  /// The first range whose last number is `sequence` or later.
  private func firstRange(endingAfter sequence: UInt64) -> Int {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound <= sequence { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
