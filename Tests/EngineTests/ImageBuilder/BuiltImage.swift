// SPDX-License-Identifier: GPL-2.0
// A volume built on simulated devices, taken apart again: superblock, and every node and key of
// every btree. It must not be encrypted.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

/// Where and how a test builds.
struct BuildSetting: Sendable {
  var options: [VolumeOption: UInt64] = [:]
  var deviceCount = 1
  /// What devices may hold, by their numbers; others hold anything.
  var dataAllowed: [Int: PersistentMask<DataType>] = [:]
  var bucketBytes: UInt64? = 128 << 10
  /// nil: devices fit.
  var byteCount: UInt64?
  var workers = 2
  var encryption = VolumeEncryption.none
  var masterKey: EncryptionKey?

  func format() -> VolumeFormat {
    var format = VolumeFormat(
      devices: (0..<deviceCount).map {
        var device = DeviceFormat(name: "device \($0)", byteCount: byteCount ?? 0)
        device.bucketBytes = bucketBytes
        if let allowed = dataAllowed[$0] { device.dataAllowed = allowed }
        return device
      })
    for (option, value) in options { format.options[option] = value }
    format.timeNanoseconds = 1_700_000_000_000_000_000
    format.encryption = encryption
    format.masterKey = masterKey
    return format
  }

  func makeDevices() throws -> [BlockDevice] {
    try (0..<deviceCount).map { index in
      var configuration = SimulatedDevice.Configuration()
      configuration.name = "device \(index)"
      configuration.recordsOperations = false
      let device = SimulatedDevice(
        byteCount: byteCount ?? 1 << 40, configuration: configuration)
      return try BlockDevice.open(simulated: device, mode: .exclusiveReadWrite)
    }
  }

  /// Builds on `devices`.
  func build(
    _ source: String, on devices: [BlockDevice], isCancelled: @escaping () -> Bool = { false }
  ) throws(ImageError) -> ImageBuildResult {
    var request = ImageBuildRequest(
      sourcePath: source, format: format(), fitsDevices: byteCount == nil)
    request.workers = workers
    request.isReproducible = true
    var builder = ImageBuilder(request, random: RandomSource(seed: 7), isCancelled: isCancelled)
    return try builder.build(on: devices)
  }
}

/// The bytes of a part of a device.
func contents(_ device: BlockDevice, _ range: Range<UInt64>) throws -> [UInt8] {
  var buffer = AlignedBuffer(byteCount: range.count)
  var bytes = buffer.mutableBytes
  try device.read(into: &bytes, atByte: range.lowerBound)
  return unsafe buffer.bytes.withUnsafeBytes { unsafe [UInt8]($0.prefix(range.count)) }
}

/// A hash of every mebibyte of a device.
func digests(_ device: BlockDevice) throws -> [UInt64] {
  var result: [UInt64] = []
  var offset: UInt64 = 0
  while offset < device.byteCount {
    let end = min(offset + 1 << 20, device.byteCount)
    let bytes = try contents(device, offset..<end)
    result.append(XXHash64.hash(bytes.rawBytes))
    offset = end
  }
  return result
}

struct BuiltImage {
  struct Node {
    let level: Int
    let header: BTreeNodeHeader
    /// The pointer to it: its key and value.
    let key: BKey
    let value: [UInt8]
  }

  struct Key {
    let key: BKey
    let value: [UInt8]
  }

  let result: ImageBuildResult
  let devices: [BlockDevice]
  /// In the order of their positions, roots last.
  private(set) var nodes: [BTreeID: [Node]] = [:]
  /// Keys of leaves, in order.
  private(set) var keys: [BTreeID: [Key]] = [:]

  var superblock: Superblock { result.superblock }

  init(_ source: String, _ setting: BuildSetting = BuildSetting()) throws {
    devices = try setting.makeDevices()
    result = try setting.build(source, on: devices)
    let clean = try #require(result.superblock.section(of: CleanSection.self))
    for entry in clean.entries where entry.type == .btreeRoot {
      let payload = entry.payload
      let key = try BKey(decoding: payload.rawBytes)
      try walk(
        entry.btreeID, Int(entry.level), key, Array(payload.dropFirst(BKey.Layout.byteCount)))
    }
  }

  /// The pointers of a key's value.
  func pointers(_ key: BKey, _ value: [UInt8]) throws -> [ExtentPtr] {
    var result: [ExtentPtr] = []
    var iterator = try ExtentEntries(key: key, value: value.rawBytes).pointers
    while let pointer = iterator.next() { result.append(pointer.ptr) }
    return result
  }
}

extension BuiltImage {
  /// Reads the node that `key` points to, and all below it.
  private mutating func walk(
    _ btree: BTreeID, _ level: Int, _ key: BKey, _ value: [UInt8]
  ) throws {
    let pointer = try BTreePtrV2(decoding: value.rawBytes)
    let first = try #require(try pointers(key, value).first)
    let start = first.offset * 512
    let bytes = try contents(
      devices[Int(first.device)], start..<start + UInt64(pointer.sectorsWritten) * 512)
    let header = try BTreeNodeHeader(decoding: bytes.rawBytes)
    let keysEnd = BTreeNodeHeader.Layout.keys + Int(header.bset.u64s) * 8
    let checksum = try ChecksumType(rawValue: header.bset.checksumType).checksum(
      bytes.rawBytes.extracting(16..<keysEnd), key: nil, nonce: Nonce(counter: 0, 0, 0, 0))
    #expect(checksum.lo == bytes.rawBytes[LEField<UInt64>(0)])
    #expect(checksum.hi == bytes.rawBytes[LEField<UInt64>(8)])
    for found in try Self.keys(of: header, bytes, keysEnd) {
      if level == 0 {
        keys[btree, default: []].append(found)
      } else {
        try walk(btree, level - 1, found.key, found.value)
      }
    }
    nodes[btree, default: []].append(Node(level: level, header: header, key: key, value: value))
  }

  private static func keys(
    of header: BTreeNodeHeader, _ bytes: [UInt8], _ end: Int
  ) throws -> [Key] {
    let start = BTreeNodeHeader.Layout.keys
    var result: [Key] = []
    var iterator = PackedKeyIterator(
      keys: bytes.rawBytes.extracting(start..<end), format: header.format)
    while let entry = try iterator.nextEntry() {
      let valueStart = start + entry.valueByteOffset
      result.append(
        Key(
          key: entry.key, value: Array(bytes[valueStart..<valueStart + entry.key.valueByteCount])))
    }
    return result
  }
}
