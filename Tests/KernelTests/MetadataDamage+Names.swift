// SPDX-License-Identifier: GPL-2.0
// Damage to names, attributes, directories and link counts.

internal import BcachefsFormat
internal import BcachefsSupport

@testable internal import Bcachefs

extension MetadataDamage {
  private static let regular: UInt8 = 8

  static let names: [MetadataDamage] = [
    MetadataDamage(
      name: "a name that leads nowhere", fixture: "plain", expected: .dirent_to_missing_inode,
      also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.putName("lost", in: 4099, .inode(9000), type: regular)
    },
    MetadataDamage(
      name: "a name that leads nowhere in one snapshot", fixture: "snapshots",
      expected: .dirent_to_missing_inode, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.putName(
        "lost", in: 4241, .inode(4102), type: regular, snapshot: .max - 2)
    },
    MetadataDamage(
      name: "a name of the wrong type", fixture: "plain", expected: .dirent_d_type_wrong, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.dirents, where: { $0.key.position.inode == 4099 }) {
        transaction, found in
        transaction.copy(.dirents, found, to: found.key.position) {
          $0[LEField<UInt8>(BKey.Layout.byteCount + 8)] = 10
        }
      }
    },
    MetadataDamage(
      name: "a name in no directory", fixture: "plain", expected: .key_in_missing_inode, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.putName("lost", in: 9000, at: 1000, .inode(9001), type: regular)
    },
    MetadataDamage(
      name: "a name in a file", fixture: "plain", expected: .key_in_wrong_inode_type, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.putName("lost", in: 4102, at: 1000, .inode(4103), type: regular)
    },
    MetadataDamage(
      name: "a name in no snapshot", fixture: "plain", expected: .bkey_in_missing_snapshot,
      also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.putName(
        "lost", in: 4099, at: 1000, .inode(4103), type: regular, snapshot: 77)
    },
    MetadataDamage(
      name: "a name behind its place", fixture: "plain", expected: .hash_table_key_wrong_offset,
      also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.moveName(of: 4102, by: 2)
    },
    MetadataDamage(
      name: "a name before its place", fixture: "plain", expected: .hash_table_key_wrong_offset,
      also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.moveName(of: 4102, by: -2)
    },
    MetadataDamage(
      name: "a name twice", fixture: "plain", expected: .hash_table_key_duplicate, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.dirents, where: { $0.key.position.inode == 4099 }) {
        let position = $1.key.position
        $0.copy(.dirents, $1, to: BPos(4099, position.offset + 1, position.snapshot)) { _ in }
      }
    },
    MetadataDamage(
      name: "an attribute behind its place", fixture: "plain",
      expected: .hash_table_key_wrong_offset, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.xattrs, where: { _ in true }) { transaction, found in
        let position = found.key.position
        transaction.delete(.xattrs, position, flags: .noTriggers)
        transaction.copy(
          .xattrs, found, to: BPos(position.inode, position.offset + 5, position.snapshot)
        ) { _ in }
      }
    },
    MetadataDamage(
      name: "an attribute of nobody", fixture: "plain", expected: .key_in_missing_inode, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.xattrs, where: { _ in true }) { transaction, found in
        transaction.copy(.xattrs, found, to: BPos(9000, 1000, .max)) { _ in }
      }
    },
    MetadataDamage(
      name: "an attribute in no snapshot", fixture: "plain", expected: .bkey_in_missing_snapshot,
      also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.xattrs, where: { _ in true }) { transaction, found in
        transaction.copy(.xattrs, found, to: BPos(4102, 1000, 77)) { _ in }
      }
    },
    MetadataDamage(
      name: "a directory counts its directories wrong", fixture: "plain",
      expected: .inode_dir_wrong_nlink, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4098) { $0.nlink += 1 }
    },
    MetadataDamage(
      name: "a file counts its names wrong", fixture: "plain", expected: .inode_wrong_nlink,
      also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4154) { $0.nlink += 2 }
    },
    MetadataDamage(
      name: "a file with one name has two", fixture: "plain",
      expected: .inode_multiple_links_but_nlink_0, also: [.inode_wrong_backpointer]
    ) { (transaction) throws(TransactionError) in
      try transaction.putName("again", in: 4098, .inode(4102), type: regular)
    },
    MetadataDamage(
      name: "a directory with two names", fixture: "plain", expected: .inode_dir_multiple_links,
      also: [.inode_wrong_backpointer]
    ) { (transaction) throws(TransactionError) in
      try transaction.putName("again", in: 4097, .inode(4099), type: Dirent.directoryType)
    },
    MetadataDamage(
      name: "a file that knows no name has two", fixture: "plain",
      expected: .inode_multiple_links_but_nlink_0, also: [.inode_wrong_backpointer]
    ) { (transaction) throws(TransactionError) in
      guard
        try transaction.change(
          4102,
          {
            $0.directory = 0
            $0.directoryOffset = 0
          })
      else { return false }
      return try transaction.putName("again", in: 4098, .inode(4102), type: regular)
    },
    MetadataDamage(
      name: "a directory within itself", fixture: "plain", expected: .dir_loop, also: []
    ) { (transaction) throws(TransactionError) in
      // 4126 goes from 4098 into 4127, which is in it.
      guard try transaction.removeName(of: 4126),
        let place = try transaction.place(of: "up", in: 4127),
        try transaction.putName("up", in: 4127, .inode(4126), type: Dirent.directoryType),
        try transaction.change(4098, { $0.nlink -= 1 }),
        try transaction.change(4127, { $0.nlink += 1 })
      else { return false }
      return try transaction.change(4126) {
        $0.directory = 4127
        $0.directoryOffset = place
      }
    },
    MetadataDamage(
      name: "no root directory", fixture: "plain", expected: .root_dir_missing,
      isKnownToDriver: false
    ) { (transaction) throws(TransactionError) in
      transaction.delete(.inodes, BPos(0, Positions.rootInode, .max))
      return true
    },
    MetadataDamage(
      name: "a root that is no directory", fixture: "plain", expected: .root_inode_not_dir,
      isKnownToDriver: false
    ) { (transaction) throws(TransactionError) in
      try transaction.change(Positions.rootInode) {
        $0.mode = 0o100755
        $0.subvolume = 0
      }
    },
  ]
}

extension Transaction {
  /// Moves the name of a file away from its place; the file knows.
  fileprivate func moveName(of number: UInt64, by distance: Int) throws(TransactionError) -> Bool {
    guard let inode = try lookup(.inodes, BPos(0, number, .max)) else { return false }
    let own = try Self.inode(inode)
    let position = BPos(own.directory, own.directoryOffset, .max)
    guard let found = try lookup(.dirents, position) else { return false }
    let place = UInt64(Int(position.offset) + distance)
    copy(.dirents, found, to: BPos(own.directory, place, .max)) { _ in }
    delete(.dirents, position, flags: .noTriggers)
    return try change(number) { $0.directoryOffset = place }
  }
}
