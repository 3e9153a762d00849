// SPDX-License-Identifier: GPL-2.0
// What can be read of formats other than 1.13, as data: each later version with what it asks of
// readers, each feature bit, and the oldest version whose volumes are read.
//
// How it works
//   1. A volume of a newer minor version may be read by anybody, but for what its superblock says
//      is in use: feature bits, and `version_incompat`, the newest version of those whose
//      incompatible change has been made use of. All changes up to that one count as used.
//   2. checkReadable() asks the tables; checkSupported() asks the same for writing, where only
//      what 1.13 knows will do.
// Invariants
//   (1) `newerVersions` has a row for each row of `MetadataVersion.newerTable`, in its order.
//   (2) What has no row is refused by its number.
// Source: `bch2_sb_validate` (super-io.c); bcachefs-tools fs/bcachefs_format.h, and the callers of
// bch2_request_incompat_feature.

/// What is known of formats other than the native one.
public enum FormatSupport {
  /// What a newer version asks of whoever reads.
  public enum Reading: Sendable, Equatable {
    /// Files, directories and metadata read as before.
    case unchanged
    /// Only what a reader may ignore changed: allocation, accounting, background work.
    case derivedOnly
    /// Readers have to know it: `note` says what.
    case changed
  }

  /// One version newer than 1.13.
  public struct VersionRow: Sendable {
    public let version: MetadataVersion
    public let reading: Reading
    /// Whether upstream raises `version_incompat` to this version when it makes use of it.
    public let isIncompatible: Bool
    /// For those who write the readers.
    public let note: StaticString

    fileprivate init(
      _ minor: UInt16, _ reading: Reading, incompatible: Bool = false, _ note: StaticString
    ) {
      version = MetadataVersion(1, minor)
      self.reading = reading
      isIncompatible = incompatible
      self.note = note
    }
  }

  /// One feature bit newer than 1.13.
  public struct FeatureRow: Sendable {
    public let feature: SuperblockFeature
    public let note: StaticString
  }

  /// The oldest version whose volumes are read: from here on each step has an upgrade pass, and
  /// subvolumes, snapshots and backpointers are where 1.13 looks for them.
  public static let oldestReadable = MetadataVersion.newDataTypes
  /// The oldest `version_min`: nodes and journal entries before it have keys of another shape
  /// (types renumbered, inode and offset swapped, no snapshot field).
  public static let oldestReadableNode = MetadataVersion.snapshot
  /// The newest version whose incompatible changes are known.
  public static let newestReadable = newerVersions.last?.version ?? .native

  // swift-format-ignore
  /// Versions 1.14 to 1.39.
  public static let newerVersions: [VersionRow] = [
    VersionRow(14, .derivedOnly, "backpointers have a bucket generation, and are keyed by device and sector, no longer by bucket"),
    VersionRow(15, .derivedOnly, "positions of accounting keys are stored byte-swapped (big-endian type first): needed for usage, not for files"),
    VersionRow(16, .changed, incompatible: true, "reflink_p has an error and a may_update_options bit in its idx_flags above the 56 bits of the index: mask them"),
    VersionRow(17, .derivedOnly, "inodes have a depth field (variable-length field, new number)"),
    VersionRow(18, .derivedOnly, "logged_ops holds inode_alloc_cursor keys under inode 1: no operations to finish"),
    VersionRow(19, .unchanged, "another default of the errors option"),
    VersionRow(20, .unchanged, "i_size of a directory is maintained; show it as stored"),
    VersionRow(21, .derivedOnly, "cached pointers have backpointers too"),
    VersionRow(22, .derivedOnly, "stripes have backpointers"),
    VersionRow(23, .derivedOnly, "stripes have LRU entries"),
    VersionRow(24, .changed, incompatible: true, "top bit of d_type's byte: a dirent with two names (pad, two lengths, name, folded name), keyed by the folded one"),
    VersionRow(25, .changed, incompatible: true, "extent entry type 6 (one u64, 57 flag bits): bit 0 is poisoned, reads fail"),
    VersionRow(26, .changed, incompatible: true, "interior snapshot nodes stay in the tree as no_keys, deleted ones keep their links: neither is live"),
    VersionRow(27, .derivedOnly, incompatible: true, "pointers to removed devices may remain: device 255 or a free slot is a missing copy"),
    VersionRow(28, .changed, "inode flag has_case_insensitive: a descendant directory is casefolded"),
    VersionRow(29, .changed, incompatible: true, "key type extent_whiteout hides an extent in a snapshot as whiteout does"),
    VersionRow(30, .changed, incompatible: true, "inode flag 31bit_dirent_offset: hashes of that directory's dirents are cut to 31 bits"),
    VersionRow(31, .derivedOnly, "btree accounting counts nodes"),
    VersionRow(32, .changed, incompatible: true, "superblock section 16 gives the size in u64s of each extent entry type: the way to step over unknown ones"),
    VersionRow(33, .changed, incompatible: true, "extent entry types 7 (reconcile) and 8 (reconcile_bp) to step over; btrees 21 to 25, 18 renamed"),
    VersionRow(34, .changed, incompatible: true, "key type error has a value (reason): reads of its range fail as before"),
    VersionRow(35, .derivedOnly, "bucket_to_stripe is btree 26"),
    VersionRow(36, .changed, incompatible: true, "replicas entries cover metadata only: whether missing devices cost file data is known when it is read"),
    VersionRow(37, .changed, "stripe_backpointers is btree 27; stripe keys have newer fields behind the old ones"),
    VersionRow(38, .derivedOnly, "need_discard is keyed by journal sequence number"),
    VersionRow(39, .derivedOnly, "fragmentation LRU per device; the damage btree is number 28"),
  ]

