// SPDX-License-Identifier: GPL-2.0
// Every finding of a check, with upstream's persistent number (`BCH_SB_ERRS`): what the
// superblock's errors section counts and `errors_silent` masks. Numbers must never change.

/// A finding of validation or fsck (`enum bch_sb_error_id`). Unknown numbers are carried along.
@frozen
public struct FsckErrorID: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public let rawValue: UInt16
  @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// How fsck may treat a finding (`enum bch_fsck_flags`).
  public struct Flags: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let canFix = Flags(rawValue: 1 << 0)
    public static let canIgnore = Flags(rawValue: 1 << 1)
    public static let needFsck = Flags(rawValue: 1 << 2)
    public static let noRatelimit = Flags(rawValue: 1 << 3)
    /// Mended without asking even when errors are only to be fixed where that is safe.
    public static let autofix = Flags(rawValue: 1 << 4)
  }

  /// One row of the table.
  public struct Row: Sendable {
    public let id: FsckErrorID
    public let name: StaticString
    public let flags: Flags
  }

  /// The row of this finding, or nil for a number of a newer format.
  public var row: Row? {
    let index = Int(rawValue)
    return index < FsckErrorID.byNumber.count ? FsckErrorID.byNumber[index] : nil
  }

  private static let byNumber: [Row?] = {
    let count = Int(table.map(\.id.rawValue).max() ?? 0) + 1
    var rows = [Row?](repeating: nil, count: count)
    for row in table { rows[Int(row.id.rawValue)] = row }
    return rows
  }()

  /// Upstream's name, `(unknown error N)` for a number of a newer format.
  public var description: String { row.map { "\($0.name)" } ?? "(unknown error \(rawValue))" }
}

