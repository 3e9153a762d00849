// SPDX-License-Identifier: GPL-2.0
// Opening volumes: copies of the superblock, members, options, sources.

import BcachefsFormat
import BcachefsIO
import BcachefsSupport
import TestSupport
import Testing

@testable import Bcachefs

@Suite struct OpeningTests {
  static let unlocked = UnlockSource(usesKeyring: false) { _ in "correct horse" }

  @Test(arguments: SampleVolume.all)
  func everyVolumeOpensWithDevicesInAnyOrderAndStaysAsItWas(volume: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let paths = try volume.unpack(into: folder)
      let before = try digests(paths)
      let forward = try VolumeOpener.open(
        VolumeSources(paths: paths), unlock: Self.unlocked)
      let backward = try VolumeOpener.open(
        VolumeSources(paths: paths.reversed()), unlock: Self.unlocked)
      #expect(forward.devices.compactMap { $0?.name } == paths)
      #expect(backward.devices.compactMap { $0?.name } == paths)
      #expect(forward.superblock.seq == backward.superblock.seq)
      #expect(forward.warnings == [])
      #expect(forward.members.allSatisfy { $0.isAlive && $0.bucketCount >= 64 })
      #expect(forward.devices.allSatisfy { $0?.mode == .readOnly })
      #expect((forward.key != nil) == volume.name.contains("encrypted"))
      #expect(try digests(paths) == before)
    }
  }

  private func digests(_ paths: [String]) throws -> [UInt64] {
    var digests: [UInt64] = []
    for path in paths {
      let bytes = try readFile(path)
      digests.append(XXHash64.hash(bytes.rawBytes))
    }
    return digests
  }

  @Test func optionsAreTheSuperblocksWithTheCallersOverThem() throws {
    let fixture = try OpeningFixture("compressed")
    var options = VolumeOptions()
    options[.dataReplicas] = 2
    let media = try fixture.open(options: options)
    #expect(media.options[.dataReplicas] == 2)
    #expect(media.options[.blockSize] == UInt64(media.superblock.blockSizeSectors) * 512)
    let stored = VolumeOptions(superblock: media.superblock.optionWords)
    #expect(stored[.dataReplicas] == 1)
    #expect(media.options[.compression] == stored[.compression])
  }

  // MARK: Copies

  @Test func backupIsUsedWhenTheFirstSuperblockIsDestroyed() throws {
    let fixture = try OpeningFixture("plain")
    let seq = try fixture.superblock(0).seq
    try fixture.destroy(0, sectors: 8..<16)
    let media = try fixture.open()
    #expect(media.superblock.seq == seq)
    #expect(media.superblock.sector != 8)
    #expect(media.warnings.count == 1)
    #expect(media.warnings.first?.contains("sector 8 is bad: bch_sb.magic") == true)
  }

  @Test func flippedBitInTheFirstSuperblockIsFoundByItsChecksum() throws {
    let fixture = try OpeningFixture("plain")
    try fixture.overwrite(0, at: 4096 + 300, with: [0x5a])
    let media = try fixture.open()
    #expect(media.warnings.first?.contains("bad checksum") == true)
  }

  @Test func backupsAreSearchedForWhenFirstSuperblockAndLayoutAreDestroyed() throws {
    let fixture = try OpeningFixture("plain")
    try fixture.destroy(0, sectors: 0..<64)
    let media = try fixture.open()
    #expect(media.superblock.sector > 64)
    #expect(media.warnings.contains { $0.contains("sector 8 is bad") })
  }

  @Test func lastCopyAloneIsFoundAtTheEndOfTheDevice() throws {
    let fixture = try OpeningFixture("plain")
    let sectors = try fixture.superblock(0).layout.copySectors
    let last = try #require(sectors.last)
    #expect(sectors.count == 3)
    try fixture.destroy(0, sectors: 0..<64)
    try fixture.destroy(0, sectors: sectors[1]..<sectors[1] + 8)
    #expect(try fixture.open().superblock.sector == last)
  }

  @Test func newestCopyCountsWhenACrashLeftTheBackupsBehind() throws {
    let fixture = try OpeningFixture("plain")
    var superblock = try fixture.superblock(0)
    superblock.prepareForWrite(time: superblock.writeTime + 1)
    let second = try #require(superblock.layout.copySectors.dropFirst().first)
    try fixture.overwrite(0, at: second * 512, with: superblock.encode(sector: second))
    let media = try fixture.open()
    #expect(media.superblock.seq == superblock.seq)
    #expect(media.superblock.sector == second)
  }

  @Test func nothingIsAVolumeOnceAllCopiesAreDestroyed() throws {
    let fixture = try OpeningFixture("plain")
    for sector in try fixture.superblock(0).layout.copySectors {
      try fixture.destroy(0, sectors: sector..<sector + 2)
    }
    let text = expectError(.notAVolume) { try fixture.open() }
    #expect(text.contains("plain.img: no valid bcachefs superblock"))
    #expect(text.contains("sector 8: bch_sb.magic"))
  }

  @Test func imageWithinTheDataIsNoSuperblockOfTheDevice() throws {
    let fixture = try OpeningFixture("plain")
    let inner = try fixture.superblock(0).encode(sector: 8)
    for sector in try fixture.superblock(0).layout.copySectors {
      try fixture.destroy(0, sectors: sector..<sector + 2)
    }
    try fixture.overwrite(0, at: 100 * 512, with: inner)
    _ = expectError(.notAVolume) { try fixture.open() }
  }

  @Test func copyOfAnotherVolumeIsLeftOutAndNamed() throws {
    let fixture = try OpeningFixture("plain")
    let other = try OpeningFixture("compressed").superblock(0)
    let second = try #require(try fixture.superblock(0).layout.copySectors.dropFirst().first)
    var newer = other
    newer.seq = 1 << 40
    try fixture.overwrite(0, at: second * 512, with: newer.encode(sector: second))
    let media = try fixture.open()
    #expect(media.superblock.uuid != other.uuid)
    #expect(media.warnings.first?.contains("belongs to member 0 of volume") == true)
  }

  // MARK: Members

  @Test(arguments: [0, 1])
  func missingReplicaIsNamedAndDegradedDoesWithout(missing: Int) throws {
    let fixture = try OpeningFixture("replicas")
    let present = 1 - missing
    let text = expectError(.missingMembers) { try fixture.open([present]) }
    let member = try #require(try fixture.superblock(present).member(at: missing))
    #expect(text.contains("has 2 devices, and 1 is missing: member \(missing)"))
    #expect(text.contains("\(member.uuid)"))
    #expect(text.contains("with the option degraded"))
    let media = try fixture.open([present], options: .on(.degraded))
    #expect(media.device(UInt8(missing)) == nil)
    #expect(media.device(UInt8(present)) != nil)
    #expect(media.warnings.contains { $0.contains("missing: member \(missing)") })
  }

  @Test func dataOnOneDeviceOnlyNeedsVeryDegradedWithoutIt() throws {
    let fixture = try OpeningFixture("replicas")
    for number in 0..<2 {
      try fixture.rewrite(number) { superblock in
        superblock.setReplicas(
          superblock.replicas + [ReplicasEntry(dataType: .user, devices: [1])])
      }
    }
    let text = expectError(.missingMembers) { try fixture.open([0], options: .on(.degraded)) }
    #expect(text.contains("not enough devices for user on devices 1 (1 needed, 0 there)"))
    #expect(try fixture.open([1], options: .on(.degraded)).warnings.count >= 1)
    let media = try fixture.open([0], options: .on(.veryDegraded))
    #expect(media.warnings.contains { $0.contains("what was there only is lost") })
  }

  @Test func failedMemberIsNotMissed() throws {
    let fixture = try OpeningFixture("replicas")
    try fixture.rewrite(0) { superblock in
      var members = superblock.members
      members[1].state = .failed
      superblock.setMembers(members)
    }
    #expect(try fixture.open([0]).warnings.contains { $0.contains("missing: member 1") })
  }

  @Test func devicesOfTwoVolumesAreRefusedByName() throws {
    let one = try OpeningFixture("replicas")
    let other = try OpeningFixture("plain")
    let mixed = OpeningFixture(devices: [one.devices[0], other.devices[0]])
    let text = expectError(.foreignMember) { try mixed.open() }
    #expect(text.contains("plain.img") && text.contains("replicas.0.img"))
    #expect(text.contains("name devices of one volume only"))
  }

  @Test func sameMemberTwiceIsRefused() throws {
    let fixture = try OpeningFixture("replicas")
    let text = expectError(.foreignMember) { try fixture.open([0, 0, 1]) }
    #expect(text.contains("are both member 0"))
  }

  @Test func replacedAndRemovedMembersAreRefusedByName() throws {
    for (uuid, word) in [(UUID(lo: 1, hi: 2), "was replaced"), (.zero, "was removed")] {
      let fixture = try OpeningFixture("replicas")
      try fixture.rewrite(0) { superblock in
        superblock.seq += 5
        var members = superblock.members
        members[1].uuid = uuid
        superblock.setMembers(members)
        superblock.setReplicas([])
      }
      let text = expectError(.foreignMember) { try fixture.open() }
      #expect(text.contains(word), "\(text)")
    }
  }

  // MARK: Sequence numbers

  /// Writes a superblock as a mount would that sees these devices only.
  private func write(_ fixture: OpeningFixture, _ numbers: [Int], times: Int, at time: UInt64)
    throws
  {
    for number in numbers {
      try fixture.rewrite(number) { superblock in
        for _ in 0..<times { superblock.prepareForWrite(time: time, devices: Set(numbers)) }
      }
    }
  }

  @Test func membersWrittenApartAreASplitBrain() throws {
    let fixture = try OpeningFixture("replicas")
    try write(fixture, [0], times: 3, at: 1_800_000_000)
    try write(fixture, [1], times: 2, at: 1_800_000_001)
    let text = expectError(.splitBrain) { try fixture.open() }
    #expect(text.contains("written apart from each other"))
    #expect(text.contains("no_splitbrain_check"))
    let media = try fixture.open(options: .on(.noSplitbrainCheck))
    #expect(media.warnings.contains { $0.contains("accepted as asked for") })
  }

  @Test func equalNumbersOfDifferentTimesAreASplitBrain() throws {
    let fixture = try OpeningFixture("replicas")
    try write(fixture, [0], times: 2, at: 1_800_000_000)
    try write(fixture, [1], times: 2, at: 1_800_000_001)
    let text = expectError(.splitBrain) { try fixture.open() }
    #expect(text.contains("Fri Jan 15 08:00:00 2027 UTC"), "\(text)")
  }

  @Test func oldCopyOfAMemberIsRefused() throws {
    let fixture = try OpeningFixture("replicas")
    let old = try OpeningFixture("replicas")
    try write(fixture, [0, 1], times: 4, at: 1_800_000_000)
    let mixed = OpeningFixture(devices: [fixture.devices[0], old.devices[1]])
    let text = expectError(.foreignMember) { try mixed.open() }
    #expect(text.contains("replicas.1.img is an old copy of member 1"))
    #expect(try mixed.open(options: .on(.noSplitbrainCheck)).devices.count == 2)
    #expect(try mixed.open([0], options: .on(.degraded)).device(0) != nil)
  }

  @Test func memberThatWasAbsentIsWelcomeWithAWarning() throws {
    let fixture = try OpeningFixture("replicas")
    try write(fixture, [0], times: 4, at: 1_800_000_000)
    let media = try fixture.open()
    #expect(media.devices.count == 2)
    #expect(media.warnings.contains { $0.contains("replicas.1.img was absent") })
  }

  @Test func crashBetweenTwoDevicesIsNoOldCopy() throws {
    let fixture = try OpeningFixture("replicas")
    try fixture.rewrite(0) { $0.prepareForWrite(time: 1_800_000_000) }
    let media = try fixture.open()
    #expect(media.warnings.contains { $0.contains("one before the last") })
  }

  // MARK: Sources

  @Test func sourcesAreParsedAsOnCommandLines() throws {
    #expect(try VolumeSources(parsing: "/dev/a:/dev/b").selector == .paths(["/dev/a", "/dev/b"]))
    #expect(try VolumeSources(parsing: "LABEL=x:y").selector == .label("x:y"))
    let uuid = "01234567-89ab-cdef-0123-456789abcdef"
    #expect(try VolumeSources(parsing: "UUID=\(uuid)").description == "UUID=\(uuid)")
    for bad in ["", "a::b", "UUID=1", "a:"] {
      #expect(throws: VolumeError.self, "\(bad)") { try VolumeSources(parsing: bad) }
    }
  }

  @Test func uuidFindsItsMembersAmongImageFilesAndLeavesOthersOut() throws {
    try withTemporaryFolder { folder in
      let replicas = try SampleVolume.fixture("replicas").unpack(into: folder)
      let plain = try SampleVolume.fixture("plain").unpack(into: folder)
      let first = try BlockDevice.open(path: replicas[0], mode: .readOnly)
      let uuid = try SuperblockCopies.read(first, searching: false).superblock.userUUID
      let files = plain + replicas.reversed() + ["\(folder)/nothing"]
      var sources = VolumeSources(.uuid(uuid), imageFiles: files)
      sources.includesBlockDevices = false
      let media = try VolumeOpener.open(sources)
      #expect(media.devices.map { $0?.name } == replicas)
      sources.selector = .uuid(UUID(lo: 7, hi: 7))
      let text = expectError(.notFound) { try VolumeOpener.open(sources) }
      #expect(text.contains("no device of volume UUID="))
    }
  }

  @Test func missingFileIsADeviceError() {
    let text = expectError(.device) {
      try VolumeOpener.open(VolumeSources(paths: ["/nowhere/volume.img"]))
    }
    #expect(text.contains("/nowhere/volume.img"))
  }
}
