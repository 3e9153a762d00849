// SPDX-License-Identifier: GPL-2.0
// Damage to subvolumes, the tree of snapshots and sets of devices.
//
// What the fixture "snapshots" has: subvolumes 2, 3 and 4 in the root directory, all of root 4240;
// 3 and 4 are snapshots of 2. Their snapshots are .max - 5, .max - 2 and .max - 4.

internal import BcachefsFormat
internal import BcachefsSupport

@testable internal import Bcachefs

extension MetadataDamage {
  static let subvolumes: [MetadataDamage] = [
    MetadataDamage(
      name: "a directory says that it is a subvolume's root", fixture: "plain",
      expected: .inode_bi_subvol_wrong,
      also: [.inode_points_to_missing_dirent, .inode_dir_missing_backpointer]
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4099) { $0.subvolume = 1 }
    },
    MetadataDamage(
      name: "a directory says that it is a missing subvolume's root", fixture: "plain",
      expected: .inode_bi_subvol_missing,
      also: [.inode_points_to_missing_dirent, .inode_dir_missing_backpointer]
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4099) { $0.subvolume = 77 }
    },
    MetadataDamage(
      name: "a file says that it was made in a subvolume", fixture: "plain",
      expected: .inode_bi_parent_nonzero, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4102) { $0.parentSubvolume = 1 }
    },
    MetadataDamage(
      name: "a subvolume's root names another one", fixture: "snapshots",
      expected: .subvol_root_wrong_bi_subvol, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4240, in: .max - 2) { $0.subvolume = 2 }
    },
    MetadataDamage(
      name: "a subvolume's root was made elsewhere", fixture: "snapshots",
      expected: .inode_bi_parent_wrong,
      also: [.inode_points_to_missing_dirent, .inode_dir_missing_backpointer]
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4240, in: .max - 2) { $0.parentSubvolume = 2 }
    },
    MetadataDamage(
      name: "the root subvolume is in another one", fixture: "snapshots",
      expected: .subvol_root_fs_path_parent_nonzero, also: []
    ) { (transaction) throws(TransactionError) in
      transaction.mark(.subvolumeChildren, BPos(2, 1))
      return try transaction.changeSubvolume(1) { $0.pathParent = 2 }
    },
    MetadataDamage(
      name: "a subvolume is not among its parent's children", fixture: "snapshots",
      expected: .subvol_children_not_set, also: []
    ) { (transaction) throws(TransactionError) in
      transaction.delete(.subvolumeChildren, BPos(1, 3), flags: .noTriggers)
      return true
    },
    MetadataDamage(
      name: "a child that is no subvolume", fixture: "snapshots", expected: .subvol_children_bad,
      also: []
    ) { (transaction) throws(TransactionError) in
      transaction.mark(.subvolumeChildren, BPos(1, 99))
      return true
    },
    MetadataDamage(
      name: "a subvolume without its root", fixture: "snapshots",
      expected: .subvol_to_missing_root, isKnownToDriver: false
    ) { (transaction) throws(TransactionError) in
      try transaction.changeSubvolume(3) { $0.inode = 9000 }
    },
    MetadataDamage(
      name: "a subvolume without its snapshot", fixture: "snapshots",
      expected: .subvol_snapshot_bad, isKnownToDriver: false
    ) { (transaction) throws(TransactionError) in
      try transaction.changeSubvolume(3) { $0.snapshot = 77 }
    },
    MetadataDamage(
      name: "a snapshot says that it is none", fixture: "snapshots",
      expected: .subvol_not_master_and_not_snapshot, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.changeSubvolume(3) { $0.isSnapshot = false }
    },
    MetadataDamage(
      name: "a subvolume says that its name is elsewhere", fixture: "snapshots",
      expected: .subvol_fs_path_parent_wrong, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.moveSubvolume(3, to: 2)
    },
    MetadataDamage(
      name: "a name of a missing subvolume", fixture: "snapshots",
      expected: .dirent_to_missing_subvol, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.putName(
        "lost", in: Positions.rootInode, .subvolume(child: 99, parent: 1),
        type: Dirent.subvolumeType)
    },
    MetadataDamage(
      name: "a subvolume's name in a missing one", fixture: "snapshots",
      expected: .dirent_to_missing_parent_subvol,
      also: [.subvol_fs_path_parent_wrong, .inode_bi_parent_wrong]
    ) { (transaction) throws(TransactionError) in
      try transaction.putName(
        "read-only", in: Positions.rootInode, .subvolume(child: 3, parent: 99),
        type: Dirent.subvolumeType)
    },
    MetadataDamage(
      name: "a subvolume's name in one that does not see it", fixture: "snapshots",
      expected: .dirent_not_visible_in_parent_subvol,
      also: [.subvol_fs_path_parent_wrong, .inode_bi_parent_wrong]
    ) { (transaction) throws(TransactionError) in
      try transaction.putName(
        "read-only", in: Positions.rootInode, .subvolume(child: 3, parent: 2),
        type: Dirent.subvolumeType)
    },
    MetadataDamage(
      name: "a subvolume in a missing one", fixture: "snapshots", expected: .subvol_unreachable,
      also: [.subvol_fs_path_parent_wrong], isKnownToDriver: false
    ) { (transaction) throws(TransactionError) in
      try transaction.moveSubvolume(3, to: 77)
    },
    MetadataDamage(
      name: "subvolumes in each other", fixture: "snapshots", expected: .subvol_loop,
      also: [.subvol_fs_path_parent_wrong], isKnownToDriver: false
    ) { (transaction) throws(TransactionError) in
      guard try transaction.moveSubvolume(3, to: 4) else { return false }
      return try transaction.moveSubvolume(4, to: 3)
    },
    MetadataDamage(
      name: "no root subvolume", fixture: "plain", expected: .root_subvol_missing,
      isKnownToDriver: false
    ) { (transaction) throws(TransactionError) in
      transaction.delete(.subvolumes, BPos(0, 1), flags: .noTriggers)
      return true
    },
    MetadataDamage(
      name: "an inode in no snapshot", fixture: "plain", expected: .bkey_in_missing_snapshot,
      also: []
    ) { (transaction) throws(TransactionError) in
      transaction.add(Inode(9000, mode: 0o100644, snapshot: 77))
      return true
    },

    // MARK: Sets of devices

    MetadataDamage(
      name: "a set of devices is not in the superblock", fixture: "plain",
      expected: .accounting_replicas_not_marked, also: []
    ) { (transaction) throws(TransactionError) in
      do throws(VolumeError) {
        try transaction.engine.store.update { superblock in
          superblock.setReplicas(superblock.replicas.filter { $0.dataType != .user })
        }
      } catch {
        throw .failed(error)
      }
      return true
    },
    MetadataDamage(
      name: "sectors of no device are counted", fixture: "plain",
      expected: .accounting_to_invalid_device, also: []
    ) { (transaction) throws(TransactionError) in
      transaction.account(
        .deviceDataType(device: 9, dataType: DataType.user.rawValue), [1, 8, 0])
      return true
    },
  ]
}

extension Transaction {
  /// Has a subvolume say that its name is in another one, whose children know.
  fileprivate func moveSubvolume(
    _ id: UInt32, to parent: UInt32
  ) throws(TransactionError) -> Bool {
    delete(.subvolumeChildren, BPos(1, UInt64(id)), flags: .noTriggers)
    mark(.subvolumeChildren, BPos(UInt64(parent), UInt64(id)))
    return try changeSubvolume(id) { $0.pathParent = parent }
  }
}
