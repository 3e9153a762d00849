// SPDX-License-Identifier: GPL-2.0
// Live nodes in memory: found by identity, bounded in bytes, recycled and never freed.
//
// How it works
//   1. A node is found by the first place and the sequence number of its pointer, in a table that
//      is split into shards. Interior nodes also keep the addresses of their children in memory,
//      which is faster: whoever follows one compares the identity.
//   2. Objects are recycled. When a node goes, `incarnation` counts on, and all who kept its
//      address see by that that they have to search again.
//   3. Above the limit a hand goes round: clean nodes that were not used since it came by go. Dirty
//      ones stay, and are written (Engine); as long as everything is dirty, the cache is larger
//      than its limit, by no more than what the journal lets be dirty.
// Invariants
//   (1) A node in the table is alive, and the only one of its identity.
//   (2) What goes is clean, reachable, not being written, and locked by nobody else.
//   (3) Objects live until the cache does.
// Locks: a shard's mutex, or the pool's, for table work only; node locks are only tried with one of
// them held.
// Source: btree_cache.c.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

@safe
final class LiveNodeCache: Sendable {
  private static let shardBits: UInt64 = 4

  private final class Shard: Sendable {
    let nodes = Mutex<[NodeIdentity: LiveNode]>([:])
  }

  private struct Pool {
    /// Everything that was ever made, in the order of the hand.
    var all: [LiveNode] = []
    var free: [LiveNode] = []
    var hand = 0
  }

  private let shards: [Shard]
  private let pool = Mutex(Pool())
  let nodeBytes: Int
  let limitBytes: Int
  let instruments: Instruments
  private let bytes = Atomic<Int>(0)

  /// - Parameters:
  ///   - limitBytes: What all nodes together should take.
  ///   - nodeBytes: Size of a node on disk.
  init(limitBytes: Int, nodeBytes: Int, _ instruments: Instruments = Instruments()) {
    self.limitBytes = limitBytes
    self.nodeBytes = nodeBytes
    self.instruments = instruments
    shards = (0..<1 << Int(Self.shardBits)).map { _ in Shard() }
  }

  /// What the nodes took when they were last counted, in bytes.
  var byteCount: Int { bytes.load(ordering: .relaxed) }
  var isOverLimit: Bool { byteCount > limitBytes }

  // MARK: - Finding

  /// The node of an identity, if it is in memory. It is not locked: it may be another one as soon
  /// as this returns.
  func find(_ identity: NodeIdentity) -> LiveNode? {
    shard(identity).nodes.withLock { $0[identity] }
  }

  private func shard(_ identity: NodeIdentity) -> Shard {
    shards[Int(identity.hash >> (64 - Self.shardBits))]
  }

  // MARK: - Coming and going

  /// An object that is no node yet, write-locked.
  func take() -> LiveNode {
    let start = instruments.times.now
    defer { instruments.times.record(.btreeNodeMemAlloc, from: start) }
    let recycled = pool.withLock { $0.free.popLast() }
    let node = recycled ?? LiveNode(nodeBytes: nodeBytes)
    if recycled == nil { pool.withLock { $0.all.append(node) } }
    // Those who come by an old address lock it, see that it is not what it was, and go.
    while !lockForWriting(node) { continue }
    node.forget()
    return node
  }

  private func lockForWriting(_ node: LiveNode) -> Bool {
    guard node.lock.tryIntent() else { return false }
    if node.lock.tryWrite(ownReaders: 0) { return true }
    node.lock.unlockIntent()
    return false
  }

  /// Makes a node known by its pointer.
  ///
  /// - Precondition: the caller has it write-locked.
  /// - Returns: False if another one of this identity is there already.
  func insert(_ node: LiveNode) -> Bool {
    guard let identity = node.pointer.identity else { return false }
    let isNew = shard(identity).nodes.withLock { nodes in
      guard nodes[identity] == nil else { return false }
      nodes[identity] = node
      return true
    }
    if isNew { count(node) }
    return isNew
  }

  /// Nodes grow as keys are inserted: what one takes by now is counted when it is written.
  func count(_ node: LiveNode) { count(node, as: node.memoryBytes) }

  private func count(_ node: LiveNode, as byteCount: Int) {
    let before = node.countedBytes.exchange(byteCount, ordering: .relaxed)
    bytes.wrappingAdd(byteCount - before, ordering: .relaxed)
  }

  /// Forgets a node; its object is free for another one.
  ///
  /// - Precondition: the caller has it write-locked, and has lost it then.
  func retire(_ node: LiveNode) {
    if let identity = node.pointer.identity {
      shard(identity).nodes.withLock { nodes in
        if nodes[identity] === node { nodes[identity] = nil }
      }
    }
    count(node, as: 0)
    node.beginIncarnation()
    node.flags.store(LiveNode.State.dead.rawValue, ordering: .releasing)
    node.reset(words: 0, expectedKeys: 0)
    node.lock.unlockWrite()
    node.lock.unlockIntent()
    pool.withLock { $0.free.append(node) }
  }

  /// Lets a node go that was read before what its pointer says now was written.
  ///
  /// - Returns: whether it went, or was gone already.
  /// - Throws: `.corrupt` where it was changed: then two pointers lead to one node.
  func retireIfOlder(
    _ node: LiveNode, than pointer: NodePointer
  ) throws(VolumeError) -> Bool {
    while !lockForWriting(node) { continue }
    let isOther = node.state.contains(.dead) || node.sequence != pointer.sequence
    guard isOther || node.pointer.sectorsWritten < pointer.sectorsWritten else {
      node.lock.unlockWrite()
      node.lock.unlockIntent()
      return false
    }
    let isChanged = !isOther && node.state.contains(.dirty)
    if isOther || isChanged {
      node.lock.unlockWrite()
      node.lock.unlockIntent()
    } else {
      retire(node)
    }
    guard !isChanged else {
      throw VolumeError(
        .corrupt,
        "\(pointer.key.position): two pointers, of which one says less than the other "
          + "about what is written of their node")
    }
    return true
  }

  // MARK: - The limit

  /// Lets clean nodes go until the limit is kept, or everything was looked at twice.
  ///
  /// - Returns: whether the limit is kept.
  func shrink() -> Bool {
    recount()
    guard isOverLimit else { return true }
    instruments.count(.btreeCacheScan)
    var left = pool.withLock { $0.all.count } * 2
    while isOverLimit, left > 0 {
      left -= 1
      let node: LiveNode? = pool.withLock { pool in
        guard !pool.all.isEmpty else { return nil }
        pool.hand = (pool.hand + 1) % pool.all.count
        return pool.all[pool.hand]
      }
      guard let node else { return true }
      evict(node)
    }
    return !isOverLimit
  }

  private func evict(_ node: LiveNode) {
    let kept: LiveNode.State = [.dirty, .writing, .unreachable, .dead, .root]
    guard node.state.isDisjoint(with: kept) else { return }
    if node.state.contains(.used) { return node.clear(.used) }
    guard lockForWriting(node) else { return }
    guard node.state.isDisjoint(with: kept) else {
      node.lock.unlockWrite()
      return node.lock.unlockIntent()
    }
    instruments.count(.btreeCacheReap)
    retire(node)
  }

  /// Nodes that are not written grow, too.
  private func recount() {
    for node in allNodes where !node.state.contains(.dead) { count(node) }
  }

  /// How many objects wait for nodes.
  var freeCount: Int { pool.withLock { $0.free.count } }

  /// All nodes, for those who look for dirty ones. They are not locked.
  var allNodes: [LiveNode] { pool.withLock { $0.all } }
}
