// SPDX-License-Identifier: GPL-2.0
// Superblocks of real volumes: read, checked, printed, and written back.

import BcachefsFormat
import BcachefsSupport
import Foundation
import Testing

/// Invariants: encode() of what was decoded is the same bytes; the driver's superblocks are valid;
/// the text is upstream's, line by line; hostile bytes are thrown errors.
struct SuperblockTests {
  @Test func fixturesAreThere() { #expect(SuperblockFixture.all.count == 24) }

  @Test(arguments: SuperblockFixture.all)
  func decodedSuperblockEncodesToTheSameBytes(fixture: SuperblockFixture) throws {
    let bytes = try fixture.bytes()
    let superblock = try fixture.superblock()
    #expect(try superblock.encode() == bytes)
    #expect(superblock.byteCount == bytes.count)
    #expect(try Superblock.byteCount(ofHeader: bytes.rawBytes.extracting(0..<752)) == bytes.count)
    let hasUnknown = superblock.sections.contains {
      if case .unknown = $0 { true } else { false }
    }
    #expect(!hasUnknown)
  }

  @Test(arguments: SuperblockFixture.all)
  func superblockOfTheDriverIsValid(fixture: SuperblockFixture) throws {
    let superblock = try fixture.superblock()
    try superblock.validate()
    try superblock.validate(forWrite: true)
    try superblock.checkSupported()
  }

  @Test(arguments: SuperblockFixture.all)
  func textIsUpstreams(fixture: SuperblockFixture) throws {
    let style = SuperblockTextStyle(sections: .all, layout: true)
    let ours = try fixture.superblock().text(device: "(reg file)", style: style)
    let golden = try fixture.text()
    let ourLines = ours.split(separator: "\n", omittingEmptySubsequences: false)
    let goldenLines = golden.split(separator: "\n", omittingEmptySubsequences: false)
    for (index, (our, theirs)) in zip(ourLines, goldenLines).enumerated() {
      #expect(our == theirs, "line \(index + 1)")
    }
    #expect(ourLines.count == goldenLines.count)
  }

  @Test func superblockBuiltFieldByFieldIsTheFormatProgramsByteForByte() throws {
    // format --no_initialize of two devices of 64 and 96 MiB; only what is random is taken over.
    let fixture = SuperblockFixture(name: "formatted")
    let theirs = try fixture.superblock()
    let crypt = try #require(theirs.section(of: CryptSection.self))
    let layout = try SuperblockLayout(
      deviceSectors: 96 << 11, bucketSizeSectors: 256, blockSizeSectors: 8, superblockSectors: 1024)
    var ours = Superblock(uuid: theirs.uuid, userUUID: theirs.userUUID, layout: layout)
    var options = VolumeOptions()
    for (option, text) in [
      (VolumeOption.btreeNodeSize, "128k"), (.metadataReplicas, "2"), (.dataReplicas, "2"),
      (.errors, "ro"), (.compression, "zstd:7"), (.backgroundCompression, "lz4"),
      (.dataChecksum, "xxhash"), (.usrquota, "1"),
    ] {
      options[option] = try option.parse(text)
    }
    var groups = DiskGroupsSection()
    let fast = try groups.findOrCreate(path: "ssd.fast")
    let hdd = try groups.findOrCreate(path: "hdd")
    options[.foregroundTarget] = UInt64(try #require(DiskTarget.label(fast)).rawValue)
    options[.promoteTarget] = UInt64(DiskTarget.device(1).rawValue)
    var words = SuperblockOptionWords()
    options.store(into: &words)
    ours.optionWords = words
    ours[Superblock.Layout.encryptionType] = 1
    ours.label = try DiskLabel("a volume")
    ours.deviceIndex = 1
    ours.featureMask = SuperblockFeature.newVolume
    ours.timeBaseLow = theirs.timeBaseLow
    ours.sector = 8
    var members = [(512, fast, UInt8(2)), (768, hdd, 0)].enumerated().map { index, device in
      var member = Member(
        uuid: theirs.members[index].uuid, bucketCount: UInt64(device.0), bucketSizeSectors: 256)
      member.groupIndex = device.1
      member.durability = device.2
      member.discard = true
      member.dataAllowed = [.journal, .btree, .user]
      return member
    }
    members[1].dataAllowed = [.journal, .btree]
    ours.setSection(.membersV2(MembersV2Section(members: members)))
    ours.setSection(.diskGroups(groups))
    ours.setSection(
      .crypt(
        CryptSection(
          scryptN: 0, scryptR: 0, scryptP: 0, keyMagic: CryptSection.plainKeyMagic, key: crypt.key))
    )
    ours.setMembers(members)
    try ours.validate(forWrite: true)
    // The program leaves the checksum type of a new superblock at none.
    #expect(theirs[Superblock.Layout.checksumType] == ours[Superblock.Layout.checksumType])
    #expect(try ours.encode() == fixture.bytes())
  }

  @Test(arguments: ["newest-plain", "newest-encrypted", "newest-replicas.0"])
  func superblockOfANewerFormatIsShownAndKeptAndRefused(name: String) throws {
    let url = try #require(
      Bundle.module.url(forResource: "Golden/superblock-newer/\(name)", withExtension: "sb"))
    let bytes = Array(try Data(contentsOf: url))
    let superblock = try Superblock(decoding: bytes.rawBytes)
    #expect(superblock.version == MetadataVersion(1, 39))
    #expect(try superblock.encode() == bytes)
    try superblock.validate()
    let error = #expect(throws: FormatError.self) { try superblock.checkSupported() }
    #expect(error?.reason == .unsupported)
    let text = superblock.text(style: SuperblockTextStyle(sections: .all, layout: true))
    #expect(text.contains("extent_type_u64s (size 24):"))
    #expect(text.contains("Incompatible features in use:"))
    #expect(superblock.members.allSatisfy { $0.isAlive && $0.tail.count == 328 - 144 })
  }

  @Test func headerFieldsAreWhatTheDiskHolds() throws {
    let superblock = try #require(
      SuperblockFixture.all.first { $0.name == "tiered.1" }
    ).superblock()
    #expect(superblock.version == .native)
    #expect(superblock.deviceIndex == 1)
    #expect(superblock.deviceCount == 3)
    #expect(superblock.aliveDeviceCount == 3)
    #expect(superblock.blockSizeSectors == 8)
    #expect(superblock.sector == 8)
    #expect(superblock.isClean)
    #expect(superblock.isInitialized)
    #expect(superblock.magic == SuperblockMagic.bcachefs)
    #expect("\(superblock.magic)" == "c68573f6-66ce-90a9-d96a-60cf803df7ef")
    #expect(superblock.layout.maxByteCount == 1 << 20)
    #expect(superblock.section(of: MembersV2Section.self)?.memberByteCount == 144)
    #expect(superblock.member(at: 3) == nil)
    #expect(superblock.member(at: 2)?.groupIndex == 4)
  }

