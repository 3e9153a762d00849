// SPDX-License-Identifier: GPL-2.0
// Which format versions the engine changes.

internal import BcachefsFormat
internal import BcachefsIO
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct EngineVersionTests {
  @Test func aVolumeOfAnOlderVersionIsRefusedByNameAndNothingIsWritten() throws {
    let devices = try BuildSetting().makeDevices()
    try withTemporaryFolder { folder in _ = try BuildSetting().build(folder, on: devices) }
    let volume = try VolumeOpener.openForWriting(devices: devices)
    try volume.store.update { superblock in
      superblock.version = MetadataVersion(rawValue: 1 << 10 | 12)
      superblock.versionMin = superblock.version
    }
    let before = try VolumeOpener.openForWriting(devices: devices).store.superblock
    let error = #expect(throws: VolumeError.self) {
      try Engine.open(VolumeOpener.openForWriting(devices: devices), EngineOptions(seed: 1))
    }
    #expect(error?.code == .unsupported)
    #expect("\(try #require(error))".contains("1.12"))
    #expect(try VolumeOpener.openForWriting(devices: devices).store.superblock == before)
  }
}
