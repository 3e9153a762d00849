// SPDX-License-Identifier: GPL-2.0
// Rebuilding blocks from a stripe with P and Q: whatever two blocks are lost or silently changed.
//
// Invariants under test: what is rebuilt is what was written; what is damaged beyond the parity is
// an error; silent damage is found by the stripe's checksums and told.

import BcachefsFormat
import BcachefsSupport
import TestSupport
import Testing

@testable import Bcachefs

@Suite struct StripeReaderTests {
  private func rebuild(
    _ reader: StripeReader, _ copy: DecodedPtr, fromSector first: UInt64 = 0, sectors: Int
  ) throws(VolumeError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: sectors * 512)
    var span = bytes.mutableRawBytes
    try reader.rebuild(copy, fromSector: first, into: &span)
    return bytes
  }

  @Test func anyTwoMissingDevicesAreRebuilt() throws {
    let volume = try StripedVolume(seed: 1)
    for first in 0..<StripedVolume.blockCount {
      for second in first..<StripedVolume.blockCount {
        let (reader, _, _) = try volume.reader(missing: [first, second])
        for block in 0..<StripedVolume.dataCount {
          // From within one granule to within the next but one.
          let copy = StripedVolume.copy(block: block, fromSector: 3)
          let bytes = try rebuild(reader, copy, fromSector: 2, sectors: 17)
          let expected = volume.bytes(ofBlock: block)[5 * 512..<22 * 512]
          #expect(bytes == Array(expected), "block \(block) without \(first) and \(second)")
        }
      }
    }
  }

  @Test func silentDamageOfASurvivorIsFoundAndTold() throws {
    let volume = try StripedVolume(seed: 2)
    try volume.damage(block: 1, sector: 9)
    var told: [ReadDamage] = []
    let (reader, _, _) = try volume.reader(missing: [0], report: { told.append($0) })
    let bytes = try rebuild(
      reader, StripedVolume.copy(block: 0, fromSector: 0), sectors: StripedVolume.blockSectors)
    #expect(bytes == volume.bytes(ofBlock: 0))
    #expect(told.count == 1)
    let damage = try #require(told.first)
    #expect(damage.device == 1 && damage.sector == StripedVolume.sector + 8)
    #expect(damage.text.contains("checksum is wrong"))
  }

  @Test func twoDamagedSurvivorsOfAMissingBlockAreTooMany() throws {
    let volume = try StripedVolume(seed: 3)
    try volume.damage(block: 1, sector: 0)
    try volume.damage(block: 4, sector: 1)
    let (reader, _, _) = try volume.reader(missing: [0])
    let copy = StripedVolume.copy(block: 0, fromSector: 0)
    let error = #expect(throws: VolumeError.self) { try rebuild(reader, copy, sectors: 1) }
    #expect(error?.code == .allCopiesBad)
    #expect(error?.description.contains("block 1 on device 1: checksum is wrong") == true)
    // The other granules have lost one block only.
    let rest = StripedVolume.copy(block: 0, fromSector: 8)
    let bytes = try rebuild(reader, rest, sectors: 24)
    #expect(bytes == Array(volume.bytes(ofBlock: 0)[(8 * 512)...]))
  }

  @Test func damageInDifferentGranulesOfEveryDeviceIsRepaired() throws {
    let volume = try StripedVolume(seed: 4)
    for block in 0..<4 { try volume.damage(block: block, sector: block * 8) }
    let (reader, _, _) = try volume.reader()
    for block in 0..<StripedVolume.dataCount {
      let copy = StripedVolume.copy(block: block, fromSector: 0)
      let bytes = try rebuild(reader, copy, sectors: StripedVolume.blockSectors)
      #expect(bytes == volume.bytes(ofBlock: block))
    }
  }

  @Test func withoutChecksumsTheOtherBlocksAreBelieved() throws {
    let volume = try StripedVolume(seed: 5, checksumType: .none)
    try volume.damage(block: 2, sector: 3)
    let (reader, _, _) = try volume.reader(missing: [0])
    // One is missing, the block itself is not to be trusted: P and Q give both.
    let copy = StripedVolume.copy(block: 2, fromSector: 0)
    let bytes = try rebuild(reader, copy, sectors: StripedVolume.blockSectors)
    #expect(bytes == volume.bytes(ofBlock: 2))
  }

  @Test func copiesThatAreNotInTheStripeAreRefused() throws {
    let volume = try StripedVolume(seed: 6)
    let (reader, _, _) = try volume.reader()
    var otherGeneration = StripedVolume.copy(block: 0, fromSector: 0)
    otherGeneration.ptr.generation = 4
    var noStripe = StripedVolume.copy(block: 0, fromSector: 0)
    noStripe.stripe = ExtentStripePtr(stripe: 8, block: 0, redundancy: 2)
    let wrong = [
      StripedVolume.copy(block: 0, fromSector: 0, device: 3),
      StripedVolume.copy(block: 0, fromSector: 30), StripedVolume.copy(block: 3, fromSector: 0),
      otherGeneration, noStripe,
    ]
    for copy in wrong {
      let error = #expect(throws: VolumeError.self) { try rebuild(reader, copy, sectors: 4) }
      #expect(error?.code == .corrupt, "\(copy)")
    }
    // From 1.27 on: the device was removed.
    let removed = StripedVolume.copy(block: 0, fromSector: 0, device: 255)
    let bytes = try rebuild(reader, removed, sectors: 4)
    #expect(bytes == Array(volume.bytes(ofBlock: 0)[..<2048]))
  }
}
