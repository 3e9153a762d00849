// SPDX-License-Identifier: GPL-2.0
// Sections of the superblock one by one: layouts against hand-written bytes, and upstream's rules.

import BcachefsFormat
import BcachefsSupport
import Testing

struct SectionTests {
  /// A valid superblock of two devices to try sections in.
  private func sample() throws -> Superblock {
    let uuid = try #require(UUID("174c1344-9dfe-4e4f-bd01-df0be7b85e70"))
    let layout = try SuperblockLayout(
      deviceSectors: 262_144, bucketSizeSectors: 256, blockSizeSectors: 8)
    var superblock = Superblock(uuid: uuid, userUUID: uuid, layout: layout)
    var words = SuperblockOptionWords()
    VolumeOptions().store(into: &words)
    superblock.optionWords = words
    superblock.setMembers([
      Member(uuid: uuid, bucketCount: 1024, bucketSizeSectors: 512),
      Member(uuid: UUID(lo: 1, hi: 2), bucketCount: 512, bucketSizeSectors: 512),
    ])
    return superblock
  }

  private func reencoded(_ superblock: Superblock) throws -> Superblock {
    let bytes = try superblock.encode()
    return try Superblock(decoding: bytes.rawBytes)
  }

  private func failure(
    _ section: SuperblockSection, forWrite: Bool = false
  ) throws -> FormatError? {
    var superblock = try sample()
    superblock.setSection(section)
    return #expect(throws: FormatError.self) { try superblock.validate(forWrite: forWrite) }
  }

  @Test func superblockMadeFromNothingIsValidAndSurvives() throws {
    let superblock = try sample()
    try superblock.validate(forWrite: true)
    let again = try reencoded(superblock)
    #expect(again.sections == superblock.sections)
    #expect(try again.encode() == superblock.encode())
    #expect(again.deviceCount == 2)
  }

  @Test func preparedSuperblockMayBeWrittenToAllItsPlaces() throws {
    var superblock = try sample()
    superblock.prepareForWrite(time: 77)
    superblock.prepareForWrite(time: 78, devices: [0])
    #expect(superblock.members.map(\.seq) == [2, 1])
    try superblock.validate(forWrite: true)
    let copies = try superblock.encodedCopies()
    #expect(copies.map(\.sector) == [8, 2056, 260_096, 7])
    for copy in copies.dropLast() {
      let again = try Superblock(decoding: copy.bytes.rawBytes)
      #expect(again.sector == copy.sector)
      #expect(again.writeTime == 78)
    }
    let last = copies[3].bytes
    let layout = try SuperblockLayout(decoding: last.rawBytes)
    #expect(layout == superblock.layout)
  }

