// SPDX-License-Identifier: GPL-2.0
// What each user, group and project uses, counted from all inodes.
//
// How it works
//   1. Keys of the inodes btree come in order: of one inode all versions, those of later snapshots
//      first.
//   2. Of each tree of snapshots the view of one subvolume counts, which the tree names. The first
//      version that this one sees is what it has.
// Invariants
//   (1) An inode counts once in each tree.
//   (2) Memory is bounded by the number of users, groups, projects and trees.
// Locks: none; it belongs to who counts.
// Source: quota.c (bch2_fs_quota_read, bch2_fs_quota_read_inode).

internal import BcachefsFormat
internal import BcachefsSupport

/// Whose inodes count.
struct QuotaView {
  let table: SnapshotTable
  /// By the root of each tree, the snapshot of the subvolume that it names.
  private var byRoot: [UInt32: UInt32] = [:]

  init(_ table: SnapshotTable) { self.table = table }

  /// What a tree's subvolume sees counts.
  mutating func add(_ snapshot: UInt32) { byRoot[table.root(of: snapshot)] = snapshot }

  var snapshots: some Collection<UInt32> { byRoot.values }

  /// The tree that a snapshot is in, by its root, and whose view of it counts.
  func tree(of snapshot: UInt32) -> (root: UInt32, counted: UInt32)? {
    let root = table.root(of: snapshot)
    return byRoot[root].map { (root, $0) }
  }
}

/// Counts inodes.
struct QuotaUsage {
  struct Use: Equatable {
    var sectors: UInt64 = 0
    var inodes: UInt64 = 0
  }

  let view: QuotaView
  private var used = InlineArray<3, [UInt32: Use]>(repeating: [:])
  private var inode: UInt64 = 0
  /// The trees, by their roots, in which it has been found out what the inode is.
  private var settled: [UInt32] = []

  init(_ view: QuotaView) { self.view = view }

  func uses(_ type: QuotaType) -> [UInt32: Use] { used[Int(type.rawValue)] }

  /// Takes in the next key of the inodes btree. One that cannot be read counts for nobody.
  mutating func add(_ key: BKey, _ value: RawSpan) {
    if key.position.offset != inode {
      inode = key.position.offset
      settled.removeAll(keepingCapacity: true)
    }
    let snapshot = key.position.snapshot
    guard let tree = view.tree(of: snapshot), !settled.contains(tree.root),
      view.table.isAncestor(snapshot, of: tree.counted)
    else { return }
    settled.append(tree.root)
    guard key.type.isInode, let inode = try? Inode(key: key, value: value) else { return }
    let ids = QuotaIDs(inode)
    for type in QuotaType.all {
      let (index, id) = (Int(type.rawValue), ids[type])
      let (sectors, overflow) = (used[index][id]?.sectors ?? 0)
        .addingReportingOverflow(inode.sectors)
      used[index][id, default: Use()].sectors = overflow ? .max : sectors
      used[index][id, default: Use()].inodes += 1
    }
  }
}
