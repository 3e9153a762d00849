// SPDX-License-Identifier: GPL-2.0
// What a journal entry is made of. Numbers are persistent and must never change.

/// The type of a `struct jset_entry` (`enum bch_jset_entry_type`).
@frozen
public struct JSetEntryType: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "jset_entry_type"
  public static let names: [StaticString] = [
    "btree_keys", "btree_root", "prio_ptrs", "blacklist", "blacklist_v2", "usage", "data_usage",
    "clock", "dev_usage", "log", "overwrite", "write_buffer_keys", "datetime", "log_bkey",
    "rewind_limit", "rewind",
  ]
  public static var nativeCount: Int { 13 }
}

// swift-format-ignore
extension JSetEntryType {
  @inlinable public static var btreeKeys: JSetEntryType { .init(rawValue: 0) }
  @inlinable public static var btreeRoot: JSetEntryType { .init(rawValue: 1) }
  @inlinable public static var prioPtrs: JSetEntryType { .init(rawValue: 2) }
  @inlinable public static var blacklist: JSetEntryType { .init(rawValue: 3) }
  @inlinable public static var blacklistV2: JSetEntryType { .init(rawValue: 4) }
  @inlinable public static var usage: JSetEntryType { .init(rawValue: 5) }
  @inlinable public static var dataUsage: JSetEntryType { .init(rawValue: 6) }
  @inlinable public static var clock: JSetEntryType { .init(rawValue: 7) }
  @inlinable public static var devUsage: JSetEntryType { .init(rawValue: 8) }
  @inlinable public static var log: JSetEntryType { .init(rawValue: 9) }
  @inlinable public static var overwrite: JSetEntryType { .init(rawValue: 10) }
  @inlinable public static var writeBufferKeys: JSetEntryType { .init(rawValue: 11) }
  @inlinable public static var datetime: JSetEntryType { .init(rawValue: 12) }
  // Of formats newer than 1.13: good for printing.
  @inlinable public static var logBKey: JSetEntryType { .init(rawValue: 13) }
  @inlinable public static var rewindLimit: JSetEntryType { .init(rawValue: 14) }
  @inlinable public static var rewind: JSetEntryType { .init(rawValue: 15) }
}

extension JSetEntryType {
  /// Its payload is keys that recovery applies (`jset_entry_is_key`).
  public var isKey: Bool { self == .btreeKeys || self == .btreeRoot || self == .writeBufferKeys }
  /// Its payload is keys, applied or for information.
  public var holdsKeys: Bool { isKey || self == .overwrite }
}
