// SPDX-License-Identifier: GPL-2.0
// Whether opening a volume for writing raises its format version, and what recovery then has to do.
//
// How it works
//   1. Versions of one major number are compatible with each other: older programs can go back. A
//      new major number cannot be undone.
//   2. The upgrade begins where the last one was completed (`version_upgrade_complete`): passes of
//      one that was interrupted are asked for once more.
//   3. What the steps ask for goes into the section `ext` before any pass runs, and stays until
//      recovery has done it: see `Superblock.require` and `finishRecovery`.
// Invariants
//   (1) Without a policy that asks for it the version stays; a volume that cannot be written in its
//       version is then refused (`WritingSupport`).
// Source: recovery.c (check_version_upgrade), super-io.c (bch2_latest_compatible_version,
// bch2_sb_upgrade), sb-downgrade.c. Upstream upgrades by default.

internal import BcachefsFormat

/// A change of version that is to be made.
struct VersionUpgrade: Equatable {
  let from: MetadataVersion
  let to: MetadataVersion

  /// Nothing to do is nil.
  init?(_ superblock: Superblock, policy: VersionUpgradePolicy) {
    let complete = superblock[Superblock.Layout.versionUpgradeComplete]
    let old =
      complete == 0
      ? superblock.version : MetadataVersion(rawValue: UInt16(truncatingIfNeeded: complete))
    let compatible = Self.newestCompatible(superblock.version)
    let new: MetadataVersion
    if old < .requiredUpgradeBelow {
      let isForced = policy == .incompatible || compatible < .requiredUpgradeBelow
      new = policy == .none ? old : isForced ? .native : compatible
    } else {
      switch policy {
      case .compatible: new = compatible
      case .incompatible: new = .native
      default: new = min(old, .native)
      }
    }
    guard new > old else { return nil }
    from = old
    to = new
  }

  /// The newest version of the same major number that this program writes; of the versions before
  /// 1.0 each stands alone.
  static func newestCompatible(_ version: MetadataVersion) -> MetadataVersion {
    guard version.major != 0 else { return version }
    return version.major == MetadataVersion.native.major ? max(version, .native) : version
  }

  /// What recovery then has to do.
  func demand(hasStripes: Bool) -> VersionStep.Demand {
    MetadataVersion.upgradeDemand(from: from, to: to, hasStripes: hasStripes)
  }
}

/// What may not be written to, by name.
enum WritingSupport {
  /// Of a node: two of the largest keys, one of which there is and one that is new.
  private static let nodeBytesMin: UInt64 = 4096

  /// Far more than any journal has (8192 when a volume is made): each is a number in memory.
  static let journalBucketsMax = 1 << 20

  /// Refuses a journal that is longer than memory is for.
  ///
  /// - Parameter superblock: A device's own.
  /// - Throws: `.limit`.
  static func checkJournal(_ superblock: Superblock) throws(VolumeError) {
    var count = UInt64(superblock.section(of: JournalBucketsSection.self)?.buckets.count ?? 0)
    for range in superblock.section(of: JournalBucketRangesSection.self)?.ranges ?? [] {
      count = min(count, 1 << 32) + min(range.count, 1 << 32)
    }
    guard count <= journalBucketsMax else {
      throw VolumeError(
        .limit,
        "volume \(superblock.userUUID) can only be read: the journal of member "
          + "\(superblock.deviceIndex) has \(count) buckets, and this program writes to journals "
          + "of up to \(journalBucketsMax)")
    }
  }

  /// Refuses what this program would damage by writing.
  ///
  /// - Parameter policy: What the caller asks for; `.none` where nothing was asked.
  /// - Throws: `.unsupported`.
  static func check(
    _ superblock: Superblock, policy: VersionUpgradePolicy
  ) throws(VolumeError) {
    let name = "volume \(superblock.userUUID)"
    do throws(FormatError) {
      try superblock.checkSupported()
    } catch {
      throw VolumeError(
        .unsupported, "\(name) can only be read: \(VolumeFormatText.describe(error))")
    }
    for version in [superblock.version, superblock.versionMin] where version.isNewerThanNative {
      throw VolumeError(
        .unsupported,
        "\(name) can only be read: it has format version \(version), and this program writes "
          + "versions up to \(MetadataVersion.native)")
    }
    let upgraded = VersionUpgrade(superblock, policy: policy)?.to ?? superblock.version
    guard upgraded >= .requiredUpgradeBelow else {
      throw VolumeError(
        .unsupported,
        "\(name) has format version \(superblock.version), and can only be written to from "
          + "\(MetadataVersion.requiredUpgradeBelow) on: upgrade it with "
          + "version_upgrade=incompatible, or open it read_only")
    }
    let (nodeBytes, blockBytes) = (
      superblock[Superblock.Layout.btreeNodeSize] * 512, UInt64(superblock.blockSizeSectors) * 512
    )
    let least = max(nodeBytesMin, 2 * blockBytes)
    guard nodeBytes >= least else {
      throw VolumeError(
        .unsupported,
        "\(name) can only be read: its btree nodes have \(nodeBytes) bytes, and this program "
          + "writes nodes of at least \(least) where blocks have \(blockBytes): new keys go into a "
          + "block behind the others")
    }
    guard superblock[Superblock.Layout.bigEndian] == 0 else {
      throw VolumeError(.unsupported, "\(name) was written by a big-endian machine")
    }
    // A volume that was only formatted gets its features when it is initialised.
    guard !superblock.isInitialized || superblock.featureMask.contains(.newExtentOverwrite) else {
      throw VolumeError(
        .unsupported,
        "\(name) has not the feature new_extent_overwrite: its extents are of a form that is no "
          + "longer written")
    }
    guard
      superblock.isClean || !superblock.isInitialized
        || superblock.featureMask.contains(.extentsAboveBtreeUpdates)
    else {
      throw VolumeError(
        .unsupported,
        "\(name) was not unmounted in order by a program so old that its journal cannot be "
          + "replayed: recover it with that program")
    }
  }
}
