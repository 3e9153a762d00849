// SPDX-License-Identifier: GPL-2.0
// What the space of a volume is counted by: data types, accounting keys, quota. Numbers are
// persistent and must never change.

/// What a bucket or a replicas entry holds (`enum bch_data_type`).
@frozen
public struct DataType: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "data_type"
  public static let names: [StaticString] = [
    "free", "sb", "journal", "btree", "user", "cached", "parity", "stripe", "need_gc_gens",
    "need_discard", "unstriped", "multiple",
  ]
  public static var nativeCount: Int { 11 }
}

// swift-format-ignore
extension DataType {
  @inlinable public static var free: DataType { .init(rawValue: 0) }
  @inlinable public static var sb: DataType { .init(rawValue: 1) }
  @inlinable public static var journal: DataType { .init(rawValue: 2) }
  @inlinable public static var btree: DataType { .init(rawValue: 3) }
  @inlinable public static var user: DataType { .init(rawValue: 4) }
  @inlinable public static var cached: DataType { .init(rawValue: 5) }
  @inlinable public static var parity: DataType { .init(rawValue: 6) }
  @inlinable public static var stripe: DataType { .init(rawValue: 7) }
  @inlinable public static var needGcGens: DataType { .init(rawValue: 8) }
  @inlinable public static var needDiscard: DataType { .init(rawValue: 9) }
  @inlinable public static var unstriped: DataType { .init(rawValue: 10) }
}

/// What an accounting key counts (`enum disk_accounting_type`).
@frozen
public struct DiskAccountingType: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "disk_accounting_type"
  public static let names: [StaticString] = [
    "nr_inodes", "persistent_reserved", "replicas", "dev_data_type", "compression", "snapshot",
    "btree", "rebalance_work", "inum", "reconcile_work", "dev_leaving",
  ]
  public static var nativeCount: Int { 9 }
}

// swift-format-ignore
extension DiskAccountingType {
  @inlinable public static var nrInodes: DiskAccountingType { .init(rawValue: 0) }
  @inlinable public static var persistentReserved: DiskAccountingType { .init(rawValue: 1) }
  @inlinable public static var replicas: DiskAccountingType { .init(rawValue: 2) }
  @inlinable public static var devDataType: DiskAccountingType { .init(rawValue: 3) }
  @inlinable public static var compression: DiskAccountingType { .init(rawValue: 4) }
  @inlinable public static var snapshot: DiskAccountingType { .init(rawValue: 5) }
  @inlinable public static var btree: DiskAccountingType { .init(rawValue: 6) }
  @inlinable public static var rebalanceWork: DiskAccountingType { .init(rawValue: 7) }
  @inlinable public static var inum: DiskAccountingType { .init(rawValue: 8) }
}

/// What a `usage` entry of the journal counts (`enum bch_fs_usage_type`).
@frozen
public struct FilesystemUsageType: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "fs_usage_type"
  public static let names: [StaticString] = [
    "reserved", "inodes", "key_version",
  ]
}

// swift-format-ignore
extension FilesystemUsageType {
  @inlinable public static var reserved: FilesystemUsageType { .init(rawValue: 0) }
  @inlinable public static var inodes: FilesystemUsageType { .init(rawValue: 1) }
  @inlinable public static var keyVersion: FilesystemUsageType { .init(rawValue: 2) }
}

/// Whose use a quota key limits (`enum quota_types`).
@frozen
public struct QuotaType: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "quota_type"
  public static let names: [StaticString] = [
    "usr", "grp", "prj",
  ]
}

// swift-format-ignore
extension QuotaType {
  @inlinable public static var usr: QuotaType { .init(rawValue: 0) }
  @inlinable public static var grp: QuotaType { .init(rawValue: 1) }
  @inlinable public static var prj: QuotaType { .init(rawValue: 2) }
}

extension QuotaType {
  /// Those there are, in the order of their numbers.
  public static let all: [QuotaType] = [.usr, .grp, .prj]

  /// What it is called where people read it (`bch2_quota_types`).
  public var word: String {
    switch self {
    case .usr: "user"
    case .grp: "group"
    case .prj: "project"
    default: "\(self)"
    }
  }
}

/// What a quota limits (`enum quota_counters`): space in sectors, inodes.
@frozen
public struct QuotaCounter: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "quota_counter"
  public static let names: [StaticString] = [
    "spc", "ino",
  ]
}

// swift-format-ignore
extension QuotaCounter {
  @inlinable public static var spc: QuotaCounter { .init(rawValue: 0) }
  @inlinable public static var ino: QuotaCounter { .init(rawValue: 1) }
}

extension DataType {
  /// Buckets of this type hold nothing (`data_type_is_empty`).
  public var isEmpty: Bool { self == .free || self == .needGcGens || self == .needDiscard }
  /// Space of this type is not counted as the user's (`data_type_is_hidden`).
  public var isHidden: Bool { self == .sb || self == .journal }
}

extension DiskAccountingType {
  /// How many counters a key of this type has in version 1.13; nil for one of a newer format.
  public var counterCount: Int? {
    switch self {
    case .devDataType, .compression, .inum: 3
    case .nrInodes, .persistentReserved, .replicas, .snapshot, .btree, .rebalanceWork: 1
    default: nil
    }
  }
}
