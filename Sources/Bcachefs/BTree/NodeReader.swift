// SPDX-License-Identifier: GPL-2.0
// Reads btree nodes from whatever copy is good, and keeps them.
//
// How it works
//   1. A pointer names the copies of a node. They are tried in order; one that cannot be read,
//      fails its checksum or is another node is reported and the next is tried.
//   2. Decoded nodes stay in a cache bounded in bytes. It is split into shards with a lock each;
//      each shard is a ring that a hand goes around: nodes used since the hand last passed stay.
// Invariants
//   (1) The cache never holds more than its limit, whatever the size of the volume; nodes in use by
//       cursors live on until those let go.
//   (2) No lock is held while a device is read: two readers may read the same node, one is kept.
// Locks: each shard's mutex, for the time of a dictionary operation.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

/// Takes note of copies that are bad.
struct ReadDamage: Sendable {
  let device: UInt8
  /// First sector of the copy.
  let sector: UInt64
  let text: String
}

final class NodeReader: Sendable {
  private struct Shard {
    var nodes: [UInt64: Slot] = [:]
    var ring: [UInt64] = []
    var hand = 0
    var bytes = 0
  }

  private struct Slot {
    let node: BTreeNode
    var wasUsed: Bool
  }

  private static let shardCount = 16
  private let media: VolumeMedia
  let decoder: NodeDecoder
  private let shards: [Mutex<Shard>.Box]
  private let shardLimitBytes: Int
  private let report: @Sendable (ReadDamage) -> Void

  /// - Parameters:
  ///   - cacheBytes: What all cached nodes together may take.
  ///   - report: Called for every copy found bad, on the reading thread.
  init(
    media: VolumeMedia, decoder: NodeDecoder, cacheBytes: Int,
    report: @escaping @Sendable (ReadDamage) -> Void
  ) {
    self.media = media
    self.decoder = decoder
    self.report = report
    shardLimitBytes = max(cacheBytes / Self.shardCount, 2 * decoder.nodeBytes)
    shards = (0..<Self.shardCount).map { _ in Mutex<Shard>.Box(Shard()) }
  }

  /// The node that a btree pointer names.
  ///
  /// - Parameters:
  ///   - pointer: Of type btree_ptr_v2 or btree_ptr.
  ///   - level: Of the node.
  /// - Throws: `.allCopiesBad` with what was wrong with each copy; `.corrupt` for a bad pointer.
  func node(
    _ pointer: KeyReference, btree: BTreeID, level: Int
  ) throws(VolumeError) -> BTreeNode {
    let (expected, places) = try interpret(pointer, btree, level)
    guard let first = places.first else {
      throw VolumeError(.corrupt, "\(btree) level \(level): a btree pointer without places")
    }
    let identity = first.word & ~0xf ^ (expected.sequence ?? 0)
    let shard = shards[Int(truncatingIfNeeded: (identity >> 13) % UInt64(Self.shardCount))]
    // Two pointers to one node, as only damage makes them, have different ends.
    if let cached = cachedNode(identity, in: shard), cached.btree == btree, cached.level == level,
      cached.maxKey == pointer.key.position
    {
      return cached
    }
    let node = try read(places, expected)
    keep(node, identity, in: shard)
    return node
  }

  func interpret(
    _ pointer: KeyReference, _ btree: BTreeID, _ level: Int
  ) throws(VolumeError) -> (NodeExpectation, [ExtentPtr]) {
    do throws(FormatError) {
      return try pointer.withValue { (value) throws(FormatError) in
        var places: [ExtentPtr] = []
        var pointers = try ExtentEntries(key: pointer.key, value: value).pointers
        while let decoded = pointers.next() { places.append(decoded.ptr) }
        guard pointer.key.type == .btreePtrV2 else {
          let expected = NodeExpectation(
            btree: btree, level: level, sequence: nil, minKey: nil,
            maxKey: pointer.key.position, sectorsWritten: 0, isRangeUpdated: false)
          return (expected, places)
        }
        let head = try BTreePtrV2(decoding: value)
        let expected = NodeExpectation(
          btree: btree, level: level, sequence: head.seq, minKey: head.minKey,
          maxKey: pointer.key.position, sectorsWritten: Int(head.sectorsWritten),
          isRangeUpdated: head.isRangeUpdated)
        return (expected, places)
      }
    } catch {
      throw VolumeError(error)
    }
  }

  // MARK: - Reading

  private func read(
    _ places: [ExtentPtr], _ expected: NodeExpectation
  ) throws(VolumeError) -> BTreeNode {
    var failures: [String] = []
    let wanted = expected.sectorsWritten * 512
    let byteCount = wanted == 0 ? decoder.nodeBytes : min(wanted, decoder.nodeBytes)
    for place in places {
      let problem: String
      if let device = media.device(place.device) {
        let image = HeapBuffer(byteCount: byteCount)
        do throws(VolumeError) {
          try fill(image, from: device, atSector: place.offset)
          return try decoder.decode(image, expecting: expected)
        } catch {
          problem = "\(device.name) sector \(place.offset): \(error)"
        }
      } else {
        problem = "device \(place.device) is missing"
      }
      failures.append(problem)
      report(ReadDamage(device: place.device, sector: place.offset, text: problem))
    }
    throw VolumeError(
      .allCopiesBad,
      "btree \(expected.btree) level \(expected.level) node up to \(expected.maxKey): no copy is "
        + "readable: \(failures.joined(separator: "; "))")
  }

  func fill(
    _ image: HeapBuffer, from device: BlockDevice, atSector sector: UInt64
  ) throws(VolumeError) {
    do throws(DeviceError) {
      var bytes = image.mutableBytes
      try device.read(into: &bytes, atByte: sector * 512)
    } catch {
      throw VolumeError(error)
    }
  }

  // MARK: - Cache

  private func cachedNode(_ identity: UInt64, in shard: Mutex<Shard>.Box) -> BTreeNode? {
    shard.mutex.withLock { state in
      guard let index = state.nodes.index(forKey: identity) else { return nil }
      state.nodes.values[index].wasUsed = true
      return state.nodes.values[index].node
    }
  }

  private func keep(_ node: BTreeNode, _ identity: UInt64, in shard: Mutex<Shard>.Box) {
    let limit = shardLimitBytes
    shard.mutex.withLock { state in
      if let old = state.nodes[identity] {
        state.bytes -= old.node.memoryBytes
      } else {
        state.ring.append(identity)
      }
      state.nodes[identity] = Slot(node: node, wasUsed: false)
      state.bytes += node.memoryBytes
      while state.bytes > limit && state.ring.count > 1 {
        if state.hand >= state.ring.count { state.hand = 0 }
        let candidate = state.ring[state.hand]
        if candidate == identity || state.nodes[candidate]?.wasUsed == true {
          state.nodes[candidate]?.wasUsed = false
          state.hand += 1
          continue
        }
        state.bytes -= state.nodes[candidate]?.node.memoryBytes ?? 0
        state.nodes[candidate] = nil
        state.ring.swapAt(state.hand, state.ring.count - 1)
        state.ring.removeLast()
      }
    }
  }
}

extension Mutex where Value: Copyable {
  /// A mutex with identity, for arrays of them.
  final class Box: Sendable where Value: Sendable {
    let mutex: Mutex<Value>
    init(_ value: Value) { mutex = Mutex(value) }
  }
}
