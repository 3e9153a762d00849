// SPDX-License-Identifier: GPL-2.0
// Merging the bsets of a node, of which there may be thousands.
//
// How it works
//   Sorted lists stand on a stack, oldest first. A list is merged with the one before it as soon as
//   that one is at most twice as long, so that lengths halve at least from one to the next: an
//   entry is moved a logarithm of times, whatever the number of lists.
// Invariants
//   (1) Only neighbours are merged, and the newer one wins: the order of writing decides.

internal import BcachefsFormat

/// Sorted lists of entries on their way to one.
struct NodeEntryRuns {
  private var runs: [[NodeEntry]] = []

  /// Adds a list, newer than all before.
  mutating func append(_ run: [NodeEntry]) {
    guard !run.isEmpty else { return }
    runs.append(run)
    while runs.count > 1, runs[runs.count - 2].count / 2 <= runs[runs.count - 1].count {
      mergeLast()
    }
  }

  /// All of them as one.
  consuming func finish() -> [NodeEntry] {
    while runs.count > 1 { mergeLast() }
    return runs.first ?? []
  }

  private mutating func mergeLast() {
    let newer = runs.removeLast()
    let older = runs.removeLast()
    runs.append(Self.merge(older, newer))
  }

  /// Merges two sorted lists; where positions are equal, the newer entry stays.
  private static func merge(_ older: [NodeEntry], _ newer: [NodeEntry]) -> [NodeEntry] {
    var result: [NodeEntry] = []
    result.reserveCapacity(older.count + newer.count)
    var (a, b) = (0, 0)
    while a < older.count && b < newer.count {
      let position = newer[b].position
      if older[a].isBefore(position) {
        result.append(older[a])
        a += 1
        continue
      }
      if older[a].position == position { a += 1 }
      result.append(newer[b])
      b += 1
    }
    result.append(contentsOf: older[a...])
    result.append(contentsOf: newer[b...])
    return result
  }
}
