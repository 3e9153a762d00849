// SPDX-License-Identifier: GPL-2.0
// Walks the keys of a btree in order, forwards and backwards, from any position.
//
// How it works
//   1. A search descends from the root: at each level the first pointer at or behind the position
//      leads on, since a pointer's position is the last that its node covers.
//   2. The path stays: a search begins at the lowest node of the last one that covers its position.
//      The next key is usually in the same leaf, and a random one behind a node that is known.
//   3. Keys that only the journal has are merged on the way, at every level: at equal positions the
//      journal's key is the newer one; a deleted key hides what is below and does not show
//      (BTreeCursor+Merge.swift).
//   4. When a leaf is exhausted, the search goes on right behind its last position, or backwards
//      right before its first.
// Invariants
//   (1) Positions returned ascend strictly until the next `seek` or change of direction, descend
//       with `previous`.
//   (2) Depth is bounded by the root's level, which is bounded by the format.
//   (3) Positions that no node covers are told as damage: never skipped in silence.
//   (4) A search among cached nodes allocates nothing.
// Locks: none; a cursor belongs to one thread. Nodes are immutable.
// Source: btree_iter.c (bch2_btree_iter_peek, bch2_btree_iter_peek_prev_min),
// btree_journal_iter.c.

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
  let overlay: JournalOverlay?
  /// By level, the nodes of the last search; they are kept from one search to the next.
  private var path: [BTreeNode?]
  /// Whether path[0] covers `position`.
  private var isInLeaf = false
  /// Forwards: no key of the leaf before this index can match. Backwards: none at or behind it.
  private var hint = 0
  private var position = BPos.min
  private var isAtEnd = false
  /// The positions around `position` that the last descent could not read.
  private var unreadable: ClosedRange<BPos>?

  init(_ forest: BTreeForest, _ btree: BTreeID) {
    self.forest = forest
    self.btree = btree
    root = forest.roots[btree]
    overlay = forest.overlay
    path = [BTreeNode?](repeating: nil, count: (root?.level ?? 0) + 1)
  }

  /// The next `next()` returns the first key at or behind `position`, `previous()` the last one at
  /// or before it.
  func seek(_ position: BPos) {
    self.position = position
    isInLeaf = false
    isAtEnd = false
  }

  /// The next key, nil at the end of the btree.
  ///
  /// - Throws: what reading nodes throws. A cursor may be used again after that, with `seek`.
  func next() throws(VolumeError) -> KeyReference? {
    while !isAtEnd {
      guard let leaf = try enterLeaf(isBackwards: false) else {
        guard let overlay else { return end() }
        guard let found = firstMerged(nil, overlay, level: 0, from: position, upTo: .max) else {
          return end()
        }
        advance(behind: found.key.position)
        return found
      }
      if let found = firstKey(in: leaf) {
        advance(behind: found.key.position)
        return found
      }
      advance(behind: leaf.maxKey)
    }
    return nil
  }

  /// The last key at or before the position, nil at the start of the btree.
  ///
  /// - Throws: as `next()`.
  func previous() throws(VolumeError) -> KeyReference? {
    while !isAtEnd {
      guard let leaf = try enterLeaf(isBackwards: true) else {
        guard let overlay else { return end() }
        guard let found = lastMerged(nil, overlay, level: 0, from: position, downTo: .min) else {
          return end()
        }
        retreat(before: found.key.position)
        return found
      }
      if let found = lastKey(in: leaf) {
        retreat(before: found.key.position)
        return found
      }
      retreat(before: leaf.minKey)
    }
    return nil
  }

  /// The key at exactly `position`, nil if there is none.
  func lookup(_ position: BPos) throws(VolumeError) -> KeyReference? {
    seek(position)
    guard let found = try next(), found.key.position == position else { return nil }
    return found
  }

  /// After `next()` threw: goes on behind what could not be read.
  ///
  /// - Returns: The last position that was skipped; nil if no node was at fault.
  func skipUnreadable() -> BPos? {
    guard let skipped = unreadable, position <= skipped.upperBound else { return nil }
    unreadable = nil
    advance(behind: skipped.upperBound)
    return skipped.upperBound
  }

  /// The next key that can be read, nil at the end: what cannot is passed without a word.
  func nextReadable() -> KeyReference? {
    while true {
      do throws(VolumeError) {
        return try next()
      } catch {
        guard skipUnreadable() != nil else { return nil }
      }
    }
  }

  private func end() -> KeyReference? {
    isAtEnd = true
    return nil
  }

  private func advance(behind position: BPos) {
    guard let successor = position.successor else {
      isAtEnd = true
      return
    }
    self.position = successor
    if let leaf = path[0], leaf.maxKey < successor { isInLeaf = false }
  }

  private func retreat(before position: BPos) {
    guard let predecessor = position.predecessor else {
      isAtEnd = true
      return
    }
    self.position = predecessor
    if let leaf = path[0], predecessor < leaf.minKey { isInLeaf = false }
  }

  // MARK: - Leaves

  /// The first visible key of the leaf from `position` on: the node's, or the journal's.
  private func firstKey(in leaf: BTreeNode) -> KeyReference? {
    if let overlay {
      return firstMerged(leaf, overlay, level: 0, from: position, upTo: leaf.maxKey)
    }
    if hint < leaf.entries.count, leaf.entries[hint].isBefore(position) {
      hint = leaf.lowerBound(position)
    }
    guard hint < leaf.entries.count else { return nil }
    defer { hint += 1 }
    return leaf.reference(at: hint)
  }

  /// The last visible key of the leaf up to `position`.
  private func lastKey(in leaf: BTreeNode) -> KeyReference? {
    if let overlay {
      return lastMerged(leaf, overlay, level: 0, from: position, downTo: leaf.minKey)
    }
    if hint > leaf.entries.count || hint > 0 && position < leaf.entries[hint - 1].position {
      hint = leaf.upperBound(position)
    }
    guard hint > 0 else { return nil }
    hint -= 1
    return leaf.reference(at: hint)
  }

  // MARK: - Descent

  /// The leaf that covers `position`; nil in a btree without nodes.
  private func enterLeaf(isBackwards: Bool) throws(VolumeError) -> BTreeNode? {
    if isInLeaf, let leaf = path[0] { return leaf }
    guard let leaf = try descend() else { return nil }
    isInLeaf = true
    hint = isBackwards ? leaf.upperBound(position) : leaf.lowerBound(position)
    return leaf
  }

  private func descend() throws(VolumeError) -> BTreeNode? {
    unreadable = nil
    guard let root else { return nil }
    var level = 0
    while level <= root.level, path[level].map({ !$0.covers(position) }) ?? true { level += 1 }
    if level > root.level {
      level = root.level
      path[level] = try rootNode(root)
    }
    while level > 0, let node = path[level] {
      level -= 1
      path[level] = nil
      path[level] = try child(of: node)
    }
    return path[0]
  }

  private func rootNode(_ root: BTreeRoot) throws(VolumeError) -> BTreeNode {
    let node: BTreeNode
    do throws(VolumeError) {
      node = try forest.nodes.node(root.pointer, btree: btree, level: root.level)
    } catch {
      unreadable = position ... .max
      throw error
    }
    guard node.covers(position) else {
      let isBehind = node.maxKey < position
      let last = isBehind ? BPos.max : node.minKey.predecessor ?? position
      throw uncovered(position...max(position, last), below: node)
    }
    return node
  }

  /// The child of an interior node that covers `position`.
  private func child(of node: BTreeNode) throws(VolumeError) -> BTreeNode {
    let index = node.lowerBound(position)
    if overlay == nil, index < node.entries.count,
      let known = forest.nodes.cachedChild(of: node, at: index), known.covers(position)
    {
      return known
    }
    let pointer: KeyReference?
    if let overlay {
      pointer = firstMerged(node, overlay, level: node.level, from: position, upTo: node.maxKey)
    } else {
      pointer = index < node.entries.count ? node.reference(at: index) : nil
    }
    guard let pointer, pointer.key.type == .btreePtrV2 || pointer.key.type == .btreePtr else {
      throw uncovered(position...node.maxKey, below: node)
    }
    let child: BTreeNode
    do throws(VolumeError) {
      child = try forest.nodes.node(pointer, btree: btree, level: node.level - 1)
    } catch {
      unreadable = position...pointer.key.position
      throw error
    }
    guard child.covers(position) else {
      let last = min(child.minKey.predecessor ?? position, pointer.key.position)
      throw uncovered(position...max(position, last), below: node)
    }
    return child
  }

  /// The error of positions that no node covers; `skipUnreadable` goes on behind them.
  private func uncovered(_ range: ClosedRange<BPos>, below node: BTreeNode) -> VolumeError {
    unreadable = range
    return VolumeError(
      .corrupt,
      "btree \(btree) level \(node.level) node \(node.minKey) to \(node.maxKey): nothing covers "
        + "\(range.lowerBound) to \(range.upperBound); the keys that were there are lost")
  }
}
