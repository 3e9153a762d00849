// SPDX-License-Identifier: GPL-2.0
// What time is measured of. Upstream's list, in its order, with its names: those stay without
// events whose work is not part of the engine.
// Source: bcachefs.h (BCH_TIME_STATS).

/// Something that takes time (`enum bch_time_stats`). Where nothing else is said, events are calls.
enum TimeStatistic: UInt8, CaseIterable, Sendable {
  /// Getting memory for a node.
  case btreeNodeMemAlloc
  /// Replacing a full node by two, or more.
  case btreeNodeSplit
  /// Replacing a node that dead keys filled.
  case btreeNodeCompact
  /// Replacing two neighbours by one.
  case btreeNodeMerge
  case btreeNodeSort
  /// From the request for a node to the node in memory.
  case btreeNodeRead
  /// Of that, taking over what was read and decoded.
  case btreeNodeReadDone
  /// Replacing nodes, until others see the new ones.
  case btreeInteriorUpdateForeground
  /// Replacing nodes, until the disk leads to the new ones.
  case btreeInteriorUpdateTotal
  case btreeGC
  case dataWrite
  case dataRead
  case dataPromote
  /// Writing a journal entry with all flushes.
  case journalFlushWrite
  /// Writing a journal entry that is not flushed.
  case journalNoflushWrite
  /// Waiting until a journal entry is flushed.
  case journalFlushSeq
  /// A time in which only those could reserve who make room in the journal.
  case blockedJournalLowOnSpace
  case blockedJournalLowOnPin
  /// A time in which no more journal entries could be opened, as too many were not written.
  case blockedJournalMaxInFlight
  case blockedKeyCacheFlush
  /// A time in which no free bucket was found.
  case blockedAllocate
  case blockedAllocateOpenBucket
  /// A time in which commits had to empty the write buffer first.
  case blockedWriteBufferFull
  case nocowLockContended

  private static let names: [StaticString] = [
    "btree_node_mem_alloc", "btree_node_split", "btree_node_compact", "btree_node_merge",
    "btree_node_sort", "btree_node_read", "btree_node_read_done",
    "btree_interior_update_foreground", "btree_interior_update_total", "btree_gc", "data_write",
    "data_read", "data_promote", "journal_flush_write", "journal_noflush_write",
    "journal_flush_seq", "blocked_journal_low_on_space", "blocked_journal_low_on_pin",
    "blocked_journal_max_in_flight", "blocked_key_cache_flush", "blocked_allocate",
    "blocked_allocate_open_bucket", "blocked_write_buffer_full", "nocow_lock_contended",
  ]

  /// Upstream's name.
  var name: String { "\(Self.names[Int(rawValue)])" }
}
