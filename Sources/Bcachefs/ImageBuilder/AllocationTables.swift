// SPDX-License-Identifier: GPL-2.0
// The btrees that describe where everything is: alloc, freespace, lru, accounting, backpointers.
//
// How it works
//   These btrees describe, among all else, their own nodes. So their shape is fixed before their
//   contents exist:
//   1. Each has a largest number of keys a leaf (by the widest its keys can pack), so its number
//      of leaves follows from its number of keys.
//   2. `plan` takes places for as many nodes as are needed, counts again with these places taken,
//      takes the difference, and so on. Some keys go away when places are taken (the last free
//      range of a device, a bucket that was not full): such a btree keeps the planned leaves,
//      and its keys are spread over them. So the need only grows, and stops soon.
//   3. Now every bucket's state, every counter and every free range is final. alloc, freespace, lru
//      and accounting are built first; then the positions that the backpointers' own nodes will
//      cover follow from the sorted positions of all backpointers; then that btree is built too.
// Invariants
//   (1) Exactly the planned number of nodes is written, in the planned order.
//   (2) Every pointer that is not cached has one backpointer, every bucket in use one alloc key,
//       every other bucket below the device's end is in one freespace extent.
// Source: alloc_background.c, backpointers.c, lru.c, disk_accounting.c.

internal import BcachefsFormat
internal import BcachefsSupport

struct AllocationTables {
  /// Key counts of the planned btrees, in building order.
  private struct Shape {
    var alloc = 0
    var freespace = 0
    var lru = 0
    var accounting = 0
    var backpointers = 0

    func covering(_ other: Shape) -> Shape {
      Shape(
        alloc: max(alloc, other.alloc), freespace: max(freespace, other.freespace),
        lru: max(lru, other.lru), accounting: max(accounting, other.accounting),
        backpointers: max(backpointers, other.backpointers))
    }

    func count(_ btree: BTreeID) -> Int {
      switch btree {
      case .alloc: alloc
      case .freespace: freespace
      case .lru: lru
      case .accounting: accounting
      default: backpointers
      }
    }
  }

  private let writer: NodeWriter
  private let spaces: [BucketSpace]
  private let spools: [BackpointerSpool]
  /// Buckets of each device; nil where the device ends wherever the volume does.
  private let bucketCounts: [UInt64?]
  /// Buckets that are marked once that end is known: one backup superblock a device, behind free
  /// space.
  private let lateBuckets: Int
  private var shape = Shape()

  init(
    writer: NodeWriter, spaces: [BucketSpace], spools: [BackpointerSpool],
    bucketCounts: [UInt64?], lateBuckets: Int
  ) {
    self.writer = writer
    self.bucketCounts = bucketCounts
    self.spaces = spaces
    self.spools = spools
    self.lateBuckets = lateBuckets
  }

  // MARK: - Planning

  private var capacity: Int {
    BTreeBuilder.capacityU64s(nodeBytes: writer.parameters.nodeBytes) * 3 / 4
  }

  private var childrenPerNode: Int { capacity / (BKey.headerU64s + BTreePtrV2.maxU64s) }

  private func keysPerLeaf(_ btree: BTreeID) -> Int {
    switch btree {
    case .alloc: capacity / (packedHeaderU64s(.max) + AllocV4.encodedU64s)
    case .backpointers: capacity / (packedHeaderU64s(.max) + Backpointer.encodedU64s)
    case .accounting: capacity / (BKey.headerU64s + Accounting.maxCount)
    default: capacity / BKey.headerU64s
    }
  }

  /// The widest that a (device, offset) position packs to: 8 bits of device, 64 of offset.
  private func packedHeaderU64s(_ offset: UInt64) -> Int {
    var range = BKeyFormatRange()
    range.add(BPos(0, 0))
    range.add(BPos(UInt64(UInt8.max), offset))
    return Int(range.format().keyU64s)
  }

  private func leafCount(_ btree: BTreeID, _ shape: Shape) -> Int {
    let perLeaf = keysPerLeaf(btree)
    return (shape.count(btree) + perLeaf - 1) / perLeaf
  }

