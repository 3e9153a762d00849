// SPDX-License-Identifier: GPL-2.0
// Which copy of an extent is read, and what happens when it is bad.

import BcachefsFormat
import BcachefsIO
import BcachefsSupport
import TestSupport
import Testing

@testable import Bcachefs

@Suite struct ExtentReaderTests {
  /// An extent key in memory of its own.
  static func extent(_ entries: [ExtentEntry], sectors: UInt32) throws -> KeyReference {
    let storage = HeapBuffer(byteCount: 256)
    var bytes = storage.mutableBytes
    var writer = ExtentWriter()
    for entry in entries { try writer.append(entry, to: &bytes) }
    var key = BKey(
      type: .extent, position: BPos(4096, UInt64(sectors), .max),
      valueU64s: writer.encodedU64s)
    key.size = sectors
    return KeyReference(key: key, storage: storage, valueStart: 0)
  }

  private func read(
    _ extent: KeyReference, _ media: VolumeMedia, _ forest: BTreeForest,
    report: @escaping (ReadDamage) -> Void = { _ in }
  ) throws(VolumeError) -> [UInt8] {
    let reader = ExtentReader(media: media, lookup: forest.lookup(), report: report)
    var bytes = [UInt8](repeating: 0xee, count: Int(extent.key.size) * 512)
    var span = bytes.mutableRawBytes
    try reader.read(extent, fromSector: 0, into: &span)
    return bytes
  }

  /// A checksum of the first four sectors of a block.
  private func crc(_ volume: StripedVolume, block: Int) throws -> ExtentEntry {
    let bytes = Array(volume.bytes(ofBlock: block)[..<2048])
    return .crc(
      ExtentCrc(
        compressedSize: 4, uncompressedSize: 4, liveSize: 4,
        checksumType: ChecksumType.crc32c.rawValue,
        checksum: try ChecksumType.crc32c.checksum(bytes.rawBytes)), .crc32)
  }

  private func pointer(_ device: UInt8, cached: Bool = false) -> ExtentEntry {
    .ptr(
      ExtentPtr(
        device: device, offset: StripedVolume.sector, generation: 0, isCached: cached))
  }

  @Test func poisonedExtentsAreAnErrorWithAName() throws {
    let volume = try StripedVolume(seed: 11)
    let (_, media, forest) = try volume.reader()
    var flags = ExtentFlags()
    let good = try Self.extent(
      [.flags(flags), .reconcile(1 << 7), try crc(volume, block: 0), pointer(0)], sectors: 4)
    let bytes = try read(good, media, forest)
    #expect(bytes == Array(volume.bytes(ofBlock: 0)[..<2048]))
    flags.isPoisoned = true
    let bad = try Self.extent([.flags(flags), try crc(volume, block: 0), pointer(0)], sectors: 4)
    let error = #expect(throws: VolumeError.self) { try read(bad, media, forest) }
    #expect(error?.code == .poisoned)
  }

  @Test func pointersToNoDeviceAreMissingCopies() throws {
    let volume = try StripedVolume(seed: 12)
    var told = 0
    let (_, media, forest) = try volume.reader(missing: [1])
    for none in [UInt8(255), 200, 1] {
      let extent = try Self.extent(
        [try crc(volume, block: 0), pointer(none), pointer(0)], sectors: 4)
      let bytes = try read(extent, media, forest, report: { _ in told += 1 })
      #expect(bytes == Array(volume.bytes(ofBlock: 0)[..<2048]))
      let alone = try Self.extent([try crc(volume, block: 0), pointer(none)], sectors: 4)
      let error = #expect(throws: VolumeError.self) { try read(alone, media, forest) }
      #expect(error?.description.contains("device \(none) is missing") == true)
    }
    #expect(told == 0)
  }

  @Test func aCopyWithAWrongChecksumIsToldAndTheStripeGivesWhatItHad() throws {
    let volume = try StripedVolume(seed: 13)
    try volume.damage(block: 0, sector: 1)
    var told: [UInt8] = []
    let (_, media, forest) = try volume.reader()
    let stripe = ExtentStripePtr(stripe: StripedVolume.number, block: 0, redundancy: 2)
    let place = ExtentPtr(device: 0, offset: StripedVolume.sector, generation: 5)
    let extent = try Self.extent(
      [try crc(volume, block: 0), .stripePtr(stripe), .ptr(place)], sectors: 4)
    let bytes = try read(extent, media, forest, report: { told.append($0.device) })
    #expect(bytes == Array(volume.bytes(ofBlock: 0)[..<2048]))
    #expect(Set(told) == [0])
    let without = try Self.extent([try crc(volume, block: 0), .ptr(place)], sectors: 4)
    let error = #expect(throws: VolumeError.self) { try read(without, media, forest) }
    #expect(error?.code == .allCopiesBad)
  }

  @Test func anExtentOfWhichOnlyStaleCachedCopiesAreLeftIsAHole() throws {
    let volume = try StripedVolume(seed: 14)
    let (_, media, forest) = try volume.reader(missing: [0])
    let extent = try Self.extent([pointer(0, cached: true)], sectors: 4)
    let bytes = try read(extent, media, forest)
    #expect(bytes == [UInt8](repeating: 0, count: 2048))
    let none = try Self.extent([], sectors: 4)
    #expect(throws: VolumeError.self) { try read(none, media, forest) }
  }
}
