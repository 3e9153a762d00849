// SPDX-License-Identifier: GPL-2.0
// Quotas as those who use the library see and set them.
//
// How it works
//   1. Of a volume that is only read all inodes are counted anew, whether quotas are on or not.
//   2. Of one that is open for changes what is told is what is in force: of the types that are on.
// Source: quota.c (bch2_get_quota, bch2_get_next_quota, bch2_set_quota, bch2_quota_set_info).

public import BcachefsFormat
internal import BcachefsSupport

/// What a user, group or project uses, and may use.
public struct QuotaEntry: Sendable, Equatable {
  /// Whose number it is.
  public let id: UInt32
  /// Sectors of 512 bytes.
  public let usedSectors: UInt64
  /// Files, directories and all else with an inode.
  public let usedInodes: UInt64
  /// In sectors and inodes; 0 is none.
  public let limits: Quota
}

/// What is known of one type of quota.
public struct QuotaReport: Sendable {
  /// Of users, groups or projects.
  public let type: QuotaType
  /// Whether the volume's options, or those of the mount, switch it on.
  public let isOn: Bool
  /// How long soft limits may be exceeded.
  public let grace: QuotaLimits
  /// All who use something or have limits, by number.
  public let entries: [QuotaEntry]
}

extension Volume {
  /// What everybody uses and may use: a report of each type.
  ///
  /// - Throws: what reading a node throws: `.allCopiesBad`, `.corrupt`, `.device`.
  /// - Complexity: all inodes are looked at.
  public func quotaReports() throws(VolumeError) -> [QuotaReport] {
    var view = QuotaView(snapshots)
    var trees: [SnapshotTree] = []
    try forEachKey(of: .snapshotTrees) { (key, value) in
      if let tree = SnapshotTree(key, value) { trees.append(tree) }
      return true
    }
    for tree in trees {
      do throws(VolumeError) { view.add(try subvolume(tree.masterSubvolume).snapshot) } catch {
        guard error.code == .notFound else { throw error }
      }
    }
    var usage = QuotaUsage(view)
    try forEachKey(of: .inodes) { (key, value) in
      usage.add(key, value)
      return true
    }
    var accounts = InlineArray<3, [UInt32: Quotas.Account]>(repeating: [:])
    for type in QuotaType.all {
      for (id, used) in usage.uses(type) {
        accounts[Int(type.rawValue)][id] = Quotas.Account(used)
      }
    }
    try forEachKey(of: .quotas) { (key, value) in
      if let (type, id, limits) = Quota.limits(key, value) {
        accounts[Int(type.rawValue)][id, default: Quotas.Account()].limits = limits
      }
      return true
    }
    return QuotaType.all.map { type in
      QuotaReport(
        type, isOn: media.options.isOn(type.option), superblock, accounts[Int(type.rawValue)])
    }
  }
}

extension FileSystem {
  /// What everybody uses and may use now: a report of each type that is on.
  public func quotaReports() -> [QuotaReport] {
    guard let quotas = engine.quotas else { return [] }
    let superblock = engine.store.superblock
    return quotas.types.map { type in
      QuotaReport(type, isOn: true, superblock, quotas.accounts(type))
    }
  }

  /// Changes somebody's limits; they are in force when it returns, if the type is on.
  ///
  /// - Returns: the limits from now on.
  /// - Throws: what writing btrees throws.
  @discardableResult
  public func setQuota(
    _ type: QuotaType, of id: UInt32, _ change: (inout Quota) -> Void
  ) throws(VolumeError) -> Quota {
    try engine.setQuota(type, id, change)
  }

  /// Changes how long soft limits may be exceeded, in seconds, by whoever does it from now on; nil
  /// ones stay. Durable when it returns.
  ///
  /// - Throws: what writing the superblock throws.
  public func setQuotaGrace(
    _ type: QuotaType, space: UInt32?, inodes: UInt32?
  ) throws(VolumeError) {
    try engine.setQuotaGrace(type, space: space, inodes: inodes)
  }

  /// Whether quotas of any type are on.
  public var hasQuotas: Bool { engine.quotas != nil }

  /// Whether quotas of a type are on.
  public func hasQuota(_ type: QuotaType) -> Bool { engine.quotas?.types.contains(type) == true }

  /// How many bytes may be added for the owner of a file before that is refused; `.max` where
  /// nothing limits it. No I/O.
  public func quotaRoom(of file: FileAttributes) -> UInt64 {
    guard let quotas = engine.quotas else { return .max }
    let (bytes, overflow) = quotas.room(QuotaIDs(file.inode)).multipliedReportingOverflow(by: 512)
    return overflow ? .max : bytes
  }
}

extension QuotaReport {
  fileprivate init(
    _ type: QuotaType, isOn: Bool, _ superblock: Superblock, _ accounts: [UInt32: Quotas.Account]
  ) {
    self.type = type
    self.isOn = isOn
    let section = superblock.section(of: QuotaSection.self) ?? .ofNewVolume
    grace = section.limits[Int(type.rawValue)]
    entries = accounts.sorted { $0.key < $1.key }.map { id, account in
      QuotaEntry(
        id: id, usedSectors: UInt64(clamping: account.space.used),
        usedInodes: UInt64(clamping: account.inodes.used), limits: account.limits)
    }
  }
}

extension Quotas.Account {
  /// Somebody who uses this, without limits.
  init(_ used: QuotaUsage.Use) {
    space.used = Int64(clamping: used.sectors)
    inodes.used = Int64(clamping: used.inodes)
  }
}