  private func nodeCount(_ btree: BTreeID, _ shape: Shape) -> Int {
    BTreeBuilder.plannedNodes(
      leafCount: leafCount(btree, shape), childrenPerNode: childrenPerNode)
  }

  /// Nodes of each btree, in building order.
  private func nodeCounts(_ shape: Shape) -> [(BTreeID, Int)] {
    let order: [BTreeID] = [.alloc, .freespace, .lru, .accounting, .backpointers]
    return order.map { ($0, nodeCount($0, shape)) }
  }

  /// Takes places for all nodes to come.
  ///
  /// - Parameters:
  ///   - tally: All that was written so far, nodes included.
  mutating func plan(tally: AccountingTally) throws(ImageError) {
    while true {
      shape = currentShape(tally: tally).covering(shape)
      let needed = nodeCounts(shape).reduce(0) { $0 + $1.1 }
      if needed == writer.reserved.count { return }
      invariant(needed > writer.reserved.count, "taking places only adds to the need for them")
      let missing = needed - writer.reserved.count
      try writer.reserve(more: missing)
    }
  }

  private func currentShape(tally: AccountingTally) -> Shape {
    var result = Shape()
    for (space, bucketCount) in zip(spaces, bucketCounts) {
      var previousFree = false
      for (bucket, type) in space.types.enumerated() {
        if type == DataType.free.rawValue {
          if !previousFree { result.freespace += 1 }
          previousFree = true
          continue
        }
        previousFree = false
        result.alloc += 1
        if fragmentationTime(space, bucket) != 0 { result.lru += 1 }
      }
      // Behind the highest bucket in use.
      let hasTail = bucketCount.map { space.highestUsedBucket < $0 } ?? true
      if hasTail && !previousFree { result.freespace += 1 }
    }
    result.alloc += lateBuckets
    result.accounting = tallyWithPlan(tally).counterCount(
      spaces: spaces, bucketCounts: spaces.map { _ in UInt64.max >> 1 })
    let dataPointers = spools.reduce(0) { $0 + $1.count }
    let nodePointers = writer.places.reduce(0) { $0 + $1.pointers.count }
    let plannedPointers = writer.reserved.reduce(0) { $0 + $1.count }
    result.backpointers = dataPointers + nodePointers + plannedPointers
    return result
  }

  /// The tally with the planned nodes counted at their places.
  private func tallyWithPlan(_ tally: AccountingTally) -> AccountingTally {
    var result = tally
    var next = 0
    for (btree, count) in nodeCounts(shape) {
      for _ in 0..<count where next < writer.reserved.count {
        result.addNode(btree, writer.reserved[next], nodeSectors: writer.nodeSectors)
        next += 1
      }
    }
    return result
  }

  private func fragmentationTime(_ space: BucketSpace, _ bucket: Int) -> UInt64 {
    allocValue(space, bucket).fragmentationLRUTime(bucketSizeSectors: space.bucketSectors)
  }

  private func allocValue(_ space: BucketSpace, _ bucket: Int) -> AllocV4 {
    var value = AllocV4()
    value.dataType = space.types[bucket]
    value.dirtySectors = space.dirtySectors[bucket]
    // What the driver's trigger sets on first use: the bucket is discarded, and its generation
    // moves on, before it is used again.
    value.needsDiscard = true
    value.needsGenerationIncrement = true
    value.readTime = 1
    value.writeTime = 1
    return value
  }

  // MARK: - Building

  /// Builds all five btrees.
  ///
  /// - Parameters:
  ///   - bucketCounts: Buckets of each device, final; late buckets are marked by now.
  /// - Returns: their roots, and the complete tally.
  mutating func build(
    tally: AccountingTally, bucketCounts: [UInt64]
  ) throws(ImageError) -> (roots: [BTreeBuilder.Root], tally: AccountingTally) {
    let complete = tallyWithPlan(tally)
    var roots: [BTreeBuilder.Root?] = []
    roots.append(try buildAlloc())
    roots.append(try buildFreespace(bucketCounts: bucketCounts))
    roots.append(try buildLRU())
    roots.append(
      try buildAccounting(complete.counters(spaces: spaces, bucketCounts: bucketCounts)))
    roots.append(try buildBackpointers())
    invariant(writer.usedAllReserved, "as many nodes were written as were planned")
    return (roots.compactMap { $0 }, complete)
  }