  // swift-format-ignore
  /// Feature bits that 1.13 does not have.
  public static let newerFeatures: [FeatureRow] = [
    FeatureRow(feature: SuperblockFeature(rawValue: 19), note: "version_incompat is maintained"),
    FeatureRow(feature: SuperblockFeature(rawValue: 20), note: "directories may be casefolded: see 1.24"),
    FeatureRow(feature: SuperblockFeature(rawValue: 21), note: "no allocation btrees: bucket generations are unknown, no pointer is stale"),
    FeatureRow(feature: SuperblockFeature(rawValue: 22), note: "made as an image without room to write: no journal buckets"),
    FeatureRow(feature: SuperblockFeature(rawValue: 23), note: "no superblock in sector 8: migrated in place, copies where the layout says"),
  ]

  private static let readableFeatures: PersistentMask<SuperblockFeature> =
    newerFeatures.reduce(PersistentMask(rawValue: 0)) { mask, row in
      mask.union(PersistentMask(rawValue: 1 << UInt64(row.feature.rawValue)))
    }

  /// Refuses a volume that cannot be read without misreading it.
  ///
  /// - Throws: `.unsupported`, naming the field; `found` is the version or the number of the bit.
  public static func checkReadable(_ superblock: Superblock) throws(FormatError) {
    guard superblock.version >= oldestReadable else {
      throw FormatError(
        .unsupported, "bch_sb", "version", found: UInt64(superblock.version.rawValue),
        expected: UInt64(oldestReadable.rawValue))
    }
    guard superblock.versionMin >= oldestReadableNode else {
      throw FormatError(
        .unsupported, "bch_sb", "version_min", found: UInt64(superblock.versionMin.rawValue),
        expected: UInt64(oldestReadableNode.rawValue))
    }
    let unknown = superblock.featureMask.unknown.subtracting(readableFeatures)
    if let first = unknown.elements.first {
      throw FormatError(.unsupported, "bch_sb", "features", found: UInt64(first.rawValue))
    }
    guard superblock.features[1] == 0 else {
      throw FormatError(
        .unsupported, "bch_sb", "features",
        found: 64 + UInt64(superblock.features[1].trailingZeroBitCount))
    }
    let incompatible = superblock.versionIncompat
    guard incompatible <= newestReadable else {
      throw FormatError(
        .unsupported, "bch_sb", "version_incompat", found: UInt64(incompatible.rawValue),
        expected: UInt64(newestReadable.rawValue))
    }
  }
}

extension Superblock {
  /// The newest version whose incompatible change is in use; 0.0 before 1.14.
  public var versionIncompat: MetadataVersion {
    MetadataVersion(rawValue: UInt16(truncatingIfNeeded: self[Layout.versionIncompat]))
  }

  /// Whether directories are casefolded where their inode says nothing (from 1.24 on).
  public var casefoldsByDefault: Bool { self[Layout.casefold] != 0 }

  /// How to step over extent entries that this version does not know (from 1.32 on).
  public var extentEntrySizes: ExtentEntrySizes {
    for section in sections {
      if case .unknown(let unknown) = section, unknown.type.rawValue == 16 {
        return ExtentEntrySizes(section: unknown.contents)
      }
    }
    return .none
  }

  /// Bits of a backpointer's position below the sector; nil before 1.14.
  public var backpointerShift: UInt64? {
    guard version >= MetadataVersion(1, 14) else { return nil }
    let stored = self[Layout.backpointerShift]
    return stored == 0 || stored > 63 ? 10 : stored
  }

  /// Whether positions of accounting keys stand in reverse byte order (from 1.15 on).
  public var swapsAccountingPositions: Bool { version >= MetadataVersion(1, 15) }

  /// Whether the replicas entries tell of file data too; from 1.36 on of metadata only.
  public var replicasCoverUserData: Bool { versionIncompat < MetadataVersion(1, 36) }
}
