// SPDX-License-Identifier: GPL-2.0
// The cache of live nodes as it is: how much, of which btrees, in which states.
// Source: btree_cache.c (bch2_btree_cache_to_text).

internal import BcachefsFormat
internal import BcachefsSupport

/// Nodes in memory, more or less at a moment: each is looked at by itself.
struct NodeCacheState: Sendable {
  /// Nodes of one btree.
  struct Share: Sendable, Equatable {
    let btree: BTreeID
    var nodes = 0
    /// Of them, those that are no leaves.
    var interior = 0
    var dirty = 0
    var writing = 0
    /// Those to which the disk does not lead yet.
    var unreachable = 0
    var bytes = 0
  }

  /// What all nodes took when they were last counted.
  let byteCount: Int
  let limitBytes: Int
  /// Bytes of a node on disk.
  let nodeBytes: Int
  /// Objects that wait for nodes.
  let free: Int
  /// Nodes that somebody was changing when they were looked at.
  let unseen: Int
  /// Ascending by btree.
  let shares: [Share]
  /// Appends and replacements that are not on disk.
  let queuedWrites: Int

  var nodes: Int { shares.reduce(unseen) { $0 + $1.nodes } }
  var dirty: Int { shares.reduce(0) { $0 + $1.dirty } }
  var writing: Int { shares.reduce(0) { $0 + $1.writing } }
}

extension Engine {
  /// What is in memory of btrees.
  ///
  /// - Complexity: a tried lock for each node.
  var nodeCacheState: NodeCacheState {
    let cache = trees.cache
    var shares: [UInt8: NodeCacheState.Share] = [:]
    var unseen = 0
    for node in cache.allNodes {
      let seen = NodeRef(node).sight
      guard let identity = seen.identity else {
        if !seen.state.contains(.dead) { unseen += 1 }
        continue
      }
      var share = shares[identity.btree.rawValue] ?? NodeCacheState.Share(btree: identity.btree)
      share.nodes += 1
      if identity.level > 0 { share.interior += 1 }
      if seen.state.contains(.dirty) { share.dirty += 1 }
      if seen.state.contains(.writing) { share.writing += 1 }
      if seen.state.contains(.unreachable) { share.unreachable += 1 }
      share.bytes += seen.memoryBytes
      shares[identity.btree.rawValue] = share
    }
    return NodeCacheState(
      byteCount: cache.byteCount, limitBytes: cache.limitBytes, nodeBytes: cache.nodeBytes,
      free: cache.freeCount, unseen: unseen,
      shares: shares.values.sorted { $0.btree.rawValue < $1.btree.rawValue },
      queuedWrites: nodeWrites.count)
  }
}
