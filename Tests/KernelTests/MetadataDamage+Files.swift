// SPDX-License-Identifier: GPL-2.0
// Damage to files: inodes, those that wait to be deleted, extents.
//
// What the fixture "plain" has: directory 4098 with 4099 in it, which holds the small files 4100 to
// 4125; 4148 of one extent of 40 sectors; 4154 with four names.

internal import BcachefsFormat
internal import BcachefsSupport

@testable internal import Bcachefs

extension MetadataDamage {
  static let files: [MetadataDamage] = [
    MetadataDamage(
      name: "a file's name is not where it says", fixture: "plain",
      expected: .inode_points_to_missing_dirent, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4102) { $0.directoryOffset += 1 }
    },
    MetadataDamage(
      name: "a file says that another one's name is its own", fixture: "plain",
      expected: .inode_points_to_wrong_dirent, also: []
    ) { (transaction) throws(TransactionError) in
      var place: UInt64 = 0
      guard try transaction.change(4103, { place = $0.directoryOffset }) else { return false }
      return try transaction.change(4102) { $0.directoryOffset = place }
    },
    MetadataDamage(
      name: "a directory does not know its name", fixture: "plain",
      expected: .inode_dir_missing_backpointer, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4099) {
        $0.directory = 0
        $0.directoryOffset = 0
      }
    },
    MetadataDamage(
      name: "a file with a name is unlinked", fixture: "plain",
      expected: .inode_unlinked_but_has_dirent, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4102) { $0.flags.insert(.unlinked) }
    },
    MetadataDamage(
      name: "a file that does not know its name is unlinked", fixture: "plain",
      expected: .inode_unlinked_but_has_dirent, also: [.unlinked_inode_not_on_deleted_list]
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4102) {
        $0.directory = 0
        $0.directoryOffset = 0
        $0.flags.insert(.unlinked)
      }
    },
    MetadataDamage(
      name: "a directory with names in it is unlinked", fixture: "plain",
      expected: .inode_dir_unlinked_but_not_empty, also: [.inode_dir_missing_backpointer]
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4099) {
        $0.directory = 0
        $0.directoryOffset = 0
        $0.flags.insert(.unlinked)
      }
    },
    MetadataDamage(
      name: "an inode says that a child snapshot has its own", fixture: "plain",
      expected: .inode_has_child_snapshots_wrong, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4102) { $0.flags.insert(.hasChildSnapshot) }
    },
    MetadataDamage(
      name: "an inode does not say that a child snapshot has its own", fixture: "snapshots",
      expected: .inode_has_child_snapshots_wrong, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4243, in: .max - 1) { $0.flags.remove(.hasChildSnapshot) }
    },
    MetadataDamage(
      name: "an unlinked file is not going to be deleted", fixture: "plain",
      expected: .unlinked_inode_not_on_deleted_list, also: []
    ) { (transaction) throws(TransactionError) in
      transaction.add(Inode(9000, mode: 0o100644, flags: .unlinked))
      return true
    },
    MetadataDamage(
      name: "versions of an inode hash differently", fixture: "snapshots",
      expected: .inode_snapshot_mismatch, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4243, in: .max - 4) { $0.hashSeed += 1 }
    },
    MetadataDamage(
      name: "a file without a name", fixture: "plain", expected: .inode_unreachable, also: []
    ) { (transaction) throws(TransactionError) in
      guard try transaction.removeName(of: 4102) else { return false }
      return try transaction.change(4102) {
        $0.directory = 0
        $0.directoryOffset = 0
      }
    },
    MetadataDamage(
      name: "a directory whose name is gone", fixture: "plain",
      expected: .inode_unreachable, also: [.inode_points_to_missing_dirent, .inode_dir_wrong_nlink]
    ) { (transaction) throws(TransactionError) in
      try transaction.removeName(of: 4099)
    },
    MetadataDamage(
      name: "a file is on the list of the deleted", fixture: "plain",
      expected: .deleted_inode_not_unlinked, also: []
    ) { (transaction) throws(TransactionError) in
      transaction.mark(.deletedInodes, BPos(0, 4102, .max))
      return true
    },
    MetadataDamage(
      name: "a directory with names is on the list of the deleted", fixture: "plain",
      expected: .deleted_inode_is_dir, also: []
    ) { (transaction) throws(TransactionError) in
      transaction.mark(.deletedInodes, BPos(0, 4098, .max))
      return true
    },
    MetadataDamage(
      name: "what is not there is on the list of the deleted", fixture: "plain",
      expected: .deleted_inode_missing, also: []
    ) { (transaction) throws(TransactionError) in
      transaction.mark(.deletedInodes, BPos(0, 9000, .max))
      return true
    },
    MetadataDamage(
      name: "a clean volume has an inode to delete", fixture: "plain",
      expected: .deleted_inode_but_clean, also: []
    ) { (transaction) throws(TransactionError) in
      transaction.add(Inode(9000, mode: 0o100644, flags: .unlinked))
      transaction.mark(.deletedInodes, BPos(0, 9000, .max))
      return true
    },
    MetadataDamage(
      name: "an inode with child snapshots is on the list of the deleted", fixture: "snapshots",
      expected: .deleted_inode_has_child_snapshots, also: []
    ) { (transaction) throws(TransactionError) in
      let snapshot = UInt32.max - 2
      transaction.put(
        Inode(9000, mode: 0o100644, snapshot: .max - 1, flags: [.unlinked, .hasChildSnapshot]))
      var child = Inode(9000, mode: 0o100644, snapshot: snapshot)
      child.directory = 4240
      child.directoryOffset =
        try transaction.place(of: "new", in: 4240, snapshot: snapshot) ?? 0
      transaction.put(child)
      transaction.account(.nrInodes, [2])
      transaction.mark(.deletedInodes, BPos(0, 9000, .max - 1))
      return try transaction.putName(
        "new", in: 4240, .inode(9000), type: 8, snapshot: snapshot)
    },

    // MARK: Extents

    MetadataDamage(
      name: "a file's sectors are wrong", fixture: "plain", expected: .inode_i_sectors_wrong,
      also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4102) { $0.sectors += 8 }
    },
    MetadataDamage(
      name: "a file's sectors are wrong in one snapshot", fixture: "snapshots",
      expected: .inode_i_sectors_wrong, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4245, in: .max - 2) { $0.sectors += 8 }
    },
    MetadataDamage(
      name: "an extent behind the end", fixture: "plain", expected: .extent_past_end_of_inode,
      also: [.inode_i_sectors_wrong]
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4148) { $0.size = 4096 }
    },
    MetadataDamage(
      name: "an extent within another one", fixture: "plain", expected: .extent_overlapping,
      also: []
    ) { (transaction) throws(TransactionError) in
      transaction.reserve(4148, upTo: 32)
      return true
    },
    MetadataDamage(
      name: "an extent of nobody", fixture: "plain", expected: .key_in_missing_inode, also: []
    ) { (transaction) throws(TransactionError) in
      transaction.reserve(9000, upTo: 8)
      return true
    },
    MetadataDamage(
      name: "an extent of a directory", fixture: "plain", expected: .key_in_wrong_inode_type,
      also: []
    ) { (transaction) throws(TransactionError) in
      transaction.reserve(4099, upTo: 8)
      return true
    },
    MetadataDamage(
      name: "an extent in no snapshot", fixture: "plain", expected: .bkey_in_missing_snapshot,
      also: []
    ) { (transaction) throws(TransactionError) in
      transaction.reserve(4102, upTo: 16, snapshot: 77)
      return true
    },
    MetadataDamage(
      name: "an extent shares what is not there", fixture: "snapshots",
      expected: .reflink_p_to_missing_reflink_v, also: [.reflink_v_refcount_wrong]
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.extents, where: { $0.key.type == .reflinkP }) {
        transaction, found in
        transaction.copy(.extents, found, to: found.key.position) {
          $0[LEField<UInt64>(BKey.Layout.byteCount)] += 1 << 40
        }
      }
    },
  ]
}