  private func builder(_ btree: BTreeID, keyCount: Int) -> BTreeBuilder {
    let leaves = leafCount(btree, shape)
    invariant(keyCount <= shape.count(btree), "no more keys come than were planned")
    invariant(leaves < 2 || keyCount >= leaves, "keys are enough for their planned leaves")
    return BTreeBuilder(
      btree, writer: writer,
      fill: .byPlan(keyCount: keyCount, leafCount: leaves, childrenPerNode: childrenPerNode))
  }

  private func buildAlloc() throws(ImageError) -> BTreeBuilder.Root? {
    let usedBuckets = spaces.reduce(0) { $0 + Int($1.usedBuckets) }
    let builder = builder(.alloc, keyCount: usedBuckets)
    var value = AlignedBuffer(byteCount: AllocV4.encodedU64s * 8)
    for space in spaces {
      for (bucket, type) in space.types.enumerated() where type != DataType.free.rawValue {
        var bytes = value.mutableBytes
        allocValue(space, bucket).encode(into: &bytes)
        let position = Positions.bucket(device: space.device, bucket: UInt64(bucket))
        try builder.add(
          BKey(type: .allocV4, position: position, valueU64s: AllocV4.encodedU64s), value.bytes)
      }
    }
    return try builder.finish()
  }

  private func buildFreespace(bucketCounts: [UInt64]) throws(ImageError) -> BTreeBuilder.Root? {
    var keys: [BKey] = []
    for (space, bucketCount) in zip(spaces, bucketCounts) {
      var start: UInt64 = 0
      func close(at end: UInt64) {
        // Sizes are 32 bits wide: the largest devices take several keys.
        while start < end {
          let size = min(end - start, UInt64(UInt32.max))
          let position = Positions.bucket(device: space.device, bucket: start + size)
          keys.append(BKey(type: .set, position: position, size: UInt32(size)))
          start += size
        }
      }
      for (bucket, type) in space.types.enumerated() where type != DataType.free.rawValue {
        close(at: UInt64(bucket))
        start = UInt64(bucket) + 1
      }
      close(at: bucketCount)
    }
    let builder = builder(.freespace, keyCount: keys.count)
    let empty = AlignedBuffer(byteCount: 0)
    for key in keys { try builder.add(key, empty.bytes) }
    return try builder.finish()
  }

  private func buildLRU() throws(ImageError) -> BTreeBuilder.Root? {
    var positions: [BPos] = []
    for space in spaces {
      for bucket in space.types.indices {
        let time = fragmentationTime(space, bucket)
        guard time != 0 else { continue }
        let bucketPosition = Positions.bucket(device: space.device, bucket: UInt64(bucket))
        positions.append(
          Positions.lru(
            id: Positions.fragmentationLRU, bucketWord: Positions.word(ofBucket: bucketPosition),
            time: time))
      }
    }
    positions.sort()
    let builder = builder(.lru, keyCount: positions.count)
    let empty = AlignedBuffer(byteCount: 0)
    for position in positions {
      try builder.add(BKey(type: .set, position: position), empty.bytes)
    }
    return try builder.finish()
  }

  private func buildAccounting(
    _ counters: [AccountingTally.Counter]
  ) throws(ImageError) -> BTreeBuilder.Root? {
    let builder = builder(.accounting, keyCount: counters.count)
    var value = AlignedBuffer(byteCount: Accounting.maxCount * 8)
    for counter in counters {
      var bytes = value.mutableBytes
      for (index, number) in counter.values.enumerated() {
        bytes[LEField<Int64>(index * 8)] = number
      }
      // A version of zero would say: never applied. The journal starts behind this one.
      let key = BKey(
        type: .accounting, position: counter.position,
        version: BVersion(lo: writer.journalSequence),
        valueU64s: counter.values.count)
      try builder.add(key, value.bytes.extracting(0..<key.valueByteCount))
    }
    return try builder.finish()
  }

