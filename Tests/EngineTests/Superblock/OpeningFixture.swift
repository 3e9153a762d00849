// SPDX-License-Identifier: GPL-2.0
// Volumes for tests of opening: unpacked once, changed as copies in memory.

import Bcachefs
import BcachefsFormat
import BcachefsIO
import BcachefsSupport
import TestSupport
import Testing

@testable import Bcachefs

/// A sample volume as simulated devices: what is written to one of them is nobody else's.
struct OpeningFixture {
  let devices: [SimulatedDevice]

  /// The fixture of this name from the checkout.
  init(_ name: String) throws {
    devices = try withTemporaryFolder { folder in
      try SampleVolume.fixture(name).unpack(into: folder).map { path in
        let file = try BlockDevice.open(path: path, mode: .readOnly)
        var configuration = SimulatedDevice.Configuration()
        configuration.name = String(path.split(separator: "/").last ?? "")
        return try SimulatedDevice(copying: file, configuration: configuration)
      }
    }
  }

  init(devices: [SimulatedDevice]) { self.devices = devices }

  /// Opens these devices, by their numbers; all by default.
  func open(
    _ numbers: [Int]? = nil, options: VolumeOptions = VolumeOptions(),
    unlock: UnlockSource = UnlockSource(usesKeyring: false)
  ) throws -> VolumeMedia {
    let opened = try (numbers ?? Array(devices.indices)).map {
      try BlockDevice.open(simulated: devices[$0], mode: .readOnly)
    }
    return try VolumeOpener.open(devices: opened, options: options, unlock: unlock)
  }

  /// The newest superblock on a device.
  func superblock(_ number: Int) throws -> Superblock {
    let device = try BlockDevice.open(simulated: devices[number], mode: .readOnly)
    return try SuperblockCopies.read(device, searching: true).superblock
  }

  /// Changes all copies of a device's superblock.
  func rewrite(_ number: Int, _ change: (inout Superblock) throws -> Void) throws {
    var superblock = try superblock(number)
    try change(&superblock)
    for copy in try superblock.encodedCopies() {
      try overwrite(number, at: copy.sector * 512, with: copy.bytes)
    }
  }

  /// Overwrites bytes of a device.
  func overwrite(_ number: Int, at offset: UInt64, with bytes: [UInt8]) throws {
    let device = try BlockDevice.open(simulated: devices[number], mode: .exclusiveReadWrite)
    let start = offset / 512 * 512
    let end = (offset + UInt64(bytes.count) + 511) / 512 * 512
    var buffer = AlignedBuffer(byteCount: Int(end - start))
    var span = buffer.mutableBytes
    try device.read(into: &span, atByte: start)
    for (index, byte) in bytes.enumerated() {
      span.storeBytes(of: byte, toByteOffset: Int(offset - start) + index, as: UInt8.self)
    }
    try device.write(buffer.bytes, atByte: start)
  }

  /// Overwrites a range of a device with noise.
  func destroy(_ number: Int, sectors: Range<UInt64>) throws {
    let count = Int(sectors.count) * 512
    try overwrite(
      number, at: sectors.lowerBound * 512, with: [UInt8](repeating: 0xa5, count: count))
  }

  /// What is on a device, for comparing before with after.
  func digest(_ number: Int) throws -> UInt64 {
    let device = try BlockDevice.open(simulated: devices[number], mode: .readOnly)
    var buffer = AlignedBuffer(byteCount: Int(device.byteCount))
    var span = buffer.mutableBytes
    try device.read(into: &span, atByte: 0)
    return XXHash64.hash(buffer.bytes)
  }
}

extension VolumeOptions {
  /// These options, on.
  static func on(_ options: VolumeOption...) -> VolumeOptions {
    var result = VolumeOptions()
    for option in options { result[option] = 1 }
    return result
  }
}

/// The error that `body` throws, which must have this code.
func expectError(
  _ code: VolumeError.Code, _ location: SourceLocation = #_sourceLocation,
  _ body: () throws -> VolumeMedia
) -> String {
  do {
    _ = try body()
    Issue.record("nothing was thrown", sourceLocation: location)
    return ""
  } catch let error as VolumeError {
    #expect(error.code == code, "\(error)", sourceLocation: location)
    return "\(error)"
  } catch {
    Issue.record(error, sourceLocation: location)
    return ""
  }
}
