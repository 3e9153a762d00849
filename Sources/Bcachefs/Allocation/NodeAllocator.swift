// SPDX-License-Identifier: GPL-2.0
// Places for btree nodes: a stream of its own (`WritePoint`), filled node by node.
//
// How it works
//   A node gets as many copies as metadata has replicas, on the devices of `metadata_target` where
//   they have room. What an update did not use is kept for the next.
// Locks: `returned` is a leaf.
// Source: btree_update_interior.c (bch2_btree_reserve_get, __bch2_btree_node_alloc).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// Gives nodes places on the devices.
protocol NodePlaces: Sendable {
  /// A place for a node on as many devices as metadata has replicas.
  ///
  /// - Throws: `.noSpace`.
  func take(_ watermark: Watermark, _ engine: Engine) throws(VolumeError) -> SectorAllocation
  /// The same for who gives back more than he takes: where there is no other room, half of what is
  /// kept for those who free space may be used.
  func takeOneOfTheLast(_ engine: Engine) throws(VolumeError) -> SectorAllocation
  /// Gives back what was not used.
  func giveBack(_ allocation: SectorAllocation)
}

final class NodeAllocator: NodePlaces {
  private let returned = Mutex<[SectorAllocation]>([])
  private let nodeSectors: UInt64
  private let replicas: Int
  private let target: DiskTarget

  init(_ media: VolumeMedia) {
    nodeSectors = UInt64(media.superblock[Superblock.Layout.btreeNodeSize])
    replicas = max(1, Int(media.options[.metadataReplicas]))
    target = DiskTarget(rawValue: UInt16(truncatingIfNeeded: media.options[.metadataTarget]))
  }

  func take(_ watermark: Watermark, _ engine: Engine) throws(VolumeError) -> SectorAllocation {
    if let allocation = takeReturned(engine) { return allocation }
    return try engine.allocateSectors(request(watermark, engine), in: engine.writePoints.nodes)
  }

  func takeOneOfTheLast(_ engine: Engine) throws(VolumeError) -> SectorAllocation {
    if let allocation = takeReturned(engine) { return allocation }
    var request = request(.btree, engine)
    request.excluded |= engine.failures.mask
    let point = engine.writePoints.nodes
    if let found = try point.take(request, engine) { return found }
    // What was given back so far comes first.
    try engine.freeWhatWasReplaced()
    request.takesTheLast = true
    if let found = try point.take(request, engine) { return found }
    throw VolumeError(.noSpace, "no space: no free buckets for a node")
  }

  private func request(_ watermark: Watermark, _ engine: Engine) -> AllocationRequest {
    AllocationRequest(
      sectors: nodeSectors, minSectors: nodeSectors, replicas: replicas,
      target: engine.targets.members(of: target), watermark: watermark)
  }

  private func takeReturned(_ engine: Engine) -> SectorAllocation? {
    while let allocation = returned.withLock({ $0.popLast() }) {
      guard allocation.places.contains(where: { engine.failures.contains($0.device) }) else {
        return allocation
      }
      engine.settle(allocation)
    }
    return nil
  }

  func giveBack(_ allocation: SectorAllocation) { returned.withLock { $0.append(allocation) } }
}

extension Engine {
  /// Whether those who write nodes find places for what they split: what is left to those above a
  /// watermark is free. A write of a node that finds none stops all writing.
  ///
  /// - Parameter takesTheLast: Whether half of what is kept from it will do.
  /// - Throws: what reading btrees throws.
  func hasPlacesForNodes(
    _ watermark: Watermark, takesTheLast: Bool = false
  ) throws(VolumeError) -> Bool {
    let devices = writePoints.nodes.devices
    var able = 0
    for device in devices
    where try openBuckets.hasFree(
      on: device, watermark, takesTheLast: takesTheLast, isExact: true, self)
    { able += 1 }
    return able >= min(max(1, Int(media.options[.metadataReplicas])), devices.count)
  }

  /// Frees what was emptied, where there are few places left for those who write nodes. The caller
  /// is one of them, between two nodes.
  ///
  /// - Throws: what transactions throw but `.noSpace`: perhaps there is enough all the same.
  func keepPlacesForQueue() throws(VolumeError) {
    guard try !hasPlacesForNodes(.btree),
      writePoints.nodes.devices.contains(where: { usage.buckets(.needDiscard, of: $0) > 0 })
    else { return }
    do throws(VolumeError) {
      // A flush ends the journal's entry, which takes a bucket of it: not before there is need.
      if try discardSomeBuckets() == 0, try !hasPlacesForNodes(.btree, takesTheLast: true),
        try journal.hasRoom(u64s: 0, watermark: .interiorUpdates)
      {
        try journal.flush(upTo: journal.currentSequence)
        try discardSomeBuckets()
      }
    } catch {
      guard error.code == .noSpace else { throw error }
    }
  }
}
