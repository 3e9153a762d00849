// SPDX-License-Identifier: GPL-2.0
// What mounts, upgrades, recovery and unmounts change: compared with what the driver left in its
// own volumes, and with models.

import BcachefsFormat
import BcachefsSupport
import TestSupport
import Testing

@testable import Bcachefs

@Suite struct SuperblockChangesTests {
  @Test(arguments: SampleVolume.fixtures)
  func downgradeListIsTheDriversOwn(sample: SampleVolume) throws {
    let superblock = try OpeningFixture(sample.name).superblock(0)
    let theirs = try #require(superblock.section(of: DowngradeSection.self))
    var ours = superblock
    ours.removeSection(.downgrade)
    ours.updateDowngradeSection(hasStripes: sample.name == "stripes")
    #expect(ours.section(of: DowngradeSection.self)?.encode() == theirs.encode())
    // A longer list, of a newer program, stays.
    let longer = DowngradeSection(entries: theirs.entries + theirs.entries)
    ours.setSection(.downgrade(longer))
    ours.updateDowngradeSection(hasStripes: false)
    #expect(ours.section(of: DowngradeSection.self) == longer)
  }

  @Test func cleanAndDirtyAreAsTheDriverLeavesThem() throws {
    let clean = try OpeningFixture("plain").superblock(0)
    var superblock = clean
    superblock.markDirty()
    #expect(!superblock.isClean)
    let unclean = try OpeningFixture("unclean").superblock(0)
    #expect(superblock.featureMask.isSuperset(of: SuperblockFeature.always))
    #expect(unclean.featureMask.isSuperset(of: SuperblockFeature.always))
    let section = try #require(clean.section(of: CleanSection.self))
    superblock.markClean(
      CleanState(
        journalSequence: section.journalSeq, entries: section.entries.filter { !$0.isEmptyKeys }))
    #expect(superblock.isClean)
    #expect(superblock.featureMask == clean.featureMask)
    #expect(superblock.compatMask == clean.compatMask)
    let again = try #require(superblock.section(of: CleanSection.self))
    #expect(again.journalSeq == section.journalSeq)
    #expect(again.entries == section.entries.filter { !$0.isEmptyKeys })
  }

  @Test func journalEntriesBecomeTheCleanSection() throws {
    var superblock = try OpeningFixture("plain").superblock(0)
    let section = try #require(superblock.section(of: CleanSection.self))
    let root = try #require(section.entries.first { $0.type == .btreeRoot })
    let state = try CleanState(
      journalSequence: 77,
      entries: [
        JSetEntry(
          .usage, btree: BTreeID(rawValue: FilesystemUsageType.keyVersion.rawValue), .usage(5)),
        JSetEntry(.clock, .clock(rw: 1, unused: 0, time: 9)),
        JSetEntry(.btreeRoot, btree: root.btreeID, level: root.level, .keys(root.payload)),
      ])
    superblock.markClean(state)
    let bytes = try superblock.encode()
    let decoded = try Superblock(decoding: bytes.rawBytes)
    let entries = try #require(decoded.section(of: CleanSection.self)).entries
    #expect(entries.map(\.type) == [.usage, .clock, .btreeRoot])
    #expect(entries[0].payload == [5, 0, 0, 0, 0, 0, 0, 0])
    #expect(entries[1].payload == [1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0])
    #expect(entries[2] == root)
  }

  @Test func upgradesBeginWhereTheLastWasCompleted() throws {
    var superblock = try OpeningFixture("plain").superblock(0)
    #expect(VersionUpgrade(superblock, policy: .compatible) == nil)
    #expect(VersionUpgrade(superblock, policy: .incompatible) == nil)
    superblock.lower(to: .diskAccountingInum)
    #expect(VersionUpgrade(superblock, policy: .none) == nil)
    let upgrade = try #require(VersionUpgrade(superblock, policy: .compatible))
    #expect(upgrade.from == .diskAccountingInum && upgrade.to == .native)
    superblock.apply(upgrade, hasStripes: false)
    // What 1.12 and 1.13 ask for (UPGRADE_TABLE).
    #expect(superblock.requiredPasses == [.checkAllocations, .checkInodes])
    let ext = try #require(superblock.section(of: ExtSection.self))
    #expect(Set(ext.silentErrors) == [.accounting_mismatch, .inode_has_child_snapshots_wrong])
    #expect(superblock.version == .native)
    #expect(superblock.featureMask.isSuperset(of: SuperblockFeature.newVolume))
    // It was interrupted: the version is new, and the upgrade still to be completed.
    let resumed = try #require(VersionUpgrade(superblock, policy: .compatible))
    #expect(resumed == upgrade)
    superblock.finishRecovery(foundErrors: false, wasChecked: false)
    #expect(VersionUpgrade(superblock, policy: .compatible) == nil)
    #expect(superblock.section(of: ExtSection.self)?.silentErrors == [])
  }

