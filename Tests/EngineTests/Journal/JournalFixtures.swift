// SPDX-License-Identifier: GPL-2.0
// Volumes that are nothing but a superblock and a journal, made for one test; and media of images.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

/// Devices in memory with journal buckets, filled as the test says.
final class JournalOnlyVolume {
  static let bucketSectors = 128
  static let buckets: [UInt64] = [20, 21, 22, 30, 31, 32, 33, 34]

  var superblock: Superblock
  let devices: [SimulatedDevice]
  let key: EncryptionKey?
  /// Where the next entry goes, in sectors from the start of the journal.
  private var heads: [Int]

  init(devices count: Int = 1, key: EncryptionKey? = nil, isClean: Bool = false) throws {
    self.key = key
    let layout = try SuperblockLayout(copySectors: [8], maxSizeBits: 11)
    let uuid = UUID(lo: 0x1234_5678_9abc_def0, hi: 0x0fed_cba9_8765_4321)
    superblock = Superblock(uuid: uuid, userUUID: uuid, layout: layout)
    superblock.setMembers(
      (0..<count).map {
        Member(
          uuid: UUID(lo: UInt64($0) + 1, hi: 7), bucketCount: 128,
          bucketSizeSectors: UInt16(Self.bucketSectors))
      })
    superblock.setSection(.journalV2(JournalBucketRangesSection(buckets: Self.buckets)))
    superblock.isClean = isClean
    devices = (0..<count).map { index in
      var configuration = SimulatedDevice.Configuration()
      configuration.name = "device \(index)"
      return SimulatedDevice(byteCount: 8 << 20, configuration: configuration)
    }
    heads = [Int](repeating: 0, count: count)
  }

  /// Writes to a device at a byte.
  func write(_ bytes: [UInt8], on device: Int, at offset: UInt64) throws {
    try devices[device].overwrite(bytes, at: offset)
  }

  /// The byte on a device at which a sector of its journal is.
  func offset(ofJournalSector sector: Int) -> UInt64 {
    let bucket = Self.buckets[sector / Self.bucketSectors]
    return (bucket * UInt64(Self.bucketSectors) + UInt64(sector % Self.bucketSectors)) * 512
  }

  /// A whole entry with checksum, encrypted where the volume is.
  func encode(
    _ sequence: UInt64, lastSeq: UInt64? = nil, flush: Bool = true,
    _ fill: (inout JSetBuilder) throws -> Void
  ) throws -> [UInt8] {
    var builder = JSetBuilder()
    try fill(&builder)
    let type: ChecksumType = key == nil ? .crc32cNonzero : .chacha20Poly1305
    let header = JSetHeader(
      magic: superblock.jsetMagic, seq: sequence, lastSeq: lastSeq ?? sequence,
      checksumType: type.rawValue, isFlush: flush)
    var bytes = try builder.finish(header, blockByteCount: 512)
    let written = try JSetHeader(decoding: bytes.rawBytes)
    let nonce = written.nonce
    if let key {
      var all = bytes.mutableRawBytes
      var encrypted = all.subrange(written.encryptedRange)
      key.applyChaCha20(to: &encrypted, nonce: nonce)
    }
    let sum = try type.checksum(
      bytes.rawBytes.extracting(written.checksummedRange), key: key, nonce: nonce)
    bytes.put(sum.lo, at: 0)
    bytes.put(sum.hi, at: 8)
    return bytes
  }

  /// Appends bytes to the journals of devices, in a new bucket where they do not fit.
  ///
  /// - Returns: The byte at which they are on the first of them.
  @discardableResult
  func append(_ bytes: [UInt8], on targets: [Int] = [0]) throws -> UInt64 {
    var first: UInt64?
    for device in targets {
      let left = Self.bucketSectors - heads[device] % Self.bucketSectors
      if bytes.count / 512 > left { heads[device] += left }
      let place = offset(ofJournalSector: heads[device])
      try write(bytes, on: device, at: place)
      heads[device] += bytes.count / 512
      first = first ?? place
    }
    return try #require(first)
  }