// swift-format-ignore
extension FsckErrorID {
  @inlinable public static var clean_but_journal_not_empty: FsckErrorID { .init(rawValue: 0) }
  @inlinable public static var dirty_but_no_journal_entries: FsckErrorID { .init(rawValue: 1) }
  @inlinable public static var dirty_but_no_journal_entries_post_drop_nonflushes: FsckErrorID { .init(rawValue: 2) }
  @inlinable public static var sb_clean_journal_seq_mismatch: FsckErrorID { .init(rawValue: 3) }
  @inlinable public static var sb_clean_btree_root_mismatch: FsckErrorID { .init(rawValue: 4) }
  @inlinable public static var sb_clean_missing: FsckErrorID { .init(rawValue: 5) }
  @inlinable public static var jset_unsupported_version: FsckErrorID { .init(rawValue: 6) }
  @inlinable public static var jset_unknown_csum: FsckErrorID { .init(rawValue: 7) }
  @inlinable public static var jset_last_seq_newer_than_seq: FsckErrorID { .init(rawValue: 8) }
  @inlinable public static var jset_past_bucket_end: FsckErrorID { .init(rawValue: 9) }
  @inlinable public static var jset_seq_blacklisted: FsckErrorID { .init(rawValue: 10) }
  @inlinable public static var journal_entries_missing: FsckErrorID { .init(rawValue: 11) }
  @inlinable public static var journal_entry_replicas_not_marked: FsckErrorID { .init(rawValue: 12) }
  @inlinable public static var journal_entry_past_jset_end: FsckErrorID { .init(rawValue: 13) }
  @inlinable public static var journal_entry_replicas_data_mismatch: FsckErrorID { .init(rawValue: 14) }
  @inlinable public static var journal_entry_bkey_u64s_0: FsckErrorID { .init(rawValue: 15) }
  @inlinable public static var journal_entry_bkey_past_end: FsckErrorID { .init(rawValue: 16) }
  @inlinable public static var journal_entry_bkey_bad_format: FsckErrorID { .init(rawValue: 17) }
  @inlinable public static var journal_entry_bkey_invalid: FsckErrorID { .init(rawValue: 18) }
  @inlinable public static var journal_entry_btree_root_bad_size: FsckErrorID { .init(rawValue: 19) }
  @inlinable public static var journal_entry_blacklist_bad_size: FsckErrorID { .init(rawValue: 20) }
  @inlinable public static var journal_entry_blacklist_v2_bad_size: FsckErrorID { .init(rawValue: 21) }
  @inlinable public static var journal_entry_blacklist_v2_start_past_end: FsckErrorID { .init(rawValue: 22) }
  @inlinable public static var journal_entry_usage_bad_size: FsckErrorID { .init(rawValue: 23) }
  @inlinable public static var journal_entry_data_usage_bad_size: FsckErrorID { .init(rawValue: 24) }
  @inlinable public static var journal_entry_clock_bad_size: FsckErrorID { .init(rawValue: 25) }
  @inlinable public static var journal_entry_clock_bad_rw: FsckErrorID { .init(rawValue: 26) }
  @inlinable public static var journal_entry_dev_usage_bad_size: FsckErrorID { .init(rawValue: 27) }
  @inlinable public static var journal_entry_dev_usage_bad_dev: FsckErrorID { .init(rawValue: 28) }
  @inlinable public static var journal_entry_dev_usage_bad_pad: FsckErrorID { .init(rawValue: 29) }
  @inlinable public static var btree_node_unreadable: FsckErrorID { .init(rawValue: 30) }
  @inlinable public static var btree_node_fault_injected: FsckErrorID { .init(rawValue: 31) }
  @inlinable public static var btree_node_bad_magic: FsckErrorID { .init(rawValue: 32) }
  @inlinable public static var btree_node_bad_seq: FsckErrorID { .init(rawValue: 33) }
  @inlinable public static var btree_node_unsupported_version: FsckErrorID { .init(rawValue: 34) }
  @inlinable public static var btree_node_bset_older_than_sb_min: FsckErrorID { .init(rawValue: 35) }
  @inlinable public static var btree_node_bset_newer_than_sb: FsckErrorID { .init(rawValue: 36) }
  @inlinable public static var btree_node_data_missing: FsckErrorID { .init(rawValue: 37) }
  @inlinable public static var btree_node_bset_after_end: FsckErrorID { .init(rawValue: 38) }
  @inlinable public static var btree_node_replicas_sectors_written_mismatch: FsckErrorID { .init(rawValue: 39) }
  @inlinable public static var btree_node_replicas_data_mismatch: FsckErrorID { .init(rawValue: 40) }
  @inlinable public static var bset_unknown_csum: FsckErrorID { .init(rawValue: 41) }
  @inlinable public static var bset_bad_csum: FsckErrorID { .init(rawValue: 42) }
  @inlinable public static var bset_past_end_of_btree_node: FsckErrorID { .init(rawValue: 43) }
  @inlinable public static var bset_wrong_sector_offset: FsckErrorID { .init(rawValue: 44) }
  @inlinable public static var bset_empty: FsckErrorID { .init(rawValue: 45) }
  @inlinable public static var bset_bad_seq: FsckErrorID { .init(rawValue: 46) }
  @inlinable public static var bset_blacklisted_journal_seq: FsckErrorID { .init(rawValue: 47) }
  @inlinable public static var first_bset_blacklisted_journal_seq: FsckErrorID { .init(rawValue: 48) }
  @inlinable public static var btree_node_bad_btree: FsckErrorID { .init(rawValue: 49) }
  @inlinable public static var btree_node_bad_level: FsckErrorID { .init(rawValue: 50) }
  @inlinable public static var btree_node_bad_min_key: FsckErrorID { .init(rawValue: 51) }
  @inlinable public static var btree_node_bad_max_key: FsckErrorID { .init(rawValue: 52) }
  @inlinable public static var btree_node_bad_format: FsckErrorID { .init(rawValue: 53) }
  @inlinable public static var btree_node_bkey_past_bset_end: FsckErrorID { .init(rawValue: 54) }
  @inlinable public static var btree_node_bkey_bad_format: FsckErrorID { .init(rawValue: 55) }
  @inlinable public static var btree_node_bad_bkey: FsckErrorID { .init(rawValue: 56) }
  @inlinable public static var btree_node_bkey_out_of_order: FsckErrorID { .init(rawValue: 57) }
  @inlinable public static var btree_root_bkey_invalid: FsckErrorID { .init(rawValue: 58) }
  @inlinable public static var btree_root_read_error: FsckErrorID { .init(rawValue: 59) }
  @inlinable public static var btree_root_bad_min_key: FsckErrorID { .init(rawValue: 60) }
  @inlinable public static var btree_root_bad_max_key: FsckErrorID { .init(rawValue: 61) }
  @inlinable public static var btree_node_read_error: FsckErrorID { .init(rawValue: 62) }
  @inlinable public static var btree_node_topology_bad_min_key: FsckErrorID { .init(rawValue: 63) }
  @inlinable public static var btree_node_topology_bad_max_key: FsckErrorID { .init(rawValue: 64) }
  @inlinable public static var btree_node_topology_overwritten_by_prev_node: FsckErrorID { .init(rawValue: 65) }
  @inlinable public static var btree_node_topology_overwritten_by_next_node: FsckErrorID { .init(rawValue: 66) }
  @inlinable public static var btree_node_topology_interior_node_empty: FsckErrorID { .init(rawValue: 67) }
  @inlinable public static var fs_usage_hidden_wrong: FsckErrorID { .init(rawValue: 68) }
  @inlinable public static var fs_usage_btree_wrong: FsckErrorID { .init(rawValue: 69) }
  @inlinable public static var fs_usage_data_wrong: FsckErrorID { .init(rawValue: 70) }
  @inlinable public static var fs_usage_cached_wrong: FsckErrorID { .init(rawValue: 71) }
  @inlinable public static var fs_usage_reserved_wrong: FsckErrorID { .init(rawValue: 72) }
  @inlinable public static var fs_usage_persistent_reserved_wrong: FsckErrorID { .init(rawValue: 73) }
  @inlinable public static var fs_usage_nr_inodes_wrong: FsckErrorID { .init(rawValue: 74) }
  @inlinable public static var fs_usage_replicas_wrong: FsckErrorID { .init(rawValue: 75) }
  @inlinable public static var dev_usage_buckets_wrong: FsckErrorID { .init(rawValue: 76) }
  @inlinable public static var dev_usage_sectors_wrong: FsckErrorID { .init(rawValue: 77) }
  @inlinable public static var dev_usage_fragmented_wrong: FsckErrorID { .init(rawValue: 78) }
  @inlinable public static var dev_usage_buckets_ec_wrong: FsckErrorID { .init(rawValue: 79) }
  @inlinable public static var bkey_version_in_future: FsckErrorID { .init(rawValue: 80) }
  @inlinable public static var bkey_u64s_too_small: FsckErrorID { .init(rawValue: 81) }
  @inlinable public static var bkey_invalid_type_for_btree: FsckErrorID { .init(rawValue: 82) }
  @inlinable public static var bkey_extent_size_zero: FsckErrorID { .init(rawValue: 83) }
  @inlinable public static var bkey_extent_size_greater_than_offset: FsckErrorID { .init(rawValue: 84) }
  @inlinable public static var bkey_size_nonzero: FsckErrorID { .init(rawValue: 85) }
  @inlinable public static var bkey_snapshot_nonzero: FsckErrorID { .init(rawValue: 86) }
  @inlinable public static var bkey_snapshot_zero: FsckErrorID { .init(rawValue: 87) }
  @inlinable public static var bkey_at_pos_max: FsckErrorID { .init(rawValue: 88) }
  @inlinable public static var bkey_before_start_of_btree_node: FsckErrorID { .init(rawValue: 89) }
  @inlinable public static var bkey_after_end_of_btree_node: FsckErrorID { .init(rawValue: 90) }
  @inlinable public static var bkey_val_size_nonzero: FsckErrorID { .init(rawValue: 91) }
  @inlinable public static var bkey_val_size_too_small: FsckErrorID { .init(rawValue: 92) }
  @inlinable public static var alloc_v1_val_size_bad: FsckErrorID { .init(rawValue: 93) }
  @inlinable public static var alloc_v2_unpack_error: FsckErrorID { .init(rawValue: 94) }
  @inlinable public static var alloc_v3_unpack_error: FsckErrorID { .init(rawValue: 95) }
  @inlinable public static var alloc_v4_val_size_bad: FsckErrorID { .init(rawValue: 96) }
  @inlinable public static var alloc_v4_backpointers_start_bad: FsckErrorID { .init(rawValue: 97) }
  @inlinable public static var alloc_key_data_type_bad: FsckErrorID { .init(rawValue: 98) }
  @inlinable public static var alloc_key_empty_but_have_data: FsckErrorID { .init(rawValue: 99) }
  @inlinable public static var alloc_key_dirty_sectors_0: FsckErrorID { .init(rawValue: 100) }
  @inlinable public static var alloc_key_data_type_inconsistency: FsckErrorID { .init(rawValue: 101) }
  @inlinable public static var alloc_key_to_missing_dev_bucket: FsckErrorID { .init(rawValue: 102) }
  @inlinable public static var alloc_key_cached_inconsistency: FsckErrorID { .init(rawValue: 103) }
  @inlinable public static var alloc_key_cached_but_read_time_zero: FsckErrorID { .init(rawValue: 104) }
  @inlinable public static var alloc_key_to_missing_lru_entry: FsckErrorID { .init(rawValue: 105) }
  @inlinable public static var alloc_key_data_type_wrong: FsckErrorID { .init(rawValue: 106) }
  @inlinable public static var alloc_key_gen_wrong: FsckErrorID { .init(rawValue: 107) }
  @inlinable public static var alloc_key_dirty_sectors_wrong: FsckErrorID { .init(rawValue: 108) }
  @inlinable public static var alloc_key_cached_sectors_wrong: FsckErrorID { .init(rawValue: 109) }
  @inlinable public static var alloc_key_stripe_wrong: FsckErrorID { .init(rawValue: 110) }
  @inlinable public static var alloc_key_stripe_redundancy_wrong: FsckErrorID { .init(rawValue: 111) }
  @inlinable public static var bucket_sector_count_overflow: FsckErrorID { .init(rawValue: 112) }
  @inlinable public static var bucket_metadata_type_mismatch: FsckErrorID { .init(rawValue: 113) }
  @inlinable public static var need_discard_key_wrong: FsckErrorID { .init(rawValue: 114) }
  @inlinable public static var freespace_key_wrong: FsckErrorID { .init(rawValue: 115) }
  @inlinable public static var freespace_hole_missing: FsckErrorID { .init(rawValue: 116) }
  @inlinable public static var bucket_gens_val_size_bad: FsckErrorID { .init(rawValue: 117) }
  @inlinable public static var bucket_gens_key_wrong: FsckErrorID { .init(rawValue: 118) }
  @inlinable public static var bucket_gens_hole_wrong: FsckErrorID { .init(rawValue: 119) }
  @inlinable public static var bucket_gens_to_invalid_dev: FsckErrorID { .init(rawValue: 120) }
  @inlinable public static var bucket_gens_to_invalid_buckets: FsckErrorID { .init(rawValue: 121) }
  @inlinable public static var bucket_gens_nonzero_for_invalid_buckets: FsckErrorID { .init(rawValue: 122) }
  @inlinable public static var need_discard_freespace_key_to_invalid_dev_bucket: FsckErrorID { .init(rawValue: 123) }
  @inlinable public static var need_discard_freespace_key_bad: FsckErrorID { .init(rawValue: 124) }
  @inlinable public static var discarding_bucket_not_in_need_discard_btree: FsckErrorID { .init(rawValue: 291) }
  @inlinable public static var backpointer_bucket_offset_wrong: FsckErrorID { .init(rawValue: 125) }
  @inlinable public static var backpointer_level_bad: FsckErrorID { .init(rawValue: 294) }
  @inlinable public static var backpointer_to_missing_device: FsckErrorID { .init(rawValue: 126) }
  @inlinable public static var backpointer_to_missing_alloc: FsckErrorID { .init(rawValue: 127) }
  @inlinable public static var backpointer_to_missing_ptr: FsckErrorID { .init(rawValue: 128) }
  @inlinable public static var lru_entry_at_time_0: FsckErrorID { .init(rawValue: 129) }
  @inlinable public static var lru_entry_to_invalid_bucket: FsckErrorID { .init(rawValue: 130) }
  @inlinable public static var lru_entry_bad: FsckErrorID { .init(rawValue: 131) }
  @inlinable public static var btree_ptr_val_too_big: FsckErrorID { .init(rawValue: 132) }
  @inlinable public static var btree_ptr_v2_val_too_big: FsckErrorID { .init(rawValue: 133) }
  @inlinable public static var btree_ptr_has_non_ptr: FsckErrorID { .init(rawValue: 134) }
  @inlinable public static var extent_ptrs_invalid_entry: FsckErrorID { .init(rawValue: 135) }
  @inlinable public static var extent_ptrs_no_ptrs: FsckErrorID { .init(rawValue: 136) }
  @inlinable public static var extent_ptrs_too_many_ptrs: FsckErrorID { .init(rawValue: 137) }
  @inlinable public static var extent_ptrs_redundant_crc: FsckErrorID { .init(rawValue: 138) }
  @inlinable public static var extent_ptrs_redundant_stripe: FsckErrorID { .init(rawValue: 139) }
  @inlinable public static var extent_ptrs_unwritten: FsckErrorID { .init(rawValue: 140) }
  @inlinable public static var extent_ptrs_written_and_unwritten: FsckErrorID { .init(rawValue: 141) }
  @inlinable public static var ptr_to_invalid_device: FsckErrorID { .init(rawValue: 142) }
  @inlinable public static var ptr_to_duplicate_device: FsckErrorID { .init(rawValue: 143) }
  @inlinable public static var ptr_after_last_bucket: FsckErrorID { .init(rawValue: 144) }
  @inlinable public static var ptr_before_first_bucket: FsckErrorID { .init(rawValue: 145) }
  @inlinable public static var ptr_spans_multiple_buckets: FsckErrorID { .init(rawValue: 146) }
  @inlinable public static var ptr_to_missing_backpointer: FsckErrorID { .init(rawValue: 147) }
  @inlinable public static var ptr_to_missing_alloc_key: FsckErrorID { .init(rawValue: 148) }
  @inlinable public static var ptr_to_missing_replicas_entry: FsckErrorID { .init(rawValue: 149) }
  @inlinable public static var ptr_to_missing_stripe: FsckErrorID { .init(rawValue: 150) }
  @inlinable public static var ptr_to_incorrect_stripe: FsckErrorID { .init(rawValue: 151) }
  @inlinable public static var ptr_gen_newer_than_bucket_gen: FsckErrorID { .init(rawValue: 152) }
  @inlinable public static var ptr_too_stale: FsckErrorID { .init(rawValue: 153) }
  @inlinable public static var stale_dirty_ptr: FsckErrorID { .init(rawValue: 154) }
  @inlinable public static var ptr_bucket_data_type_mismatch: FsckErrorID { .init(rawValue: 155) }
  @inlinable public static var ptr_cached_and_erasure_coded: FsckErrorID { .init(rawValue: 156) }
  @inlinable public static var ptr_crc_uncompressed_size_too_small: FsckErrorID { .init(rawValue: 157) }
  @inlinable public static var ptr_crc_csum_type_unknown: FsckErrorID { .init(rawValue: 158) }
  @inlinable public static var ptr_crc_compression_type_unknown: FsckErrorID { .init(rawValue: 159) }
  @inlinable public static var ptr_crc_redundant: FsckErrorID { .init(rawValue: 160) }
  @inlinable public static var ptr_crc_uncompressed_size_too_big: FsckErrorID { .init(rawValue: 161) }
  @inlinable public static var ptr_crc_nonce_mismatch: FsckErrorID { .init(rawValue: 162) }
  @inlinable public static var ptr_stripe_redundant: FsckErrorID { .init(rawValue: 163) }
  @inlinable public static var reservation_key_nr_replicas_invalid: FsckErrorID { .init(rawValue: 164) }
  @inlinable public static var reflink_v_refcount_wrong: FsckErrorID { .init(rawValue: 165) }
  @inlinable public static var reflink_v_pos_bad: FsckErrorID { .init(rawValue: 292) }
  @inlinable public static var reflink_p_to_missing_reflink_v: FsckErrorID { .init(rawValue: 166) }
  @inlinable public static var reflink_refcount_underflow: FsckErrorID { .init(rawValue: 293) }
  @inlinable public static var stripe_pos_bad: FsckErrorID { .init(rawValue: 167) }
  @inlinable public static var stripe_val_size_bad: FsckErrorID { .init(rawValue: 168) }
  @inlinable public static var stripe_csum_granularity_bad: FsckErrorID { .init(rawValue: 290) }
  @inlinable public static var stripe_sector_count_wrong: FsckErrorID { .init(rawValue: 169) }
  @inlinable public static var snapshot_tree_pos_bad: FsckErrorID { .init(rawValue: 170) }
  @inlinable public static var snapshot_tree_to_missing_snapshot: FsckErrorID { .init(rawValue: 171) }
  @inlinable public static var snapshot_tree_to_missing_subvol: FsckErrorID { .init(rawValue: 172) }
  @inlinable public static var snapshot_tree_to_wrong_subvol: FsckErrorID { .init(rawValue: 173) }
  @inlinable public static var snapshot_tree_to_snapshot_subvol: FsckErrorID { .init(rawValue: 174) }
  @inlinable public static var snapshot_pos_bad: FsckErrorID { .init(rawValue: 175) }
  @inlinable public static var snapshot_parent_bad: FsckErrorID { .init(rawValue: 176) }
  @inlinable public static var snapshot_children_not_normalized: FsckErrorID { .init(rawValue: 177) }
  @inlinable public static var snapshot_child_duplicate: FsckErrorID { .init(rawValue: 178) }
  @inlinable public static var snapshot_child_bad: FsckErrorID { .init(rawValue: 179) }
  @inlinable public static var snapshot_skiplist_not_normalized: FsckErrorID { .init(rawValue: 180) }
  @inlinable public static var snapshot_skiplist_bad: FsckErrorID { .init(rawValue: 181) }
  @inlinable public static var snapshot_should_not_have_subvol: FsckErrorID { .init(rawValue: 182) }
  @inlinable public static var snapshot_to_bad_snapshot_tree: FsckErrorID { .init(rawValue: 183) }
  @inlinable public static var snapshot_bad_depth: FsckErrorID { .init(rawValue: 184) }
  @inlinable public static var snapshot_bad_skiplist: FsckErrorID { .init(rawValue: 185) }
  @inlinable public static var subvol_pos_bad: FsckErrorID { .init(rawValue: 186) }
  @inlinable public static var subvol_not_master_and_not_snapshot: FsckErrorID { .init(rawValue: 187) }
  @inlinable public static var subvol_to_missing_root: FsckErrorID { .init(rawValue: 188) }
  @inlinable public static var subvol_root_wrong_bi_subvol: FsckErrorID { .init(rawValue: 189) }
  @inlinable public static var bkey_in_missing_snapshot: FsckErrorID { .init(rawValue: 190) }
  @inlinable public static var inode_pos_inode_nonzero: FsckErrorID { .init(rawValue: 191) }
  @inlinable public static var inode_pos_blockdev_range: FsckErrorID { .init(rawValue: 192) }
  @inlinable public static var inode_unpack_error: FsckErrorID { .init(rawValue: 193) }
  @inlinable public static var inode_str_hash_invalid: FsckErrorID { .init(rawValue: 194) }
  @inlinable public static var inode_v3_fields_start_bad: FsckErrorID { .init(rawValue: 195) }
  @inlinable public static var inode_snapshot_mismatch: FsckErrorID { .init(rawValue: 196) }
  @inlinable public static var inode_unlinked_but_clean: FsckErrorID { .init(rawValue: 197) }
  @inlinable public static var inode_unlinked_but_nlink_nonzero: FsckErrorID { .init(rawValue: 198) }
  @inlinable public static var inode_unlinked_and_not_open: FsckErrorID { .init(rawValue: 281) }
  @inlinable public static var inode_unlinked_but_has_dirent: FsckErrorID { .init(rawValue: 285) }
  @inlinable public static var inode_checksum_type_invalid: FsckErrorID { .init(rawValue: 199) }
  @inlinable public static var inode_compression_type_invalid: FsckErrorID { .init(rawValue: 200) }
  @inlinable public static var inode_subvol_root_but_not_dir: FsckErrorID { .init(rawValue: 201) }
  @inlinable public static var inode_i_size_dirty_but_clean: FsckErrorID { .init(rawValue: 202) }
  @inlinable public static var inode_i_sectors_dirty_but_clean: FsckErrorID { .init(rawValue: 203) }
  @inlinable public static var inode_i_sectors_wrong: FsckErrorID { .init(rawValue: 204) }
  @inlinable public static var inode_dir_wrong_nlink: FsckErrorID { .init(rawValue: 205) }
  @inlinable public static var inode_dir_multiple_links: FsckErrorID { .init(rawValue: 206) }
  @inlinable public static var inode_dir_missing_backpointer: FsckErrorID { .init(rawValue: 284) }
  @inlinable public static var inode_dir_unlinked_but_not_empty: FsckErrorID { .init(rawValue: 286) }
  @inlinable public static var inode_multiple_links_but_nlink_0: FsckErrorID { .init(rawValue: 207) }
  @inlinable public static var inode_wrong_backpointer: FsckErrorID { .init(rawValue: 208) }
  @inlinable public static var inode_wrong_nlink: FsckErrorID { .init(rawValue: 209) }
  @inlinable public static var inode_has_child_snapshots_wrong: FsckErrorID { .init(rawValue: 287) }
  @inlinable public static var inode_unreachable: FsckErrorID { .init(rawValue: 210) }
  @inlinable public static var deleted_inode_but_clean: FsckErrorID { .init(rawValue: 211) }
  @inlinable public static var deleted_inode_missing: FsckErrorID { .init(rawValue: 212) }
  @inlinable public static var deleted_inode_is_dir: FsckErrorID { .init(rawValue: 213) }
  @inlinable public static var deleted_inode_not_unlinked: FsckErrorID { .init(rawValue: 214) }
  @inlinable public static var deleted_inode_has_child_snapshots: FsckErrorID { .init(rawValue: 288) }
  @inlinable public static var extent_overlapping: FsckErrorID { .init(rawValue: 215) }
  @inlinable public static var key_in_missing_inode: FsckErrorID { .init(rawValue: 216) }
  @inlinable public static var key_in_wrong_inode_type: FsckErrorID { .init(rawValue: 217) }
  @inlinable public static var extent_past_end_of_inode: FsckErrorID { .init(rawValue: 218) }
  @inlinable public static var dirent_empty_name: FsckErrorID { .init(rawValue: 219) }
  @inlinable public static var dirent_val_too_big: FsckErrorID { .init(rawValue: 220) }
  @inlinable public static var dirent_name_too_long: FsckErrorID { .init(rawValue: 221) }
  @inlinable public static var dirent_name_embedded_nul: FsckErrorID { .init(rawValue: 222) }
  @inlinable public static var dirent_name_dot_or_dotdot: FsckErrorID { .init(rawValue: 223) }
  @inlinable public static var dirent_name_has_slash: FsckErrorID { .init(rawValue: 224) }
  @inlinable public static var dirent_d_type_wrong: FsckErrorID { .init(rawValue: 225) }
  @inlinable public static var inode_bi_parent_wrong: FsckErrorID { .init(rawValue: 226) }
  @inlinable public static var dirent_in_missing_dir_inode: FsckErrorID { .init(rawValue: 227) }
  @inlinable public static var dirent_in_non_dir_inode: FsckErrorID { .init(rawValue: 228) }
  @inlinable public static var dirent_to_missing_inode: FsckErrorID { .init(rawValue: 229) }
  @inlinable public static var dirent_to_missing_subvol: FsckErrorID { .init(rawValue: 230) }
  @inlinable public static var dirent_to_itself: FsckErrorID { .init(rawValue: 231) }
  @inlinable public static var quota_type_invalid: FsckErrorID { .init(rawValue: 232) }
  @inlinable public static var xattr_val_size_too_small: FsckErrorID { .init(rawValue: 233) }
  @inlinable public static var xattr_val_size_too_big: FsckErrorID { .init(rawValue: 234) }
  @inlinable public static var xattr_invalid_type: FsckErrorID { .init(rawValue: 235) }
  @inlinable public static var xattr_name_invalid_chars: FsckErrorID { .init(rawValue: 236) }
  @inlinable public static var xattr_in_missing_inode: FsckErrorID { .init(rawValue: 237) }
  @inlinable public static var root_subvol_missing: FsckErrorID { .init(rawValue: 238) }
  @inlinable public static var root_dir_missing: FsckErrorID { .init(rawValue: 239) }
  @inlinable public static var root_inode_not_dir: FsckErrorID { .init(rawValue: 240) }
  @inlinable public static var dir_loop: FsckErrorID { .init(rawValue: 241) }
  @inlinable public static var hash_table_key_duplicate: FsckErrorID { .init(rawValue: 242) }
  @inlinable public static var hash_table_key_wrong_offset: FsckErrorID { .init(rawValue: 243) }
  @inlinable public static var unlinked_inode_not_on_deleted_list: FsckErrorID { .init(rawValue: 244) }
  @inlinable public static var reflink_p_front_pad_bad: FsckErrorID { .init(rawValue: 245) }
  @inlinable public static var journal_entry_dup_same_device: FsckErrorID { .init(rawValue: 246) }
  @inlinable public static var inode_bi_subvol_missing: FsckErrorID { .init(rawValue: 247) }
  @inlinable public static var inode_bi_subvol_wrong: FsckErrorID { .init(rawValue: 248) }
  @inlinable public static var inode_points_to_missing_dirent: FsckErrorID { .init(rawValue: 249) }
  @inlinable public static var inode_points_to_wrong_dirent: FsckErrorID { .init(rawValue: 250) }
  @inlinable public static var inode_bi_parent_nonzero: FsckErrorID { .init(rawValue: 251) }
  @inlinable public static var dirent_to_missing_parent_subvol: FsckErrorID { .init(rawValue: 252) }
  @inlinable public static var dirent_not_visible_in_parent_subvol: FsckErrorID { .init(rawValue: 253) }
  @inlinable public static var subvol_fs_path_parent_wrong: FsckErrorID { .init(rawValue: 254) }
  @inlinable public static var subvol_root_fs_path_parent_nonzero: FsckErrorID { .init(rawValue: 255) }
  @inlinable public static var subvol_children_not_set: FsckErrorID { .init(rawValue: 256) }
  @inlinable public static var subvol_children_bad: FsckErrorID { .init(rawValue: 257) }
  @inlinable public static var subvol_loop: FsckErrorID { .init(rawValue: 258) }
  @inlinable public static var subvol_unreachable: FsckErrorID { .init(rawValue: 259) }
  @inlinable public static var btree_node_bkey_bad_u64s: FsckErrorID { .init(rawValue: 260) }
  @inlinable public static var btree_node_topology_empty_interior_node: FsckErrorID { .init(rawValue: 261) }
  @inlinable public static var btree_ptr_v2_min_key_bad: FsckErrorID { .init(rawValue: 262) }
  @inlinable public static var btree_root_unreadable_and_scan_found_nothing: FsckErrorID { .init(rawValue: 263) }
  @inlinable public static var snapshot_node_missing: FsckErrorID { .init(rawValue: 264) }
  @inlinable public static var dup_backpointer_to_bad_csum_extent: FsckErrorID { .init(rawValue: 265) }
  @inlinable public static var btree_bitmap_not_marked: FsckErrorID { .init(rawValue: 266) }
  @inlinable public static var sb_clean_entry_overrun: FsckErrorID { .init(rawValue: 267) }
  @inlinable public static var btree_ptr_v2_written_0: FsckErrorID { .init(rawValue: 268) }
  @inlinable public static var subvol_snapshot_bad: FsckErrorID { .init(rawValue: 269) }
  @inlinable public static var subvol_inode_bad: FsckErrorID { .init(rawValue: 270) }
  @inlinable public static var alloc_key_stripe_sectors_wrong: FsckErrorID { .init(rawValue: 271) }
  @inlinable public static var accounting_mismatch: FsckErrorID { .init(rawValue: 272) }
  @inlinable public static var accounting_replicas_not_marked: FsckErrorID { .init(rawValue: 273) }
  @inlinable public static var accounting_to_invalid_device: FsckErrorID { .init(rawValue: 289) }
  @inlinable public static var invalid_btree_id: FsckErrorID { .init(rawValue: 274) }
  @inlinable public static var alloc_key_io_time_bad: FsckErrorID { .init(rawValue: 275) }
  @inlinable public static var alloc_key_fragmentation_lru_wrong: FsckErrorID { .init(rawValue: 276) }
  @inlinable public static var accounting_key_junk_at_end: FsckErrorID { .init(rawValue: 277) }
  @inlinable public static var accounting_key_replicas_nr_devs_0: FsckErrorID { .init(rawValue: 278) }
  @inlinable public static var accounting_key_replicas_nr_required_bad: FsckErrorID { .init(rawValue: 279) }
  @inlinable public static var accounting_key_replicas_devs_unsorted: FsckErrorID { .init(rawValue: 280) }
  @inlinable public static var accounting_key_version_0: FsckErrorID { .init(rawValue: 282) }
  @inlinable public static var logged_op_but_clean: FsckErrorID { .init(rawValue: 283) }
}

