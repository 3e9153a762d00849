// SPDX-License-Identifier: GPL-2.0
// Btree nodes in memory, bounded in bytes.
//
// How it works
//   1. The cache is split into shards with a lock each; a node's identity decides which.
//   2. Each shard is a ring that a hand goes around. A node that was used since the hand last
//      passed stays, and loses its mark; one that was not makes room.
//   3. A shard finds its nodes by open addressing: the slots of the ring by their place in a table
//      of twice as many entries, with linear probing.
// Invariants
//   (1) The cache never holds more than its limit (or two nodes a shard), whatever the size of the
//       volume; nodes in use by cursors live on until those let go.
//   (2) The table has as many entries that are not empty as the ring has slots, and at least half
//       of it is empty: a search ends.
// Locks: each shard's mutex, a leaf, for a search.
// Source: btree_cache.c; the ring is our own.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// Which node a pointer means: a place is used again only by a node with another number.
struct NodeIdentity: Hashable, Sendable, BitwiseCopyable {
  /// The first copy's `bch_extent_ptr`, without its flags.
  let place: UInt64
  /// Of the node; 0 with pointers of the oldest type.
  let sequence: UInt64

  /// - Parameter value: Of a key of this type.
  /// - Returns: nil if that is no btree pointer, or one without places.
  init?(_ type: BKeyType, _ value: RawSpan) {
    let start: Int
    switch type {
    case .btreePtrV2:
      start = BTreePtrV2.Layout.byteCount
      sequence = value.byteCount >= start &+ 8 ? value[BTreePtrV2.Layout.seq] : 0
    case .btreePtr:
      start = 0
      sequence = 0
    default: return nil
    }
    guard value.byteCount >= start &+ 8 else { return nil }
    let word = value[LEField<UInt64>(start)]
    guard word & 1 == 1 else { return nil }
    place = word & ~0xf
  }

  func hash(into hasher: inout Hasher) {
    hasher.combine(place)
    hasher.combine(sequence)
  }

  /// Spreads identities evenly: sequence numbers are random, places are not.
  var hash: UInt64 {
    var mixed = (place ^ sequence) &* 0x9e37_79b9_7f4a_7c15
    mixed ^= mixed >> 32
    return mixed &* 0xd6e8_feb8_6659_fd93
  }
}

final class NodeCache: Sendable {
  private static let shardBits: UInt64 = 4

  private final class Shard: Sendable {
    let state = Mutex(ShardState())
  }

  private let shards: [Shard]
  private let shardLimitBytes: Int

  /// - Parameters:
  ///   - limitBytes: What all nodes together may take.
  ///   - nodeBytes: Size of a node on disk.
  init(limitBytes: Int, nodeBytes: Int) {
    shardLimitBytes = max(limitBytes >> Int(Self.shardBits), 2 * nodeBytes)
    shards = (0..<1 << Int(Self.shardBits)).map { _ in Shard() }
  }

  /// The node, if it is there. Nothing is allocated.
  func node(_ identity: NodeIdentity) -> BTreeNode? {
    let hash = identity.hash
    return shards[Int(hash >> (64 - Self.shardBits))].state.withLock { state in
      state.use(identity, hash)
    }
  }

  /// Puts a node in, in place of an older one of the same identity; others may have to go.
  func keep(_ node: BTreeNode, _ identity: NodeIdentity) {
    let hash = identity.hash
    let limit = shardLimitBytes
    let evicted = shards[Int(hash >> (64 - Self.shardBits))].state.withLock { state in
      state.insert(node, identity, hash, limitBytes: limit)
    }
    // Freed here, with no lock held.
    _ = evicted
  }

  /// What the nodes take now, in bytes.
  var byteCount: Int {
    shards.reduce(0) { sum, shard in sum + shard.state.withLock { $0.byteCount } }
  }
}

private struct ShardState: Sendable {
  private struct Slot: Sendable {
    let identity: NodeIdentity
    var node: BTreeNode
    var wasUsed: Bool
  }

  private var ring: [Slot] = []
  private var hand = 0
  /// Indices of the ring plus 1; 0 is empty. A power of two of them.
  private var table = [UInt32](repeating: 0, count: 16)
  private(set) var byteCount = 0

  mutating func use(_ identity: NodeIdentity, _ hash: UInt64) -> BTreeNode? {
    let place = find(identity, hash)
    guard table[place] != 0 else { return nil }
    let index = Int(table[place]) &- 1
    if !ring[index].wasUsed { ring[index].wasUsed = true }
    return ring[index].node
  }

  /// - Returns: nodes that went.
  mutating func insert(
    _ node: BTreeNode, _ identity: NodeIdentity, _ hash: UInt64, limitBytes: Int
  ) -> [BTreeNode] {
    var evicted: [BTreeNode] = []
    let place = find(identity, hash)
    byteCount += node.memoryBytes
    if table[place] != 0 {
      let index = Int(table[place]) - 1
      evicted.append(ring[index].node)
      byteCount -= ring[index].node.memoryBytes
      ring[index].node = node
    } else {
      ring.append(Slot(identity: identity, node: node, wasUsed: false))
      table[place] = UInt32(ring.count)
      if ring.count * 2 > table.count { rebuild(table.count * 2) }
    }
    while byteCount > limitBytes && ring.count > 1 {
      if hand >= ring.count { hand = 0 }
      if ring[hand].identity == identity || ring[hand].wasUsed {
        ring[hand].wasUsed = false
        hand += 1
        continue
      }
      evicted.append(ring[hand].node)
      remove(at: hand)
    }
    return evicted
  }

  /// Removes a slot; the last one takes its place.
  private mutating func remove(at index: Int) {
    byteCount -= ring[index].node.memoryBytes
    vacate(find(ring[index].identity, ring[index].identity.hash))
    let last = ring.count - 1
    if index != last {
      table[find(ring[last].identity, ring[last].identity.hash)] = UInt32(index + 1)
      ring[index] = ring[last]
    }
    ring.removeLast()
  }

  /// Where an identity stands in the table, or where it would.
  private func find(_ identity: NodeIdentity, _ hash: UInt64) -> Int {
    let mask = table.count &- 1
    var place = Int(truncatingIfNeeded: hash) & mask
    while table[place] != 0, ring[Int(table[place]) &- 1].identity != identity {
      place = (place &+ 1) & mask
    }
    return place
  }

  /// Empties an entry, and moves up those behind it that would not be found any more.
  private mutating func vacate(_ place: Int) {
    let mask = table.count - 1
    var hole = place
    var next = (place + 1) & mask
    while table[next] != 0 {
      let home = Int(truncatingIfNeeded: ring[Int(table[next]) - 1].identity.hash) & mask
      // The entry may fill the hole unless its home lies behind the hole.
      if (next - home) & mask >= (next - hole) & mask {
        table[hole] = table[next]
        hole = next
      }
      next = (next + 1) & mask
    }
    table[hole] = 0
  }

  private mutating func rebuild(_ count: Int) {
    table = [UInt32](repeating: 0, count: count)
    for (index, slot) in ring.enumerated() {
      table[find(slot.identity, slot.identity.hash)] = UInt32(index + 1)
    }
  }
}
