// SPDX-License-Identifier: GPL-2.0
// The counters that the superblock keeps over mounts. Numbers are places in the section and must
// never change. Linux 6.12 writes `read_split` at 32 and `read_retry` at 33 (it numbers by the
// order of its list); newer versions count the other way round there.

/// A place in the superblock section `counters` (`enum bch_persistent_counters`).
@frozen
public struct PersistentCounter: PersistentNumber {
  public let rawValue: UInt16
  @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
  public static let tableName: StaticString = "counter"
  public static let names: [StaticString] = [
    "io_read", "io_write", "io_move", "bucket_invalidate", "bucket_discard", "bucket_alloc",
    "bucket_alloc_fail", "btree_cache_scan", "btree_cache_reap", "btree_cache_cannibalize",
    "btree_cache_cannibalize_lock", "btree_cache_cannibalize_lock_fail",
    "btree_cache_cannibalize_unlock", "btree_node_write", "btree_node_read", "btree_node_compact",
    "btree_node_merge", "btree_node_split", "btree_node_rewrite", "btree_node_alloc",
    "btree_node_free", "btree_node_set_root", "btree_path_relock_fail", "btree_path_upgrade_fail",
    "btree_reserve_get_fail", "journal_entry_full", "journal_full", "journal_reclaim_finish",
    "journal_reclaim_start", "journal_write", "read_promote", "read_bounce", "read_split",
    "read_retry", "read_reuse_race", "move_extent_read", "move_extent_write",
    "move_extent_finish", "move_extent_fail", "move_extent_start_fail", "copygc", "copygc_wait",
    "gc_gens_end", "gc_gens_start", "trans_blocked_journal_reclaim",
    "trans_restart_btree_node_reused", "trans_restart_btree_node_split",
    "trans_restart_fault_inject", "trans_restart_iter_upgrade",
    "trans_restart_journal_preres_get", "trans_restart_journal_reclaim",
    "trans_restart_journal_res_get", "trans_restart_key_cache_key_realloced",
    "trans_restart_key_cache_raced", "trans_restart_mark_replicas", "trans_restart_mem_realloced",
    "trans_restart_memory_allocation_failure", "trans_restart_relock",
    "trans_restart_relock_after_fill", "trans_restart_relock_key_cache_fill",
    "trans_restart_relock_next_node", "trans_restart_relock_parent_for_fill",
    "trans_restart_relock_path", "trans_restart_relock_path_intent",
    "trans_restart_too_many_iters", "trans_restart_traverse", "trans_restart_upgrade",
    "trans_restart_would_deadlock", "trans_restart_would_deadlock_write",
    "trans_restart_injected", "trans_restart_key_cache_upgrade", "trans_traverse_all",
    "transaction_commit", "write_super", "trans_restart_would_deadlock_recursion_limit",
    "trans_restart_write_buffer_flush", "trans_restart_split_race", "write_buffer_flush_slowpath",
    "write_buffer_flush_sync",
  ]
}