  @Test func magicsOfJournalAndNodesComeFromTheInternalUUID() throws {
    let uuid = BcachefsSupport.UUID.zero
    let layout = try SuperblockLayout(copySectors: [8], maxSizeBits: 11)
    let superblock = Superblock(uuid: uuid, userUUID: uuid, layout: layout)
    #expect(superblock.jsetMagic == 0x2452_35c1_a362_5032)
    #expect(superblock.bsetMagic == 0x9013_5c78_b99e_07f5)
  }

  @Test func everyFlippedByteOfASuperblockIsNoticed() throws {
    let bytes = try #require(SuperblockFixture.all.first).bytes()
    for offset in stride(from: 0, to: bytes.count, by: 7) {
      var damaged = bytes
      damaged[offset] ^= 0x10
      #expect(throws: FormatError.self, "byte \(offset)") {
        _ = try Superblock(decoding: damaged.rawBytes)
      }
    }
  }

  @Test func truncatedSuperblockIsNoticedAtEveryLength() throws {
    let bytes = try #require(SuperblockFixture.all.first).bytes()
    for count in stride(from: 0, to: bytes.count, by: 31) {
      let error = #expect(throws: FormatError.self) {
        _ = try Superblock(decoding: bytes.rawBytes.extracting(0..<count))
      }
      #expect(error?.reason == .truncated, "\(count) bytes")
    }
  }

  @Test func mutatedSuperblocksNeverTrapAndSurviveEncoding() throws {
    let seed = UInt64.random(in: 0 ... .max)
    var random = SplitMix64(seed: seed)
    var decoded = 0
    for fixture in SuperblockFixture.all {
      let bytes = try fixture.bytes()
      for _ in 0..<20 {
        var mutated = bytes
        for _ in 0..<Int.random(in: 1...8, using: &random) {
          let offset = Int.random(in: 240..<mutated.count, using: &random)
          mutated[offset] = UInt8.random(in: 0...255, using: &random)
        }
        guard
          let superblock = try? Superblock(decoding: mutated.rawBytes, verifyingChecksum: false)
        else { continue }
        decoded += 1
        try? superblock.validate()
        _ = superblock.text(style: SuperblockTextStyle(sections: .all, layout: true))
        _ = superblock.json().text()
        // All but the checksum, which is made anew.
        if let encoded = try? superblock.encode() {
          #expect(encoded.dropFirst(16).elementsEqual(mutated.dropFirst(16)), "seed \(seed)")
        }
      }
    }
    #expect(decoded > 0, "seed \(seed)")
  }

  @Test func checksumOfAnEncryptedTypeIsRefusedByName() throws {
    var bytes = try #require(SuperblockFixture.all.first).bytes()
    // csum_type is bits 2 to 7 of the first flag word; 4 is chacha20_poly1305_128.
    bytes[144] = bytes[144] & 3 | 4 << 2
    let error = #expect(throws: FormatError.self) { _ = try Superblock(decoding: bytes.rawBytes) }
    #expect(error?.reason == .unsupported)
    #expect(error?.description.contains("csum_type") == true)
  }

  @Test func checksumTypeThatCannotBeWrittenIsNotValidForWriting() throws {
    let fixture = try #require(SuperblockFixture.all.first { $0.name == "plain" })
    var superblock = try fixture.superblock()
    for type: UInt64 in [3, 4, 8, 33] {
      superblock[Superblock.Layout.checksumType] = type
      try superblock.validate()
      #expect(throws: FormatError.self) { try superblock.validate(forWrite: true) }
      #expect(throws: FormatError.self) { try superblock.encode() }
    }
  }

  @Test func unknownFeatureIsRefusedByNumber() throws {
    var superblock = try #require(SuperblockFixture.all.first).superblock()
    superblock.features[0] |= 1 << 19
    let error = #expect(throws: FormatError.self) { try superblock.checkSupported() }
    #expect(error?.reason == .unsupported)
    #expect(error?.found == 19)
  }

  @Test func unknownSectionIsCarriedAlong() throws {
    var superblock = try #require(SuperblockFixture.all.first).superblock()
    let section = UnknownSection(type: .init(rawValue: 99), contents: [1, 2, 3])
    superblock.sections.insert(.unknown(section), at: 1)
    let encoded = try superblock.encode()
    let again = try Superblock(decoding: encoded.rawBytes)
    #expect(again.sections == superblock.sections)
    #expect(again.text(style: .init(sections: .all)).contains("(unknown field 99) (size 16):\n"))
  }

  @Test func newestCopyCountsAndTheFirstOfEquals() throws {
    let superblock = try #require(SuperblockFixture.all.first).superblock()
    var newer = superblock
    newer.seq += 1
    #expect(Superblock.newestIndex(of: []) == nil)
    #expect(Superblock.newestIndex(of: [nil, nil]) == nil)
    #expect(Superblock.newestIndex(of: [nil, superblock]) == 1)
    #expect(Superblock.newestIndex(of: [superblock, newer, newer]) == 1)
    #expect(Superblock.newestIndex(of: [newer, nil, superblock]) == 0)
  }
}