  /// Appends an entry that sets the cookie at offset `at` to its own number.
  @discardableResult
  func append(
    _ sequence: UInt64, lastSeq: UInt64? = nil, flush: Bool = true, at: UInt64? = nil,
    on targets: [Int] = [0]
  ) throws -> UInt64 {
    let bytes = try encode(sequence, lastSeq: lastSeq, flush: flush) {
      try $0.appendCookie(at: at ?? sequence, sequence)
    }
    return try append(bytes, on: targets)
  }

  /// Leaves the rest of the current bucket of a device as it is.
  func nextBucket(on device: Int = 0) {
    heads[device] = (heads[device] / Self.bucketSectors + 1) * Self.bucketSectors
  }

  /// Writes the superblocks and opens everything for reading.
  func media(missing: Set<Int> = []) throws -> VolumeMedia {
    for index in devices.indices {
      superblock.deviceIndex = UInt8(index)
      try write(superblock.encode(), on: index, at: 4096)
    }
    superblock.deviceIndex = 0
    return VolumeMedia(
      superblock: superblock,
      devices: try devices.enumerated().map { index, device in
        missing.contains(index) ? nil : try BlockDevice.open(simulated: device, mode: .readOnly)
      },
      key: key, options: VolumeOptions(), warnings: [])
  }

  func read(
    missing: Set<Int> = [], options: JournalReader.Options = .init()
  ) throws -> JournalContents {
    try JournalReader.read(try media(missing: missing), options: options)
  }
}

extension SimulatedDevice {
  /// Writes any number of bytes anywhere.
  func overwrite(_ bytes: [UInt8], at offset: UInt64) throws {
    let target = try BlockDevice.open(simulated: self, mode: .exclusiveReadWrite)
    let start = offset & ~511
    let end = (offset + UInt64(bytes.count) + 511) & ~511
    var sectors = [UInt8](repeating: 0, count: Int(end - start))
    var span = sectors.mutableRawBytes
    try target.read(into: &span, atByte: start)
    sectors.replaceSubrange(
      Int(offset - start)..<Int(offset - start) + bytes.count, with: bytes)
    try target.write(sectors.rawBytes, atByte: start)
    try target.close()
  }
}

extension JSetBuilder {
  mutating func appendCookie(at offset: UInt64, _ value: UInt64) throws {
    var bytes = [UInt8](repeating: 0, count: 8)
    bytes.put(value, at: 0)
    try appendKey(
      .btreeKeys, btree: .loggedOps, level: 0,
      BKey(type: .cookie, position: BPos(0, offset), valueU64s: 1), value: bytes.rawBytes)
  }
}

extension [UInt8] {
  mutating func put(_ value: UInt64, at offset: Int) {
    for byte in 0..<8 { self[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte)) }
  }
}

extension JournalContents {
  /// Values of all cookies in the overlay, by position.
  var cookies: [UInt64: UInt64] {
    var result: [UInt64: UInt64] = [:]
    for index in 0..<overlay.count where overlay.key(at: index).type == .cookie {
      result[overlay.key(at: index).position.offset] =
        overlay.value(at: index).loadLittleEndian(at: 0)
    }
    return result
  }

  /// Fates by sequence number.
  var fates: [UInt64: JournalFate] {
    Dictionary(entries.map { ($0.sequence, $0.fate) }) { first, _ in first }
  }

  var told: [String] { warnings.map(\.description) }
}

/// Image files as media; each has its superblock at sector 8.
func media(ofImages paths: [String], passphrase: String? = nil) throws -> VolumeMedia {
  try media(of: paths.map { try BlockDevice.open(path: $0, mode: .readOnly) })
}

func media(of opened: [BlockDevice]) throws -> VolumeMedia {
  var devices: [BlockDevice?] = []
  var newest: Superblock?
  for device in opened {
    var buffer = AlignedBuffer(byteCount: 1 << 20)
    var span = buffer.mutableBytes
    try device.read(into: &span, atByte: 4096)
    let superblock = try Superblock(decoding: buffer.bytes)
    while devices.count <= Int(superblock.deviceIndex) { devices.append(nil) }
    devices[Int(superblock.deviceIndex)] = device
    if superblock.seq >= newest?.seq ?? 0 { newest = superblock }
  }
  return VolumeMedia(
    superblock: try #require(newest), devices: devices, key: nil, options: VolumeOptions(),
    warnings: [])
}
