// SPDX-License-Identifier: GPL-2.0
// One stripe on simulated devices, and the key that describes it, without a volume around them.

import BcachefsFormat
import BcachefsIO
import BcachefsSupport
import TestSupport
import Testing

@testable import Bcachefs

/// A stripe of 3 data blocks and P and Q, a block a device, with a checksum for each 8 sectors.
struct StripedVolume {
  static let blockSectors = 32
  static let granuleSectors = 8
  static let dataCount = 3
  static let blockCount = 5
  static let number: UInt64 = 7
  /// Where each block stands on its device.
  static let sector: UInt64 = 128

  let devices: [SimulatedDevice]
  /// The blocks one after the other.
  let contents: [UInt8]
  let checksumType: ChecksumType

  init(seed: UInt64, checksumType: ChecksumType = .crc32c) throws {
    self.checksumType = checksumType
    var generator = SplitMix64(seed: seed)
    let blockBytes = Self.blockSectors * 512
    var stripe = [UInt8](repeating: 0, count: Self.blockCount * blockBytes)
    for index in 0..<Self.dataCount * blockBytes {
      stripe[index] = UInt8.random(in: 0...255, using: &generator)
    }
    // The definition, byte by byte: P is the sum, Q the sum with weights 1, 2, 4.
    for byte in 0..<blockBytes {
      let data = (0..<Self.dataCount).map { stripe[$0 * blockBytes + byte] }
      stripe[3 * blockBytes + byte] = data[0] ^ data[1] ^ data[2]
      stripe[4 * blockBytes + byte] =
        data[0] ^ Self.doubled(data[1]) ^ Self.doubled(Self.doubled(data[2]))
    }
    contents = stripe
    devices = (0..<Self.blockCount).map { SimulatedDevice(byteCount: 1 << 20, seed: UInt64($0)) }
    for (index, device) in devices.enumerated() {
      try device.overwrite(
        Array(stripe[index * blockBytes..<(index + 1) * blockBytes]), at: Self.sector * 512)
    }
  }

  /// Times two in the field of polynomial 0x11d.
  private static func doubled(_ value: UInt8) -> UInt8 {
    value << 1 ^ (value & 0x80 == 0 ? 0 : 0x1d)
  }

  func bytes(ofBlock block: Int) -> [UInt8] {
    let size = Self.blockSectors * 512
    return Array(contents[block * size..<(block + 1) * size])
  }

  /// Changes one byte of a block.
  func damage(block: Int, sector: Int) throws {
    let offset = sector * 512 + 100
    try devices[block].overwrite(
      [bytes(ofBlock: block)[offset] ^ 0x40], at: Self.sector * 512 + UInt64(offset))
  }

  /// The key in the stripes btree.
  private func key(_ value: inout [UInt8]) throws -> BKey {
    let head = Stripe.Head(
      sectors: UInt16(Self.blockSectors), blockCount: UInt8(Self.blockCount), redundantCount: 2,
      checksumGranularityBits: 3, checksumType: checksumType.rawValue, pendingWork: 3)
    value = [UInt8](repeating: 0, count: head.encodedU64s * 8)
    var span = value.mutableRawBytes
    head.encode(into: &span)
    for block in 0..<Self.blockCount {
      try Stripe.set(
        ExtentPtr(device: UInt8(block), offset: Self.sector, generation: 5), block: block,
        in: &span)
      let whole = bytes(ofBlock: block)
      for index in 0..<head.checksumsPerBlock {
        let start = index * Self.granuleSectors * 512
        let granule = Array(whole[start..<start + Self.granuleSectors * 512])
        try Stripe.set(
          try checksumType.checksum(granule.rawBytes), block: block, index: index, head: head,
          in: &span)
      }
    }
    return BKey(
      type: .stripe, position: BPos(0, Self.number), valueU64s: head.encodedU64s)
  }

  /// A reader of the stripe, with some devices missing.
  func reader(
    missing: Set<Int> = [], report: @escaping (ReadDamage) -> Void = { _ in }
  ) throws -> (reader: StripeReader, media: VolumeMedia, forest: BTreeForest) {
    let volume = try JournalOnlyVolume()
    var value: [UInt8] = []
    let key = try key(&value)
    let entry = try volume.encode(1) { builder in
      try builder.appendKey(.btreeKeys, btree: .stripes, level: 0, key, value: value.rawBytes)
    }
    try volume.append(entry)
    let base = try volume.media()
    let media = VolumeMedia(
      superblock: base.superblock,
      devices: try devices.enumerated().map { index, device in
        missing.contains(index) ? nil : try BlockDevice.open(simulated: device, mode: .readOnly)
      },
      key: nil, options: VolumeOptions(), warnings: [])
    let decoder = NodeDecoder(
      superblockMagic: 0, key: nil, blockBytes: 512, nodeBytes: 65536, isBlacklisted: { _ in false }
    )
    let forest = BTreeForest(
      nodes: NodeReader(media: media, decoder: decoder, cacheBytes: 1 << 20, report: { _ in }),
      roots: [:], overlay: try volume.read().overlay)
    return (StripeReader(media: media, lookup: forest.lookup(), report: report), media, forest)
  }

  /// A copy in one of the data blocks.
  static func copy(block: Int, fromSector first: Int, device: UInt8? = nil) -> DecodedPtr {
    DecodedPtr(
      ptr: ExtentPtr(
        device: device ?? UInt8(block), offset: sector + UInt64(first), generation: 5),
      crc: ExtentCrc(plainSectors: 4),
      stripe: ExtentStripePtr(stripe: number, block: UInt8(block), redundancy: 2))
  }
}
