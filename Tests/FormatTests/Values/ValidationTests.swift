// SPDX-License-Identifier: GPL-2.0
// Each rule for keys, broken on purpose, must be found under upstream's number for it.

import BcachefsFormat
import Testing

struct ValidationTests {
  private func value(_ words: UInt64...) -> [UInt8] {
    words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(8 * $0)) } }
  }

  private func encoded(_ u64s: Int, _ body: (inout MutableRawSpan) throws -> Void) rethrows
    -> [UInt8]
  {
    var bytes = [UInt8](repeating: 0, count: u64s * 8)
    try bytes.withMutableRaw(body)
    return bytes
  }

  private func check(
    _ error: FsckErrorID, _ type: BKeyType, _ value: [UInt8],
    at position: BPos = BPos(4096, 8, 9), size: UInt32 = 0, context: BKeyContext = .none,
    flags: BKeyValidation = [], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let key = BKey(
      type: type, position: position, size: size, valueU64s: value.count / 8)
    try expect(error, sourceLocation: sourceLocation) {
      try BKeyValue.validateValue(key: key, value: value.raw, context: context, flags: flags)
    }
  }

  @Test func keysMustFitTheirBTree() throws {
    func check(_ error: FsckErrorID, _ key: BKey, _ btree: BTreeID, level: Int = 0) throws {
      try expect(error) {
        try BKeyValue.validateKey(key, btree: btree, level: level, flags: .commit)
      }
    }
    let extent = BPos(4096, 8, 1)
    try check(.bkey_extent_size_zero, BKey(type: .extent, position: extent), .extents)
    try check(
      .bkey_extent_size_greater_than_offset, BKey(type: .extent, position: extent, size: 9),
      .extents)
    try check(.bkey_size_nonzero, BKey(type: .dirent, position: extent, size: 1), .dirents)
    try check(.bkey_snapshot_zero, BKey(type: .dirent, position: BPos(1, 2, 0)), .dirents)
    try check(.bkey_snapshot_nonzero, BKey(type: .set, position: BPos(1, 2, 3)), .lru)
    try check(.bkey_at_pos_max, BKey(type: .set, position: BPos(.max, .max, 0)), .lru)
    try check(.bkey_invalid_type_for_btree, BKey(type: .dirent, position: extent), .inodes)
    try check(
      .bkey_invalid_type_for_btree, BKey(type: .dirent, position: extent), .dirents, level: 1)
    try BKeyValue.validateKey(
      BKey(type: .btreePtrV2, position: .max), btree: .lru, level: 1, flags: .commit)
    try BKeyValue.validateKey(
      BKey(type: .set, position: BPos(1, 2, 3)), btree: .deletedInodes, level: 0, flags: .commit)
    try BKeyValue.validateKey(
      BKey(type: BKeyType(rawValue: 77), position: BPos(1, 2)), btree: .lru, level: 0,
      flags: .commit)
  }

  @Test func valuesSmallerThanTheirTypeAreRefused() throws {
    for number in 0..<BKeyType.count {
      let type = BKeyType(rawValue: number)
      let least = BKeyValue.minValueByteCount(type)
      guard least > 0 else { continue }
      try check(.bkey_val_size_too_small, type, [UInt8](repeating: 0, count: least - 8))
    }
    try check(.bkey_val_size_nonzero, .set, value(0))
  }

  @Test func listsOfPointersFollowTheirRules() throws {
    let ptr: UInt64 = 1 | 512 << 4
    let crc: UInt64 = 2 | 7 << 2 | 7 << 9 | 5 << 24
    let stripe: UInt64 = 16
    try check(.extent_ptrs_no_ptrs, .extent, [], size: 8)
    try check(.extent_ptrs_invalid_entry, .extent, value(ptr, 1 << 9), size: 8)
    try check(.ptr_crc_uncompressed_size_too_small, .extent, value(crc, ptr), size: 9)
    try check(.ptr_crc_csum_type_unknown, .extent, value(crc & ~(15 << 24) | 9 << 24, ptr), size: 8)
    try check(.ptr_crc_compression_type_unknown, .extent, value(crc | 6 << 28, ptr), size: 8)
    try check(.ptr_crc_redundant, .extent, value(crc, crc, ptr), size: 8)
    try check(.extent_ptrs_redundant_crc, .extent, value(ptr, crc), size: 8)
    try check(.ptr_stripe_redundant, .extent, value(stripe, stripe, ptr), size: 8)
    try check(.extent_ptrs_redundant_stripe, .extent, value(ptr, stripe), size: 8)
    try check(.ptr_cached_and_erasure_coded, .extent, value(stripe, ptr | 2), size: 8)
    try check(.extent_ptrs_written_and_unwritten, .extent, value(ptr, ptr | 8), size: 8)
    try check(.extent_ptrs_unwritten, .reflinkV, value(1, ptr | 8), size: 8)
    try check(.btree_ptr_has_non_ptr, .btreePtr, value(crc, ptr))
    try check(.btree_ptr_val_too_big, .btreePtr, value(ptr, ptr, ptr, ptr, ptr))
    let encrypted = crc & ~(15 << 24) | 3 << 24
    let later: UInt64 = 4 | 7 << 3 | 7 << 12 | 1 << 30 | 3 << 40
    try check(
      .ptr_crc_nonce_mismatch, .extent, value(encrypted, ptr, later, 0, ptr), size: 8)
    let seventeen = [UInt8](repeating: 0, count: 17 * 8).enumerated().map {
      UInt8($0.offset % 8 == 0 ? 1 : 0)
    }
    try check(.extent_ptrs_too_many_ptrs, .extent, seventeen, size: 8)
  }

  @Test func pointersMustLieInTheirDevice() throws {
    let context = BKeyContext(
      devices: [.init(bucketSizeSectors: 256, firstBucket: 2, bucketCount: 100)],
      btreeNodeSectors: 128, maxEncodedExtentSectors: 128)
    func ptr(_ sector: UInt64) -> UInt64 {
      ExtentPtr(device: 0, offset: sector, generation: 0).word
    }
    func check(_ error: FsckErrorID, _ value: [UInt8], flags: BKeyValidation = []) throws {
      try self.check(error, .extent, value, size: 8, context: context, flags: flags)
    }
    try check(.ptr_before_first_bucket, value(ptr(511)))
    try check(.ptr_after_last_bucket, value(ptr(100 * 256)))
    try check(.ptr_spans_multiple_buckets, value(ptr(512 + 249)))
    try check(.ptr_to_duplicate_device, value(ptr(512), ptr(1024)))
    let big = ExtentCrc(
      compressedSize: 129, uncompressedSize: 129, liveSize: 8, checksumType: 5
    ).words(as: .crc64)
    try check(
      .ptr_crc_uncompressed_size_too_big, value(big.0, big.1, ptr(512)), flags: .write)
    let key = BKey(type: .extent, position: BPos(1, 8, 1), size: 8, valueU64s: 1)
    let last = value(ptr(512 + 248))
    try BKeyValue.validateValue(key: key, value: last.raw, context: context)
    let node = BKey(type: .btreePtr, position: BPos(1, 8, 1), valueU64s: 1)
    let tooLate = value(ptr(512 + 129))
    try expect(.ptr_spans_multiple_buckets) {
      try BKeyValue.validateValue(key: node, value: tooLate.raw, context: context)
    }
  }

  @Test func namesFollowTheirRules() throws {
    func dirent(_ name: String, pad: Int = 0, inode: UInt64 = 5) throws -> [UInt8] {
      let characters = Array(name.utf8)
      var bytes = [UInt8](repeating: 0, count: 256)
      let u64s = try bytes.withMutableRaw {
        try Dirent.encode(target: .inode(inode), type: 8, name: characters.raw, into: &$0)
      }
      return Array(bytes.prefix((max(u64s, 2) + pad) * 8))
    }
    try check(.dirent_empty_name, .dirent, try dirent(""))
    try check(.dirent_val_too_big, .dirent, try dirent("a", pad: 1))
    try check(.dirent_name_embedded_nul, .dirent, try dirent("a\0b"))
    try check(.dirent_name_dot_or_dotdot, .dirent, try dirent("."))
    try check(.dirent_name_dot_or_dotdot, .dirent, try dirent(".."))
    try check(.dirent_name_has_slash, .dirent, try dirent("a/b"))
    try check(.dirent_to_itself, .dirent, try dirent("a", inode: 4096))
    let key = BKey(type: .dirent, position: BPos(4096, 8, 1), valueU64s: 2)
    let good = try dirent("..a")
    try BKeyValue.validateValue(key: key, value: good.raw)
    try check(.xattr_val_size_too_small, .xattr, value(0x0010_0400))
    try check(.xattr_val_size_too_big, .xattr, value(0x0000_0100, 0, 0))
    try check(.xattr_invalid_type, .xattr, value(0x61 << 32 | 0x0100 | 5))
    try check(.xattr_name_invalid_chars, .xattr, value(0x61 << 32 | 0x0200))
  }

  @Test func inodesFollowTheirRules() throws {
    func check(
      _ error: FsckErrorID, at position: BPos = BPos(0, 5000, 1), _ change: (inout Inode) -> Void
    ) throws {
      var inode = Inode()
      inode.mode = 0o100644
      change(&inode)
      let bytes = encoded(inode.encodedU64s) { inode.encode(into: &$0) }
      try self.check(error, .inodeV3, bytes, at: position)
    }
    try check(.inode_pos_inode_nonzero, at: BPos(1, 5000, 1)) { _ in }
    try check(.inode_pos_blockdev_range, at: BPos(0, 4095, 1)) { _ in }
    try check(.inode_str_hash_invalid) { $0.stringHash = 4 }
    try check(.inode_checksum_type_invalid) { $0.dataChecksum = 5 }
    try check(.inode_compression_type_invalid) { $0.compression = 5 }
    try check(.inode_compression_type_invalid) { $0.compression = 17 }
    try check(.inode_unlinked_but_nlink_nonzero) {
      $0.flags = .unlinked
      $0.nlink = 1
    }
    try check(.inode_subvol_root_but_not_dir) { $0.subvolume = 1 }
    var unpackable = encoded(7) { Inode().encode(into: &$0) }
    unpackable[19] |= 4
    for at in 48..<56 { unpackable[at] = 0xff }
    try self.check(.inode_unpack_error, .inodeV3, unpackable, at: BPos(0, 5000, 1))
    unpackable[19] = 0
    unpackable[20] = 0
    try self.check(.inode_v3_fields_start_bad, .inodeV3, unpackable, at: BPos(0, 5000, 1))
  }

  @Test func bucketStatesFollowTheirRules() throws {
    func check(
      _ error: FsckErrorID, flags: BKeyValidation = [], _ change: (inout AllocV4) -> Void
    ) throws {
      var alloc = AllocV4()
      change(&alloc)
      let bytes = encoded(AllocV4.encodedU64s) { alloc.encode(into: &$0) }
      try self.check(error, .allocV4, bytes, at: BPos(0, 5), flags: flags)
    }
    try check(.alloc_key_data_type_bad) { $0.dataType = 4 }
    try check(.alloc_key_io_time_bad) { $0.readTime = 1 << 48 }
    try check(.alloc_key_empty_but_have_data) { $0.dirtySectors = 8 }
    try check(.alloc_key_cached_but_read_time_zero, flags: .lruChecked) {
      $0.dataType = 5
      $0.cachedSectors = 8
    }
    try check(.alloc_key_cached_inconsistency) {
      $0.dataType = 5
      $0.cachedSectors = 8
      $0.dirtySectors = 8
    }
    try self.check(
      .alloc_v4_backpointers_start_bad, .allocV4, value(0, 0x100, 0, 0, 0, 0, 0, 0, 0, 0))
    try check(.alloc_v4_val_size_bad) { $0.rawFlags = 9 << 2 }
    var lagging = AllocV4()
    lagging.generation = 100
    lagging.dataType = 8
    try lagging.validate()
    try self.check(.bucket_gens_val_size_bad, .bucketGens, value(0))
  }

  @Test func treesOfSnapshotsFollowTheirRules() throws {
    func check(
      _ error: FsckErrorID, at position: BPos = BPos(0, 100), _ change: (inout Snapshot) -> Void
    ) throws {
      var snapshot = Snapshot()
      change(&snapshot)
      let bytes = encoded(Snapshot.encodedU64s) { snapshot.encode(into: &$0) }
      try self.check(error, .snapshot, bytes, at: position)
    }
    try check(.snapshot_pos_bad, at: BPos(0, 0)) { _ in }
    try check(.snapshot_pos_bad, at: BPos(0, 1 << 32)) { _ in }
    try check(.snapshot_parent_bad) { $0.parent = 100 }
    try check(.snapshot_children_not_normalized) { $0.child1 = 5 }
    try check(.snapshot_child_duplicate) { snapshot in
      snapshot.child0 = 5
      snapshot.child1 = 5
    }
    try check(.snapshot_child_bad) { $0.child0 = 100 }
    try check(.snapshot_skiplist_not_normalized) { $0.skip0 = 1 }
    try check(.snapshot_skiplist_bad) {
      $0.parent = 200
      $0.skip2 = 150
    }
    try self.check(.snapshot_tree_pos_bad, .snapshotTree, value(0), at: BPos(1, 1))
    try self.check(.subvol_pos_bad, .subvolume, value(1 << 32, 1), at: BPos(0, 1 << 31))
    try self.check(.subvol_snapshot_bad, .subvolume, value(0, 1), at: BPos(0, 1))
    try self.check(.subvol_inode_bad, .subvolume, value(1 << 32, 0), at: BPos(0, 1))
  }

  @Test func otherValuesFollowTheirRules() throws {
    try check(.reservation_key_nr_replicas_invalid, .reservation, value(0))
    try check(.reservation_key_nr_replicas_invalid, .reservation, value(5 << 32))
    try check(.reflink_p_front_pad_bad, .reflinkP, value(4, 5))
    try check(.quota_type_invalid, .quota, value(0, 0, 0, 0), at: BPos(3, 0))
    try check(.lru_entry_at_time_0, .lru, value(0), at: BPos(1 << 48, 0))
    try check(.inode_pos_inode_nonzero, .inodeGeneration, value(0))
    try check(.stripe_pos_bad, .stripe, value(0), at: .min)
    try check(.stripe_val_size_bad, .stripe, value(0x0300_0000), at: BPos(0, 1))
    try check(.stripe_csum_granularity_bad, .stripe, value(64 << 40), at: BPos(0, 1))
    try check(.backpointer_level_bad, .backpointer, value(5 << 8, 0, 0, 0))
    let context = BKeyContext(
      devices: [.init(bucketSizeSectors: 256, firstBucket: 0, bucketCount: 100)])
    try check(
      .backpointer_bucket_offset_wrong, .backpointer, value(1 << 24, 0, 0, 0), at: BPos(0, 0),
      context: context)
    try check(
      .backpointer_bucket_offset_wrong, .backpointer, value(256 << 34, 0, 0, 0),
      at: BPos(0, 256 << 10), context: context)
  }

  @Test func accountingKeysFollowTheirRules() throws {
    func check(_ error: FsckErrorID, _ position: BPos, version: UInt64 = 1) throws {
      let key = BKey(
        type: .accounting, position: position, version: BVersion(lo: version), valueU64s: 1)
      let counter = value(1)
      try expect(error) { try BKeyValue.validateValue(key: key, value: counter.raw) }
    }
    func replicas(_ required: UInt8, _ devices: UInt64...) -> BPos {
      var low: UInt64 = 0
      for (index, device) in devices.enumerated() { low |= device << UInt64(8 * index) }
      return BPos(0, low, 2 | 4 << 8 | UInt32(devices.count) << 16 | UInt32(required) << 24)
    }
    try check(.accounting_key_version_0, .min, version: 0)
    try check(.accounting_key_replicas_nr_devs_0, replicas(0))
    try check(.accounting_key_replicas_nr_required_bad, replicas(2, 1))
    try check(.accounting_key_replicas_nr_required_bad, replicas(2, 1, 2))
    try check(.accounting_key_replicas_devs_unsorted, replicas(1, 2, 1))
    try check(.accounting_key_junk_at_end, BPos(1, 0, 0))
    try check(.accounting_key_junk_at_end, BPos(0, 0, 2 | 17 << 16))
    let good = BKey(
      type: .accounting, position: replicas(1, 1, 2), version: BVersion(lo: 1), valueU64s: 1)
    let counter = value(1)
    try BKeyValue.validateValue(key: good, value: counter.raw)
  }
}
