// SPDX-License-Identifier: GPL-2.0
// What every new volume has, whoever makes it.
// Source: subvolume.c (bch2_initialize_subvolumes), recovery.c (bch2_fs_initialize).

internal import BcachefsFormat
internal import BcachefsSupport

enum NewVolume {
  /// A key, and its value as it is on disk.
  struct FirstKey: Sendable {
    let btree: BTreeID
    let key: BKey
    let words: [UInt64]

    /// - Parameter encode: Writes the value into zeroed words.
    fileprivate init(
      _ btree: BTreeID, _ type: BKeyType, at offset: UInt64, u64s: Int,
      _ encode: (inout MutableRawSpan) -> Void
    ) {
      self.btree = btree
      key = BKey(type: type, position: BPos(0, offset), valueU64s: u64s)
      var words = [UInt64](repeating: 0, count: u64s)
      var span = words.mutableSpan
      var bytes = unsafe span.mutableBytes
      encode(&bytes)
      self.words = words
    }
  }

  /// The first subvolume, its snapshot, and that one's tree.
  static let keys: [FirstKey] = {
    let subvolume = Subvolume(snapshot: .max, inode: Positions.rootInode)
    var snapshot = Snapshot()
    snapshot.subvolume = Subvolume.root
    snapshot.tree = 1
    snapshot.isSubvolume = true
    let tree = SnapshotTree(masterSubvolume: Subvolume.root, rootSnapshot: .max)
    return [
      FirstKey(
        .subvolumes, .subvolume, at: UInt64(Subvolume.root), u64s: Subvolume.encodedU64s
      ) { subvolume.encode(into: &$0) },
      FirstKey(
        .snapshots, .snapshot, at: UInt64(UInt32.max), u64s: Snapshot.encodedU64s
      ) { snapshot.encode(into: &$0) },
      FirstKey(
        .snapshotTrees, .snapshotTree, at: UInt64(snapshot.tree), u64s: SnapshotTree.encodedU64s
      ) { tree.encode(into: &$0) },
    ]
  }()

  /// A directory in the root, for what a check finds no name for.
  static let lostAndFound = Array("lost+found".utf8)
}
