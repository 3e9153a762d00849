// SPDX-License-Identifier: GPL-2.0
// Gives btree nodes a place on the devices, a checksum, and writes them.
//
// How it works
//   1. A finished node gets `nodeSectors` of the metadata write point, on as many devices as there
//      are metadata replicas; only the sectors that hold keys are written.
//   2. Its pointer (key type btree_ptr_v2) goes back to the builder of the level above.
//   3. Every node's place is recorded, for the backpointers btree and for accounting.
//   4. Towards the end of a build the places of all nodes still to come are taken at once
//      (`reserve(more:)`): alloc keys and backpointers then describe nodes that are yet to be
//      written.
// Invariants
//   (1) Sequence numbers of nodes are never zero and never repeat within a volume.
//   (2) Once places are reserved, exactly as many nodes follow.
//   (3) A checksum covers what is on disk: encryption comes first.
// Source: btree_io.c (__bch2_btree_node_write), btree_io.h (btree_nonce, bset_encrypt).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// What all metadata of a volume has in common.
struct MetadataParameters {
  /// First eight bytes of the internal UUID.
  let superblockMagic: UInt64
  let checksumType: ChecksumType
  let key: EncryptionKey?
  let blockBytes: Int
  let nodeBytes: Int
  let version: UInt16
}

/// Where a btree node is, and what it covers.
struct NodePlace {
  let btree: BTreeID
  /// Level of the key that points to the node: the node's own plus one.
  let pointerLevel: UInt8
  let maxKey: BPos
  let pointers: [ExtentPtr]
}

final class NodeWriter {
  let parameters: MetadataParameters
  /// What all nodes carry.
  let journalSequence: UInt64
  private let devices: [UInt8: BlockDevice]
  private(set) var writePoint: ImageWritePoint
  /// The places of the nodes that end a build.
  private(set) var reserved: [[ExtentPtr]] = []
  private var nextReserved = 0
  private var sequences: SplitMix64
  private var isRehearsal = false
  /// Every node written, in writing order.
  private(set) var places: [NodePlace] = []

  /// - Parameters:
  ///   - journalSequence: What all nodes carry.
  ///   - sequenceSeed: derived from the volume's UUID, so that a build can be repeated.
  init(
    parameters: MetadataParameters, journalSequence: UInt64, devices: [UInt8: BlockDevice],
    writePoint: ImageWritePoint,
    sequenceSeed: UInt64
  ) {
    self.parameters = parameters
    self.journalSequence = journalSequence
    self.devices = devices
    self.writePoint = writePoint
    sequences = SplitMix64(seed: sequenceSeed)
  }

  var nodeSectors: UInt32 { UInt32(parameters.nodeBytes / 512) }

  /// Takes the places of `count` more nodes still to come, in writing order.
  func reserve(more count: Int) throws(ImageError) {
    invariant(nextReserved == 0, "places are reserved before the first of them is used")
    for _ in 0..<count { reserved.append(try allocate()) }
  }

  /// Runs `build` without writing or taking anything.
  ///
  /// - Returns: the nodes that it would have written, without places.
  func rehearse(_ build: () throws(ImageError) -> Void) throws(ImageError) -> [NodePlace] {
    let written = places
    places = []
    isRehearsal = true
    defer {
      isRehearsal = false
      places = written
    }
    try build()
    return places
  }

  /// True when every reserved place was used.
  var usedAllReserved: Bool { nextReserved == reserved.count }

  private func allocate() throws(ImageError) -> [ExtentPtr] {
    if writePoint.freeSectors < nodeSectors { try writePoint.openBuckets() }
    return writePoint.take(sectors: nodeSectors)
  }

  private func nextPlace() throws(ImageError) -> [ExtentPtr] {
    guard !reserved.isEmpty else { return try allocate() }
    invariant(nextReserved < reserved.count, "no more nodes are written than were planned")
    defer { nextReserved += 1 }
    return reserved[nextReserved]
  }

  private func nextSequence() -> UInt64 {
    while true {
      let value = sequences.next()
      if value != 0 { return value }
    }
  }

  /// Finishes and writes a node whose keys are packed into `image` already.
  ///
  /// - Parameters:
  ///   - image: The node, keys from `BTreeNodeHeader.Layout.keys` on, zero behind them.
  ///   - u64s: Words of keys.
  /// - Returns: the key that points to it; `value` receives the pointer's value.
  func write(
    _ image: HeapBuffer, u64s: Int, btree: BTreeID, level: Int, minKey: BPos,
    maxKey: BPos, format: BKeyFormat, value: HeapBuffer
  ) throws(ImageError) -> BKey {
    invariant(u64s <= Int(UInt16.max), "a bset counts its words in 16 bits")
    if isRehearsal {
      places.append(
        NodePlace(btree: btree, pointerLevel: UInt8(level + 1), maxKey: maxKey, pointers: []))
      return try pointerKey(
        sequence: 1, sectorsWritten: 0, minKey: minKey, maxKey: maxKey, pointers: [],
        value: value)
    }
    var bset = BSetHeader(
      sequence: nextSequence(), journalSequence: journalSequence,
      version: parameters.version, u64s: UInt16(truncatingIfNeeded: u64s))
    bset.checksumType = parameters.checksumType.rawValue
    let header = BTreeNodeHeader(
      magic: parameters.superblockMagic ^ BTreeNodeHeader.magicBase, btree: btree, level: level,
      minKey: minKey, maxKey: maxKey, format: format, bset: bset)
    let usedBytes = BTreeNodeHeader.Layout.keys + u64s * 8
    let writtenBytes =
      (usedBytes + parameters.blockBytes - 1) / parameters.blockBytes * parameters.blockBytes
    invariant(writtenBytes <= parameters.nodeBytes, "keys fit their node")
    var bytes = image.mutableBytes
    header.encode(into: &bytes)
    do throws(ChecksumError) {
      try NodeSeal.apply(
        to: &bytes, blockAt: 0, bset, keys: BTreeNodeHeader.Layout.keys..<usedBytes,
        key: parameters.key)
    } catch {
      throw .checksum(error)
    }

    let pointers = try nextPlace()
    places.append(
      NodePlace(
        btree: btree, pointerLevel: UInt8(level + 1), maxKey: maxKey, pointers: pointers))
    for pointer in pointers {
      guard let device = devices[pointer.device] else { continue }
      do throws(DeviceError) {
        try device.write(
          image.bytes.extracting(0..<writtenBytes), atByte: pointer.offset * 512)
      } catch {
        throw .device(error)
      }
    }
    return try pointerKey(
      sequence: bset.sequence, sectorsWritten: UInt16(writtenBytes / 512), minKey: minKey,
      maxKey: maxKey, pointers: pointers, value: value)
  }

  private func pointerKey(
    sequence: UInt64, sectorsWritten: UInt16, minKey: BPos, maxKey: BPos,
    pointers: [ExtentPtr], value: HeapBuffer
  ) throws(ImageError) -> BKey {
    let head = BTreePtrV2(seq: sequence, sectorsWritten: sectorsWritten, minKey: minKey)
    var bytes = value.mutableBytes
    head.encode(into: &bytes)
    var writer = ExtentWriter(at: BTreePtrV2.Layout.byteCount)
    do throws(FormatError) {
      for pointer in pointers { try writer.append(pointer, to: &bytes) }
    } catch {
      throw .format(error)
    }
    return BKey(type: .btreePtrV2, position: maxKey, valueU64s: writer.encodedU64s)
  }
}
