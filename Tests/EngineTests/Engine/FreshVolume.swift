// SPDX-License-Identifier: GPL-2.0
// Volumes of simulated devices that are formatted, and that nobody has opened.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

struct FreshVolume: Sendable, CustomTestStringConvertible {
  let testDescription: String
  var build = BuildSetting()
  var sizes: [UInt64] = [64 << 20]
  /// Of each device; 1 where nothing is said.
  var durability: [UInt8] = []
  /// What happens on a device, given by its index, while it does something.
  var during: (@Sendable (Int) -> Void)?
  var passphrase: String?

  static let all: [FreshVolume] = [
    FreshVolume(testDescription: "one device"),
    FreshVolume(testDescription: "smallest") {
      $0.sizes = [16 << 20]
      $0.build.bucketBytes = 16 << 10
    },
    FreshVolume(testDescription: "one terabyte") {
      $0.sizes = [1 << 40]
      $0.build.bucketBytes = 2 << 20
    },
    FreshVolume(testDescription: "encrypted") {
      $0.build.encryption = .passphrase(Array("secret".utf8))
      $0.passphrase = "secret"
    },
    FreshVolume(testDescription: "two replicas of three unequal devices") {
      $0.sizes = [64 << 20, 256 << 20, 96 << 20]
      $0.build.options[.metadataReplicas] = 2
    },
    FreshVolume(testDescription: "crc64, blocks of 4 KiB") {
      $0.build.options[.metadataChecksum] = 2
      $0.build.options[.blockSize] = 4096
    },
  ]

  init(testDescription: String, _ change: (inout FreshVolume) -> Void = { _ in }) {
    self.testDescription = testDescription
    build.bucketBytes = 64 << 10
    build.options[.btreeNodeSize] = 16 << 10
    change(&self)
    build.deviceCount = sizes.count
  }

  /// Formats simulated devices.
  func format(recorded: Bool = false) throws -> [SimulatedDevice] {
    var devices: [SimulatedDevice] = []
    for (index, size) in sizes.enumerated() {
      var configuration = SimulatedDevice.Configuration()
      configuration.name = "device \(index)"
      configuration.recordsOperations = recorded
      configuration.recordsContents = recorded
      if let during {
        configuration.latencyNanoseconds = 1...1
        configuration.sleep = { _ in during(index) }
      }
      devices.append(SimulatedDevice(byteCount: size, configuration: configuration))
    }
    try writeSuperblocks(to: devices)
    return devices
  }

  /// Makes the volume one again that was never opened, whatever else is on its devices.
  func writeSuperblocks(to devices: [SimulatedDevice]) throws {
    var format = build.format()
    for (index, size) in sizes.enumerated() { format.devices[index].byteCount = size }
    for (index, value) in durability.enumerated() { format.devices[index].durability = value }
    try format.settleGeometry()
    var random = RandomSource(seed: 7)
    let volume = try format.makeVolume(random: &random)
    let open = try Self.open(devices)
    try volume.write(to: open)
    for device in open { try device.close() }
  }

  static func open(_ devices: [SimulatedDevice]) throws -> [BlockDevice] {
    try devices.map { try BlockDevice.open(simulated: $0, mode: .exclusiveReadWrite) }
  }

  func engine(on devices: [SimulatedDevice], seed: UInt64 = 1) throws -> BareEngine {
    try BareEngine(
      on: Self.open(devices), unlock: UnlockSource(ask: { _ in passphrase }), seed: seed)
  }

  func letGo(_ bare: BareEngine) throws {
    bare.engine.letGo()
    for device in bare.engine.media.devices { try device?.close() }
  }

  /// The check finds nothing.
  ///
  /// - Parameter ofFiles: Not in files either.
  func expectSound(
    _ devices: [SimulatedDevice], _ comment: Comment, ofFiles: Bool = false
  ) throws {
    try withVolume(devices) { volume in
      let findings = try volume.findings(ofFiles: ofFiles)
      #expect(findings == [], comment)
    }
  }

  /// The check finds nothing, and the root directory has its one entry.
  func expectNew(_ devices: [SimulatedDevice], _ comment: Comment) throws {
    try expectSound(devices, comment, ofFiles: true)
    try withVolume(devices) { volume in
      let root = try volume.inode(volume.root)
      #expect(root.mode == 0o040755 && root.nlink == 1, comment)
      let names = try volume.entries(of: volume.root).map(\.name)
      #expect(names == [Array("lost+found".utf8)], comment)
    }
  }

  func withVolume(
    _ devices: [SimulatedDevice], _ body: (Volume) throws -> Void
  ) throws {
    let open = try devices.map { try BlockDevice.open(simulated: $0, mode: .readOnly) }
    defer { for device in open { try? device.close() } }
    let media = try VolumeOpener.open(
      devices: open, unlock: UnlockSource(ask: { _ in passphrase }))
    try body(Volume(media: media))
  }
}
