// SPDX-License-Identifier: GPL-2.0
// Keys of a node and of the journal as one sequence.
//
// Invariants
//   (1) At equal positions the journal's key is given, the node's is not; a deleted one hides both.
//   (2) Each step passes a key, so the work is bounded by what the journal deleted.
// Source: btree_journal_iter.c (bch2_btree_and_journal_iter_peek).

internal import BcachefsFormat
internal import BcachefsSupport

extension BTreeForest {
  /// The first key at or behind `start` of a node that no cursor leads to, with what the journal
  /// has laid over it.
  func firstKey(of node: BTreeNode, from start: BPos) -> KeyReference? {
    if let overlay {
      return BTreeCursor.firstMerged(
        node, overlay, btree: node.btree, level: node.level, from: start, upTo: node.maxKey)
    }
    let index = node.lowerBound(start)
    return index < node.entries.count ? node.reference(at: index) : nil
  }
}

/// The keys of a node in order, with what the journal has.
struct NodeChildren {
  private let forest: BTreeForest
  private let node: BTreeNode
  /// Where the next one is looked for; nil at the end.
  private(set) var position: BPos?

  init(of node: BTreeNode, in forest: BTreeForest, from start: BPos = .min) {
    self.forest = forest
    self.node = node
    position = max(start, node.minKey)
  }

  mutating func next() -> KeyReference? {
    guard let start = position, start <= node.maxKey,
      let child = forest.firstKey(of: node, from: start)
    else { return nil }
    position = child.key.position.successor
    return child
  }
}

extension BTreeCursor {
  /// The first key at or behind `start` of node and journal together.
  func firstMerged(
    _ node: BTreeNode?, _ overlay: JournalOverlay, level: Int, from start: BPos, upTo end: BPos
  ) -> KeyReference? {
    Self.firstMerged(node, overlay, btree: btree, level: level, from: start, upTo: end)
  }

  fileprivate static func firstMerged(
    _ node: BTreeNode?, _ overlay: JournalOverlay, btree: BTreeID, level: Int, from start: BPos,
    upTo end: BPos
  ) -> KeyReference? {
    var index = node?.lowerBound(start) ?? 0
    var journalIndex = overlay.lowerBound(btree: btree, level: level, position: start)
    while true {
      let own = node.flatMap { index < $0.entries.count ? $0.entries[index].position : nil }
      let newer = overlay.position(at: journalIndex, btree: btree, level: level)
        .flatMap { $0 <= end ? $0 : nil }
      guard let newer else {
        guard let node, own != nil else { return nil }
        return node.reference(at: index)
      }
      if let node, let own, own < newer { return node.reference(at: index) }
      let found = overlay.reference(at: journalIndex)
      if found.key.type != .deleted { return found }
      // Deleted in the journal: neither of the two shows.
      journalIndex += 1
      if own == newer { index += 1 }
    }
  }

  /// The last key at or before `start` of node and journal together.
  func lastMerged(
    _ node: BTreeNode?, _ overlay: JournalOverlay, level: Int, from start: BPos, downTo end: BPos
  ) -> KeyReference? {
    var index = (node?.upperBound(start) ?? 0) - 1
    var journalIndex = overlay.upperBound(btree: btree, level: level, position: start) - 1
    while true {
      let own = node.flatMap { index >= 0 ? $0.entries[index].position : nil }
      let newer =
        journalIndex < 0
        ? nil
        : overlay.position(at: journalIndex, btree: btree, level: level)
          .flatMap { end <= $0 ? $0 : nil }
      guard let newer else {
        guard let node, own != nil else { return nil }
        return node.reference(at: index)
      }
      if let node, let own, newer < own { return node.reference(at: index) }
      let found = overlay.reference(at: journalIndex)
      if found.key.type != .deleted { return found }
      journalIndex -= 1
      if own == newer { index -= 1 }
    }
  }
}
