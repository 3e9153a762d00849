// SPDX-License-Identifier: GPL-2.0
// Walks the keys of a btree in order, forwards, from any position.
//
// How it works
//   1. A search descends from the root: at each level the first pointer at or behind the position
//      leads on, since a pointer's position is the last that its node covers.
//   2. Keys that only the journal has are merged on the way, at every level: at equal positions the
//      journal's key is the newer one; a deleted key hides what is below and does not show.
//   3. The path stays: the next key is usually in the same leaf, and the next search often too.
//      When a leaf is exhausted, the search goes on right behind its last position.
// Invariants
//   (1) Positions returned ascend strictly until the next `seek`.
//   (2) Depth is bounded by the root's level, which is bounded by the format.
//   (3) Every node on the path covers the position that is looked for: searches only go forwards.
// Locks: none; a cursor belongs to one thread. Nodes are immutable.
// Source: btree_iter.c (bch2_btree_iter_peek), btree_journal_iter.c.

internal import BcachefsFormat
internal import BcachefsSupport

/// Where a btree starts.
struct BTreeRoot: Sendable {
  let btree: BTreeID
  /// Level of the root node: 0 if it is a leaf.
  let level: Int
  let pointer: KeyReference
}

/// What reading any btree of a volume needs.
final class BTreeForest: Sendable {
  let nodes: NodeReader
  /// By btree; btrees without keys have none.
  let roots: [BTreeID: BTreeRoot]
  /// What only the journal has; nil on clean volumes.
  let overlay: JournalOverlay?

  init(nodes: NodeReader, roots: [BTreeID: BTreeRoot], overlay: JournalOverlay?) {
    self.nodes = nodes
    self.roots = roots
    self.overlay = overlay
  }
}

final class BTreeCursor {
  let btree: BTreeID
  private let forest: BTreeForest
  private let root: BTreeRoot?
  private let overlay: JournalOverlay?
  /// The leaf that was found last.
  private var leaf: BTreeNode?
  /// Where the next search in the leaf starts: no key before this index can match.
  private var hint = 0
  private var position = BPos.min
  private var isAtEnd = false
  /// The last position of the node that the last descent could not read.
  private var unreadableEnd: BPos?

  init(_ forest: BTreeForest, _ btree: BTreeID) {
    self.forest = forest
    self.btree = btree
    root = forest.roots[btree]
    overlay = forest.overlay
  }

  /// The next `next()` returns the first key at or behind `position`.
  func seek(_ position: BPos) {
    if let leaf, position < leaf.minKey || leaf.maxKey < position { self.leaf = nil }
    hint = leaf?.lowerBound(position) ?? 0
    self.position = position
    isAtEnd = false
  }

  /// The next key, nil at the end of the btree.
  ///
  /// - Throws: what reading nodes throws. A cursor may be used again after that, with `seek`.
  func next() throws(VolumeError) -> KeyReference? {
    while !isAtEnd {
      let leaf = try currentLeaf()
      if let found = firstKey(in: leaf, from: position) {
        advance(behind: found.key.position)
        return found
      }
      guard let leaf else {
        isAtEnd = true
        return nil
      }
      advance(behind: leaf.maxKey)
    }
    return nil
  }

  /// The key at exactly `position`, nil if there is none.
  func lookup(_ position: BPos) throws(VolumeError) -> KeyReference? {
    seek(position)
    guard let found = try next(), found.key.position == position else { return nil }
    return found
  }

  /// After `next()` threw: goes on behind the node that could not be read.
  ///
  /// - Returns: The last position that was skipped; nil if no node was at fault.
  func skipUnreadable() -> BPos? {
    guard let end = unreadableEnd, position <= end else { return nil }
    unreadableEnd = nil
    advance(behind: end)
    return end
  }

  private func advance(behind position: BPos) {
    guard let successor = position.successor else {
      isAtEnd = true
      return
    }
    self.position = successor
    if let leaf, leaf.maxKey < successor {
      self.leaf = nil
      hint = 0
    }
  }

  // MARK: - Leaves

  /// The first visible key of a leaf from `position` on: the node's, or the journal's.
  private func firstKey(in leaf: BTreeNode?, from start: BPos) -> KeyReference? {
    guard let overlay else {
      guard let leaf else { return nil }
      if hint < leaf.entries.count, leaf.entries[hint].isBefore(start) {
        hint = leaf.lowerBound(start)
      }
      guard hint < leaf.entries.count else { return nil }
      defer { hint += 1 }
      return leaf.reference(at: hint)
    }
    return BTreeCursor.merged(
      leaf, overlay, btree: btree, level: 0, from: start, upTo: leaf?.maxKey ?? .max)
  }

  /// The first key at or behind `start` of node and journal together.
  static func merged(
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

  // MARK: - Descent

  /// The leaf that covers `position`; nil in a btree without nodes.
  private func currentLeaf() throws(VolumeError) -> BTreeNode? {
    if let leaf { return leaf }
    unreadableEnd = nil
    guard let root else { return nil }
    var pointer = root.pointer
    var level = root.level
    while true {
      let node: BTreeNode
      do throws(VolumeError) {
        node = try forest.nodes.node(pointer, btree: btree, level: level)
        try checkCovers(node)
      } catch {
        unreadableEnd = pointer.key.position
        throw error
      }
      guard level > 0 else {
        leaf = node
        hint = node.lowerBound(position)
        return node
      }
      pointer = try child(of: node, level: level)
      level -= 1
    }
  }

  /// A node that was found on the way to `position` has it within its bounds: otherwise keys
  /// between the nodes would be missing without a word, and a search could go backwards.
  private func checkCovers(_ node: BTreeNode) throws(VolumeError) {
    guard position < node.minKey || node.maxKey < position else { return }
    throw VolumeError(
      .corrupt,
      "btree \(btree) level \(node.level): the node that should have \(position) goes from "
        + "\(node.minKey) to \(node.maxKey)")
  }

  private func child(of node: BTreeNode, level: Int) throws(VolumeError) -> KeyReference {
    let found: KeyReference?
    if let overlay {
      found = BTreeCursor.merged(
        node, overlay, btree: btree, level: level, from: position, upTo: node.maxKey)
    } else {
      let index = node.lowerBound(position)
      found = index < node.entries.count ? node.reference(at: index) : nil
    }
    guard let found, found.key.type == .btreePtrV2 || found.key.type == .btreePtr else {
      throw VolumeError(
        .corrupt,
        "btree \(btree) level \(level) node \(node.minKey) to \(node.maxKey): no pointer covers "
          + "\(position)")
    }
    return found
  }
}
