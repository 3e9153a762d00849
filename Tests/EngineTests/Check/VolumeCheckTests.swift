// SPDX-License-Identifier: GPL-2.0
// The check is silent on what the driver and we wrote, however little memory it has, and says what
// is wrong where something is.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct VolumeCheckTests {
  private static let volumes = SampleVolume.fixtures + SampleVolume.corpus

  @Test(arguments: volumes)
  func driverVolumesAreWithoutFinding(_ sample: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let images = try sample.unpack(into: folder)
      let devices = try images.map { try BlockDevice.open(path: $0, mode: .readOnly) }
      let unlock = UnlockSource(ask: { _ in sample.passphrase })
      let volume = try Volume(media: VolumeOpener.open(devices: devices, unlock: unlock))
      for memory in [1 << 30, 0] {
        var options = CheckOptions.thorough
        options.memoryBytes = memory
        let findings = try volume.findings(options)
        #expect(
          findings.isEmpty,
          "\(findings.count): \(findings.prefix(6).joined(separator: "\n"))")
      }
    }
  }

  @Test(.enabled(if: !SampleVolume.newest.isEmpty, "\(SampleVolume.newestMissing)"))
  func newerFormatsAreRefusedByName() throws {
    let sample = try #require(SampleVolume.newest.first { $0.name == "newest-plain" })
    try withTemporaryFolder { folder in
      let devices = try sample.unpack(into: folder).map {
        try BlockDevice.open(path: $0, mode: .readOnly)
      }
      let volume = try Volume(media: VolumeOpener.open(devices: devices, unlock: .keyring))
      let error = #expect(throws: VolumeError.self) { try volume.check() }
      #expect(error?.code == .unsupported)
    }
  }

  @Test func allPassesOfAnFsckRunInUpstreamsOrder() throws {
    let orders = Volume.checkPasses.compactMap(\.order)
    #expect(orders == orders.sorted())
    for pass in RecoveryPass.fsckPasses.inRunOrder {
      #expect(Volume.checkPasses.contains(pass), "\(pass)")
    }
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture("snapshots").unpack(into: folder)
      let devices = try images.map { try BlockDevice.open(path: $0, mode: .readOnly) }
      let volume = try Volume(media: VolumeOpener.open(devices: devices, unlock: .keyring))
      var passes: [RecoveryPass] = []
      var shares: [RecoveryPass: [Double]] = [:]
      var events = CheckEvents()
      events.pass = { passes.append($0) }
      events.progress = { shares[$0, default: []].append($1) }
      _ = try volume.check(CheckOptions(), events)
      #expect(passes == Volume.checkPasses)
      for (pass, shares) in shares {
        #expect(shares == shares.sorted() && shares.allSatisfy { 0...1 ~= $0 }, "\(pass)")
      }
      #expect((shares[.checkExtents] ?? []).count > 1)
    }
  }

  @Test func aCheckEndsWhenAsked() throws {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture("plain").unpack(into: folder)
      let devices = try images.map { try BlockDevice.open(path: $0, mode: .readOnly) }
      let volume = try Volume(media: VolumeOpener.open(devices: devices, unlock: .keyring))
      var events = CheckEvents()
      events.shouldStop = { true }
      let error = #expect(throws: VolumeError.self) { try volume.check(CheckOptions(), events) }
      #expect(error?.code == .cancelled)
    }
  }
}
