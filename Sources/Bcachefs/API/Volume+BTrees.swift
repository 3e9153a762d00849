// SPDX-License-Identifier: GPL-2.0
// Keys and nodes of any btree as they are, for those who look into a volume.
//
// How it works
//   1. Keys come from a cursor, of all snapshots, with what the journal has laid over the nodes.
//   2. Nodes are reached through their pointers, from the root down to the level asked for.
//   3. A node's blocks are read from its device again: the cache only has what is left of them.
// Invariants
//   (1) Recursion is as deep as the root's level, which the format bounds.
//   (2) Positions only ascend: nodes that overlap, as only damage makes them, are not gone through
//       again and again.
// Locks: none; see Volume.
// Source: the command `list` of bcachefs-tools; btree_cache.c (bch2_btree_node_to_text), debug.c
// (bch2_btree_node_ondisk_to_text).

public import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// A btree node, for people.
public struct BTreeNodeInfo: Sendable {
  /// 0 for leaves.
  public let level: Int
  /// The first position that it covers.
  public let minKey: BPos
  /// The last position that it covers.
  public let maxKey: BPos
  /// How its packed keys are packed.
  public let format: BKeyFormat
  /// The key that points to it.
  public let pointer: BKey
  /// The text of that key's value.
  public let pointerText: String
  /// Words of the keys that are visible.
  public let liveU64s: Int
  /// How many of those are packed.
  public let packedCount: Int
  /// How many of those are not.
  public let unpackedCount: Int
}

/// A block of a node as it stands on a device, and the texts of all its keys.
public struct BTreeNodeBlock: Sendable {
  /// Sectors from the start of the node.
  public let offsetSectors: Int
  /// Its header.
  public let bset: BSetHeader
  /// Its keys with their values, deleted and hidden ones too, a line each.
  public let keys: [String]
}

extension VolumeMedia {
  /// What the texts of keys need to know of the volume.
  var keyContext: BKeyContext {
    let devices = superblock.members.map { member in
      member.isAlive
        ? BKeyContext.Device(
          bucketSizeSectors: UInt32(member.bucketSizeSectors),
          firstBucket: UInt64(member.firstBucket), bucketCount: member.bucketCount,
          durability: member.durability, isFailed: member.state == .failed)
        : nil
    }
    var names: [UInt16: String] = [:]
    for index in devices.indices {
      let target = DiskTarget.device(UInt8(clamping: index))
      names[target.rawValue] = device(UInt8(clamping: index))?.name
    }
    for index in superblock.section(of: DiskGroupsSection.self)?.groups.indices ?? 0..<0 {
      guard let target = DiskTarget.label(index) else { continue }
      names[target.rawValue] = superblock.targetText(target)
    }
    var context = BKeyContext(
      devices: devices,
      btreeNodeSectors: UInt32(superblock[Superblock.Layout.btreeNodeSize]),
      targetNames: names)
    context.swapsAccountingPositions = superblock.swapsAccountingPositions
    context.backpointerShift = superblock.backpointerShift
    return context
  }
}

extension Volume {
  /// What the texts of keys need to know of the volume.
  public var keyContext: BKeyContext { media.keyContext }

  /// The btrees that have a root, by number.
  public var btrees: [BTreeID] { forest.roots.keys.sorted() }

  /// The level of a btree's root, nil if it has none.
  public func rootLevel(of btree: BTreeID) -> Int? { forest.roots[btree]?.level }

  /// Calls `body` with all keys of a btree from `first` through `last`, of all snapshots; false
  /// ends it.
  ///
  /// - Throws: what reading a node throws: `.allCopiesBad`, `.corrupt`, `.device`.
  public func forEachKey(
    of btree: BTreeID, from first: BPos = .min, through last: BPos = .max,
    _ body: (BKey, RawSpan) throws(VolumeError) -> Bool
  ) throws(VolumeError) {
    let cursor = BTreeCursor(forest, btree)
    cursor.seek(first)
    while let found = try cursor.next(), found.key.position <= last {
      let goesOn = try found.withValue { (value) throws(VolumeError) in
        try body(found.key, value)
      }
      guard goesOn else { return }
    }
  }

  /// Calls `body` with the nodes of one level (0: leaves) that cover `first` through `last`, in
  /// order.
  public func forEachNode(
    of btree: BTreeID, level: Int, from first: BPos = .min, through last: BPos = .max,
    _ body: (BTreeNodeInfo) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    let context = keyContext
    try forEachPointer(of: btree, level: level, from: first, through: last) {
      (pointer) throws(VolumeError) in
      try body(try describe(pointer, btree, level, context))
    }
  }

