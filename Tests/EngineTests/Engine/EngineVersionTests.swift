// SPDX-License-Identifier: GPL-2.0
// Which format versions the engine changes, and which it raises.

internal import BcachefsFormat
internal import BcachefsIO
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct EngineVersionTests {
  private func volume(minor: UInt16) throws -> [BlockDevice] {
    let devices = try BuildSetting().makeDevices()
    try withTemporaryFolder { folder in _ = try BuildSetting().build(folder, on: devices) }
    let volume = try VolumeOpener.openForWriting(devices: devices)
    try volume.store.update { superblock in
      superblock.version = MetadataVersion(rawValue: 1 << 10 | minor)
      superblock.versionMin = superblock.version
      superblock[Superblock.Layout.versionUpgradeComplete] = UInt64(superblock.version.rawValue)
    }
    return devices
  }

  private func superblock(_ devices: [BlockDevice]) throws -> Superblock {
    try VolumeOpener.openForWriting(devices: devices).store.superblock
  }

  private func open(
    _ devices: [BlockDevice], _ policy: VersionUpgradePolicy = .none
  ) throws -> Engine {
    var options = EngineOptions(seed: 1)
    options.versionUpgrade = policy
    return try Engine.open(VolumeOpener.openForWriting(devices: devices), options)
  }

  @Test func aVolumeOfAnOlderVersionIsRefusedByNameAndNothingIsWritten() throws {
    let devices = try volume(minor: 12)
    let before = try superblock(devices)
    let error = #expect(throws: VolumeError.self) { try open(devices) }
    #expect(error?.code == .unsupported)
    let text = "\(try #require(error))"
    #expect(text.contains("1.12") && text.contains("version_upgrade=compatible"))
    #expect(try superblock(devices) == before)
  }

  @Test func anUpgradeWhosePassesAreMissingIsRefusedByTheirNames() throws {
    let devices = try volume(minor: 9)
    let before = try superblock(devices)
    let error = #expect(throws: VolumeError.self) { try open(devices, .compatible) }
    #expect(error?.code == .unsupported)
    #expect("\(try #require(error))".contains("check_allocations"))
    #expect(try superblock(devices) == before)
  }

  @Test func aVersionIsRaisedWhenThatIsAskedFor() throws {
    let devices = try volume(minor: 12)
    try open(devices, .compatible).close()
    let after = try superblock(devices)
    #expect(after.version == .native)
    #expect(after[Superblock.Layout.versionUpgradeComplete] == UInt64(after.version.rawValue))
    #expect(after.requiredPasses.isEmpty)
    try open(devices).close()
  }

  /// Power fails when the superblock has the new version, and nothing else was done.
  @Test func anUpgradeThatWasInterruptedIsCompletedThoughNobodyAsks() throws {
    let devices = try volume(minor: 12)
    let store = try VolumeOpener.openForWriting(devices: devices).store
    #expect(try Engine.beginUpgrade(store, .compatible))
    let between = try superblock(devices)
    #expect(between.version == .native)
    #expect(between.requiredPasses.contains(.checkInodes))
    try open(devices).close()
    let after = try superblock(devices)
    #expect(after[Superblock.Layout.versionUpgradeComplete] == UInt64(after.version.rawValue))
    #expect(after.requiredPasses.isEmpty)
  }
}
