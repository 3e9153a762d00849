// SPDX-License-Identifier: GPL-2.0
// What has to be done about snapshots that nobody needs any more.
//
// Source: snapshot.c (bch2_snapshot_needs_delete, bch2_snapshot_set_equiv).

internal import BcachefsFormat

/// Which nodes of the tree of snapshots go, and where keys go that are in them.
///
/// A leaf is dead when its subvolume is unlinked or gone; a node above is when all below it are.
/// What another subvolume leads to is needed, whatever it says of itself. A
/// node with one child that is not dead says no more than that child: its keys go there, to the
/// last one of a chain of such nodes.
struct SnapshotPlan {
  private let deadNodes: Set<UInt32>
  private let heirs: [UInt32: UInt32]
  private let inheriting: Set<UInt32>
  /// Leaves to remove, those that no subvolume has first.
  let deadLeaves: [UInt32]
  /// The unlinked subvolumes of these leaves.
  let subvolumes: [UInt32]
  /// Nodes that give way to their child.
  let linking: [UInt32]

  /// What subvolumes say of snapshots.
  struct Subvolumes {
    /// Those that are on their way out.
    private(set) var unlinked: Set<UInt32> = []
    /// The snapshots of the others.
    private(set) var snapshotsInUse: Set<UInt32> = []

    mutating func add(_ id: UInt32, _ subvolume: Subvolume) {
      if subvolume.isUnlinked {
        unlinked.insert(id)
      } else {
        snapshotsInUse.insert(subvolume.snapshot)
      }
    }
  }

  /// - Parameters:
  ///   - existing: All subvolumes.
  ///   - descendantsMax: What one transaction can change: a node with more below it stays.
  init(_ table: SnapshotTable, _ existing: Subvolumes, descendantsMax: Int) {
    var dead: Set<UInt32> = []
    var heirs: [UInt32: UInt32] = [:]
    var leaves: [(id: UInt32, hasSubvolume: Bool)] = []
    var linking: [UInt32] = []
    // From the lowest ID on: children first.
    for id in table.ids {
      guard let node = table[id], !existing.snapshotsInUse.contains(id) else { continue }
      let children = Set([node.child0, node.child1]).filter { child in
        child != 0 && child < id && table[child]?.parent == id
      }
      let alive = children.subtracting(dead)
      if children.isEmpty {
        guard node.isDeleted || !node.isSubvolume || existing.unlinked.contains(node.subvolume)
        else { continue }
        dead.insert(id)
        leaves.append((id, node.isSubvolume))
      } else if alive.isEmpty {
        if !node.isSubvolume { dead.insert(id) }
      } else if alive.count == 1, let child = alive.first, !node.isSubvolume,
        table.descendantCount(of: id) <= descendantsMax
      {
        heirs[id] = heirs[child] ?? child
        linking.append(id)
      }
    }
    deadNodes = dead
    self.heirs = heirs
    inheriting = Set(heirs.values)
    deadLeaves =
      leaves.filter { !$0.hasSubvolume }.map(\.id) + leaves.filter(\.hasSubvolume).map(\.id)
    subvolumes = leaves.filter(\.hasSubvolume).compactMap { table[$0.id]?.subvolume }
    self.linking = linking
  }

  /// Nothing is to be done.
  var isEmpty: Bool { deadNodes.isEmpty && heirs.isEmpty }

  /// Keys of some nodes go to a child.
  var hasHeirs: Bool { !heirs.isEmpty }

  func isDead(_ id: UInt32) -> Bool { deadNodes.contains(id) }

  /// The node whose keys are those of a node from now on; nil where it keeps them.
  func heir(of id: UInt32) -> UInt32? { heirs[id] }

  /// Whether a node gets keys of others.
  func isHeir(_ id: UInt32) -> Bool { inheriting.contains(id) }

  /// What a key of a node is to be in from now on.
  func place(of id: UInt32) -> UInt32 { heirs[id] ?? id }
}
