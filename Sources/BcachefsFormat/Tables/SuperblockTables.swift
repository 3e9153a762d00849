// SPDX-License-Identifier: GPL-2.0
// What the superblock names by number: its sections, feature and compatibility bits, and how a
// volume reacts to errors and to newer versions. Numbers are persistent and must never change.

/// A variable-size section of the superblock (`enum bch_sb_field_type`, `BCH_SB_FIELDS`).
@frozen
public struct SuperblockSectionType: PersistentNumber {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let tableName: StaticString = "sb_field"
  public static let names: [StaticString] = [
    "journal", "members_v1", "crypt", "replicas_v0", "quota", "disk_groups", "clean", "replicas",
    "journal_seq_blacklist", "journal_v2", "counters", "members_v2", "errors", "ext", "downgrade",
    "recovery_passes", "extent_type_u64s", "errors_v2",
  ]
  public static var nativeCount: Int { 15 }
}

// swift-format-ignore
extension SuperblockSectionType {
  @inlinable public static var journal: SuperblockSectionType { .init(rawValue: 0) }
  @inlinable public static var membersV1: SuperblockSectionType { .init(rawValue: 1) }
  @inlinable public static var crypt: SuperblockSectionType { .init(rawValue: 2) }
  @inlinable public static var replicasV0: SuperblockSectionType { .init(rawValue: 3) }
  @inlinable public static var quota: SuperblockSectionType { .init(rawValue: 4) }
  @inlinable public static var diskGroups: SuperblockSectionType { .init(rawValue: 5) }
  @inlinable public static var clean: SuperblockSectionType { .init(rawValue: 6) }
  @inlinable public static var replicas: SuperblockSectionType { .init(rawValue: 7) }
  @inlinable public static var journalSeqBlacklist: SuperblockSectionType { .init(rawValue: 8) }
  @inlinable public static var journalV2: SuperblockSectionType { .init(rawValue: 9) }
  @inlinable public static var counters: SuperblockSectionType { .init(rawValue: 10) }
  @inlinable public static var membersV2: SuperblockSectionType { .init(rawValue: 11) }
  @inlinable public static var errors: SuperblockSectionType { .init(rawValue: 12) }
  @inlinable public static var ext: SuperblockSectionType { .init(rawValue: 13) }
  @inlinable public static var downgrade: SuperblockSectionType { .init(rawValue: 14) }
}

/// A bit of `bch_sb.features`: whoever does not know it must not mount (`BCH_SB_FEATURES`).
@frozen
public struct SuperblockFeature: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "feature"
  public static let names: [StaticString] = [
    "lz4", "gzip", "zstd", "atomic_nlink", "ec", "journal_seq_blacklist_v3", "reflink",
    "new_siphash", "inline_data", "new_extent_overwrite", "incompressible", "btree_ptr_v2",
    "extents_above_btree_updates", "btree_updates_journalled", "reflink_inline_data",
    "new_varint", "journal_no_flush", "alloc_v2", "extents_across_btree_nodes",
    "incompat_version_field", "casefolding", "no_alloc_info", "small_image", "no_default_sb",
  ]
  public static var nativeCount: Int { 19 }
}

// swift-format-ignore
extension SuperblockFeature {
  @inlinable public static var lz4: SuperblockFeature { .init(rawValue: 0) }
  @inlinable public static var gzip: SuperblockFeature { .init(rawValue: 1) }
  @inlinable public static var zstd: SuperblockFeature { .init(rawValue: 2) }
  @inlinable public static var atomicNlink: SuperblockFeature { .init(rawValue: 3) }
  @inlinable public static var ec: SuperblockFeature { .init(rawValue: 4) }
  @inlinable public static var journalSeqBlacklistV3: SuperblockFeature { .init(rawValue: 5) }
  @inlinable public static var reflink: SuperblockFeature { .init(rawValue: 6) }
  @inlinable public static var newSiphash: SuperblockFeature { .init(rawValue: 7) }
  @inlinable public static var inlineData: SuperblockFeature { .init(rawValue: 8) }
  @inlinable public static var newExtentOverwrite: SuperblockFeature { .init(rawValue: 9) }
  @inlinable public static var incompressible: SuperblockFeature { .init(rawValue: 10) }
  @inlinable public static var btreePtrV2: SuperblockFeature { .init(rawValue: 11) }
  @inlinable public static var extentsAboveBtreeUpdates: SuperblockFeature { .init(rawValue: 12) }
  @inlinable public static var btreeUpdatesJournalled: SuperblockFeature { .init(rawValue: 13) }
  @inlinable public static var reflinkInlineData: SuperblockFeature { .init(rawValue: 14) }
  @inlinable public static var newVarint: SuperblockFeature { .init(rawValue: 15) }
  @inlinable public static var journalNoFlush: SuperblockFeature { .init(rawValue: 16) }
  @inlinable public static var allocV2: SuperblockFeature { .init(rawValue: 17) }
  @inlinable public static var extentsAcrossBtreeNodes: SuperblockFeature { .init(rawValue: 18) }
}

