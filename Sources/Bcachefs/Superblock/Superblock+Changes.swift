// SPDX-License-Identifier: GPL-2.0
// What a mount, an upgrade, recovery and a clean unmount change in a superblock: on the value
// alone. Whoever writes it is `SuperblockStore`.
//
// Invariants
//   (1) The older list of members is not touched: it is made from the other when a superblock is
//       written. `members_v2` and `ext` are there from `markMounted` on.
//   (2) What is not named here survives, sections of newer formats included.
// Source: sb-clean.c, sb-downgrade.c, sb-members.c, super.c (bch2_fs_start), recovery.c,
// journal_seq_blacklist.c.

internal import BcachefsFormat
internal import BcachefsSupport

/// What the journal leaves for the next mount after a clean unmount.
struct CleanState {
  /// The last sequence number that was used.
  var journalSequence: UInt64
  /// Key version, clocks and btree roots, in this order.
  var entries: [CleanEntry]
  /// By member: in which of its journal buckets (a place in the list) the journal ended, and how
  /// many sectors of it are used.
  var journalEnds: [Int: (bucket: UInt32, usedSectors: UInt32)] = [:]

  init(journalSequence: UInt64, entries: [CleanEntry]) {
    self.journalSequence = journalSequence
    self.entries = entries
  }

  /// - Throws: an entry that is too long.
  init(journalSequence: UInt64, entries: [JSetEntry]) throws(FormatError) {
    self.init(journalSequence: journalSequence, entries: [] as [CleanEntry])
    for entry in entries {
      let payload = try entry.encoded().dropFirst(CleanEntry.Layout.payload)
      self.entries.append(
        CleanEntry(
          type: entry.type, btreeID: entry.btree, level: entry.level, payload: Array(payload)))
    }
  }
}

extension Superblock {
  /// Changes the list of members that counts; the older one follows when it is written.
  mutating func changeMembers(_ change: (inout [Member]) -> Void) {
    guard var section = section(of: MembersV2Section.self) else {
      var list = members
      change(&list)
      setMembers(list)
      return
    }
    change(&section.members)
    setSection(.membersV2(section))
  }

  /// Changes the section `ext`, which is made if it is not there or too short.
  mutating func changeExt(_ change: (inout ExtSection) -> Void) {
    var ext = section(of: ExtSection.self) ?? ExtSection()
    if ext.btreesLostData == nil { ext.btreesLostData = 0 }
    change(&ext)
    setSection(.ext(ext))
  }

  // MARK: Mounting

  /// Makes the sections that every volume in use has, and notes who takes part.
  mutating func markMounted(devices: Set<Int>, time: UInt64) {
    let current = section(of: MembersV2Section.self)
    if (current.map { Int($0.memberByteCount) } ?? 0) < Member.Layout.byteCount {
      setMembers(members)
    }
    changeMembers { members in
      for index in members.indices where devices.contains(index) {
        members[index].lastMount = time
      }
    }
    changeExt { _ in }
  }

  /// From here on the journal has to be replayed. The clean section stays, as the driver leaves it:
  /// it tells nothing any more, but the room for the next one is taken.
  mutating func markDirty() {
    isClean = false
    featureMask = featureMask.union(SuperblockFeature.always)
  }

  /// Nothing is left to replay.
  mutating func markClean(_ state: CleanState) {
    invariant(state.journalSequence <= UInt64(Int64.max), "sequence numbers stay small")
    setSection(
      .clean(CleanSection(journalSeq: state.journalSequence, entries: state.entries)))
    isClean = true
    compatMask = compatMask.union([.allocInfo, .allocMetadata])
    featureMask = featureMask.subtracting([.extentsAboveBtreeUpdates, .btreeUpdatesJournalled])
    changeMembers { members in
      for (index, end) in state.journalEnds where members.indices.contains(index) {
        members[index].lastJournalBucket = end.bucket
        members[index].lastJournalBucketOffset = end.usedSectors
      }
    }
  }

  // MARK: Versions and passes

  /// Passes that recovery still has to run.
  var requiredPasses: PersistentMask<RecoveryPass> {
    PersistentMask(rawValue: section(of: ExtSection.self)?.recoveryPassesRequired.first ?? 0)
  }

  /// Adds passes to run, and findings to mend without a word.
  mutating func require(_ demand: VersionStep.Demand) {
    changeExt { ext in
      ext.recoveryPassesRequired[0] |= demand.passes.rawValue
      for id in demand.silenced { ext.setSilent(id, true) }
    }
  }

