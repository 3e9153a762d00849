// SPDX-License-Identifier: GPL-2.0
// What an extent comes to in the counters: by replicas, snapshot, compression and file.
// Source: buckets.c (__trigger_extent, ptr_disk_sectors).

internal import BcachefsFormat
internal import BcachefsSupport

extension DecodedPtr {
  /// Sectors that a key's part of this pointer takes on its device; nil where it is said to be
  /// compressed from nothing.
  func diskSectors(of key: BKey) -> Int64? {
    guard crc.isCompressed else { return Int64(key.size) }
    let whole = UInt64(crc.uncompressedSize)
    guard whole > 0 else { return nil }
    return Int64((UInt64(key.size) * UInt64(crc.compressedSize) + whole - 1) / whole)
  }
}

/// Adds up the pointers of one extent. Those in stripes are counted with their stripe
/// (`StripeBlocks.replicas`), by the caller.
struct ExtentSums {
  private var sectors: Int64 = 0
  private var devices: [UInt8] = []
  private var required: UInt8 = 1
  private var cached: [(device: UInt8, sectors: Int64)] = []
  private var compressed: [(type: UInt8, uncompressed: Int64, compressed: Int64)] = []

  /// - Parameter sectors: On the device, negative for a key that goes.
  mutating func add(_ pointer: DecodedPtr, _ sectors: Int64) {
    if pointer.ptr.isCached {
      cached.append((pointer.ptr.device, sectors))
    } else if pointer.stripe != nil {
      // With a stripe behind it, the extent needs none of its other copies.
      required = 0
    } else {
      self.sectors += sectors
      devices.append(pointer.ptr.device)
    }
    let type = pointer.crc.compressionType
    guard type != 0 else { return }
    if compressed.last?.type != type { compressed.append((type, 0, 0)) }
    compressed[compressed.count - 1].uncompressed += Int64(pointer.crc.uncompressedSize)
    compressed[compressed.count - 1].compressed += Int64(pointer.crc.compressedSize)
  }

  /// Calls `body` with each counter that the extent changes, and by how much.
  func forEachCount(of key: BKey, sign: Int64, _ body: (AccountingKey, [Int64]) -> Void) {
    for copy in cached {
      body(
        .replicas(
          AccountingReplicas(
            dataType: DataType.cached.rawValue, required: 1, devices: [copy.device])),
        [copy.sectors])
    }
    if !devices.isEmpty {
      body(
        .replicas(
          AccountingReplicas(
            dataType: DataType.user.rawValue, required: required, devices: devices)),
        [sectors])
      if key.position.snapshot != 0 { body(.snapshot(id: key.position.snapshot), [sectors]) }
    }
    for run in compressed {
      body(.compression(type: run.type), [sign, sign * run.uncompressed, sign * run.compressed])
    }
    body(.inode(number: key.position.inode), [sign, sign * Int64(key.size), sectors])
  }
}
