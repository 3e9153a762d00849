// SPDX-License-Identifier: GPL-2.0
// Versions, features and keys: what is read, what is refused by name; superblocks of noise.

import BcachefsFormat
import BcachefsIO
import BcachefsSupport
import TestSupport
import Testing

@testable import Bcachefs

@Suite struct VersionAndLockTests {
  // MARK: Versions

  @Test func tableHasARowForEachNewerVersion() {
    #expect(FormatSupport.newerVersions.map(\.version) == MetadataVersion.newerTable.map(\.version))
    #expect(FormatSupport.newestReadable == MetadataVersion(1, 39))
    let named = SuperblockFeature.names.count
    #expect(FormatSupport.newerFeatures.map { Int($0.feature.rawValue) } == Array(19..<named))
    // what bcachefs-tools asks for by bch2_request_incompat_feature
    let incompatible = FormatSupport.newerVersions.filter(\.isIncompatible).map(\.version.minor)
    #expect(incompatible == [16, 24, 25, 26, 27, 29, 30, 32, 33, 34, 36])
  }

  @Test func newerVersionsAreReadAsFarAsTheirIncompatibleChangesAreKnown() throws {
    let fixture = try OpeningFixture("plain")
    try fixture.rewrite(0) { superblock in
      superblock.version = MetadataVersion(1, 39)
      superblock[Superblock.Layout.versionIncompat] = UInt64(MetadataVersion(1, 36).rawValue)
      superblock.features[0] |= 0x1f << 19
    }
    #expect(try fixture.open().warnings == [])
    try fixture.rewrite(0) { $0.version = MetadataVersion(1, 70) }
    #expect(try fixture.open().warnings.first?.contains("1.70") == true)
    try fixture.rewrite(0) {
      $0[Superblock.Layout.versionIncompat] = UInt64(MetadataVersion(1, 41).rawValue)
    }
    let text = expectError(.unsupported) { try fixture.open() }
    #expect(text.contains("1.41") && text.contains("newer program"))
  }

  @Test func otherMajorVersionIsRefusedByName() throws {
    let fixture = try OpeningFixture("plain")
    try fixture.rewrite(0) { $0.version = MetadataVersion(2, 0) }
    let text = expectError(.unsupported) { try fixture.open() }
    #expect(text.contains("format version 2.0"))
  }

  @Test(arguments: [UInt16(13), 19, 20])
  func versionsWithoutAnUpgradePassAreRefusedByName(minor: UInt16) throws {
    let fixture = try OpeningFixture("plain")
    try fixture.rewrite(0) {
      $0.version = MetadataVersion(0, minor)
      $0.versionMin = $0.version
      $0.removeSection(.downgrade)
    }
    let text = expectError(.unsupported) { try fixture.open() }
    #expect(text.contains("format version 0.\(minor)"))
  }

  @Test func unknownFeatureIsRefusedByNumber() throws {
    for (word, bit, name) in [(0, 24, "feature 24"), (1, 3, "feature 67")] {
      let fixture = try OpeningFixture("plain")
      try fixture.rewrite(0) { $0.features[word] |= 1 << UInt64(bit) }
      let text = expectError(.unsupported) { try fixture.open() }
      #expect(text.contains(name), "\(text)")
    }
  }

  // MARK: Keys

  @Test func rightPassphraseOpensAndWrongOrNoneDoesNot() throws {
    let fixture = try OpeningFixture("encrypted")
    let right = try fixture.open(unlock: UnlockSource(usesKeyring: false) { _ in "correct horse" })
    #expect(right.key != nil)
    let wrong = expectError(.locked) {
      try fixture.open(unlock: UnlockSource(usesKeyring: false) { _ in "incorrect" })
    }
    #expect(wrong.contains("incorrect passphrase for volume"))
    let none = expectError(.locked) { try fixture.open() }
    #expect(none.contains("is encrypted; give its passphrase"))
  }

