// SPDX-License-Identifier: GPL-2.0
// An engine over a simulated device, for tests of btrees and transactions alone: places of nodes
// come from a counter, and nothing is allocated.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

/// Places for nodes, one behind the other, never given out twice.
final class CountedPlaces: NodePlaces {
  private let next: Mutex<UInt64>
  private let nodeSectors: UInt64
  private let endSector: UInt64

  init(from start: UInt64, to end: UInt64, nodeSectors: UInt64) {
    next = Mutex(start)
    endSector = end
    self.nodeSectors = nodeSectors
  }

  func take(_ watermark: Watermark, _ engine: Engine) throws(VolumeError) -> SectorAllocation {
    let sector = next.withLock { next in
      defer { next += nodeSectors }
      return next
    }
    guard sector + nodeSectors <= endSector else { throw VolumeError(.limit, "no more places") }
    return SectorAllocation(
      places: [ExtentPtr(device: 0, offset: sector, generation: 0)], buckets: [],
      sectors: nodeSectors)
  }

  func takeOneOfTheLast(_ engine: Engine) throws(VolumeError) -> SectorAllocation {
    try take(.btree, engine)
  }

  func giveBack(_ allocation: SectorAllocation) {}
}

/// A volume with btrees of small nodes, empty at first.
struct BareEngine {
  let engine: Engine
  static let btrees: [BTreeID] = [.xattrs, .rebalanceWork]

  init(nodeBytes: UInt64 = 16 << 10, cacheBytes: Int = 64 << 20, seed: UInt64 = 1) throws {
    var setting = BuildSetting()
    setting.byteCount = 4 << 30
    setting.options[.btreeNodeSize] = nodeBytes
    let devices = try setting.makeDevices()
    try withTemporaryFolder { folder in _ = try setting.build(folder, on: devices) }
    self = try BareEngine(on: devices, places: 1 << 30, cacheBytes: cacheBytes, seed: seed)
      .withRoots()
  }

  /// Opens what is on devices.
  ///
  /// - Parameter places: Bytes from the start of the first device to where nodes may be put, by a
  ///   counter; nil: the engine allocates them.
  init(
    on devices: [BlockDevice], places: UInt64? = nil, unlock: UnlockSource = .keyring,
    cacheBytes: Int = 64 << 20, seed: UInt64 = 1, clocks: Clocks = .system
  ) throws {
    let volume = try VolumeOpener.openForWriting(devices: devices, unlock: unlock, clocks: clocks)
    let nodeSectors = UInt64(volume.media.superblock[Superblock.Layout.btreeNodeSize])
    engine = try Engine.open(
      volume,
      places: places.map {
        CountedPlaces(from: $0 / 512, to: devices[0].byteCount / 512, nodeSectors: nodeSectors)
      },
      EngineOptions(cacheBytes: cacheBytes, seed: seed))
  }

  /// With roots for the btrees that tests write to.
  func withRoots() -> BareEngine {
    for btree in Self.btrees where engine.trees.root(btree) == nil {
      engine.trees.makeEmptyRoot(btree, sequence: engine.nextNodeSequence())
    }
    return self
  }

  /// All keys of a btree.
  func contents(of btree: BTreeID) throws -> [BPos: UInt64] {
    try engine.run("test_contents") { (transaction) throws(TransactionError) in
      var result: [BPos: UInt64] = [:]
      var walk = KeyWalk(btree, from: .min)
      while let found = try transaction.next(&walk) {
        result[found.key.position] = found.withValue { $0[LEField<UInt64>(0)] }
      }
      return result
    }
  }

  /// Where what a btree holds is not what it should: a few words for each of the first positions.
  func differences(of btree: BTreeID, from expected: [BPos: UInt64]) throws -> [String] {
    let found = try engine.trees.root(btree) == nil ? [:] : contents(of: btree)
    let positions = Set(found.keys).union(expected.keys).filter { found[$0] != expected[$0] }
    return positions.sorted().prefix(8).map { position in
      let (here, there) = (found[position], expected[position])
      return "\(position): \(here.map { "\($0)" } ?? "nothing"), not "
        + (there.map { "\($0)" } ?? "nothing") + ", one of \(positions.count)"
    }
  }

  /// Checks every node of a btree that is in memory, and that children cover their parents.
  func check() {
    for node in engine.trees.cache.allNodes where !node.state.contains(.dead) { node.check() }
  }
}

extension Transaction {
  /// Sets a key with one word of value, or removes it.
  func set(_ btree: BTreeID, _ position: BPos, _ value: UInt64?) {
    guard let value else { return delete(btree, position) }
    let words = [value]
    unsafe update(
      btree, BKey(type: .cookie, position: position, valueU64s: 1), words.span.bytes)
  }

  /// Puts an extent into a bucket of a `SmallVolume`.
  ///
  /// - Returns: Where it is; nil if the bucket is not free, or somebody has taken it for nodes.
  func putExtent(
    _ position: BPos, in bucket: BPos, isCached: Bool = false
  ) throws(TransactionError) -> ExtentPtr? {
    let alloc = try self.bucket(bucket, .intent)
    guard alloc.isFree, !engine.openBuckets.contains(bucket) else { return nil }
    let place = ExtentPtr(
      device: 0, offset: bucket.offset * SmallVolume.bucketSectors, generation: alloc.generation,
      isCached: isCached)
    let words = [place.word]
    unsafe update(
      .extents,
      BKey(
        type: .extent, position: position, size: UInt32(SmallVolume.bucketSectors), valueU64s: 1),
      words.span.bytes)
    return place
  }
}

/// A volume of 64 MiB, in buckets of 64 KiB.
enum SmallVolume {
  static let byteCount: UInt64 = 64 << 20
  static let bucketSectors: UInt64 = 128

  static func make(
    nodeBytes: UInt64, _ configuration: SimulatedDevice.Configuration = .init()
  ) throws -> SimulatedDevice {
    let device = SimulatedDevice(byteCount: byteCount, configuration: configuration)
    var setting = BuildSetting()
    setting.byteCount = byteCount
    setting.bucketBytes = bucketSectors * 512
    setting.options[.btreeNodeSize] = nodeBytes
    let open = try BlockDevice.open(simulated: device, mode: .exclusiveReadWrite)
    try withTemporaryFolder { folder in _ = try setting.build(folder, on: [open]) }
    try open.close()
    return device
  }
}
