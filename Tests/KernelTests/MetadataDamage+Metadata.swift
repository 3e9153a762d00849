// SPDX-License-Identifier: GPL-2.0
// Damage below files: buckets, counters, indices, snapshots.

internal import BcachefsFormat
internal import BcachefsSupport

@testable internal import Bcachefs

extension MetadataDamage {
  /// What is wrong below files.
  static let metadata: [MetadataDamage] = [
    MetadataDamage(
      name: "a backpointer is missing", fixture: "plain", expected: .ptr_to_missing_backpointer
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.backpointers, where: { $0.isOfExtent }) { transaction, found in
        transaction.delete(.backpointers, found.key.position, flags: .noTriggers)
      }
    },
    MetadataDamage(
      name: "a backpointer leads nowhere", fixture: "plain", expected: .backpointer_to_missing_ptr
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.backpointers, where: { $0.isOfExtent }) { transaction, found in
        transaction.copy(
          .backpointers, found,
          to: BPos(found.key.position.inode, found.key.position.offset + 8 << 10)
        ) {
          $0[LEField<UInt64>(BKey.Layout.byteCount)] += 8 << 34
        }
      }
    },
    MetadataDamage(
      name: "a bucket's dirty sectors are wrong", fixture: "plain",
      expected: .alloc_key_dirty_sectors_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.alloc, where: { $0.alloc?.dataType == DataType.user.rawValue }) {
        $0.changeBucket($1) { $0.dirtySectors += 8 }
      }
    },
    MetadataDamage(
      name: "a bucket with data is said to be a parity block", fixture: "plain",
      expected: .alloc_key_data_type_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.alloc, where: { $0.alloc?.dataType == DataType.user.rawValue }) {
        $0.changeBucket($1) { $0.dataType = DataType.btree.rawValue }
      }
    },
    MetadataDamage(
      name: "free buckets are not in freespace", fixture: "plain",
      expected: .freespace_hole_missing
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.freespace, where: { $0.key.size > 16 }) { transaction, found in
        transaction.delete(.freespace, found.key.position, flags: .noTriggers)
      }
    },
    MetadataDamage(
      name: "a bucket in use is said to need a discard", fixture: "plain",
      expected: .need_discard_key_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.alloc, where: { $0.alloc?.dataType == DataType.user.rawValue }) {
        $0.update(
          .needDiscard, BKey(type: .set, position: $1.key.position), RawSpan(), flags: .noTriggers)
      }
    },
    MetadataDamage(
      name: "a generation in bucket_gens is wrong", fixture: "plain",
      expected: .bucket_gens_key_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.alloc, where: { $0.alloc?.dataType == DataType.user.rawValue }) {
        let (position, index) = Positions.bucketGens(bucket: $1.key.position)
        var gens = [UInt8](repeating: 0, count: BucketGens.count)
        gens[index] = 3
        $0.update(
          .bucketGens,
          BKey(type: .bucketGens, position: position, valueU64s: BucketGens.encodedU64s),
          gens.rawBytes, flags: .noTriggers)
      }
    },
    MetadataDamage(
      name: "a fragmented bucket is in no LRU", fixture: "plain",
      expected: .alloc_key_to_missing_lru_entry
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.lru, where: { _ in true }) { transaction, found in
        transaction.delete(.lru, found.key.position, flags: .noTriggers)
      }
    },
    MetadataDamage(
      name: "an entry of an LRU is wrong", fixture: "plain", expected: .lru_entry_bad
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.lru, where: { _ in true }) { transaction, found in
        transaction.copy(
          .lru, found, to: BPos(found.key.position.inode + 7, found.key.position.offset)
        ) { _ in }
      }
    },
    MetadataDamage(
      name: "inodes are counted wrong", fixture: "plain", expected: .accounting_mismatch
    ) { (transaction) throws(TransactionError) in
      transaction.account(.nrInodes, [5])
      return true
    },
    MetadataDamage(
      name: "a file's sectors are counted wrong", fixture: "plain",
      expected: .accounting_mismatch, isKnownToDriver: false
    ) { (transaction) throws(TransactionError) in
      transaction.account(.inode(number: 99_999), [1, 8, 8])
      return true
    },
    MetadataDamage(
      name: "a snapshot's depth is wrong", fixture: "snapshots", expected: .snapshot_bad_depth
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.snapshots, where: { $0.snapshot?.parent ?? 0 != 0 }) {
        transaction, found in
        guard var snapshot = found.snapshot else { return }
        snapshot.depth += 2
        transaction.copy(.snapshots, found, to: found.key.position) { words in
          var value = words._mutatingExtracting(BKey.Layout.byteCount..<words.byteCount)
          snapshot.encode(into: &value)
        }
      }
    },
    MetadataDamage(
      name: "a shared extent has too many users", fixture: "snapshots",
      expected: .reflink_v_refcount_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.reflink, where: { $0.key.type == .reflinkV }) {
        transaction, found in
        transaction.copy(.reflink, found, to: found.key.position) {
          $0[LEField<UInt64>(BKey.Layout.byteCount)] += 2
        }
      }
    },
    MetadataDamage(
      name: "a stripe's sectors in use are counted wrong", fixture: "stripes",
      expected: .stripe_sector_count_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.stripes, where: { $0.key.type == .stripe }) { transaction, found in
        guard let head = found.withValue({ try? Stripe(decoding: $0).head }) else { return }
        transaction.copy(.stripes, found, to: found.key.position) {
          $0[LEField<UInt16>(BKey.Layout.byteCount + head.blockCountOffset(block: 0))] += 8
        }
      }
    },
    MetadataDamage(
      name: "an extent's generation is that of the future", fixture: "unchecked",
      expected: .ptr_gen_newer_than_bucket_gen
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.extents, where: { $0.key.type == .extent && $0.isPlain }) {
        transaction, found in
        transaction.copy(.extents, found, to: found.key.position) {
          $0[LEField<UInt64>(BKey.Layout.byteCount)] += 5 << 56
        }
      }
    },
    MetadataDamage(
      name: "a key's version is that of the future", fixture: "plain",
      expected: .bkey_version_in_future, also: []
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.extents, where: { $0.key.type == .extent }) { transaction, found in
        var key = found.key
        key.version = BVersion(lo: 1 << 60)
        found.withValue { transaction.update(.extents, key, $0, flags: .noTriggers) }
      }
    },
    MetadataDamage(
      name: "a file is to be deleted and has several names", fixture: "plain",
      expected: .inode_unlinked_but_nlink_nonzero
    ) { (transaction) throws(TransactionError) in
      try transaction.change(4154) { $0.flags.insert(.unlinked) }
    },
    MetadataDamage(
      name: "a truncation is under way on a clean volume", fixture: "plain",
      expected: .logged_op_but_clean, also: []
    ) { (transaction) throws(TransactionError) in
      let operation = LoggedOpTruncate(subvolume: 1, inode: 99_999, newSize: 0)
      transaction.put(
        .loggedOps, .loggedOpTruncate, BPos(0, 4096), LoggedOpTruncate.encodedU64s,
        flags: .noTriggers
      ) { operation.encode(into: &$0) }
      return true
    },
  ]
}
