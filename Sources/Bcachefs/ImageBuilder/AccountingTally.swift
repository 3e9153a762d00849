// SPDX-License-Identifier: GPL-2.0
// Counts what a build writes, as the accounting btree wants it.
//
// How it works
//   The triggers of the engine add deltas at each commit; a build adds the same amounts up in
//   memory and writes each counter once. Counters of inodes are kept in a dense array, since inode
//   numbers of a build are dense.
// Invariants
//   (1) Every counter equals the sum over the keys that the build wrote (what fsck recounts).
// Source: buckets.c (__trigger_extent), alloc_background.c (bch2_alloc_key_to_dev_counters).

internal import BcachefsFormat
internal import BcachefsSupport

struct AccountingTally {
  private struct PerInode {
    var extents: UInt32 = 0
    var sectors: UInt64 = 0
    var storedSectors: UInt64 = 0
  }

  private(set) var inodeCount: Int64 = 0
  private var replicas: [AccountingReplicas: Int64] = [:]
  private var btrees: [UInt32: Int64] = [:]
  private var snapshots: [UInt32: Int64] = [:]
  private var compression: [UInt8: InlineArray<3, Int64>] = [:]
  private var perInode: [PerInode] = []
  private let firstInode: UInt64

  init(firstInode: UInt64) { self.firstInode = firstInode }

  mutating func addInode() { inodeCount += 1 }

  /// Counts an extent of user data.
  mutating func addExtent(
    inode: UInt64, snapshot: UInt32, chunk: EncodedChunk, pointers: [ExtentPtr]
  ) {
    let stored = Int64(chunk.storedSectors) * Int64(pointers.count)
    addReplicas(.user, pointers, sectors: stored)
    snapshots[snapshot, default: 0] += stored
    if chunk.crc.compressionType != 0 {
      var counters = compression[chunk.crc.compressionType] ?? [0, 0, 0]
      counters[0] += 1
      counters[1] += Int64(chunk.crc.uncompressedSize) * Int64(pointers.count)
      counters[2] += Int64(chunk.crc.compressedSize) * Int64(pointers.count)
      compression[chunk.crc.compressionType] = counters
    }
    let index = Int(inode - firstInode)
    if index >= perInode.count {
      perInode.append(contentsOf: repeatElement(PerInode(), count: index + 1 - perInode.count))
    }
    perInode[index].extents += 1
    perInode[index].sectors += UInt64(chunk.sectors)
    perInode[index].storedSectors += UInt64(stored)
  }

  /// Counts a btree node.
  mutating func addNode(_ btree: BTreeID, _ pointers: [ExtentPtr], nodeSectors: UInt32) {
    let sectors = Int64(nodeSectors) * Int64(pointers.count)
    addReplicas(.btree, pointers, sectors: sectors)
    btrees[UInt32(btree.rawValue), default: 0] += sectors
  }

  private mutating func addReplicas(_ type: DataType, _ pointers: [ExtentPtr], sectors: Int64) {
    let entry = AccountingReplicas(
      dataType: type.rawValue, required: 1, devices: pointers.map(\.device))
    replicas[entry, default: 0] += sectors
  }

  /// The combinations of devices that hold data or metadata, for the superblock.
  var replicasEntries: [AccountingReplicas] { Array(replicas.keys) }

  /// One counter of the btree.
  struct Counter {
    let position: BPos
    /// One to three values.
    let values: [Int64]
  }

  /// Every counter that is not zero, in btree order.
  ///
  /// - Parameters:
  ///   - spaces: the devices' buckets, for their counters by data type.
  ///   - bucketCounts: buckets of each device.
  func counters(spaces: [BucketSpace], bucketCounts: [UInt64]) -> [Counter] {
    var result: [Counter] = []
    visit(spaces: spaces, bucketCounts: bucketCounts) { key, values in
      result.append(Counter(position: key.position, values: values))
    }
    result.sort { $0.position < $1.position }
    return result
  }

  /// How many there are.
  func counterCount(spaces: [BucketSpace], bucketCounts: [UInt64]) -> Int {
    var count = 0
    visit(spaces: spaces, bucketCounts: bucketCounts) { _, _ in count += 1 }
    return count
  }

  private func visit(
    spaces: [BucketSpace], bucketCounts: [UInt64], _ body: (AccountingKey, [Int64]) -> Void
  ) {
    func add(_ key: AccountingKey, _ values: [Int64]) {
      if values.contains(where: { $0 != 0 }) { body(key, values) }
    }
    add(.nrInodes, [inodeCount])
    for (entry, sectors) in replicas { add(.replicas(entry), [sectors]) }
    for (id, sectors) in btrees { add(.btree(id: id), [sectors]) }
    for (id, sectors) in snapshots { add(.snapshot(id: id), [sectors]) }
    for (type, values) in compression {
      add(.compression(type: type), [values[0], values[1], values[2]])
    }
    for (offset, counted) in perInode.enumerated() where counted.extents > 0 {
      add(
        .inode(number: firstInode + UInt64(offset)),
        [Int64(counted.extents), Int64(counted.sectors), Int64(counted.storedSectors)])
    }
    for (space, bucketCount) in zip(spaces, bucketCounts) {
      for (type, values) in AccountingTally.deviceCounters(space, bucketCount: bucketCount) {
        add(.deviceDataType(device: space.device, dataType: type.rawValue), values)
      }
    }
  }

  /// Buckets, sectors and fragmented sectors of a device by data type.
  private static func deviceCounters(
    _ space: BucketSpace, bucketCount: UInt64
  ) -> [(DataType, [Int64])] {
    var byType: [DataType: InlineArray<3, Int64>] = [:]
    var used: UInt64 = 0
    for (raw, dirty) in zip(space.types, space.dirtySectors) {
      let type = DataType(rawValue: raw)
      guard type != .free else { continue }
      used += 1
      var counters = byType[type] ?? [0, 0, 0]
      counters[0] += 1
      counters[1] += Int64(dirty)
      counters[2] += dirty > 0 ? Int64(space.bucketSectors - dirty) : 0
      byType[type] = counters
    }
    var result = byType.map { ($0.key, [$0.value[0], $0.value[1], $0.value[2]]) }
    result.append((.free, [Int64(bucketCount - used), 0, 0]))
    return result
  }
}