  // MARK: - Backpointers

  private func buildBackpointers() throws(ImageError) -> BTreeBuilder.Root? {
    let nodes = nodeBackpointers(of: writer.places)
    return try buildTree(nodes + ownNodeBackpointers(besides: nodes))
  }

  private struct NodeBackpointer {
    let key: BKey
    let value: Backpointer
  }

  private func backpointer(
    _ space: BucketSpace, sector: UInt64, sectors: UInt32, btree: BTreeID, level: UInt8,
    dataType: DataType, position: BPos
  ) -> NodeBackpointer {
    let (keyPosition, offset) = Positions.backpointer(
      device: space.device, sector: sector, bucketSizeSectors: space.bucketSectors)
    return NodeBackpointer(
      key: BKey(
        type: .backpointer, position: keyPosition, valueU64s: Backpointer.encodedU64s),
      value: Backpointer(
        btree: btree, level: level, dataType: dataType.rawValue, bucketOffset: offset,
        bucketLength: sectors, position: position))
  }

  private func nodeBackpointers(of places: [NodePlace]) -> [NodeBackpointer] {
    var result: [NodeBackpointer] = []
    for place in places {
      for pointer in place.pointers {
        guard let space = spaces.first(where: { $0.device == pointer.device }) else { continue }
        result.append(
          backpointer(
            space, sector: pointer.offset, sectors: writer.nodeSectors, btree: place.btree,
            level: place.pointerLevel, dataType: .btree, position: place.maxKey))
      }
    }
    return result
  }

  /// The backpointers to the nodes of the backpointers btree itself, which are not written yet:
  /// their places are reserved, and the positions they end at follow from a rehearsal.
  private func ownNodeBackpointers(
    besides others: [NodeBackpointer]
  ) throws(ImageError) -> [NodeBackpointer] {
    let count = nodeCount(.backpointers, shape)
    let pointers = writer.reserved.suffix(count)
    // What these point to is still open, but where they stand, and so the order, is final.
    let preliminary = pointers.map {
      NodePlace(btree: .backpointers, pointerLevel: 1, maxKey: .max, pointers: $0)
    }
    let all = others + nodeBackpointers(of: preliminary)
    let rehearsed = try writer.rehearse { () throws(ImageError) in _ = try buildTree(all) }
    invariant(rehearsed.count == count, "the planned shape is the shape")
    return nodeBackpointers(
      of: zip(rehearsed, pointers).map { node, pointers in
        NodePlace(
          btree: node.btree, pointerLevel: node.pointerLevel, maxKey: node.maxKey,
          pointers: pointers)
      })
  }

  /// Builds the btree from the nodes' backpointers merged with those of the data.
  private func buildTree(
    _ unsorted: [NodeBackpointer]
  ) throws(ImageError) -> BTreeBuilder.Root? {
    let nodes = unsorted.sorted { $0.key.position < $1.key.position }
    let builder = builder(.backpointers, keyCount: shape.backpointers)
    var value = AlignedBuffer(byteCount: Backpointer.encodedU64s * 8)
    func add(_ entry: NodeBackpointer) throws(ImageError) {
      var bytes = value.mutableBytes
      entry.value.encode(into: &bytes)
      try builder.add(entry.key, value.bytes)
    }
    var next = 0
    for (space, spool) in zip(spaces, spools) {
      func nodesRemain(before position: BPos) -> Bool {
        next < nodes.count && nodes[next].key.position < position
      }
      var reader = spool.makeReader()
      while let record = try reader.peek() {
        let data = backpointer(
          space, sector: record.sector, sectors: record.sectors, btree: .extents, level: 0,
          dataType: .user, position: BPos(record.inode, record.endSector, .max))
        while nodesRemain(before: data.key.position) {
          try add(nodes[next])
          next += 1
        }
        try add(data)
        reader.advance()
      }
      while nodesRemain(before: BPos(UInt64(space.device) + 1, 0)) {
        try add(nodes[next])
        next += 1
      }
    }
    return try builder.finish()
  }
}
