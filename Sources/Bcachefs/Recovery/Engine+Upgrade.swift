// SPDX-License-Identifier: GPL-2.0
// Volumes of an older format version: refused, or raised to the native one.
//
// How it works
//   1. Derived keys are those of the native version: in an older one some are missing, and only
//      recovery passes can make them. An upgrade whose passes are not there is refused by their
//      names, before anything is written.
//   2. The superblock gets the new version, and what is still to be done for it. When the journal
//      is replayed that is done, and flushed; then the superblock says that the upgrade is
//      complete. One that was interrupted, by whomever, goes on when the volume is opened next.
// Invariants
//   (1) The version never goes up without the passes being noted with it, in one write.
// Source: recovery.c (check_version_upgrade), fsck.c (check_inode).

internal import BcachefsFormat
internal import BcachefsSupport

extension Engine {
  /// Passes that `completeUpgrade` does, as far as an upgrade needs them.
  private static var upgradePasses: PersistentMask<RecoveryPass> { [.checkInodes] }

  /// Raises the version, if that is asked for and can be done.
  ///
  /// - Returns: whether an upgrade is to be completed.
  /// - Throws: `.unsupported` where the volume cannot be changed in its version.
  static func beginUpgrade(
    _ store: SuperblockStore, _ asked: VersionUpgradePolicy
  ) throws(VolumeError) -> Bool {
    let superblock = store.superblock
    let complete = superblock[Superblock.Layout.versionUpgradeComplete]
    let isBegun = superblock.isInitialized && complete < superblock.version.rawValue
    let policy = isBegun && asked == .none ? .compatible : asked
    guard superblock.isInitialized, let upgrade = VersionUpgrade(superblock, policy: policy) else {
      guard superblock.version == .native else { throw refusal(superblock) }
      return false
    }
    let missing = upgrade.demand(hasStripes: true).passes.subtracting(upgradePasses)
    guard upgrade.to == .native, missing.isEmpty else { throw refusal(superblock, missing) }
    _ = try store.beginRecovery(policy)
    return true
  }

  private static func refusal(
    _ superblock: Superblock, _ missing: PersistentMask<RecoveryPass> = []
  ) -> VolumeError {
    let names = (0..<RecoveryPass.nativeCount).map { RecoveryPass(rawValue: UInt8($0)) }
      .filter { missing.contains($0) }.map { "\($0)" }
    let needs =
      names.isEmpty
      ? "ask for version_upgrade=compatible"
      : "the upgrade needs passes that this program does not have: " + names.joined(separator: ", ")
    return VolumeError(
      .unsupported,
      "volume \(superblock.userUUID) has format version \(superblock.version), and can only be "
        + "changed in version \(MetadataVersion.native): \(needs); or mount it once with Linux "
        + "6.12 and version_upgrade=compatible, or open it read_only")
  }

  /// Does what the new version asks for.
  func completeUpgrade() throws(VolumeError) {
    if store.superblock.requiredPasses.contains(.checkInodes) {
      try markInodesWithChildSnapshots()
      try journal.flush(upTo: journal.currentSequence)
      try store.completePass(.checkInodes)
    }
    try store.finishRecovery(foundErrors: false, wasChecked: false)
  }

  /// Has each inode say whether a snapshot below has a version of its own (1.13).
  private func markInodesWithChildSnapshots() throws(VolumeError) {
    var position: BPos? = .min
    while let start = position {
      position = try run("check_inodes") { (transaction) throws(TransactionError) in
        try transaction.markInodes(from: start)
      }
    }
  }
}

extension Transaction {
  private static var inodesAtOnce: Int { 16 }

  /// Marks some inodes, and commits.
  ///
  /// - Returns: where to go on; nil behind the last.
  fileprivate func markInodes(from start: BPos) throws(TransactionError) -> BPos? {
    var position: BPos? = start
    for _ in 0..<Self.inodesAtOnce {
      guard let here = position, let found = try next(.inodes, from: here, .intent) else {
        position = nil
        break
      }
      position = found.key.position.successor
      try markIfParent(found)
    }
    try commit()
    return position
  }
}