  /// Calls `body` with the blocks of each such node as they stand on the first device that has it.
  ///
  /// - Parameter body: Is given a line about what is wrong instead, where the node is unreadable.
  public func forEachNodeOnDisk(
    of btree: BTreeID, level: Int, from first: BPos = .min, through last: BPos = .max,
    _ body: (Result<[BTreeNodeBlock], VolumeError>) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    let context = keyContext
    try forEachPointer(of: btree, level: level, from: first, through: last) {
      (pointer) throws(VolumeError) in
      let result: Result<[BTreeNodeBlock], VolumeError>
      do throws(VolumeError) {
        result = .success(try blocks(pointer, btree, level, context))
      } catch {
        result = .failure(error)
      }
      try body(result)
    }
  }

  // MARK: - Nodes

  private func forEachPointer(
    of btree: BTreeID, level: Int, from first: BPos, through last: BPos,
    _ body: (KeyReference) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    guard let root = forest.roots[btree], level >= 0, level <= root.level else { return }
    try visit(root.pointer, btree, root.level, level, first, last, body)
  }

  private func visit(
    _ pointer: KeyReference, _ btree: BTreeID, _ level: Int, _ wanted: Int, _ first: BPos,
    _ last: BPos, _ body: (KeyReference) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    guard level > wanted else {
      try body(pointer)
      return
    }
    let node = try forest.nodes.node(pointer, btree: btree, level: level)
    var children = NodeChildren(of: node, in: forest, from: first)
    while let position = children.position, let child = children.next() {
      try visit(child, btree, level - 1, wanted, position, last, body)
      guard child.key.position < last else { return }
    }
  }

  private func describe(
    _ pointer: KeyReference, _ btree: BTreeID, _ level: Int, _ context: BKeyContext
  ) throws(VolumeError) -> BTreeNodeInfo {
    let node = try forest.nodes.node(pointer, btree: btree, level: level)
    var (words, packed) = (0, 0)
    for entry in node.entries {
      let image = node.image
      let offset = Int(entry.imageOffset)
      words += Int(image.bytes[LEField<UInt8>(offset)])
      let isPacked = image.bytes[LEField<UInt8>(offset + 1)] & 0x7f == BKey.packedFormat
      if isPacked { packed += 1 }
    }
    return BTreeNodeInfo(
      level: level, minKey: node.minKey, maxKey: node.maxKey, format: node.format,
      pointer: pointer.key,
      pointerText: pointer.withValue { value in
        BKeyValue.valueText(key: pointer.key, value: value, context: context)
      },
      liveU64s: words, packedCount: packed, unpackedCount: node.entries.count - packed)
  }

  private func blocks(
    _ pointer: KeyReference, _ btree: BTreeID, _ level: Int, _ context: BKeyContext
  ) throws(VolumeError) -> [BTreeNodeBlock] {
    let decoder = forest.nodes.decoder
    let (_, places) = try forest.nodes.interpret(pointer, btree, level)
    guard let place = places.first(where: { media.device($0.device) != nil }),
      let device = media.device(place.device)
    else { throw VolumeError(.missingMembers, "no device that has this node is there") }
    let image = HeapBuffer(byteCount: decoder.nodeBytes)
    try forest.nodes.fill(image, from: device, atSector: place.offset)
    do throws(FormatError) {
      return try decoder.blocks(image, context)
    } catch {
      throw VolumeError(error)
    }
  }
}

extension NodeDecoder {
  /// All blocks of a node as read, every key of them, hidden and deleted ones too.
  fileprivate func blocks(
    _ image: HeapBuffer, _ context: BKeyContext
  ) throws(FormatError) -> [BTreeNodeBlock] {
    let first = try readBlock(image, at: 0, limit: image.byteCount)
    let format = try BTreeNodeHeader(decoding: image.bytes).format
    var result: [BTreeNodeBlock] = []
    var position = 0
    var current: Block? = first
    while let block = current {
      result.append(
        BTreeNodeBlock(
          offsetSectors: position / 512, bset: block.bset,
          keys: try texts(of: block, image, format, context)))
      position = roundedToBlock(block.keys.upperBound)
      current =
        position < image.byteCount
        ? try nextBlock(image, at: position, limit: image.byteCount, after: first.bset) : nil
    }
    return result
  }

  private func texts(
    of block: Block, _ image: HeapBuffer, _ format: BKeyFormat, _ context: BKeyContext
  ) throws(FormatError) -> [String] {
    var texts: [String] = []
    let keys = image.bytes.extracting(block.keys)
    var iterator = PackedKeyIterator(keys: keys, format: format)
    while let found = try iterator.nextEntry() {
      let start = found.valueByteOffset
      let value = keys.extracting(start..<start + found.key.valueByteCount)
      texts.append(BKeyValue.text(key: found.key, value: value, context: context))
    }
    return texts
  }
}
