// SPDX-License-Identifier: GPL-2.0
// Space while a volume is built in one go: buckets handed out in ascending order, never freed.
//
// How it works
//   1. Every device has a cursor that walks its buckets upwards, past those already marked
//      (superblocks, journal).
//   2. A write point has one open bucket on each of the devices that a replica goes to, and fills
//      them side by side. When the fullest is full, all are closed and new ones are opened.
//   3. Devices are chosen by how little of them is used, so that data stripes evenly.
// Invariants
//   (1) A bucket has one data type, and at most `bucketSectors` dirty sectors.
//   (2) The sectors of a bucket are handed out in ascending order: pointers made by one write point
//       ascend within each device.
//   (3) The choice depends on what was allocated before and on nothing else (no clock, no threads).

internal import BcachefsFormat
internal import BcachefsSupport

/// The buckets of one device.
final class BucketSpace {
  let device: UInt8
  let bucketSectors: UInt32
  /// Copies that a pointer to this device counts for; 0 means that it is only a cache.
  let durability: Int
  /// Buckets of the device, or an upper bound while an image file still grows.
  let bucketLimit: UInt64
  /// `DataType` of each bucket below the highest one used; free where nothing was marked.
  private(set) var types: [UInt8] = []
  private(set) var dirtySectors: [UInt32] = []
  private var cursor: UInt64 = 0
  private(set) var usedBuckets: UInt64 = 0

  init(device: UInt8, bucketSectors: UInt32, durability: Int, bucketLimit: UInt64) {
    invariant(bucketSectors > 0, "a bucket has a size")
    self.device = device
    self.bucketSectors = bucketSectors
    self.durability = durability
    self.bucketLimit = bucketLimit
  }

  /// One past the highest bucket in use.
  var highestUsedBucket: UInt64 { UInt64(types.count) }

  /// Records `sectors` more of `type` in `bucket`.
  func mark(_ bucket: UInt64, _ type: DataType, sectors: UInt32) {
    let index = Int(bucket)
    if index >= types.count {
      types.append(
        contentsOf: repeatElement(DataType.free.rawValue, count: index + 1 - types.count))
      dirtySectors.append(contentsOf: repeatElement(0, count: index + 1 - dirtySectors.count))
    }
    if types[index] == DataType.free.rawValue {
      types[index] = type.rawValue
      usedBuckets += 1
    }
    invariant(types[index] == type.rawValue, "a bucket holds data of one type")
    dirtySectors[index] += sectors
    invariant(dirtySectors[index] <= bucketSectors, "a bucket is not filled beyond its size")
  }

  /// The next free bucket, or nil when the device is full. It is the caller's from now on.
  func take() -> UInt64? {
    while cursor < bucketLimit {
      let bucket = cursor
      cursor += 1
      if bucket >= types.count || types[Int(bucket)] == DataType.free.rawValue { return bucket }
    }
    return nil
  }

  /// Buckets that `take` can still give.
  var freeBuckets: UInt64 { bucketLimit - min(bucketLimit, usedBuckets) }
}

/// Where one stream of writes goes: an open bucket on each of the chosen devices.
struct ImageWritePoint {
  struct OpenBucket {
    let space: BucketSpace
    let bucket: UInt64
    var usedSectors: UInt32

    var freeSectors: UInt32 { space.bucketSectors - usedSectors }
    var nextSector: UInt64 { bucket * UInt64(space.bucketSectors) + UInt64(usedSectors) }
  }

  let type: DataType
  /// Preferred devices first (a target), then all others that may hold this type.
  let preferred: [BucketSpace]
  let others: [BucketSpace]
  let replicas: Int
  private(set) var open: [OpenBucket] = []

  init(type: DataType, preferred: [BucketSpace], others: [BucketSpace], replicas: Int) {
    self.type = type
    self.preferred = preferred
    self.others = others
    self.replicas = replicas
  }

  /// Sectors that fit without opening new buckets.
  var freeSectors: UInt32 { open.map(\.freeSectors).min() ?? 0 }

  /// Opens buckets on as many devices as the replicas need.
  ///
  /// - Throws: `.noSpace` when a device has no bucket left; nothing is half open then.
  mutating func openBuckets() throws(ImageError) {
    open.removeAll(keepingCapacity: true)
    var durability = 0
    for group in [preferred, others] {
      for space in group.sorted(by: ImageWritePoint.lessUsed) where durability < replicas {
        guard space.durability > 0 else { continue }
        guard let bucket = space.take() else { continue }
        open.append(OpenBucket(space: space, bucket: bucket, usedSectors: 0))
        durability += space.durability
      }
    }
    guard durability >= replicas else { throw .noSpace }
  }

  /// Takes `sectors` from the open buckets.
  ///
  /// - Precondition: `sectors <= freeSectors`.
  /// - Returns: one pointer a replica.
  mutating func take(sectors: UInt32) -> [ExtentPtr] {
    invariant(sectors <= freeSectors, "a write point is not asked for more than it has open")
    var pointers: [ExtentPtr] = []
    pointers.reserveCapacity(open.count)
    for index in open.indices {
      pointers.append(
        ExtentPtr(
          device: open[index].space.device, offset: open[index].nextSector, generation: 0))
      open[index].usedSectors += sectors
      open[index].space.mark(open[index].bucket, type, sectors: sectors)
    }
    return pointers
  }

  /// Compares by used share without division; ties by index, so that the choice is stable.
  private static func lessUsed(_ a: BucketSpace, _ b: BucketSpace) -> Bool {
    let left = a.usedBuckets.multipliedFullWidth(by: max(b.bucketLimit, 1))
    let right = b.usedBuckets.multipliedFullWidth(by: max(a.bucketLimit, 1))
    if left.high != right.high { return left.high < right.high }
    if left.low != right.low { return left.low < right.low }
    return a.device < b.device
  }
}