// swift-format-ignore
extension PersistentCounter {
  @inlinable public static var ioRead: PersistentCounter { .init(rawValue: 0) }
  @inlinable public static var ioWrite: PersistentCounter { .init(rawValue: 1) }
  @inlinable public static var ioMove: PersistentCounter { .init(rawValue: 2) }
  @inlinable public static var bucketInvalidate: PersistentCounter { .init(rawValue: 3) }
  @inlinable public static var bucketDiscard: PersistentCounter { .init(rawValue: 4) }
  @inlinable public static var bucketAlloc: PersistentCounter { .init(rawValue: 5) }
  @inlinable public static var bucketAllocFail: PersistentCounter { .init(rawValue: 6) }
  @inlinable public static var btreeCacheScan: PersistentCounter { .init(rawValue: 7) }
  @inlinable public static var btreeCacheReap: PersistentCounter { .init(rawValue: 8) }
  @inlinable public static var btreeCacheCannibalize: PersistentCounter { .init(rawValue: 9) }
  @inlinable public static var btreeCacheCannibalizeLock: PersistentCounter { .init(rawValue: 10) }
  @inlinable public static var btreeCacheCannibalizeLockFail: PersistentCounter { .init(rawValue: 11) }
  @inlinable public static var btreeCacheCannibalizeUnlock: PersistentCounter { .init(rawValue: 12) }
  @inlinable public static var btreeNodeWrite: PersistentCounter { .init(rawValue: 13) }
  @inlinable public static var btreeNodeRead: PersistentCounter { .init(rawValue: 14) }
  @inlinable public static var btreeNodeCompact: PersistentCounter { .init(rawValue: 15) }
  @inlinable public static var btreeNodeMerge: PersistentCounter { .init(rawValue: 16) }
  @inlinable public static var btreeNodeSplit: PersistentCounter { .init(rawValue: 17) }
  @inlinable public static var btreeNodeRewrite: PersistentCounter { .init(rawValue: 18) }
  @inlinable public static var btreeNodeAlloc: PersistentCounter { .init(rawValue: 19) }
  @inlinable public static var btreeNodeFree: PersistentCounter { .init(rawValue: 20) }
  @inlinable public static var btreeNodeSetRoot: PersistentCounter { .init(rawValue: 21) }
  @inlinable public static var btreePathRelockFail: PersistentCounter { .init(rawValue: 22) }
  @inlinable public static var btreePathUpgradeFail: PersistentCounter { .init(rawValue: 23) }
  @inlinable public static var btreeReserveGetFail: PersistentCounter { .init(rawValue: 24) }
  @inlinable public static var journalEntryFull: PersistentCounter { .init(rawValue: 25) }
  @inlinable public static var journalFull: PersistentCounter { .init(rawValue: 26) }
  @inlinable public static var journalReclaimFinish: PersistentCounter { .init(rawValue: 27) }
  @inlinable public static var journalReclaimStart: PersistentCounter { .init(rawValue: 28) }
  @inlinable public static var journalWrite: PersistentCounter { .init(rawValue: 29) }
  @inlinable public static var readPromote: PersistentCounter { .init(rawValue: 30) }
  @inlinable public static var readBounce: PersistentCounter { .init(rawValue: 31) }
  @inlinable public static var readSplit: PersistentCounter { .init(rawValue: 32) }
  @inlinable public static var readRetry: PersistentCounter { .init(rawValue: 33) }
  @inlinable public static var readReuseRace: PersistentCounter { .init(rawValue: 34) }
  @inlinable public static var moveExtentRead: PersistentCounter { .init(rawValue: 35) }
  @inlinable public static var moveExtentWrite: PersistentCounter { .init(rawValue: 36) }
  @inlinable public static var moveExtentFinish: PersistentCounter { .init(rawValue: 37) }
  @inlinable public static var moveExtentFail: PersistentCounter { .init(rawValue: 38) }
  @inlinable public static var moveExtentStartFail: PersistentCounter { .init(rawValue: 39) }
  @inlinable public static var copygc: PersistentCounter { .init(rawValue: 40) }
  @inlinable public static var copygcWait: PersistentCounter { .init(rawValue: 41) }
  @inlinable public static var gcGensEnd: PersistentCounter { .init(rawValue: 42) }
  @inlinable public static var gcGensStart: PersistentCounter { .init(rawValue: 43) }
  @inlinable public static var transBlockedJournalReclaim: PersistentCounter { .init(rawValue: 44) }
  @inlinable public static var transRestartBtreeNodeReused: PersistentCounter { .init(rawValue: 45) }
  @inlinable public static var transRestartBtreeNodeSplit: PersistentCounter { .init(rawValue: 46) }
  @inlinable public static var transRestartFaultInject: PersistentCounter { .init(rawValue: 47) }
  @inlinable public static var transRestartIterUpgrade: PersistentCounter { .init(rawValue: 48) }
  @inlinable public static var transRestartJournalPreresGet: PersistentCounter { .init(rawValue: 49) }
  @inlinable public static var transRestartJournalReclaim: PersistentCounter { .init(rawValue: 50) }
  @inlinable public static var transRestartJournalResGet: PersistentCounter { .init(rawValue: 51) }
  @inlinable public static var transRestartKeyCacheKeyRealloced: PersistentCounter { .init(rawValue: 52) }
  @inlinable public static var transRestartKeyCacheRaced: PersistentCounter { .init(rawValue: 53) }
  @inlinable public static var transRestartMarkReplicas: PersistentCounter { .init(rawValue: 54) }
  @inlinable public static var transRestartMemRealloced: PersistentCounter { .init(rawValue: 55) }
  @inlinable public static var transRestartMemoryAllocationFailure: PersistentCounter { .init(rawValue: 56) }
  @inlinable public static var transRestartRelock: PersistentCounter { .init(rawValue: 57) }
  @inlinable public static var transRestartRelockAfterFill: PersistentCounter { .init(rawValue: 58) }
  @inlinable public static var transRestartRelockKeyCacheFill: PersistentCounter { .init(rawValue: 59) }
  @inlinable public static var transRestartRelockNextNode: PersistentCounter { .init(rawValue: 60) }
  @inlinable public static var transRestartRelockParentForFill: PersistentCounter { .init(rawValue: 61) }
  @inlinable public static var transRestartRelockPath: PersistentCounter { .init(rawValue: 62) }
  @inlinable public static var transRestartRelockPathIntent: PersistentCounter { .init(rawValue: 63) }
  @inlinable public static var transRestartTooManyIters: PersistentCounter { .init(rawValue: 64) }
  @inlinable public static var transRestartTraverse: PersistentCounter { .init(rawValue: 65) }
  @inlinable public static var transRestartUpgrade: PersistentCounter { .init(rawValue: 66) }
  @inlinable public static var transRestartWouldDeadlock: PersistentCounter { .init(rawValue: 67) }
  @inlinable public static var transRestartWouldDeadlockWrite: PersistentCounter { .init(rawValue: 68) }
  @inlinable public static var transRestartInjected: PersistentCounter { .init(rawValue: 69) }
  @inlinable public static var transRestartKeyCacheUpgrade: PersistentCounter { .init(rawValue: 70) }
  @inlinable public static var transTraverseAll: PersistentCounter { .init(rawValue: 71) }
  @inlinable public static var transactionCommit: PersistentCounter { .init(rawValue: 72) }
  @inlinable public static var writeSuper: PersistentCounter { .init(rawValue: 73) }
  @inlinable public static var transRestartWouldDeadlockRecursionLimit: PersistentCounter { .init(rawValue: 74) }
  @inlinable public static var transRestartWriteBufferFlush: PersistentCounter { .init(rawValue: 75) }
  @inlinable public static var transRestartSplitRace: PersistentCounter { .init(rawValue: 76) }
  @inlinable public static var writeBufferFlushSlowpath: PersistentCounter { .init(rawValue: 77) }
  @inlinable public static var writeBufferFlushSync: PersistentCounter { .init(rawValue: 78) }
}
