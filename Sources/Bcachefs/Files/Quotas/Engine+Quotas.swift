// SPDX-License-Identifier: GPL-2.0
// Quotas as a volume has them on disk: counted and read when it is opened, limits and grace periods
// changed.
//
// How it works
//   1. Behind all that is done when a volume is opened limits are read and inodes counted: nobody
//      else changes anything yet.
//   2. A limit is a key of the quotas btree at its type and number, and goes when nothing is
//      limited any more; a grace period stands in the superblock. Both are in force at once.
// Locks: as all transactions.
// Source: quota.c (bch2_fs_quota_read, bch2_set_quota_trans, bch2_quota_set_info).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

extension Engine {
  /// Reads limits, and counts what is used, where quotas are on.
  ///
  /// - Complexity: all inodes are looked at.
  func readQuotas() throws(VolumeError) {
    guard let quotas else { return }
    let usage = try countQuotaUsage()
    var limits: [(QuotaType, UInt32, Quota)] = []
    try walk(.quotas) { (key, value) in
      if let found = Quota.limits(key, value) { limits.append(found) }
    }
    quotas.begin(usage, limits, store.superblock.section(of: QuotaSection.self))
  }

  /// What all inodes come to. Nobody changes any meanwhile.
  func countQuotaUsage() throws(VolumeError) -> QuotaUsage {
    var view = QuotaView(snapshots.withLock { $0 })
    for snapshot in try countedSnapshots() { view.add(snapshot) }
    var usage = QuotaUsage(view)
    try walk(.inodes) { (key, value) in usage.add(key, value) }
    return usage
  }

  /// The snapshots of the subvolumes that trees of snapshots name.
  private func countedSnapshots() throws(VolumeError) -> [UInt32] {
    var subvolumes: [UInt32] = []
    try walk(.snapshotTrees) { (key, value) in
      if let tree = SnapshotTree(key, value) { subvolumes.append(tree.masterSubvolume) }
    }
    return try run("quota_read") { (transaction) throws(TransactionError) in
      var snapshots: [UInt32] = []
      for id in subvolumes {
        if let found = try transaction.storedSubvolume(id, .read) {
          snapshots.append(found.snapshot)
        }
      }
      return snapshots
    }
  }

  /// Calls `body` with all keys of a btree, some in each transaction.
  private func walk(
    _ btree: BTreeID, _ body: (BKey, RawSpan) -> Void
  ) throws(VolumeError) {
    var position: BPos? = .min
    while let start = position {
      // No key is taken in twice: a transaction begins again before it has all that it wants.
      position = try run("quota_read") { (transaction) throws(TransactionError) in
        var keys: [(BKey, [UInt8])] = []
        var walk = KeyWalk(btree, from: start)
        while keys.count < Self.keysReadAtOnce, let found = try transaction.next(&walk) {
          keys.append((found.key, found.withValue { $0.copiedBytes }))
        }
        for (key, value) in keys { body(key, value.rawBytes) }
        guard keys.count == Self.keysReadAtOnce else { return nil }
        return keys.last?.0.position.successor
      }
    }
  }

  private static var keysReadAtOnce: Int { 256 }

  // MARK: - Changing

  /// Changes somebody's limits.
  ///
  /// - Returns: the limits from now on.
  func setQuota(
    _ type: QuotaType, _ id: UInt32, _ change: (inout Quota) -> Void
  ) throws(VolumeError) -> Quota {
    let position = BPos(UInt64(type.rawValue), UInt64(id))
    let limits = try run("quota_set") { (transaction) throws(TransactionError) in
      var limits = Quota()
      if let found = try transaction.lookup(.quotas, position, .intent), found.key.type == .quota {
        limits = try found.decoded { (value) throws(FormatError) in try Quota(decoding: value) }
      }
      change(&limits)
      if limits == Quota() {
        transaction.delete(.quotas, position)
      } else {
        transaction.put(.quotas, .quota, position, Quota.encodedU64s) { limits.encode(into: &$0) }
      }
      try transaction.commit()
      return limits
    }
    quotas?.setLimits(limits, type, id)
    return limits
  }

  /// Changes grace periods of a type, in seconds; nil ones stay.
  func setQuotaGrace(
    _ type: QuotaType, space: UInt32?, inodes: UInt32?
  ) throws(VolumeError) {
    try store.update { superblock in
      var section = superblock.section(of: QuotaSection.self) ?? QuotaSection.ofNewVolume
      if let space { section.limits[Int(type.rawValue)].space.timeLimit = space }
      if let inodes { section.limits[Int(type.rawValue)].inodes.timeLimit = inodes }
      superblock.setSection(.quota(section))
    }
    if let section = store.superblock.section(of: QuotaSection.self) { quotas?.setGrace(section) }
  }

  /// Adds one promise to another.
  func add(_ new: DiskReservation, to reservation: inout DiskReservation) {
    reservation.sectors += new.sectors
    quotas?.add(new.quota, to: &reservation.quota)
  }

  /// Takes back what is left of what was promised to somebody who writes.
  func release(_ reservation: inout DiskReservation) {
    usage.release(&reservation)
    quotas?.release(&reservation.quota)
  }
}

extension Quota {
  /// Whom a key of the quotas btree limits, and to what; nil for a key that is none of those.
  static func limits(_ key: BKey, _ value: RawSpan) -> (QuotaType, UInt32, Quota)? {
    guard key.type == .quota, let id = UInt32(exactly: key.position.offset),
      let type = QuotaType.all.first(where: { UInt64($0.rawValue) == key.position.inode }),
      let limits = try? Quota(decoding: value)
    else { return nil }
    return (type, id, limits)
  }
}

extension SnapshotTree {
  /// - Returns: nil where the key is none.
  init?(_ key: BKey, _ value: RawSpan) {
    guard key.type == .snapshotTree, let tree = try? SnapshotTree(decoding: value) else {
      return nil
    }
    self = tree
  }
}

extension QuotaSection {
  /// What a volume has that says nothing (`bch2_sb_get_or_create_quota`).
  static var ofNewVolume: QuotaSection {
    let counter = QuotaLimits.Counter(timeLimit: Quotas.defaultGraceSeconds, warnLimit: 0)
    return QuotaSection(
      limits: QuotaType.all.map { _ in QuotaLimits(flags: 0, space: counter, inodes: counter) })
  }
}
