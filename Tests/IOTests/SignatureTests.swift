// SPDX-License-Identifier: GPL-2.0
// Recognising what a device holds, against what mkfs and parted-like tools put there.

import BcachefsIO
import Foundation
import TestSupport
import Testing

struct SignatureTests: ~Copyable {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test func anEmptyFileHoldsNothing() throws {
    let device = try BlockDevice.create(path: folder.file("a"), byteCount: 1 << 20)
    #expect(try device.existingSignatures() == [])
  }

  @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/sbin/mkfs.ext4")))
  func aFilesystemIsNamedWithLabelAndUUID() throws {
    let path = folder.file("a")
    try BlockDevice.create(path: path, byteCount: 16 << 20).close()
    let uuid = "12345678-9abc-def0-1234-56789abcdef0"
    try #require(run("/usr/sbin/mkfs.ext4", "-q", "-U", uuid, "-L", "my data", path) == 0)
    let found = try DeviceSignature.all(path: path)
    #expect(
      found == [DeviceSignature(kind: .contents, type: "ext4", label: "my data", uuid: uuid)])
    #expect(
      found.first?.description
        == "ext4 filesystem or data, labelled \"my data\", UUID \(uuid)")

    let simulated = try SimulatedDevice(
      copying: BlockDevice.open(path: path, mode: .readOnly))
    let device = try BlockDevice.open(simulated: simulated, mode: .readOnly)
    #expect(try device.existingSignatures() == found)
  }

  @Test func aPartitionTableIsNamed() throws {
    let device = try BlockDevice.create(path: folder.file("a"), byteCount: 1 << 20)
    var sector = [UInt8](repeating: 0, count: 512)
    // One partition of type 0x83 from sector 1, 100 sectors long; disk signature 0x11223344.
    sector.replaceSubrange(440..<444, with: [0x44, 0x33, 0x22, 0x11])
    sector.replaceSubrange(
      446..<462, with: [0, 0, 2, 0, 0x83, 0, 10, 0, 1, 0, 0, 0, 100, 0, 0, 0])
    sector.replaceSubrange(510..<512, with: [0x55, 0xAA])
    try device.put(sector, at: 0)
    #expect(
      try device.existingSignatures()
        == [DeviceSignature(kind: .partitionTable, type: "dos", label: nil, uuid: "11223344")])
  }
}