  @Test func passphraseFileIsReadWithoutItsNewline() throws {
    let fixture = try OpeningFixture("encrypted")
    try withTemporaryFolder { folder in
      let path = "\(folder)/passphrase"
      try writeFile(path, Array("correct horse\n".utf8))
      #expect(try fixture.open(unlock: UnlockSource(passphraseFile: path)).key != nil)
      try writeFile(path, Array("correct\nhorse".utf8))
      let text = expectError(.locked) {
        try fixture.open(unlock: UnlockSource(passphraseFile: path) { _ in "correct horse" })
      }
      #expect(text.contains("the passphrase in \(path) is not the one of"))
      _ = expectError(.device) {
        try fixture.open(unlock: UnlockSource(passphraseFile: "\(folder)/none"))
      }
    }
  }

  @Test func encryptedVolumeWithoutItsKeySectionIsCorrupt() throws {
    let fixture = try OpeningFixture("encrypted")
    try fixture.rewrite(0) { $0.removeSection(.crypt) }
    _ = expectError(.corrupt) { try fixture.open() }
  }

  @Test(.enabled(if: hasKeyring, "no kernel keyrings here"))
  func keyThatUnlockLeftInTheKeyringOpens() throws {
    try withTemporaryFolder { folder in
      let paths = try SampleVolume.fixture("encrypted").unpack(into: folder)
      let sources = VolumeSources(paths: paths)
      #expect(try VolumeUnlock.state(of: sources) == .locked)
      #expect(throws: VolumeError.self) {
        try VolumeUnlock.addKey(of: sources, from: UnlockSource { _ in "wrong" })
      }
      let name = try VolumeUnlock.addKey(of: sources, from: UnlockSource { _ in "correct horse" })
      defer { KernelKeyring.user.remove(described: name) }
      let media = try VolumeOpener.open(sources)
      #expect(media.key != nil)
      #expect(try VolumeUnlock.state(of: sources) == .unlocked)
      #expect(name == "bcachefs:\(media.superblock.userUUID)")
    }
  }

  // MARK: Noise

  @Test(arguments: ["plain", "replicas", "encrypted"])
  func mutatedSuperblocksAreOpenedOrRefusedAndNeverTrap(name: String) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var random = RandomSource(seed: seed)
    let fixture = try OpeningFixture(name)
    let superblock = try fixture.superblock(0)
    let original = try superblock.encode(sector: 8)
    var opened = 0
    for _ in 0..<400 {
      var bytes = original
      for _ in 0..<(1 + random.next() % 4) {
        let at = 16 + Int(random.next() % UInt64(bytes.count - 16))
        bytes[at] = UInt8(truncatingIfNeeded: random.next())
      }
      resign(&bytes)
      try fixture.overwrite(0, at: 4096, with: bytes)
      var options = VolumeOptions.on(.veryDegraded)
      if random.next() % 2 == 0 { options[.noSplitbrainCheck] = 1 }
      let unlock = UnlockSource(usesKeyring: false)
      // the backups are whole: only the first copy counts here
      let media = try? fixture.open(options: options, unlock: unlock)
      if media?.superblock.sector == 8 { opened += 1 }
    }
    // most bytes are those of counters and names
    #expect(name == "encrypted" || opened > 20)
    #expect(opened < 400)
  }

  /// Puts the checksum that the bytes have now, where its type can be computed.
  private func resign(_ bytes: inout [UInt8]) {
    let type = ChecksumType(rawValue: bytes[144] >> 2)
    let size = 752 + 8 * Int(bytes.rawBytes.loadLittleEndian(at: 124, as: UInt32.self))
    guard size <= bytes.count, type.isKnown, !type.isEncryption,
      let checksum = try? type.checksum(bytes.rawBytes.extracting(16..<size))
    else { return }
    for index in 0..<8 {
      bytes[index] = UInt8(truncatingIfNeeded: checksum.lo >> UInt64(8 * index))
      bytes[8 + index] = UInt8(truncatingIfNeeded: checksum.hi >> UInt64(8 * index))
    }
  }
}
