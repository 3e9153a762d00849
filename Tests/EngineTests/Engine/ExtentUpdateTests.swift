// SPDX-License-Identifier: GPL-2.0
// Random extents in a tree of snapshots, beside a map of what each snapshot sees in each sector.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct ExtentUpdateTests {
  private static let sectors: UInt64 = 128
  /// Snapshots, each with its parent: two leaves below an inner node, and one beside it.
  private static let tree: [(id: UInt32, parent: UInt32)] = [
    (.max, 0), (.max - 1, .max), (.max - 2, .max), (.max - 3, .max - 1), (.max - 4, .max - 1),
  ]

  private static func isAncestor(_ ancestor: UInt32, of id: UInt32) -> Bool {
    var next = id
    while next != 0 {
      if next == ancestor { return true }
      next = tree.first { $0.id == next }?.parent ?? 0
    }
    return false
  }

  private func engineWithSnapshots(_ seed: UInt64) throws -> BareEngine {
    let bare = try BareEngine(seed: seed)
    let engine = bare.engine
    if engine.trees.root(.extents) == nil {
      engine.trees.makeEmptyRoot(.extents, sequence: engine.nextNodeSequence())
    }
    engine.snapshots.withLock { table in
      for (id, parent) in Self.tree {
        var snapshot = Snapshot()
        snapshot.parent = parent
        table[id] = snapshot
      }
      table.number()
    }
    return bare
  }

  /// What a snapshot sees: for each sector the place on the device, by the keys.
  private func contents(
    _ engine: Engine, inode: UInt64, snapshot: UInt32
  ) throws -> [UInt64: UInt64] {
    try engine.run("test_contents") { (transaction) throws(TransactionError) in
      var result: [UInt64: UInt64] = [:]
      var walk = SnapshotWalk(.extents, inode, from: 1, snapshot: snapshot)
      while let found = try transaction.next(&walk) {
        let (start, end) = (found.key.start.offset, found.key.position.offset)
        let place = found.withValue { ExtentPtr(word: $0[LEField<UInt64>(0)]).offset }
        for sector in start..<end {
          #expect(result[sector] == nil, "two extents for sector \(sector)")
          result[sector] = place + sector - start
        }
      }
      return result
    }
  }

  @Test(arguments: UInt64(1)...40)
  func everySnapshotSeesWhatWasWrittenLastInItOrBefore(seed: UInt64) throws {
    let bare = try engineWithSnapshots(seed)
    let engine = bare.engine
    var random = SplitMix64(seed: seed)
    var model: [UInt32: [UInt64: UInt64]] = [:]
    // The writes in ancestors come first, as inner snapshots do not change any more.
    for (id, _) in Self.tree {
      for step in 0..<12 {
        let start = random.next() % Self.sectors
        let size = 1 + random.next() % 24
        let isHole = random.next() % 4 == 0
        let place = 1 << 20 + UInt64(step) << 8
        try engine.run("test_extent") { (transaction) throws(TransactionError) in
          let words = [ExtentPtr(device: 0, offset: place, generation: 0).word]
          let value = isHole ? [] : words
          let key = BKey(
            type: isHole ? .deleted : .extent, position: BPos(7, start + size, id),
            size: UInt32(size), valueU64s: value.count)
          try unsafe transaction.updateExtent(.extents, key, value.span.bytes)
          transaction.skipTriggers()
          try transaction.commit()
        }
        for (other, _) in Self.tree where Self.isAncestor(id, of: other) {
          for sector in start..<start + size {
            model[other, default: [:]][sector] = isHole ? nil : place + sector - start
          }
        }
      }
      for (other, _) in Self.tree {
        #expect(
          try contents(engine, inode: 7, snapshot: other) == model[other] ?? [:],
          "seed \(seed): snapshot \(other) after writes in \(id)")
      }
    }
    bare.check()
  }

  private func write(
    _ engine: Engine, _ range: Range<UInt64>, in id: UInt32, isHole: Bool = false
  ) throws {
    try engine.run("test_join") { (transaction) throws(TransactionError) in
      let words =
        isHole ? [] : [ExtentPtr(device: 0, offset: 4096 + range.lowerBound, generation: 0).word]
      let key = BKey(
        type: isHole ? .deleted : .extent, position: BPos(7, range.upperBound, id),
        size: UInt32(range.count), valueU64s: words.count)
      try unsafe transaction.updateExtent(.extents, key, words.span.bytes)
      transaction.skipTriggers()
      try transaction.commit()
    }
  }

  /// The ranges of a snapshot's own keys.
  private func ranges(_ engine: Engine, in id: UInt32) throws -> [Range<UInt64>] {
    try engine.run("test_ranges") { (transaction) throws(TransactionError) in
      var result: [Range<UInt64>] = []
      var walk = KeyWalk(.extents, from: BPos(7, 0))
      while let found = try transaction.next(&walk) {
        guard found.key.position.snapshot == id, found.key.type == .extent else { continue }
        result.append(found.key.start.offset..<found.key.position.offset)
      }
      return result
    }
  }

  @Test func neighboursThatContinueEachOtherBecomeOne() throws {
    let engine = try engineWithSnapshots(1).engine
    let leaf = UInt32.max - 2
    for start in [UInt64(0), 16, 8] { try write(engine, start..<start + 8, in: leaf) }
    #expect(try ranges(engine, in: leaf) == [0..<24])
    try write(engine, 8..<12, in: leaf, isHole: true)
    #expect(try ranges(engine, in: leaf) == [0..<8, 12..<24])
    try write(engine, 8..<12, in: leaf)
    #expect(try ranges(engine, in: leaf) == [0..<24])
    // A bucket's end is an end.
    let sectors = try #require(engine.media.member(0)).bucketSizeSectors
    try write(engine, sectors - 8..<sectors, in: leaf)
    try write(engine, sectors..<sectors + 8, in: leaf)
    let atTheEnd = [sectors - 8..<sectors, sectors..<sectors + 8]
    #expect(try ranges(engine, in: leaf).suffix(2) == atTheEnd)
  }

  @Test func whatADescendantHidesStaysApart() throws {
    let engine = try engineWithSnapshots(1).engine
    try write(engine, 0..<8, in: .max)
    try write(engine, 0..<8, in: .max - 2, isHole: true)
    try write(engine, 8..<16, in: .max)
    #expect(try ranges(engine, in: .max) == [0..<8, 8..<16])
    #expect(try contents(engine, inode: 7, snapshot: .max - 2).keys.sorted() == Array(8..<16))
    // In a leaf that hides an ancestor's keys, joining shows nothing of them.
    try write(engine, 0..<8, in: .max - 3)
    try write(engine, 8..<16, in: .max - 3)
    #expect(try ranges(engine, in: .max - 3) == [0..<16])
    let seen = try contents(engine, inode: 7, snapshot: .max - 3)
    #expect(seen.keys.sorted() == Array(0..<16))
  }

  @Test func aHoleInAnAncestorsExtentShowsNothingOfIt() throws {
    let engine = try engineWithSnapshots(1).engine
    for (type, start, end, id) in [
      (BKeyType.extent, UInt64(0), UInt64(20), UInt32.max), (.deleted, 5, 10, .max - 2),
    ] {
      try engine.run("test_hole") { (transaction) throws(TransactionError) in
        let words = type == .extent ? [ExtentPtr(device: 0, offset: 4096, generation: 0).word] : []
        let key = BKey(
          type: type, position: BPos(7, end, id), size: UInt32(end - start), valueU64s: words.count)
        try unsafe transaction.updateExtent(.extents, key, words.span.bytes)
        transaction.skipTriggers()
        try transaction.commit()
      }
    }
    let (child, sibling) = (
      try contents(engine, inode: 7, snapshot: .max - 2),
      try contents(engine, inode: 7, snapshot: .max - 1)
    )
    #expect(child.keys.sorted() == Array(0..<5) + Array(10..<20))
    #expect(sibling == Dictionary(uniqueKeysWithValues: (0..<20).map { ($0, 4096 + $0) }))
  }

  @Test func whatIsCutOffAnExtentMovesItsPointersOrItsChecksumsOffset() throws {
    let plain = ExtentPtr(device: 0, offset: 1000, generation: 1)
    let encoded = ExtentPtr(device: 1, offset: 2000, generation: 1)
    let crc = ExtentCrc(
      compressedSize: 8, uncompressedSize: 32, liveSize: 16, offset: 4, checksumType: 5,
      compressionType: 3)
    var words = [UInt64](repeating: 0, count: 8)
    var span = words.mutableSpan
    var value = unsafe span.mutableBytes
    var writer = ExtentWriter()
    try writer.append(plain, to: &value)
    try writer.append(crc, to: &value)
    try writer.append(encoded, to: &value)
    var key = BKey(
      type: .extent, position: BPos(1, 116, 9), size: 16, valueU64s: writer.encodedU64s)
    try key.cutFront(to: 106, &value)
    key.cutBack(to: 110)
    #expect(key.start.offset == 106 && key.size == 4)
    var pointers = try ExtentEntries(
      key: key, value: value.bytes.extracting(first: key.valueByteCount)
    ).pointers
    let (first, second) = (pointers.next(), pointers.next())
    #expect(first?.ptr.offset == 1006)
    #expect(second?.ptr.offset == 2000 && second?.crc.offset == 10)
    #expect(second?.crc.compressedSize == 8 && second?.crc.uncompressedSize == 32)
  }

  /// What stood in a buffer before is not the value's.
  @Test func aCutLeavesWhatStandsBehindTheValueAlone() throws {
    let crc = ExtentCrc(compressedSize: 8, uncompressedSize: 32, liveSize: 32, checksumType: 5)
    var words = [UInt64](repeating: 0, count: 8)
    var span = words.mutableSpan
    var value = unsafe span.mutableBytes
    var writer = ExtentWriter()
    try writer.append(crc, to: &value)
    try writer.append(ExtentPtr(device: 0, offset: 2000, generation: 1), to: &value)
    var key = BKey(
      type: .extent, position: BPos(1, 132, 9), size: 32, valueU64s: writer.encodedU64s)
    // An older checksum that ends before the cut, and a pointer to where a device ends.
    let old = ExtentCrc(compressedSize: 2, uncompressedSize: 2, liveSize: 2, checksumType: 5)
    try writer.append(ExtentPtr(device: 0, offset: ExtentPtr.maxOffset, generation: 1), to: &value)
    try writer.append(old, to: &value)
    let before = value.bytes[LEField<UInt64>(key.valueByteCount)]
    try key.cutFront(to: 104, &value)
    #expect(key.size == 28 && key.start.offset == 104)
    #expect(value.bytes[LEField<UInt64>(key.valueByteCount)] == before)
  }

  @Test func aCutBehindTheEndOfWhatWasChecksummedIsRefused() throws {
    let crc = ExtentCrc(compressedSize: 8, uncompressedSize: 8, liveSize: 8, checksumType: 5)
    var words = [UInt64](repeating: 0, count: 4)
    var span = words.mutableSpan
    var value = unsafe span.mutableBytes
    var writer = ExtentWriter()
    try writer.append(crc, to: &value)
    var key = BKey(
      type: .extent, position: BPos(1, 100, 9), size: 64, valueU64s: writer.encodedU64s)
    var hasThrown = false
    do { try key.cutFront(to: 60, &value) } catch { hasThrown = true }
    #expect(hasThrown)
  }
}

extension Transaction {
  /// The places of these extents are nobody's: nothing is to be counted.
  fileprivate func skipTriggers() {
    for index in 0..<updateCount { finishTriggers(of: unsafe updates[index]) }
  }
}