// swift-format-ignore
extension FsckErrorID {
  /// All rows, by number.
  public static let table: [Row] = [
    Row(id: .clean_but_journal_not_empty, name: "clean_but_journal_not_empty", flags: []),
    Row(id: .dirty_but_no_journal_entries, name: "dirty_but_no_journal_entries", flags: []),
    Row(id: .dirty_but_no_journal_entries_post_drop_nonflushes, name: "dirty_but_no_journal_entries_post_drop_nonflushes", flags: []),
    Row(id: .sb_clean_journal_seq_mismatch, name: "sb_clean_journal_seq_mismatch", flags: []),
    Row(id: .sb_clean_btree_root_mismatch, name: "sb_clean_btree_root_mismatch", flags: []),
    Row(id: .sb_clean_missing, name: "sb_clean_missing", flags: []),
    Row(id: .jset_unsupported_version, name: "jset_unsupported_version", flags: []),
    Row(id: .jset_unknown_csum, name: "jset_unknown_csum", flags: []),
    Row(id: .jset_last_seq_newer_than_seq, name: "jset_last_seq_newer_than_seq", flags: []),
    Row(id: .jset_past_bucket_end, name: "jset_past_bucket_end", flags: []),
    Row(id: .jset_seq_blacklisted, name: "jset_seq_blacklisted", flags: []),
    Row(id: .journal_entries_missing, name: "journal_entries_missing", flags: []),
    Row(id: .journal_entry_replicas_not_marked, name: "journal_entry_replicas_not_marked", flags: .autofix),
    Row(id: .journal_entry_past_jset_end, name: "journal_entry_past_jset_end", flags: []),
    Row(id: .journal_entry_replicas_data_mismatch, name: "journal_entry_replicas_data_mismatch", flags: []),
    Row(id: .journal_entry_bkey_u64s_0, name: "journal_entry_bkey_u64s_0", flags: []),
    Row(id: .journal_entry_bkey_past_end, name: "journal_entry_bkey_past_end", flags: []),
    Row(id: .journal_entry_bkey_bad_format, name: "journal_entry_bkey_bad_format", flags: []),
    Row(id: .journal_entry_bkey_invalid, name: "journal_entry_bkey_invalid", flags: []),
    Row(id: .journal_entry_btree_root_bad_size, name: "journal_entry_btree_root_bad_size", flags: []),
    Row(id: .journal_entry_blacklist_bad_size, name: "journal_entry_blacklist_bad_size", flags: []),
    Row(id: .journal_entry_blacklist_v2_bad_size, name: "journal_entry_blacklist_v2_bad_size", flags: []),
    Row(id: .journal_entry_blacklist_v2_start_past_end, name: "journal_entry_blacklist_v2_start_past_end", flags: []),
    Row(id: .journal_entry_usage_bad_size, name: "journal_entry_usage_bad_size", flags: []),
    Row(id: .journal_entry_data_usage_bad_size, name: "journal_entry_data_usage_bad_size", flags: []),
    Row(id: .journal_entry_clock_bad_size, name: "journal_entry_clock_bad_size", flags: []),
    Row(id: .journal_entry_clock_bad_rw, name: "journal_entry_clock_bad_rw", flags: []),
    Row(id: .journal_entry_dev_usage_bad_size, name: "journal_entry_dev_usage_bad_size", flags: []),
    Row(id: .journal_entry_dev_usage_bad_dev, name: "journal_entry_dev_usage_bad_dev", flags: []),
    Row(id: .journal_entry_dev_usage_bad_pad, name: "journal_entry_dev_usage_bad_pad", flags: []),
    Row(id: .btree_node_unreadable, name: "btree_node_unreadable", flags: []),
    Row(id: .btree_node_fault_injected, name: "btree_node_fault_injected", flags: []),
    Row(id: .btree_node_bad_magic, name: "btree_node_bad_magic", flags: []),
    Row(id: .btree_node_bad_seq, name: "btree_node_bad_seq", flags: []),
    Row(id: .btree_node_unsupported_version, name: "btree_node_unsupported_version", flags: []),
    Row(id: .btree_node_bset_older_than_sb_min, name: "btree_node_bset_older_than_sb_min", flags: []),
    Row(id: .btree_node_bset_newer_than_sb, name: "btree_node_bset_newer_than_sb", flags: []),
    Row(id: .btree_node_data_missing, name: "btree_node_data_missing", flags: []),
    Row(id: .btree_node_bset_after_end, name: "btree_node_bset_after_end", flags: []),
    Row(id: .btree_node_replicas_sectors_written_mismatch, name: "btree_node_replicas_sectors_written_mismatch", flags: []),
    Row(id: .btree_node_replicas_data_mismatch, name: "btree_node_replicas_data_mismatch", flags: []),
    Row(id: .bset_unknown_csum, name: "bset_unknown_csum", flags: []),
    Row(id: .bset_bad_csum, name: "bset_bad_csum", flags: []),
    Row(id: .bset_past_end_of_btree_node, name: "bset_past_end_of_btree_node", flags: []),
    Row(id: .bset_wrong_sector_offset, name: "bset_wrong_sector_offset", flags: []),
    Row(id: .bset_empty, name: "bset_empty", flags: []),
    Row(id: .bset_bad_seq, name: "bset_bad_seq", flags: []),
    Row(id: .bset_blacklisted_journal_seq, name: "bset_blacklisted_journal_seq", flags: []),
    Row(id: .first_bset_blacklisted_journal_seq, name: "first_bset_blacklisted_journal_seq", flags: []),
    Row(id: .btree_node_bad_btree, name: "btree_node_bad_btree", flags: []),
    Row(id: .btree_node_bad_level, name: "btree_node_bad_level", flags: []),
    Row(id: .btree_node_bad_min_key, name: "btree_node_bad_min_key", flags: []),
    Row(id: .btree_node_bad_max_key, name: "btree_node_bad_max_key", flags: []),
    Row(id: .btree_node_bad_format, name: "btree_node_bad_format", flags: []),
    Row(id: .btree_node_bkey_past_bset_end, name: "btree_node_bkey_past_bset_end", flags: []),
    Row(id: .btree_node_bkey_bad_format, name: "btree_node_bkey_bad_format", flags: []),
    Row(id: .btree_node_bad_bkey, name: "btree_node_bad_bkey", flags: []),
    Row(id: .btree_node_bkey_out_of_order, name: "btree_node_bkey_out_of_order", flags: []),
    Row(id: .btree_root_bkey_invalid, name: "btree_root_bkey_invalid", flags: []),
    Row(id: .btree_root_read_error, name: "btree_root_read_error", flags: []),
    Row(id: .btree_root_bad_min_key, name: "btree_root_bad_min_key", flags: []),
    Row(id: .btree_root_bad_max_key, name: "btree_root_bad_max_key", flags: []),
    Row(id: .btree_node_read_error, name: "btree_node_read_error", flags: []),
    Row(id: .btree_node_topology_bad_min_key, name: "btree_node_topology_bad_min_key", flags: []),
    Row(id: .btree_node_topology_bad_max_key, name: "btree_node_topology_bad_max_key", flags: []),
    Row(id: .btree_node_topology_overwritten_by_prev_node, name: "btree_node_topology_overwritten_by_prev_node", flags: []),
    Row(id: .btree_node_topology_overwritten_by_next_node, name: "btree_node_topology_overwritten_by_next_node", flags: []),
    Row(id: .btree_node_topology_interior_node_empty, name: "btree_node_topology_interior_node_empty", flags: []),
    Row(id: .fs_usage_hidden_wrong, name: "fs_usage_hidden_wrong", flags: .autofix),
    Row(id: .fs_usage_btree_wrong, name: "fs_usage_btree_wrong", flags: .autofix),
    Row(id: .fs_usage_data_wrong, name: "fs_usage_data_wrong", flags: .autofix),
    Row(id: .fs_usage_cached_wrong, name: "fs_usage_cached_wrong", flags: .autofix),
    Row(id: .fs_usage_reserved_wrong, name: "fs_usage_reserved_wrong", flags: .autofix),
    Row(id: .fs_usage_persistent_reserved_wrong, name: "fs_usage_persistent_reserved_wrong", flags: .autofix),
    Row(id: .fs_usage_nr_inodes_wrong, name: "fs_usage_nr_inodes_wrong", flags: .autofix),
    Row(id: .fs_usage_replicas_wrong, name: "fs_usage_replicas_wrong", flags: .autofix),
    Row(id: .dev_usage_buckets_wrong, name: "dev_usage_buckets_wrong", flags: .autofix),
    Row(id: .dev_usage_sectors_wrong, name: "dev_usage_sectors_wrong", flags: .autofix),
    Row(id: .dev_usage_fragmented_wrong, name: "dev_usage_fragmented_wrong", flags: .autofix),
    Row(id: .dev_usage_buckets_ec_wrong, name: "dev_usage_buckets_ec_wrong", flags: .autofix),
    Row(id: .bkey_version_in_future, name: "bkey_version_in_future", flags: []),
    Row(id: .bkey_u64s_too_small, name: "bkey_u64s_too_small", flags: []),
    Row(id: .bkey_invalid_type_for_btree, name: "bkey_invalid_type_for_btree", flags: []),
    Row(id: .bkey_extent_size_zero, name: "bkey_extent_size_zero", flags: []),
    Row(id: .bkey_extent_size_greater_than_offset, name: "bkey_extent_size_greater_than_offset", flags: []),
    Row(id: .bkey_size_nonzero, name: "bkey_size_nonzero", flags: []),
    Row(id: .bkey_snapshot_nonzero, name: "bkey_snapshot_nonzero", flags: []),
    Row(id: .bkey_snapshot_zero, name: "bkey_snapshot_zero", flags: []),
    Row(id: .bkey_at_pos_max, name: "bkey_at_pos_max", flags: []),
    Row(id: .bkey_before_start_of_btree_node, name: "bkey_before_start_of_btree_node", flags: []),
    Row(id: .bkey_after_end_of_btree_node, name: "bkey_after_end_of_btree_node", flags: []),
    Row(id: .bkey_val_size_nonzero, name: "bkey_val_size_nonzero", flags: []),
    Row(id: .bkey_val_size_too_small, name: "bkey_val_size_too_small", flags: []),
    Row(id: .alloc_v1_val_size_bad, name: "alloc_v1_val_size_bad", flags: []),
    Row(id: .alloc_v2_unpack_error, name: "alloc_v2_unpack_error", flags: []),
    Row(id: .alloc_v3_unpack_error, name: "alloc_v3_unpack_error", flags: []),
    Row(id: .alloc_v4_val_size_bad, name: "alloc_v4_val_size_bad", flags: []),
    Row(id: .alloc_v4_backpointers_start_bad, name: "alloc_v4_backpointers_start_bad", flags: []),
    Row(id: .alloc_key_data_type_bad, name: "alloc_key_data_type_bad", flags: []),
    Row(id: .alloc_key_empty_but_have_data, name: "alloc_key_empty_but_have_data", flags: []),
    Row(id: .alloc_key_dirty_sectors_0, name: "alloc_key_dirty_sectors_0", flags: []),
    Row(id: .alloc_key_data_type_inconsistency, name: "alloc_key_data_type_inconsistency", flags: []),
    Row(id: .alloc_key_to_missing_dev_bucket, name: "alloc_key_to_missing_dev_bucket", flags: []),
    Row(id: .alloc_key_cached_inconsistency, name: "alloc_key_cached_inconsistency", flags: []),
    Row(id: .alloc_key_cached_but_read_time_zero, name: "alloc_key_cached_but_read_time_zero", flags: .autofix),
    Row(id: .alloc_key_to_missing_lru_entry, name: "alloc_key_to_missing_lru_entry", flags: .autofix),
    Row(id: .alloc_key_data_type_wrong, name: "alloc_key_data_type_wrong", flags: .autofix),
    Row(id: .alloc_key_gen_wrong, name: "alloc_key_gen_wrong", flags: .autofix),
    Row(id: .alloc_key_dirty_sectors_wrong, name: "alloc_key_dirty_sectors_wrong", flags: .autofix),
    Row(id: .alloc_key_cached_sectors_wrong, name: "alloc_key_cached_sectors_wrong", flags: .autofix),
    Row(id: .alloc_key_stripe_wrong, name: "alloc_key_stripe_wrong", flags: .autofix),
    Row(id: .alloc_key_stripe_redundancy_wrong, name: "alloc_key_stripe_redundancy_wrong", flags: .autofix),
    Row(id: .bucket_sector_count_overflow, name: "bucket_sector_count_overflow", flags: []),
    Row(id: .bucket_metadata_type_mismatch, name: "bucket_metadata_type_mismatch", flags: []),
    Row(id: .need_discard_key_wrong, name: "need_discard_key_wrong", flags: []),
    Row(id: .freespace_key_wrong, name: "freespace_key_wrong", flags: []),
    Row(id: .freespace_hole_missing, name: "freespace_hole_missing", flags: []),
    Row(id: .bucket_gens_val_size_bad, name: "bucket_gens_val_size_bad", flags: []),
    Row(id: .bucket_gens_key_wrong, name: "bucket_gens_key_wrong", flags: .autofix),
    Row(id: .bucket_gens_hole_wrong, name: "bucket_gens_hole_wrong", flags: .autofix),
    Row(id: .bucket_gens_to_invalid_dev, name: "bucket_gens_to_invalid_dev", flags: .autofix),
    Row(id: .bucket_gens_to_invalid_buckets, name: "bucket_gens_to_invalid_buckets", flags: .autofix),
    Row(id: .bucket_gens_nonzero_for_invalid_buckets, name: "bucket_gens_nonzero_for_invalid_buckets", flags: .autofix),
    Row(id: .need_discard_freespace_key_to_invalid_dev_bucket, name: "need_discard_freespace_key_to_invalid_dev_bucket", flags: []),
    Row(id: .need_discard_freespace_key_bad, name: "need_discard_freespace_key_bad", flags: []),
    Row(id: .backpointer_bucket_offset_wrong, name: "backpointer_bucket_offset_wrong", flags: []),
    Row(id: .backpointer_to_missing_device, name: "backpointer_to_missing_device", flags: []),
    Row(id: .backpointer_to_missing_alloc, name: "backpointer_to_missing_alloc", flags: []),
    Row(id: .backpointer_to_missing_ptr, name: "backpointer_to_missing_ptr", flags: []),
    Row(id: .lru_entry_at_time_0, name: "lru_entry_at_time_0", flags: .autofix),
    Row(id: .lru_entry_to_invalid_bucket, name: "lru_entry_to_invalid_bucket", flags: .autofix),
    Row(id: .lru_entry_bad, name: "lru_entry_bad", flags: .autofix),
    Row(id: .btree_ptr_val_too_big, name: "btree_ptr_val_too_big", flags: []),
    Row(id: .btree_ptr_v2_val_too_big, name: "btree_ptr_v2_val_too_big", flags: []),
    Row(id: .btree_ptr_has_non_ptr, name: "btree_ptr_has_non_ptr", flags: []),
    Row(id: .extent_ptrs_invalid_entry, name: "extent_ptrs_invalid_entry", flags: []),
    Row(id: .extent_ptrs_no_ptrs, name: "extent_ptrs_no_ptrs", flags: []),
    Row(id: .extent_ptrs_too_many_ptrs, name: "extent_ptrs_too_many_ptrs", flags: []),
    Row(id: .extent_ptrs_redundant_crc, name: "extent_ptrs_redundant_crc", flags: []),
    Row(id: .extent_ptrs_redundant_stripe, name: "extent_ptrs_redundant_stripe", flags: []),
    Row(id: .extent_ptrs_unwritten, name: "extent_ptrs_unwritten", flags: []),
    Row(id: .extent_ptrs_written_and_unwritten, name: "extent_ptrs_written_and_unwritten", flags: []),
    Row(id: .ptr_to_invalid_device, name: "ptr_to_invalid_device", flags: []),
    Row(id: .ptr_to_duplicate_device, name: "ptr_to_duplicate_device", flags: []),
    Row(id: .ptr_after_last_bucket, name: "ptr_after_last_bucket", flags: []),
    Row(id: .ptr_before_first_bucket, name: "ptr_before_first_bucket", flags: []),
    Row(id: .ptr_spans_multiple_buckets, name: "ptr_spans_multiple_buckets", flags: []),
    Row(id: .ptr_to_missing_backpointer, name: "ptr_to_missing_backpointer", flags: .autofix),
    Row(id: .ptr_to_missing_alloc_key, name: "ptr_to_missing_alloc_key", flags: .autofix),
    Row(id: .ptr_to_missing_replicas_entry, name: "ptr_to_missing_replicas_entry", flags: .autofix),
    Row(id: .ptr_to_missing_stripe, name: "ptr_to_missing_stripe", flags: []),
    Row(id: .ptr_to_incorrect_stripe, name: "ptr_to_incorrect_stripe", flags: []),
    Row(id: .ptr_gen_newer_than_bucket_gen, name: "ptr_gen_newer_than_bucket_gen", flags: []),
    Row(id: .ptr_too_stale, name: "ptr_too_stale", flags: []),
    Row(id: .stale_dirty_ptr, name: "stale_dirty_ptr", flags: []),
    Row(id: .ptr_bucket_data_type_mismatch, name: "ptr_bucket_data_type_mismatch", flags: []),
    Row(id: .ptr_cached_and_erasure_coded, name: "ptr_cached_and_erasure_coded", flags: []),
    Row(id: .ptr_crc_uncompressed_size_too_small, name: "ptr_crc_uncompressed_size_too_small", flags: []),
    Row(id: .ptr_crc_csum_type_unknown, name: "ptr_crc_csum_type_unknown", flags: []),
    Row(id: .ptr_crc_compression_type_unknown, name: "ptr_crc_compression_type_unknown", flags: []),
    Row(id: .ptr_crc_redundant, name: "ptr_crc_redundant", flags: []),
    Row(id: .ptr_crc_uncompressed_size_too_big, name: "ptr_crc_uncompressed_size_too_big", flags: []),
    Row(id: .ptr_crc_nonce_mismatch, name: "ptr_crc_nonce_mismatch", flags: []),
    Row(id: .ptr_stripe_redundant, name: "ptr_stripe_redundant", flags: []),
    Row(id: .reservation_key_nr_replicas_invalid, name: "reservation_key_nr_replicas_invalid", flags: []),
    Row(id: .reflink_v_refcount_wrong, name: "reflink_v_refcount_wrong", flags: []),
    Row(id: .reflink_p_to_missing_reflink_v, name: "reflink_p_to_missing_reflink_v", flags: []),
    Row(id: .stripe_pos_bad, name: "stripe_pos_bad", flags: []),
    Row(id: .stripe_val_size_bad, name: "stripe_val_size_bad", flags: []),
    Row(id: .stripe_sector_count_wrong, name: "stripe_sector_count_wrong", flags: []),
    Row(id: .snapshot_tree_pos_bad, name: "snapshot_tree_pos_bad", flags: []),
    Row(id: .snapshot_tree_to_missing_snapshot, name: "snapshot_tree_to_missing_snapshot", flags: []),
    Row(id: .snapshot_tree_to_missing_subvol, name: "snapshot_tree_to_missing_subvol", flags: []),
    Row(id: .snapshot_tree_to_wrong_subvol, name: "snapshot_tree_to_wrong_subvol", flags: []),
    Row(id: .snapshot_tree_to_snapshot_subvol, name: "snapshot_tree_to_snapshot_subvol", flags: []),
    Row(id: .snapshot_pos_bad, name: "snapshot_pos_bad", flags: []),
    Row(id: .snapshot_parent_bad, name: "snapshot_parent_bad", flags: []),
    Row(id: .snapshot_children_not_normalized, name: "snapshot_children_not_normalized", flags: []),
    Row(id: .snapshot_child_duplicate, name: "snapshot_child_duplicate", flags: []),
    Row(id: .snapshot_child_bad, name: "snapshot_child_bad", flags: []),
    Row(id: .snapshot_skiplist_not_normalized, name: "snapshot_skiplist_not_normalized", flags: []),
    Row(id: .snapshot_skiplist_bad, name: "snapshot_skiplist_bad", flags: []),
    Row(id: .snapshot_should_not_have_subvol, name: "snapshot_should_not_have_subvol", flags: []),
    Row(id: .snapshot_to_bad_snapshot_tree, name: "snapshot_to_bad_snapshot_tree", flags: .autofix),
    Row(id: .snapshot_bad_depth, name: "snapshot_bad_depth", flags: []),
    Row(id: .snapshot_bad_skiplist, name: "snapshot_bad_skiplist", flags: []),
    Row(id: .subvol_pos_bad, name: "subvol_pos_bad", flags: []),
    Row(id: .subvol_not_master_and_not_snapshot, name: "subvol_not_master_and_not_snapshot", flags: []),
    Row(id: .subvol_to_missing_root, name: "subvol_to_missing_root", flags: []),
    Row(id: .subvol_root_wrong_bi_subvol, name: "subvol_root_wrong_bi_subvol", flags: []),
    Row(id: .bkey_in_missing_snapshot, name: "bkey_in_missing_snapshot", flags: []),
    Row(id: .inode_pos_inode_nonzero, name: "inode_pos_inode_nonzero", flags: []),
    Row(id: .inode_pos_blockdev_range, name: "inode_pos_blockdev_range", flags: []),
    Row(id: .inode_unpack_error, name: "inode_unpack_error", flags: []),
    Row(id: .inode_str_hash_invalid, name: "inode_str_hash_invalid", flags: []),
    Row(id: .inode_v3_fields_start_bad, name: "inode_v3_fields_start_bad", flags: []),
    Row(id: .inode_snapshot_mismatch, name: "inode_snapshot_mismatch", flags: []),
    Row(id: .inode_unlinked_but_clean, name: "inode_unlinked_but_clean", flags: []),
    Row(id: .inode_unlinked_but_nlink_nonzero, name: "inode_unlinked_but_nlink_nonzero", flags: []),
    Row(id: .inode_checksum_type_invalid, name: "inode_checksum_type_invalid", flags: []),
    Row(id: .inode_compression_type_invalid, name: "inode_compression_type_invalid", flags: []),
    Row(id: .inode_subvol_root_but_not_dir, name: "inode_subvol_root_but_not_dir", flags: []),
    Row(id: .inode_i_size_dirty_but_clean, name: "inode_i_size_dirty_but_clean", flags: .autofix),
    Row(id: .inode_i_sectors_dirty_but_clean, name: "inode_i_sectors_dirty_but_clean", flags: .autofix),
    Row(id: .inode_i_sectors_wrong, name: "inode_i_sectors_wrong", flags: .autofix),
    Row(id: .inode_dir_wrong_nlink, name: "inode_dir_wrong_nlink", flags: .autofix),
    Row(id: .inode_dir_multiple_links, name: "inode_dir_multiple_links", flags: .autofix),
    Row(id: .inode_multiple_links_but_nlink_0, name: "inode_multiple_links_but_nlink_0", flags: .autofix),
    Row(id: .inode_wrong_backpointer, name: "inode_wrong_backpointer", flags: .autofix),
    Row(id: .inode_wrong_nlink, name: "inode_wrong_nlink", flags: .autofix),
    Row(id: .inode_unreachable, name: "inode_unreachable", flags: .autofix),
    Row(id: .deleted_inode_but_clean, name: "deleted_inode_but_clean", flags: .autofix),
    Row(id: .deleted_inode_missing, name: "deleted_inode_missing", flags: .autofix),
    Row(id: .deleted_inode_is_dir, name: "deleted_inode_is_dir", flags: .autofix),
    Row(id: .deleted_inode_not_unlinked, name: "deleted_inode_not_unlinked", flags: .autofix),
    Row(id: .extent_overlapping, name: "extent_overlapping", flags: []),
    Row(id: .key_in_missing_inode, name: "key_in_missing_inode", flags: []),
    Row(id: .key_in_wrong_inode_type, name: "key_in_wrong_inode_type", flags: []),
    Row(id: .extent_past_end_of_inode, name: "extent_past_end_of_inode", flags: []),
    Row(id: .dirent_empty_name, name: "dirent_empty_name", flags: []),
    Row(id: .dirent_val_too_big, name: "dirent_val_too_big", flags: []),
    Row(id: .dirent_name_too_long, name: "dirent_name_too_long", flags: []),
    Row(id: .dirent_name_embedded_nul, name: "dirent_name_embedded_nul", flags: []),
    Row(id: .dirent_name_dot_or_dotdot, name: "dirent_name_dot_or_dotdot", flags: []),
    Row(id: .dirent_name_has_slash, name: "dirent_name_has_slash", flags: []),
    Row(id: .dirent_d_type_wrong, name: "dirent_d_type_wrong", flags: []),
    Row(id: .inode_bi_parent_wrong, name: "inode_bi_parent_wrong", flags: []),
    Row(id: .dirent_in_missing_dir_inode, name: "dirent_in_missing_dir_inode", flags: []),
    Row(id: .dirent_in_non_dir_inode, name: "dirent_in_non_dir_inode", flags: []),
    Row(id: .dirent_to_missing_inode, name: "dirent_to_missing_inode", flags: []),
    Row(id: .dirent_to_missing_subvol, name: "dirent_to_missing_subvol", flags: []),
    Row(id: .dirent_to_itself, name: "dirent_to_itself", flags: []),
    Row(id: .quota_type_invalid, name: "quota_type_invalid", flags: []),
    Row(id: .xattr_val_size_too_small, name: "xattr_val_size_too_small", flags: []),
    Row(id: .xattr_val_size_too_big, name: "xattr_val_size_too_big", flags: []),
    Row(id: .xattr_invalid_type, name: "xattr_invalid_type", flags: []),
    Row(id: .xattr_name_invalid_chars, name: "xattr_name_invalid_chars", flags: []),
    Row(id: .xattr_in_missing_inode, name: "xattr_in_missing_inode", flags: []),
    Row(id: .root_subvol_missing, name: "root_subvol_missing", flags: []),
    Row(id: .root_dir_missing, name: "root_dir_missing", flags: []),
    Row(id: .root_inode_not_dir, name: "root_inode_not_dir", flags: []),
    Row(id: .dir_loop, name: "dir_loop", flags: []),
    Row(id: .hash_table_key_duplicate, name: "hash_table_key_duplicate", flags: []),
    Row(id: .hash_table_key_wrong_offset, name: "hash_table_key_wrong_offset", flags: []),
    Row(id: .unlinked_inode_not_on_deleted_list, name: "unlinked_inode_not_on_deleted_list", flags: .autofix),
    Row(id: .reflink_p_front_pad_bad, name: "reflink_p_front_pad_bad", flags: []),
    Row(id: .journal_entry_dup_same_device, name: "journal_entry_dup_same_device", flags: []),
    Row(id: .inode_bi_subvol_missing, name: "inode_bi_subvol_missing", flags: []),
    Row(id: .inode_bi_subvol_wrong, name: "inode_bi_subvol_wrong", flags: []),
    Row(id: .inode_points_to_missing_dirent, name: "inode_points_to_missing_dirent", flags: .autofix),
    Row(id: .inode_points_to_wrong_dirent, name: "inode_points_to_wrong_dirent", flags: .autofix),
    Row(id: .inode_bi_parent_nonzero, name: "inode_bi_parent_nonzero", flags: []),
    Row(id: .dirent_to_missing_parent_subvol, name: "dirent_to_missing_parent_subvol", flags: []),
    Row(id: .dirent_not_visible_in_parent_subvol, name: "dirent_not_visible_in_parent_subvol", flags: []),
    Row(id: .subvol_fs_path_parent_wrong, name: "subvol_fs_path_parent_wrong", flags: []),
    Row(id: .subvol_root_fs_path_parent_nonzero, name: "subvol_root_fs_path_parent_nonzero", flags: []),
    Row(id: .subvol_children_not_set, name: "subvol_children_not_set", flags: []),
    Row(id: .subvol_children_bad, name: "subvol_children_bad", flags: []),
    Row(id: .subvol_loop, name: "subvol_loop", flags: []),
    Row(id: .subvol_unreachable, name: "subvol_unreachable", flags: .autofix),
    Row(id: .btree_node_bkey_bad_u64s, name: "btree_node_bkey_bad_u64s", flags: []),
    Row(id: .btree_node_topology_empty_interior_node, name: "btree_node_topology_empty_interior_node", flags: []),
    Row(id: .btree_ptr_v2_min_key_bad, name: "btree_ptr_v2_min_key_bad", flags: []),
    Row(id: .btree_root_unreadable_and_scan_found_nothing, name: "btree_root_unreadable_and_scan_found_nothing", flags: []),
    Row(id: .snapshot_node_missing, name: "snapshot_node_missing", flags: []),
    Row(id: .dup_backpointer_to_bad_csum_extent, name: "dup_backpointer_to_bad_csum_extent", flags: []),
    Row(id: .btree_bitmap_not_marked, name: "btree_bitmap_not_marked", flags: []),
    Row(id: .sb_clean_entry_overrun, name: "sb_clean_entry_overrun", flags: []),
    Row(id: .btree_ptr_v2_written_0, name: "btree_ptr_v2_written_0", flags: []),
    Row(id: .subvol_snapshot_bad, name: "subvol_snapshot_bad", flags: []),
    Row(id: .subvol_inode_bad, name: "subvol_inode_bad", flags: []),
    Row(id: .alloc_key_stripe_sectors_wrong, name: "alloc_key_stripe_sectors_wrong", flags: .autofix),
    Row(id: .accounting_mismatch, name: "accounting_mismatch", flags: .autofix),
    Row(id: .accounting_replicas_not_marked, name: "accounting_replicas_not_marked", flags: []),
    Row(id: .invalid_btree_id, name: "invalid_btree_id", flags: []),
    Row(id: .alloc_key_io_time_bad, name: "alloc_key_io_time_bad", flags: []),
    Row(id: .alloc_key_fragmentation_lru_wrong, name: "alloc_key_fragmentation_lru_wrong", flags: .autofix),
    Row(id: .accounting_key_junk_at_end, name: "accounting_key_junk_at_end", flags: .autofix),
    Row(id: .accounting_key_replicas_nr_devs_0, name: "accounting_key_replicas_nr_devs_0", flags: .autofix),
    Row(id: .accounting_key_replicas_nr_required_bad, name: "accounting_key_replicas_nr_required_bad", flags: .autofix),
    Row(id: .accounting_key_replicas_devs_unsorted, name: "accounting_key_replicas_devs_unsorted", flags: .autofix),
    Row(id: .inode_unlinked_and_not_open, name: "inode_unlinked_and_not_open", flags: []),
    Row(id: .accounting_key_version_0, name: "accounting_key_version_0", flags: .autofix),
    Row(id: .logged_op_but_clean, name: "logged_op_but_clean", flags: .autofix),
    Row(id: .inode_dir_missing_backpointer, name: "inode_dir_missing_backpointer", flags: .autofix),
    Row(id: .inode_unlinked_but_has_dirent, name: "inode_unlinked_but_has_dirent", flags: []),
    Row(id: .inode_dir_unlinked_but_not_empty, name: "inode_dir_unlinked_but_not_empty", flags: .autofix),
    Row(id: .inode_has_child_snapshots_wrong, name: "inode_has_child_snapshots_wrong", flags: []),
    Row(id: .deleted_inode_has_child_snapshots, name: "deleted_inode_has_child_snapshots", flags: .autofix),
    Row(id: .accounting_to_invalid_device, name: "accounting_to_invalid_device", flags: []),
    Row(id: .stripe_csum_granularity_bad, name: "stripe_csum_granularity_bad", flags: []),
    Row(id: .discarding_bucket_not_in_need_discard_btree, name: "discarding_bucket_not_in_need_discard_btree", flags: []),
    Row(id: .reflink_v_pos_bad, name: "reflink_v_pos_bad", flags: []),
    Row(id: .reflink_refcount_underflow, name: "reflink_refcount_underflow", flags: []),
    Row(id: .backpointer_level_bad, name: "backpointer_level_bad", flags: []),
  ]
}
