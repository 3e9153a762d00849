// SPDX-License-Identifier: GPL-2.0
// A device full of what looks like the beginning of a superblock: giving up takes bounded work.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct FalseSuperblockTests {
  /// Each of 65,000 sectors begins a superblock of 20 MiB: all of them together are a terabyte.
  @Test(.timeLimit(.minutes(1)))
  func beginningsOfSuperblocksAreGivenUpInTime() throws {
    let byteCount: UInt64 = 32 << 20
    let layout = try SuperblockLayout(copySectors: [8], maxSizeBits: 16)
    let uuid = UUID(lo: 1, hi: 2)
    var sector = try Superblock(uuid: uuid, userUUID: uuid, layout: layout).encode()
    sector.removeLast(sector.count - 512)
    for byte in 0..<4 {
      let words: UInt32 = (20 << 20) / 8
      sector[Superblock.Layout.u64s.offset + byte] = UInt8(
        truncatingIfNeeded: words >> UInt32(8 * byte))
    }
    let medium = SimulatedDevice(byteCount: byteCount)
    let device = try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite)
    var bytes: [UInt8] = []
    for number in 0..<UInt64(2048) {
      bytes += sector
      bytes.put(number, at: bytes.count - 512 + Superblock.Layout.sector.offset)
    }
    for start in stride(from: 0, to: byteCount, by: bytes.count) {
      try device.write(bytes.rawBytes, atByte: start)
    }
    #expect(throws: VolumeError.self) { try SuperblockCopies.read(device, searching: true) }
    #expect(throws: NoSuperblock.self) { try FoundSuperblock(reading: device) }
  }
}