/// A bit of `bch_sb.compat`: what is known to be done to this volume (`BCH_SB_COMPAT`).
@frozen
public struct SuperblockCompatFeature: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "compat"
  public static let names: [StaticString] = [
    "alloc_info", "alloc_metadata", "extents_above_btree_updates_done", "bformat_overflow_done",
    "no_stale_ptrs",
  ]
  public static var nativeCount: Int { 4 }
}

// swift-format-ignore
extension SuperblockCompatFeature {
  @inlinable public static var allocInfo: SuperblockCompatFeature { .init(rawValue: 0) }
  @inlinable public static var allocMetadata: SuperblockCompatFeature { .init(rawValue: 1) }
  @inlinable public static var extentsAboveBtreeUpdatesDone: SuperblockCompatFeature { .init(rawValue: 2) }
  @inlinable public static var bformatOverflowDone: SuperblockCompatFeature { .init(rawValue: 3) }
}

/// How far a mount may raise the version (`BCH_VERSION_UPGRADE_OPTS`).
@frozen
public struct VersionUpgradePolicy: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "version_upgrade"
  public static let names: [StaticString] = [
    "compatible", "incompatible", "none",
  ]
}

// swift-format-ignore
extension VersionUpgradePolicy {
  @inlinable public static var compatible: VersionUpgradePolicy { .init(rawValue: 0) }
  @inlinable public static var incompatible: VersionUpgradePolicy { .init(rawValue: 1) }
  @inlinable public static var none: VersionUpgradePolicy { .init(rawValue: 2) }
}

/// What to do when metadata is found damaged (`BCH_ERROR_ACTIONS`).
@frozen
public struct ErrorAction: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "error_action"
  public static let names: [StaticString] = [
    "continue", "fix_safe", "panic", "ro",
  ]
}

// swift-format-ignore
extension ErrorAction {
  @inlinable public static var `continue`: ErrorAction { .init(rawValue: 0) }
  @inlinable public static var fixSafe: ErrorAction { .init(rawValue: 1) }
  @inlinable public static var panic: ErrorAction { .init(rawValue: 2) }
  @inlinable public static var ro: ErrorAction { .init(rawValue: 3) }
}

/// How fsck answers its own questions (`BCH_FIX_ERRORS_OPTS`).
@frozen
public struct FixErrorsAnswer: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "fix_errors"
  public static let names: [StaticString] = [
    "exit", "yes", "no", "ask",
  ]
}

// swift-format-ignore
extension FixErrorsAnswer {
  @inlinable public static var exit: FixErrorsAnswer { .init(rawValue: 0) }
  @inlinable public static var yes: FixErrorsAnswer { .init(rawValue: 1) }
  @inlinable public static var no: FixErrorsAnswer { .init(rawValue: 2) }
  @inlinable public static var ask: FixErrorsAnswer { .init(rawValue: 3) }
}

/// How a passphrase becomes a key (`enum bch_kdf_types`).
@frozen
public struct KeyDerivation: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "kdf_type"
  public static let names: [StaticString] = [
    "scrypt"
  ]
}

// swift-format-ignore
extension KeyDerivation {
  @inlinable public static var scrypt: KeyDerivation { .init(rawValue: 0) }
}

extension SuperblockFeature {
  /// Set on every volume that is mounted read-write (`BCH_SB_FEATURES_ALWAYS`).
  public static let always: PersistentMask<SuperblockFeature> = [
    .newExtentOverwrite, .extentsAboveBtreeUpdates, .btreeUpdatesJournalled, .allocV2,
    .extentsAcrossBtreeNodes,
  ]
  /// What a new volume gets (`BCH_SB_FEATURES_ALL`).
  public static let newVolume = always.union([
    .newSiphash, .btreePtrV2, .newVarint, .journalNoFlush,
  ])
}