  @Test func recoveryBeginsWithWhatWasFoundAndWhatIsAskedFor() throws {
    let fixture = try OpeningFixture("plain")
    try fixture.rewrite(0) { $0.lower(to: .diskAccountingInum) }
    let volume = LiveVolume(fixture.devices)
    try volume.writing { store in
      #expect(try store.beginRecovery(.none) == nil)
      #expect(volume.operationCount == 0)
      let upgrade = try store.beginRecovery(.compatible)
      #expect(upgrade?.to == .native)
      store.noteInconsistency(ofTopology: true)
      try store.write()
      #expect(try store.beginRecovery(.compatible) == upgrade)
      #expect(store.superblock.requiredPasses.contains(.checkTopology))
      for pass in store.superblock.requiredPasses.elements { try store.completePass(pass) }
      try store.finishRecovery(foundErrors: false, wasChecked: true)
      let done = volume.operationCount
      #expect(try store.beginRecovery(.compatible) == nil)
      try store.finishRecovery(foundErrors: false, wasChecked: true)
      #expect(volume.operationCount == done)
    }
    let after = try volume.superblock(0)
    #expect(after[Superblock.Layout.hasErrors] == 0 && after.requiredPasses.isEmpty)
    #expect(after[Superblock.Layout.versionUpgradeComplete] == UInt64(after.version.rawValue))
  }

  @Test func versionsBeforeOneAreOnlyUpgradedWhenThatIsAskedFor() throws {
    var superblock = try OpeningFixture("plain").superblock(0)
    superblock.lower(to: .fragmentationLru)
    #expect(VersionUpgrade(superblock, policy: .none) == nil)
    let upgrade = try #require(VersionUpgrade(superblock, policy: .compatible))
    #expect(upgrade.to == .native)
    #expect(upgrade.demand(hasStripes: false).passes.isSuperset(of: RecoveryPass.fsckPasses))
    superblock.apply(upgrade, hasStripes: false)
    #expect(superblock.section(.downgrade) == nil)
  }

  @Test func oldMembersGrowAndExtIsMade() throws {
    var superblock = try OpeningFixture("plain").superblock(0)
    let uuid = superblock.members[0].uuid
    superblock.removeSection(.ext)
    superblock.removeSection(.membersV2)
    superblock.markMounted(devices: [0], time: 1234)
    let section = try #require(superblock.section(of: MembersV2Section.self))
    #expect(Int(section.memberByteCount) == Member.Layout.byteCount)
    #expect(section.members[0].uuid == uuid)
    #expect(section.members[0].lastMount == 1234)
    #expect(superblock.section(of: ExtSection.self)?.btreesLostData == 0)
  }

  @Test(arguments: [UInt64(1), 2, 3, 4])
  func bitmapHasABitForEveryNodeAndNoOther(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var member = Member(uuid: UUID(lo: 1, hi: 2), bucketCount: 1 << 30, bucketSizeSectors: 1024)
    var nodes: [Range<UInt64>] = []
    for _ in 0..<200 {
      let start = random.next() >> (24 + random.next() % 40)
      let sectors = start..<start + 512
      let wasMarked = member.isBTreeMarked(sectors)
      let before = member
      member.markBTree(sectors)
      #expect(wasMarked == (member == before), "seed \(seed)")
      nodes.append(sectors)
      let shift = UInt64(member.btreeBitmapShift)
      var expected: UInt64 = 0
      for node in nodes {
        for bit in node.lowerBound >> shift...(node.upperBound - 1) >> shift {
          expected |= 1 << bit
        }
      }
      #expect(member.btreeAllocatedBitmap == expected, "seed \(seed)")
      let end = nodes.map(\.upperBound).max() ?? 0
      #expect(end <= 64 << shift && (shift == 0 || end > 32 << shift), "seed \(seed)")
    }
  }

