// SPDX-License-Identifier: GPL-2.0
// The tree of snapshots, and which keys are seen in which of them.
//
// How it works
//   1. Every snapshot has an ID below its parent's. A key written in a snapshot is seen in it and
//      in all that descend from it, until one of them has a key of its own at that position.
//   2. At one position keys are sorted by snapshot ID, so the nearest ancestor's key comes first.
//   3. Once read, the tree is numbered: a node's place comes before those of all that descend from
//      it, and these are consecutive. So two comparisons tell an ancestor, however long the chain.
// Invariants
//   (1) An ancestor's ID is larger; a parent whose ID is not counts as none: there are no circles.
// Source: snapshot.c (bch2_snapshot_is_ancestor).

internal import BcachefsFormat
internal import BcachefsSupport

struct SnapshotTable: Sendable {
  private var nodes: [UInt32: Snapshot] = [:]
  /// The places of each snapshot and of all that descend from it; the first one is its own.
  private var places: [UInt32: Range<Int>] = [:]
  /// The first places of snapshots without a parent, ascending, and their IDs.
  private var roots: [(place: Int, id: UInt32)] = []

  init() {}

  /// Reads the snapshots btree.
  init(_ forest: BTreeForest) throws(VolumeError) {
    let cursor = BTreeCursor(forest, .snapshots)
    while let found = try cursor.next() {
      do throws(FormatError) {
        try found.withValue { (value) throws(FormatError) in try add(found.key, value) }
      } catch {
        throw VolumeError(error)
      }
    }
    number()
  }

  /// Takes in a key of the snapshots btree, if it is a snapshot; shown once the tree is numbered.
  ///
  /// - Throws: what decoding throws.
  mutating func add(_ key: BKey, _ value: RawSpan) throws(FormatError) {
    guard key.type == .snapshot, let id = UInt32(exactly: key.position.offset) else { return }
    nodes[id] = try Snapshot(decoding: value)
  }

  private func parent(of id: UInt32) -> UInt32? {
    guard let node = nodes[id], node.parent > id else { return nil }
    return node.parent
  }

  /// Makes the numbers fit the tree, after changes.
  mutating func number() {
    places.removeAll(keepingCapacity: true)
    // Parents that are missing have descendants all the same.
    let ids = Set(nodes.keys).union(nodes.keys.compactMap { parent(of: $0) }).sorted()
    var counts: [UInt32: Int] = [:]
    for id in ids {
      let count = counts[id, default: 0] + 1
      counts[id] = count
      if let parent = parent(of: id) { counts[parent, default: 0] += count }
    }
    var nextBelow: [UInt32: Int] = [:]
    var next = 0
    roots = []
    for id in ids.reversed() {
      let count = counts[id] ?? 1
      let start: Int
      if let parent = parent(of: id), let free = nextBelow[parent] {
        start = free
        nextBelow[parent] = free + count
      } else {
        start = next
        next += count
        roots.append((start, id))
      }
      places[id] = start..<start + count
      nextBelow[id] = start + 1
    }
  }

  /// The snapshot with an ID.
  /// What is set shows once the tree is numbered again.
  subscript(id: UInt32) -> Snapshot? {
    get { nodes[id] }
    set { nodes[id] = newValue }
  }

  /// The places of a snapshot and of all that descend from it; nil if there is no such snapshot.
  func places(of id: UInt32) -> Range<Int>? { nodes[id] == nil ? nil : places[id] }

  /// The ancestor of a snapshot that has no parent; the snapshot itself where none is known.
  func root(of id: UInt32) -> UInt32 {
    guard let own = places[id]?.lowerBound else { return id }
    let behind = roots.sortedIndex(notBefore: { $0.place <= own })
    return behind > 0 ? roots[behind - 1].id : id
  }

  /// How many descend from a node.
  func descendantCount(of id: UInt32) -> Int { (places[id]?.count ?? 1) - 1 }

  var ids: [UInt32] { nodes.keys.sorted() }

  /// Whether what was written in `ancestor` may be seen in `id`; each is its own ancestor.
  func isAncestor(_ ancestor: UInt32, of id: UInt32) -> Bool {
    if ancestor == id { return true }
    guard let above = places[ancestor], let own = places[id] else { return false }
    return above.contains(own.lowerBound)
  }
}