  @Test func layoutOfANewDeviceIsUpstreams() throws {
    // What the corpus' 128 MiB volume with buckets of 128 KiB has.
    let layout = try SuperblockLayout(
      deviceSectors: 262_144, bucketSizeSectors: 256, blockSizeSectors: 8)
    #expect(Array(layout.copySectors) == [8, 2056, 260_096])
    #expect(layout.maxSizeBits == 11)
    #expect(throws: FormatError.self) {
      try SuperblockLayout(deviceSectors: 4096, bucketSizeSectors: 256, blockSizeSectors: 8)
    }
  }

  @Test func overlappingCopiesAreRefused() {
    #expect(throws: FormatError.self) {
      try SuperblockLayout(copySectors: [8, 2055], maxSizeBits: 11)
    }
    #expect(throws: FormatError.self) { try SuperblockLayout(copySectors: [], maxSizeBits: 11) }
    #expect(throws: FormatError.self) { try SuperblockLayout(copySectors: [8], maxSizeBits: 17) }
    #expect(throws: FormatError.self) {
      try SuperblockLayout(copySectors: [.max - 1, .max], maxSizeBits: 11)
    }
  }

  // MARK: Bytes

  @Test func journalRangesAreTwoWordsEach() {
    let section = JournalBucketRangesSection(buckets: [17, 18, 19, 40, 20])
    #expect(section.ranges.map(\.start) == [17, 40, 20])
    #expect(section.ranges.map(\.count) == [3, 1, 1])
    let bytes = section.encode()
    #expect(Array(bytes[0..<8]) == [7, 0, 0, 0, 9, 0, 0, 0])
    #expect(bytes[8] == 17 && bytes[16] == 3 && bytes[24] == 40)
  }

  @Test func replicasArePackedBytes() {
    let entry = ReplicasEntry(dataType: .btree, devices: [0, 1])
    #expect(
      ReplicasV0Section(entries: [entry]).encode()
        == [2, 0, 0, 0, 3, 0, 0, 0, 3, 2, 0, 1, 0, 0, 0, 0])
    #expect(
      ReplicasSection(entries: [entry]).encode()
        == [2, 0, 0, 0, 7, 0, 0, 0, 3, 2, 1, 0, 1, 0, 0, 0])
    #expect(entry.description == "btree: 1/2 [0 1]")
    #expect(entry.descriptionV0 == "btree: 2 [0 1]")
  }

  @Test func replicasStandInTheOlderSectionWhenTheyCan() throws {
    var superblock = try sample()
    superblock.setReplicas([
      ReplicasEntry(dataType: .user, devices: [1, 0]),
      ReplicasEntry(dataType: .journal, devices: [0]),
    ])
    #expect(superblock.section(.replicas) == nil)
    #expect(superblock.replicas.map(\.description) == ["journal: 1/1 [0]", "user: 1/2 [0 1]"])
    superblock.setReplicas([ReplicasEntry(dataType: .user, requiredCount: 0, devices: [1, 0])])
    #expect(superblock.section(.replicasV0) == nil)
    #expect(superblock.section(.replicas) != nil)
    #expect(superblock.dataTypes(onDevice: 1).description == "user")
  }

  @Test func errorCountsAreOneWordAndATime() {
    var section = ErrorsSection()
    section.record(FsckErrorID(rawValue: 300), time: 7)
    section.record(FsckErrorID(rawValue: 2), time: 8)
    section.record(FsckErrorID(rawValue: 300), time: 9)
    let bytes = section.encode()
    #expect(Array(bytes[8..<24]) == [2, 0, 1, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0])
    #expect(Array(bytes[24..<40]) == [44, 1, 2, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0])
  }

  @Test func downgradeEntriesAreAlignedToTwoBytes() {
    let entry = DowngradeEntry(
      version: MetadataVersion(1, 12), recoveryPasses: [1 << 5, 0],
      errors: [FsckErrorID(rawValue: 0x102)])
    let bytes = DowngradeSection(entries: [entry]).encode()
    #expect(bytes.count == 32)
    #expect(Array(bytes[8..<12]) == [0x0c, 4, 32, 0])
    #expect(Array(bytes[26..<32]) == [1, 0, 2, 1, 0, 0])
  }

  @Test func cleanEntriesAreJournalEntries() throws {
    let entry = CleanEntry(
      type: .btreeRoot, btreeID: .inodes, level: 2, payload: [UInt8](repeating: 9, count: 12))
    let bytes = CleanSection(journalSeq: 258, entries: [entry], slackU64s: 2).encode()
    #expect(bytes.count == 24 + 8 + 16 + 16)
    #expect(Array(bytes[16..<18]) == [2, 1])
    #expect(Array(bytes[24..<32]) == [2, 0, 1, 2, 1, 0, 0, 0])
    var superblock = try sample()
    superblock.setSection(.clean(CleanSection(journalSeq: 258, entries: [entry])))
    let again = try reencoded(superblock).section(of: CleanSection.self)
    #expect(again?.entries == [entry])
  }

  @Test func cleanEntryBeyondTheSectionIsRefused() throws {
    var superblock = try sample()
    superblock.setSection(.clean(CleanSection(journalSeq: 1, entries: [])))
    superblock.sections.sort { $0.type == .clean && $1.type != .clean }
    var bytes = try superblock.encode()
    // The first section is `clean`, three words; give it the first word of the next section.
    bytes.overwrite(UInt32(4), at: 752)
    bytes.overwrite(UInt16(500), at: 752 + 24)
    let error = #expect(throws: FormatError.self) {
      _ = try Superblock(decoding: bytes.rawBytes, verifyingChecksum: false)
    }
    #expect(error?.fsckError == .sb_clean_entry_overrun)
  }

  @Test func memberKeepsWhatANewerFormatAdds() throws {
    var bytes = [UInt8](repeating: 0, count: 16 + 160)
    bytes.overwrite(UInt32(22), at: 0)
    bytes.overwrite(UInt32(11), at: 4)
    bytes.overwrite(UInt16(160), at: 8)
    bytes[16 + 150] = 77
    let section = try MembersV2Section(decoding: bytes.rawBytes, deviceCount: 1)
    #expect(section.members[0].tail.count == 16)
    #expect(section.members[0].tail[6] == 77)
    #expect(section.encode() == bytes)
    #expect(MembersV2Section(members: section.members).memberByteCount == 160)
  }

  @Test func memberFlagsAreWhereTheDriverHasThem() {
    var member = Member(uuid: .zero, bucketCount: 64, bucketSizeSectors: 8)
    member.state = .failed
    member.discard = true
    member.dataAllowed = [.journal, .btree, .user]
    member.groupIndex = 4
    member.durability = 2
    member.freespaceInitialized = true
    // 2, 1 << 14, bits 2 to 4 of a field at 15, 5 << 20, 3 << 28, 1 << 30
    #expect(member.flags == 0x2 | 0x4000 | 0x1c << 15 | 0x50_0000 | 0x3000_0000 | 0x4000_0000)
    member.groupIndex = nil
    member.durability = 0
    #expect(member.flags & 0xff0_0000 == 0)
    #expect(member.flags >> 28 & 3 == 1)
  }

  // MARK: Rules

  @Test func journalBucketsMustExistAndBeDistinct() throws {
    func ranges(_ ranges: (UInt64, UInt64)...) -> SuperblockSection {
      .journalV2(
        JournalBucketRangesSection(
          ranges: ranges.map { JournalBucketRange(start: $0.0, count: $0.1) }))
    }
    #expect(try failure(ranges((0, 4)))?.reason == .tooSmall)
    #expect(try failure(ranges((1000, 25)))?.reason == .tooLarge)
    #expect(try failure(ranges((20, 8), (17, 4)))?.reason == .duplicate)
    #expect(try failure(ranges((17, 0)))?.reason == .invalid)
    #expect(try failure(ranges((17, .max)))?.reason == .invalid)
    let single = JournalBucketsSection(buckets: [17, 18, 17])
    #expect(try failure(.journal(single))?.reason == .duplicate)
  }

  @Test func replicasMustNameLivingDevices() throws {
    func section(_ entries: ReplicasEntry...) -> SuperblockSection {
      .replicas(ReplicasSection(entries: entries))
    }
    let pair = ReplicasEntry(dataType: .user, devices: [0, 1])
    let reversed = ReplicasEntry(dataType: .user, devices: [1, 0])
    #expect(try failure(section(.init(dataType: .user, devices: [2])))?.reason == .invalid)
    #expect(try failure(section(.init(dataType: .user, devices: [])))?.reason == .invalid)
    #expect(try failure(section(pair, reversed))?.reason == .duplicate)
    let stripe = ReplicasEntry(dataType: .user, requiredCount: 2, devices: [0, 1])
    #expect(try failure(section(stripe))?.reason == .tooLarge)
    var superblock = try sample()
    superblock.setSection(section(.init(dataType: .user, devices: [0, 255])))
    try superblock.validate()
  }

  @Test func membersMustFitTheVolume() throws {
    func sampleWith(_ change: (inout Member) -> Void) throws -> Superblock {
      var superblock = try sample()
      var members = superblock.members
      change(&members[1])
      superblock.setMembers(members)
      return superblock
    }
    let changes: [(String, (inout Member) -> Void)] = [
      ("few buckets", { $0.bucketCount = 63 }),
      ("few after the first", { $0.firstBucket = 449 }),
      ("many buckets", { $0.bucketCount = 0x7fff_ffff }),
      ("bucket below node", { $0.bucketSizeSectors = 511 }),
      ("shift", { $0.btreeBitmapShift = 58 }),
    ]
    for (name, change) in changes {
      let superblock = try sampleWith(change)
      #expect(throws: FormatError.self, "\(name)") { try superblock.validate() }
    }
    try sampleWith { $0.firstBucket = 448 }.validate()
  }

  @Test func blacklistAndErrorsMustBeInOrder() throws {
    let crossing = JournalSeqBlacklistSection(ranges: [
      JournalSeqRange(start: 5, end: 9), JournalSeqRange(start: 8, end: 10),
    ])
    #expect(try failure(.journalSeqBlacklist(crossing))?.reason == .outOfOrder)
    let empty = JournalSeqBlacklistSection(ranges: [JournalSeqRange(start: 5, end: 5)])
    #expect(try failure(.journalSeqBlacklist(empty))?.reason == .invalid)
    let never = ErrorsSection(counts: [
      ErrorCount(id: .jset_unknown_csum, count: 0, lastErrorTime: 0)
    ])
    #expect(try failure(.errors(never))?.reason == .invalid)
  }

  @Test func downgradeOfAnotherMajorVersionIsRefused() throws {
    let section = DowngradeSection(entries: [
      DowngradeEntry(version: MetadataVersion(2, 1), recoveryPasses: [0, 0], errors: [])
    ])
    #expect(try failure(.downgrade(section))?.reason == .inconsistent)
  }

  @Test func superblockAboutToBeWrittenHasTheSeqOfItsMember() throws {
    var superblock = try sample()
    superblock.seq = 3
    try superblock.validate()
    #expect(throws: FormatError.self) { try superblock.validate(forWrite: true) }
  }
}
