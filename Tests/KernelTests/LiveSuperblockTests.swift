// SPDX-License-Identifier: GPL-2.0
// Superblocks that were written through mounts, counters, findings, an upgrade and clean unmounts,
// before the real driver: it mounts the volume, its fsck says nothing, and it goes on counting.

import BcachefsFormat
import BcachefsIO
import BcachefsSupport
import Foundation
import TestSupport
import Testing

@testable import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct LiveSuperblockTests {
  static let variants = ["defaults", "two devices, two replicas", "encrypted"]

  /// Mounts and unmounts as an engine does that changes nothing in between.
  private func cycle(
    _ images: [String], options: VolumeOptions = VolumeOptions(), unlock: UnlockSource,
    _ body: (SuperblockStore) throws -> Void
  ) throws {
    let volume = try VolumeOpener.openForWriting(
      VolumeSources(paths: images), options: options, unlock: unlock)
    let store = volume.store
    let clean = try #require(store.superblock.section(of: CleanSection.self))
    _ = try store.beginRecovery(VolumeOpener.policy(options))
    try store.markDirty()
    store.noteBTreesRunning(hasStripes: false)
    try body(store)
    try store.finishRecovery(foundErrors: false, wasChecked: true)
    try store.markClean(CleanState(journalSequence: clean.journalSeq, entries: clean.entries))
    #expect(store.superblock.isClean)
    #expect(store.failures.isEmpty)
    for device in volume.media.devices { try device?.close() }
  }

  private func wearOut(_ images: [String], unlock: UnlockSource) throws {
    try cycle(images, unlock: unlock) { store in
      store.counters.add(.transactionCommit, 1000)
      store.counters.add(.ioWrite, 4096)
      for member in images.indices {
        store.memberErrors.add(.read, member: member)
        store.memberErrors.add(.checksum, member: member)
        _ = try store.markBTree([(member, 30_000..<30_512)])
      }
      store.recordFinding(.accounting_mismatch)
      try store.requirePasses([.checkInodes, .checkLrus])
      try store.completePass(.checkInodes)
      try store.completePass(.checkLrus)
      try store.resetErrors(ofMember: 0)
    }
    try cycle(images, unlock: unlock) { store in
      try store.update { $0.lower(to: .rebalanceWorkAcctFix) }
      store.recordFinding(.accounting_mismatch)
      store.recordFinding(.inode_has_child_snapshots_wrong)
    }
    var options = VolumeOptions()
    options[.versionUpgrade] = UInt64(VersionUpgradePolicy.compatible.rawValue)
    try cycle(images, options: options, unlock: unlock) { store in
      #expect(store.superblock.version == .native)
      #expect(store.superblock.requiredPasses == [.checkInodes])
      try store.completePass(.checkInodes)
    }
  }

  @Test(arguments: variants)
  func driverFindsNothingToMend(name: String) throws {
    let variant = try #require(ImageVariant.all.first { $0.name == name })
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", seed: 4)
      let images = try variant.build(tree, in: folder)
      let secret = "\(folder)/secret"
      try writeFile(secret, Array((variant.passphrase ?? "").utf8))
      let unlock = UnlockSource(
        passphraseFile: variant.passphrase == nil ? nil : secret, usesKeyring: false)
      try wearOut(images, unlock: unlock)
      let shown = try runProgramOrThrow(
        builtProgram("bcachefs"), ["show-super", "--fields=all", images[0]])
      for text in ["accounting_mismatch", "inode_has_child_snapshots_wrong", "1.13"] {
        #expect(shown.text.contains(text), "\(text): \(shown.text)")
      }
      let outcome = try KernelGuest.check(images: images, passphrase: variant.passphrase)
      #expect(outcome.complaints == [], "\(outcome.log)")
      let difference = manifestDifference(expected: try tree.manifest(), seen: outcome.manifest)
      #expect(difference == [])
      try expectCounted(images, folder, variant, unlock)
    }
  }

  /// The driver shows our counters, and our program opens what the driver wrote.
  private func expectCounted(
    _ images: [String], _ folder: String, _ variant: ImageVariant, _ unlock: UnlockSource
  ) throws {
    let round = try KernelGuest.readWriteRound(images: images, passphrase: variant.passphrase)
    #expect(round.complaints == [], "\(round.log)")
    let volume = try VolumeOpener.openForWriting(
      VolumeSources(paths: images), unlock: unlock)
    #expect(volume.store.counters[.transactionCommit] > 1000)
    #expect(volume.store.counters[.ioWrite] > 4096)
    #expect(volume.store.memberErrors.count(.checksum, member: 0) == 1)
    #expect(volume.store.findingCounts.map(\.count) == [2, 1])
    #expect(volume.store.superblock.members[0].errorsAtReset == [1, 0, 1])
    for device in volume.media.devices { try device?.close() }
    try wearOut(images, unlock: unlock)
    let again = try KernelGuest.check(images: images, passphrase: variant.passphrase)
    #expect(again.complaints == [], "\(again.log)")
  }
}

extension Superblock {
  /// Makes it look like one of an older version.
  fileprivate mutating func lower(to version: MetadataVersion) {
    self.version = version
    versionMin = min(versionMin, version)
    self[Layout.versionUpgradeComplete] = UInt64(version.rawValue)
  }
}
