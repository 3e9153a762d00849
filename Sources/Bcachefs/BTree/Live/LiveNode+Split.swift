// SPDX-License-Identifier: GPL-2.0
// Filling new nodes from old ones: for splits, merges and rewrites.
//
// How it works
//   1. A node that has no room left is replaced: by two when its live keys are more than
//      `splitWords`, by a compact one otherwise.
//   2. Two halves are cut by words. Whoever inserts at the end inserts there again: then the left
//      one keeps nearly all.
//   3. Each new node gets the narrowest format for its keys; where that would be too large (a few
//      wide keys among narrow ones), the old one is kept, or that of the larger of two. Neighbours
//      whose keys have grown too large in one format for one node stay two.
// Invariants
//   (1) New nodes cover exactly what the old ones covered, without gap or overlap.
//   (2) A new node has room for what is inserted next.
// Source: btree_update_interior.c (__btree_split_node, bch2_btree_calc_format).

internal import BcachefsFormat
internal import BcachefsSupport

extension LiveNode {
  /// Words of keys that a node can hold.
  var capacityWords: Int {
    min((nodeBytes - BTreeNodeHeader.Layout.keys) / 8, Int(UInt16.max))
  }

  /// Above this many live words a full node is split (`BTREE_SPLIT_THRESHOLD`).
  var splitWords: Int { capacityWords * 2 / 3 }

  /// Below this many live words of both, neighbours are merged
  /// (`BTREE_FOREGROUND_MERGE_THRESHOLD`).
  var mergeWords: Int { capacityWords / 3 }

  /// Whether so many keys went since merging was tried last that it should be again.
  func isWorthMerging() -> Bool {
    guard liveWords < mergeWords, !state.contains(.root) else { return false }
    guard liveWords == 0 || liveWords + capacityWords / 16 < wordsWhenMerged else { return false }
    wordsWhenMerged = liveWords
    return true
  }

  /// Where to cut the node: the first entries of all pieces but the first; none when it stays
  /// whole.
  ///
  /// - Parameters:
  ///   - position: Where the keys go that there was no room for; nil if there are none.
  ///   - words: Unpacked words of them.
  ///   - blockBytes: What is written of a node is a multiple of it.
  func cuts(for position: BPos?, words: Int, blockBytes: Int) -> [IndexSlot] {
    let staysWhole =
      liveWords + words <= splitWords && hasRoomWhenNew(words: words, blockBytes: blockBytes)
    guard !staysWhole, let last = lastVisible(before: index.end) else { return [] }
    // More than two only after a replay, which puts everything into the nodes that there are.
    let count = max(2, (liveWords + words) / splitWords + 1)
    var shares = (1..<count).map { liveWords * $0 / count }
    if count == 2 {
      let isAtEnd = position.map { index[last].isBefore($0) } ?? false
      shares = [isAtEnd ? liveWords - liveWords / 10 : liveWords * 3 / 5]
    }
    return cuts(after: shares)
  }

  /// Whether there is room for so many words behind what shows, once a new node has it. Where a
  /// node is but two blocks its keys must not need more than one.
  func hasRoomWhenNew(words: Int, blockBytes: Int) -> Bool {
    let end = BTreeNodeHeader.Layout.keys + liveWords * 8
    let written = (end + blockBytes - 1) / blockBytes * blockBytes
    return words == 0 || written + BTreeNodeHeader.EntryLayout.keys + words * 8 <= nodeBytes
  }

  /// The first entries behind so many words; each piece has a key at least, and fits a node.
  private func cuts(after shares: [Int]) -> [IndexSlot] {
    var result: [IndexSlot] = []
    var (words, inPiece) = (0, 0)
    var slot = firstVisible(from: index.start)
    while let here = slot {
      let next = firstVisible(from: index.after(here))
      let size = self.words(of: index[here])
      let isDue = result.count < shares.count && (words >= shares[result.count] || next == nil)
      if inPiece > 0, isDue || inPiece + size > capacityWords {
        result.append(here)
        inPiece = 0
      }
      words += size
      inPiece += size
      slot = next
    }
    return result
  }

  /// Whether one node takes the keys of both, and room for more: where one is empty, others will
  /// hardly come soon.
  ///
  /// - Precondition: both at least intent-locked; `next` is the one behind this one.
  func fits(with next: LiveNode) -> Bool {
    let limit = liveWords == 0 || next.liveWords == 0 ? 2 * mergeWords : mergeWords
    guard liveWords + next.liveWords <= limit else { return false }
    let format = LiveNode.bestFormat(
      for: [self, next].map { ($0, ($0.index.start, $0.index.end)) },
      minKey: minKey, maxKey: next.maxKey)
    return format.words <= splitWords
  }

  /// Becomes a new node with the keys that show in `sources`, in order, between two slots of the
  /// first and the last of them.
  ///
  /// - Precondition: write-locked; sources at least intent-locked, ascending.
  func fill(
    from sources: [(node: LiveNode, slots: (IndexSlot, IndexSlot))], minKey: BPos, maxKey: BPos,
    sequence: UInt64
  ) {
    let source = sources[0].node
    btree = source.btree
    level = source.level
    self.minKey = minKey
    self.maxKey = maxKey
    self.sequence = sequence
    journalSequence = sources.reduce(0) { max($0, $1.node.journalSequence) }
    writtenBytes = 0
    pointer = NodePointer()
    wordsWhenMerged = .max
    let (format, words, count) = Self.bestFormat(for: sources, minKey: minKey, maxKey: maxKey)
    reset(words: words + 512, expectedKeys: count)
    setFormat(format)
    for (node, slots) in sources {
      var slot = node.firstVisible(from: slots.0)
      while let here = slot, here != slots.1 {
        let view = node.view(at: here)
        unsafe appendKey(view.key, view.unsafeValue, isOnDisk: false)
        slot = node.firstVisible(from: node.index.after(here))
      }
    }
    set(.dirty)
    expensiveCheck { check() }
  }

  /// The format that keys are to have together, and the most words that they then have.
  private static func bestFormat(
    for sources: [(node: LiveNode, slots: (IndexSlot, IndexSlot))], minKey: BPos, maxKey: BPos
  ) -> (BKeyFormat, words: Int, count: Int) {
    var range = BKeyFormatRange()
    range.add(minKey)
    range.add(maxKey)
    var (valueWords, unpackedWords, count) = (0, 0, 0)
    var largest = (format: sources[0].node.format, words: 0, unpackedWords: 0)
    for (node, slots) in sources {
      var (ownWords, ownUnpackedWords) = (0, 0)
      var slot = node.firstVisible(from: slots.0)
      while let here = slot, here != slots.1 {
        let key = node.view(at: here).key
        range.add(key)
        valueWords += key.valueU64s
        ownWords += node.words(of: node.index[here])
        ownUnpackedWords += Int(key.u64s)
        count += 1
        slot = node.firstVisible(from: node.index.after(here))
      }
      unpackedWords += ownUnpackedWords
      if ownWords > largest.words { largest = (node.format, ownWords, ownUnpackedWords) }
    }
    let best = range.format()
    let words = valueWords + count * Int(best.keyU64s)
    // Those of the others may not pack in it.
    let wordsInLargest = largest.words + unpackedWords - largest.unpackedWords
    if words <= sources[0].node.splitWords || words <= wordsInLargest {
      return (best, words, count)
    }
    return (largest.format, wordsInLargest, count)
  }
}
