// SPDX-License-Identifier: GPL-2.0
// Which node an address leads to, for those who only want to say so.
//
// How it works
//   A node's identity is looked at with its read lock, which is only tried: whoever has it for
//   writing is done soon, and after some tries it is not waited for any more. A look may make
//   somebody's own try fail; he tries again, as for any other reader.
// Locks: a node's read lock, tried, for some loads.

internal import BcachefsFormat
internal import BcachefsSupport

/// What is seen of a node.
struct NodeSight: Sendable, Equatable, CustomStringConvertible {
  /// Which node it is.
  struct Identity: Sendable, Equatable {
    let btree: BTreeID
    let level: Int
    let minKey: BPos
    let maxKey: BPos
  }

  /// nil where somebody was changing it, or it is no node any more.
  let identity: Identity?
  let state: LiveNode.State
  /// What it takes in memory; 0 where it could not be looked at.
  let memoryBytes: Int

  var description: String {
    guard let identity else {
      return state.contains(.dead) ? "(gone)" : "(being changed)"
    }
    return "\(identity.btree) level \(identity.level) \(identity.minKey) to \(identity.maxKey)"
  }
}

extension NodeRef {
  private static var tries: Int { 1000 }

  /// The node as it is now.
  var sight: NodeSight {
    for _ in 0..<Self.tries {
      if let seen = with({ $0.trySight() }) { return seen }
    }
    return NodeSight(identity: nil, state: with { $0.state }, memoryBytes: 0)
  }
}

extension LiveNode {
  fileprivate func trySight() -> NodeSight? {
    guard lock.tryRead() else { return nil }
    defer { lock.unlockRead() }
    let state = state
    guard !state.contains(.dead) else {
      return NodeSight(identity: nil, state: state, memoryBytes: memoryBytes)
    }
    return NodeSight(
      identity: NodeSight.Identity(btree: btree, level: level, minKey: minKey, maxKey: maxKey),
      state: state, memoryBytes: memoryBytes)
  }
}
