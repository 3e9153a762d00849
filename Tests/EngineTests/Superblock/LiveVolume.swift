// SPDX-License-Identifier: GPL-2.0
// Volumes for tests of writing superblocks: devices of one machine, whose operations are known in
// one order, so that power can fail on all of them at one moment.

import BcachefsFormat
import BcachefsSupport
import Synchronization
import TestSupport
import Testing

@testable import Bcachefs
@testable import BcachefsIO

/// What all devices of a machine did, in one order.
final class MomentLog: Sendable {
  /// Right before an operation: how many operations each device has done, and what the test was at.
  struct Moment: Sendable {
    let counts: [UInt64]
    let stage: Int
  }

  private struct State {
    var devices: [SimulatedDevice] = []
    var moments: [Moment] = []
    var stage = 0
  }

  private let state = Mutex(State())

  func watch(_ devices: [SimulatedDevice]) { state.withLock { $0.devices = devices } }

  var stage: Int {
    get { state.withLock { $0.stage } }
    set {
      state.withLock { $0.stage = newValue }
      note()
    }
  }

  /// Every moment that differs from the one before.
  var moments: [Moment] { state.withLock { $0.moments } }

  func note() {
    let devices = state.withLock { $0.devices }
    let counts = devices.map(\.operationCount)
    state.withLock { state in
      if let last = state.moments.last, last.counts == counts, last.stage == state.stage { return }
      state.moments.append(Moment(counts: counts, stage: state.stage))
    }
  }
}

/// Devices with a volume on them, and a record of all that is done to them.
struct LiveVolume {
  let devices: [SimulatedDevice]
  let log: MomentLog

  /// Devices that begin with what `images` hold.
  init(_ images: [SimulatedDevice]) {
    let log = MomentLog()
    devices = images.map { image in
      var configuration = SimulatedDevice.Configuration()
      configuration.name = image.configuration.name
      configuration.recordsContents = true
      configuration.latencyNanoseconds = 1...1
      configuration.sleep = { _ in log.note() }
      return SimulatedDevice(
        byteCount: image.byteCount, seed: 0, configuration: configuration,
        contents: image.state.withLock { $0.current })
    }
    log.watch(devices)
    self.log = log
  }

  /// A new volume, as the driver leaves it after a clean unmount.
  init(deviceCount: Int, replicas: UInt64 = 1) throws {
    var setting = BuildSetting()
    setting.deviceCount = deviceCount
    setting.byteCount = 24 << 20
    setting.options = [.metadataReplicas: replicas, .dataReplicas: replicas]
    let built = try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", script: "echo one >one")
      let images = (0..<deviceCount).map { index in
        var configuration = SimulatedDevice.Configuration()
        configuration.name = "device \(index)"
        return SimulatedDevice(byteCount: 24 << 20, configuration: configuration)
      }
      let opened = try images.map {
        try BlockDevice.open(simulated: $0, mode: .exclusiveReadWrite)
      }
      _ = try setting.build(tree.path, on: opened)
      for device in opened { try device.close() }
      return images
    }
    self.init(built)
  }

  init(fixture: String) throws { self.init(try OpeningFixture(fixture).devices) }

  /// Runs `body` on the volume, open for writing, and closes the devices.
  func writing<Value>(
    _ numbers: [Int]? = nil, options: VolumeOptions = VolumeOptions(),
    _ body: (SuperblockStore) throws -> Value
  ) throws -> Value {
    let opened = try (numbers ?? Array(devices.indices)).map {
      try BlockDevice.open(simulated: devices[$0], mode: .exclusiveReadWrite)
    }
    defer { for device in opened { try? device.close() } }
    let volume = try VolumeOpener.openForWriting(
      devices: opened, options: options, unlock: UnlockSource(usesKeyring: false))
    return try body(volume.store)
  }

  /// Opens devices for reading.
  static func read(
    _ devices: [SimulatedDevice], options: VolumeOptions = VolumeOptions()
  ) throws -> VolumeMedia {
    let opened = try devices.map { try BlockDevice.open(simulated: $0, mode: .readOnly) }
    return try VolumeOpener.open(
      devices: opened, options: options, unlock: UnlockSource(usesKeyring: false))
  }

  /// What a device's superblock says.
  func superblock(_ number: Int) throws -> Superblock {
    let device = try BlockDevice.open(simulated: devices[number], mode: .readOnly)
    return try SuperblockCopies.read(device, searching: false).superblock
  }

  /// The devices as a crash at this moment could leave them.
  func crashed(
    at moment: MomentLog.Moment, _ survivors: (Int) -> CrashSurvivors
  ) throws -> [SimulatedDevice] {
    try devices.indices.map { index in
      try #require(
        devices[index].crashImage(
          beforeOperation: moment.counts[index], survivors(index)))
    }
  }

  /// How many operations that change something the devices have seen.
  var operationCount: UInt64 { devices.reduce(0) { $0 + $1.operationCount } }
}

extension Superblock {
  /// Sets the label, by which tests tell states apart.
  mutating func setLabel(_ text: String) throws(VolumeError) {
    do throws(FormatError) { label = try DiskLabel(text) } catch { throw VolumeError(error) }
  }
}

extension SuperblockStore {
  func setLabel(_ text: String) throws(VolumeError) {
    try update { superblock throws(VolumeError) in try superblock.setLabel(text) }
  }
}