  /// Raises the version, and notes what recovery has to do for that (`bch2_sb_set_upgrade`,
  /// `bch2_sb_upgrade`).
  mutating func apply(_ upgrade: VersionUpgrade, hasStripes: Bool) {
    require(upgrade.demand(hasStripes: hasStripes))
    // Entries are of one major version.
    if upgrade.to.major > version.major { removeSection(.downgrade) }
    version = upgrade.to
    featureMask = featureMask.union(SuperblockFeature.newVolume)
  }

  /// What a program older than this one will have to do (`bch2_sb_downgrade_update`). A longer list
  /// is that of a newer program, and stays.
  mutating func updateDowngradeSection(hasStripes: Bool) {
    let entries = MetadataVersion.downgradeEntries(for: version, hasStripes: hasStripes).map {
      DowngradeEntry(
        version: $0.version, recoveryPasses: [$0.demand.passes.rawValue, 0],
        errors: $0.demand.silenced)
    }
    let new = DowngradeSection(entries: entries)
    if let old = section(of: DowngradeSection.self), old.encode().count > new.encode().count {
      return
    }
    setSection(.downgrade(new))
  }

  /// Recovery is through (end of `bch2_fs_recovery`).
  ///
  /// - Parameters:
  ///   - foundErrors: Something was found that could not be mended, or was not looked for again.
  ///   - wasChecked: All passes of fsck have run.
  mutating func finishRecovery(foundErrors: Bool, wasChecked: Bool) {
    self[Layout.versionUpgradeComplete] = UInt64(version.rawValue)
    guard !foundErrors else { return }
    compatMask.insert(.allocInfo)
    changeExt { ext in
      for id in ext.silentErrors { ext.setSilent(id, false) }
      if wasChecked { ext.btreesLostData = 0 }
    }
    if wasChecked {
      self[Layout.hasErrors] = 0
      self[Layout.hasTopologyErrors] = 0
    }
  }

  // MARK: Journal

  /// Adds sequence numbers to ignore; ranges that touch are joined
  /// (`bch2_journal_seq_blacklist_add`).
  mutating func blacklist(_ range: Range<UInt64>) {
    var list = JournalBlacklist(self)
    list.insert([range])
    setBlacklist(list.ranges)
  }

  /// Replaces the sequence numbers to ignore: ascending, not touching each other.
  mutating func setBlacklist(_ ranges: [Range<UInt64>]) {
    guard !ranges.isEmpty else {
      removeSection(.journalSeqBlacklist)
      return
    }
    setSection(
      .journalSeqBlacklist(
        JournalSeqBlacklistSection(
          ranges: ranges.map { JournalSeqRange(start: $0.lowerBound, end: $0.upperBound) })))
    featureMask.insert(.journalSeqBlacklistV3)
  }
}

extension Member {
  /// Whether all of these sectors may hold btree nodes (`bch2_dev_btree_bitmap_marked_sectors`).
  func isBTreeMarked(_ sectors: Range<UInt64>) -> Bool {
    guard let last = sectors.last else { return true }
    let shift = UInt64(btreeBitmapShift)
    guard shift < 64, last >> shift < 64 else { return false }
    return (sectors.lowerBound >> shift...last >> shift).allSatisfy {
      btreeAllocatedBitmap >> $0 & 1 != 0
    }
  }

  /// Marks sectors that will hold btree nodes (`__bch2_dev_btree_bitmap_mark`). Sectors beyond what
  /// the bits reach make each bit stand for more.
  mutating func markBTree(_ sectors: Range<UInt64>) {
    guard let last = sectors.last else { return }
    while btreeBitmapShift < Self.btreeBitmapShiftLimit - 1,
      last >> UInt64(btreeBitmapShift) >= 64
    {
      var halved: UInt64 = 0
      for bit in 0..<32 where btreeAllocatedBitmap >> UInt64(2 * bit) & 3 != 0 {
        halved |= 1 << UInt64(bit)
      }
      btreeAllocatedBitmap = halved
      btreeBitmapShift += 1
    }
    let shift = UInt64(btreeBitmapShift)
    invariant(last >> shift < 64, "a device ends before the largest bitmap does")
    for bit in sectors.lowerBound >> shift...last >> shift { btreeAllocatedBitmap |= 1 << bit }
  }
}