  @Test func storeMarksNodesOnceAndDurably() throws {
    let volume = try LiveVolume(fixture: "replicas")
    try volume.writing { store in
      let far: Range<UInt64> = 40_000..<40_512
      let isNew = !store.isBTreeMarked(far, ofMember: 1)
      let wrote = try store.markBTree([(1, far), (0, far)])
      #expect(wrote == isNew)
      let done = volume.operationCount
      #expect(try !store.markBTree([(1, far), (0, far)]))
      #expect(volume.operationCount == done)
      #expect(try volume.superblock(0).members[1].isBTreeMarked(far))
    }
  }

  @Test func whatIsCountedBetweenWritesIsInTheNext() throws {
    let volume = try LiveVolume(fixture: "replicas")
    let before = try volume.superblock(0)
    let state = Int(PersistentCounter.transactionCommit.rawValue)
    let old = before.section(of: CountersSection.self)?.values[state] ?? 0
    try volume.writing { store in
      store.counters.add(.transactionCommit, 12)
      #expect(store.counters.sinceOpen(.transactionCommit) == 12)
      store.memberErrors.add(.checksum, member: 1)
      store.memberErrors.add(.read, member: 0)
      store.recordFinding(.accounting_mismatch)
      store.recordFinding(.accounting_mismatch)
      store.noteInconsistency(ofTopology: true)
      store.noteBTreesRunning(hasStripes: false)
      try store.setState(.ro, ofMember: 1)
      try store.resetErrors(ofMember: 1)
      try store.requirePasses([.checkLrus, .checkInodes])
      try store.completePass(.checkLrus)
      try store.blacklist(10..<20)
      try store.blacklist(20..<22)
    }
    let after = try volume.superblock(1)
    #expect(after.section(of: CountersSection.self)?.values[state] == old + 12)
    #expect(after.members[1].errors[2] == before.members[1].errors[2] + 1)
    #expect(after.members[1].errorsAtReset == after.members[1].errors)
    #expect(after.members[1].errorsResetTime > 0)
    #expect(after.members[0].errors[0] == before.members[0].errors[0] + 1)
    #expect(after.members[1].state == .ro)
    let finding = after.section(of: ErrorsSection.self)?.counts.first {
      $0.id == .accounting_mismatch
    }
    #expect(finding?.count == 2)
    #expect(after[Superblock.Layout.hasErrors] == 1)
    #expect(after[Superblock.Layout.hasTopologyErrors] == 1)
    #expect(after.requiredPasses == [.checkInodes])
    #expect(JournalBlacklist(after).isBlacklisted(21))
    #expect(after.featureMask.contains(.journalSeqBlacklistV3))
    #expect(after.members.allSatisfy { $0.lastMount > before.members[0].lastMount })
  }

  @Test func journalsTooLongForMemoryAreRefused() throws {
    let fixture = try OpeningFixture("plain")
    try fixture.rewrite(0) { superblock in
      superblock.changeMembers { $0[0].bucketCount = 1 << 30 }
      if let section = superblock.section(of: MembersV2Section.self) {
        superblock.setMembers(section.members)
      }
      superblock.setSection(
        .journalV2(
          JournalBucketRangesSection(ranges: [JournalBucketRange(start: 100, count: 1 << 29)])))
    }
    let volume = LiveVolume(fixture.devices)
    #expect(try volumeErrorCode { try volume.writing { _ in } } == .limit)
  }

  @Test func journalBucketsBelongToOneDevice() throws {
    let volume = try LiveVolume(fixture: "replicas")
    let other = try volume.superblock(0).section(.journalV2)
    try volume.writing { store in
      let old = store.journalBuckets(of: 1)
      #expect(!old.isEmpty)
      let bucketCount = store.superblock.members[1].bucketCount
      let new = old + [bucketCount - 2, bucketCount - 1]
      try store.setJournalBuckets(new, of: 1)
      #expect(store.journalBuckets(of: 1) == new)
      #expect(try volumeErrorCode { try store.setJournalBuckets([1], of: 7) } == .missingMembers)
      // Beyond the device: nothing is written, nothing is kept.
      let code = try volumeErrorCode { try store.setJournalBuckets([bucketCount], of: 1) }
      #expect(code == .corrupt)
      #expect(store.journalBuckets(of: 1) == new)
    }
    #expect(try volume.superblock(0).section(.journalV2) == other)
    let ranges = try #require(try volume.superblock(1).section(of: JournalBucketRangesSection.self))
    #expect(ranges.ranges.last?.count ?? 0 >= 2)
  }
}
