// SPDX-License-Identifier: GPL-2.0
// A live node beside an ordered map: what it shows, and what of it gets to the disk.

internal import BcachefsFormat
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct LiveNodeTests {
  private static let parameters = MetadataParameters(
    superblockMagic: 0x1234_5678_9abc_def0, checksumType: .crc32c, key: nil, blockBytes: 512,
    nodeBytes: 64 << 10, version: UInt16(MetadataVersion.native.rawValue))

  /// A node and what it should hold.
  fileprivate struct Model {
    let node: LiveNode
    var keys: [BPos: [UInt64]] = [:]
    /// All of the node that was written.
    var disk = [UInt8](repeating: 0, count: LiveNodeTests.parameters.nodeBytes)
    var random: SplitMix64

    init(seed: UInt64) {
      random = SplitMix64(seed: seed)
      node = LiveNode(nodeBytes: LiveNodeTests.parameters.nodeBytes)
      node.becomeEmpty(.xattrs, level: 0, sequence: 77)
    }

    mutating func position(_ spread: UInt64) -> BPos {
      BPos(random.next() % spread, random.next() % 64, UInt32(random.next() % 3))
    }

    mutating func put(_ position: BPos, _ words: [UInt64]?) {
      let key = BKey(
        type: words == nil ? .deleted : .cookie, position: position, valueU64s: words?.count ?? 0)
      guard node.hasRoom(words: Int(key.u64s)) else { return }
      node.set(.dirty)
      unsafe (words ?? []).withUnsafeBytes { unsafe node.put(key, $0.baseAddress) }
      keys[position] = words
    }

    func shown() -> [BPos: [UInt64]] {
      var result: [BPos: [UInt64]] = [:]
      var slot = node.firstVisible(from: node.index.start)
      while let here = slot {
        let view = node.view(at: here)
        result[view.key.position] = words(view)
        slot = node.firstVisible(from: node.index.after(here))
      }
      return result
    }

    func words(_ view: KeyView) -> [UInt64] {
      view.withValue { value in
        (0..<view.key.valueU64s).map { value[LEField<UInt64>($0 * 8)] }
      }
    }

    mutating func write() throws {
      let image = try node.takeImage(LiveNodeTests.parameters)
      for index in 0..<image.bytes.byteCount {
        disk[image.startBytes + index] = image.bytes.bytes[LEField<UInt8>(index)]
      }
    }

    /// What somebody would read.
    func read() throws -> [BPos: [UInt64]] {
      let parameters = LiveNodeTests.parameters
      let decoder = NodeDecoder(
        superblockMagic: parameters.superblockMagic, key: nil, blockBytes: parameters.blockBytes,
        nodeBytes: parameters.nodeBytes, isBlacklisted: { _ in false })
      let image = HeapBuffer(byteCount: node.writtenBytes)
      var target = image.mutableBytes
      target.copy(disk.rawBytes.extracting(0..<node.writtenBytes), to: 0)
      let decoded = try decoder.decode(
        image,
        expecting: NodeExpectation(
          btree: node.btree, level: node.level, sequence: node.sequence, minKey: node.minKey,
          maxKey: node.maxKey, sectorsWritten: node.writtenBytes / 512, isRangeUpdated: false))
      var result: [BPos: [UInt64]] = [:]
      for index in decoded.entries.indices {
        let found = decoded.reference(at: index)
        result[found.key.position] = found.withValue { value in
          (0..<found.key.valueU64s).map { value[LEField<UInt64>($0 * 8)] }
        }
      }
      return result
    }
  }

  @Test(arguments: [UInt64(1), 2, 3, 4, 5, 6])
  func aNodeShowsAndWritesWhatAMapHolds(seed: UInt64) throws {
    var model = Model(seed: seed)
    let spread: UInt64 = [2, 16, 400][Int(seed % 3)]
    for round in 0..<40 {
      for _ in 0..<60 {
        let position = model.position(spread)
        let value = (0..<model.random.next() % 5).map { _ in model.random.next() }
        model.put(position, model.random.next() % 3 == 0 ? nil : value)
      }
      model.node.check()
      #expect(model.shown() == model.keys, "seed \(seed), round \(round)")
      guard model.random.next() % 3 == 0, model.node.hasRoom(words: 0) else { continue }
      try model.write()
      model.node.check()
      #expect(try model.read() == model.keys, "seed \(seed), round \(round)")
    }
    #expect(model.keys.count > 50, "seed \(seed)")
  }

  @Test(arguments: [UInt64(1), 2, 3])
  func neighboursAreFoundInBothDirections(seed: UInt64) throws {
    var model = Model(seed: seed)
    for _ in 0..<600 { model.put(model.position(50), [1]) }
    for _ in 0..<100 { model.put(model.position(50), nil) }
    let sorted = model.keys.keys.sorted()
    for _ in 0..<500 {
      let position = model.position(52)
      let slot = model.node.index.lowerBound(position)
      let next = model.node.firstVisible(from: slot).map { model.node.index[$0].position }
      let last = model.node.lastVisible(before: slot).map { model.node.index[$0].position }
      #expect(next == sorted.first { position <= $0 }, "seed \(seed), \(position)")
      #expect(last == sorted.last { $0 < position }, "seed \(seed), \(position)")
      #expect((model.node.find(position) != nil) == (model.keys[position] != nil))
    }
  }

  /// A guess of a place only ever saves time: right, stale, or no place at all.
  @Test(arguments: [UInt64(1), 2, 3])
  func aGuessChangesNothingAboutWhatIsFound(seed: UInt64) throws {
    var model = Model(seed: seed)
    for _ in 0..<700 { model.put(model.position(seed * 20), [model.random.next()]) }
    #expect(model.node.index.rowCount > 3, "seed \(seed): several chunks")
    var guesses = [IndexSlot(row: -1, entry: 0), IndexSlot(row: 1, entry: -1)]
    guesses += [IndexSlot(row: Int.max, entry: Int.max), IndexSlot(row: 0, entry: Int.max)]
    for row in 0...model.node.index.rowCount + 1 {
      guesses += [0, 1, 31, 63, 64].map { IndexSlot(row: row, entry: $0) }
    }
    for _ in 0..<500 {
      let position = model.position(seed * 20 + 2)
      let right = model.node.index.lowerBound(position)
      var near = [right, model.node.index.before(right) ?? right]
      if right.row < model.node.index.rowCount { near.append(model.node.index.after(right)) }
      for guess in guesses + near {
        #expect(
          model.node.index.lowerBound(position, near: guess) == right,
          "seed \(seed), \(position), \(guess)")
      }
    }
  }

  @Test(arguments: [UInt64(1), 2, 3, 4])
  func halvesAndMergedNodesHoldWhatTheWholeHeld(seed: UInt64) throws {
    var model = Model(seed: seed)
    for _ in 0..<900 { model.put(model.position(seed * 40), [model.random.next()]) }
    for _ in 0..<100 { model.put(model.position(seed * 40), nil) }
    let node = model.node
    let cut = try #require(
      node.cuts(for: BPos(3, 3, 3), words: node.splitWords, blockBytes: 512).first)
    let border = try #require(node.lastVisible(before: cut).map { node.index[$0].position })
    let left = LiveNode(nodeBytes: node.nodeBytes)
    let right = LiveNode(nodeBytes: node.nodeBytes)
    left.fill(
      from: [(node, (node.index.start, cut))], minKey: node.minKey, maxKey: border, sequence: 1)
    right.fill(
      from: [(node, (cut, node.index.end))], minKey: try #require(border.successor),
      maxKey: node.maxKey, sequence: 2)
    #expect(left.liveWords > node.liveWords / 4 && right.liveWords > node.liveWords / 8)
    let whole = LiveNode(nodeBytes: node.nodeBytes)
    whole.fill(
      from: [
        (left, (left.index.start, left.index.end)), (right, (right.index.start, right.index.end)),
      ],
      minKey: node.minKey, maxKey: node.maxKey, sequence: 3)
    whole.check()
    var merged = Model(node: whole, keys: model.keys, seed: seed)
    #expect(merged.shown() == model.keys)
    try merged.write()
    #expect(try merged.read() == model.keys)
  }

  /// Keys that are narrow beside each other are wide where they share a format with others that lie
  /// far away, or only with where these begin.
  @Test(arguments: [0, 1, 7, 200], [0, 1, 3])
  func neighboursThatFitOneNodeFillOne(countOfLeft: Int, valueWords: Int) throws {
    let middle = BPos(1 << 50, .max - 4097, .max)
    let left = packedNode(
      (0..<countOfLeft).map { BPos(1 + UInt64($0) << 30, UInt64($0) << 55, 0) }, valueWords,
      from: .min, to: middle)
    let ofRight = (0..<4096).map { BPos(1 << 50, .max - 4096 + UInt64($0), .max) }
    let behind = try #require(middle.successor)
    let wordsOfKey = packedNode(ofRight.prefix(1), valueWords, from: behind, to: ofRight[4095])
      .liveWords
    var joined = 0
    for share in 1...10 {
      let right = packedNode(
        ofRight.prefix(left.splitWords * share / 10 / wordsOfKey), valueWords,
        from: behind, to: ofRight[4095])
      guard left.fits(with: right) else { continue }
      joined += 1
      let whole = LiveNode(nodeBytes: Self.parameters.nodeBytes)
      whole.fill(
        from: [left, right].map { ($0, ($0.index.start, $0.index.end)) },
        minKey: .min, maxKey: ofRight[4095], sequence: 3)
      whole.check()
      #expect(whole.liveWords <= whole.splitWords)
      let keys = Model(node: left, keys: [:], seed: 1).shown().merging(
        Model(node: right, keys: [:], seed: 1).shown()
      ) { $1 }
      var merged = Model(node: whole, keys: keys, seed: 1)
      #expect(merged.shown() == keys)
      try merged.write()
      #expect(try merged.read() == keys)
    }
    #expect(joined > 0)
    // What is empty is joined with what is not larger by that.
    if countOfLeft == 0 { #expect(joined == 10) }
  }

  /// A node with keys in the format that suits them.
  private func packedNode(
    _ positions: some Sequence<BPos>, _ valueWords: Int, from minKey: BPos, to maxKey: BPos
  ) -> LiveNode {
    let loose = LiveNode(nodeBytes: 1 << 20)
    loose.becomeEmpty(.xattrs, level: 0, sequence: 1)
    for position in positions {
      let key = BKey(type: .cookie, position: position, valueU64s: valueWords)
      let value = [UInt64](repeating: position.offset, count: valueWords)
      unsafe value.withUnsafeBytes { unsafe loose.put(key, $0.baseAddress) }
    }
    let node = LiveNode(nodeBytes: Self.parameters.nodeBytes)
    node.fill(
      from: [(loose, (loose.index.start, loose.index.end))], minKey: minKey, maxKey: maxKey,
      sequence: 2)
    return node
  }

  @Test func keysInOrderFillTheirChunks() throws {
    var model = Model(seed: 1)
    for offset in 0..<640 { model.put(BPos(7, UInt64(offset)), [1]) }
    #expect(model.node.index.count == 640)
    #expect(model.node.index.rowCount == 10)
  }
}

extension LiveNodeTests.Model {
  fileprivate init(node: LiveNode, keys: [BPos: [UInt64]], seed: UInt64) {
    self.node = node
    self.keys = keys
    random = SplitMix64(seed: seed)
  }
}
