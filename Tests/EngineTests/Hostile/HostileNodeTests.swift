// SPDX-License-Identifier: GPL-2.0
// Btree nodes that contradict what leads to them: searches end, and say what is wrong.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct HostileNodeTests {
  private static let sector: UInt64 = 40 * 128

  private func cookie(_ offset: UInt64) -> HostileVolume.Key {
    HostileVolume.Key(
      btree: .loggedOps, key: BKey(type: .cookie, position: BPos(0, offset), valueU64s: 1),
      value: [UInt8](repeating: 1, count: 8))
  }

  @Test(.timeLimit(.minutes(1)))
  func aRootThatEndsEarlyIsAnErrorForWhatLiesBehind() throws {
    let hostile = try HostileVolume()
    let end = BPos(0, 100, .max)
    try hostile.writeNode(
      .loggedOps, level: 0, from: .min, through: end, at: Self.sector, [cookie(5), cookie(7)])
    hostile.add(
      HostileVolume.pointer(.loggedOps, level: 0, through: end, at: Self.sector, isRoot: true))
    let volume = try hostile.open()
    let cursor = BTreeCursor(volume.forest, .loggedOps)
    #expect(try cursor.next()?.key.position == BPos(0, 5))
    #expect(try cursor.next()?.key.position == BPos(0, 7))
    #expect(throws: VolumeError.self) { try cursor.next() }
    #expect(throws: VolumeError.self) { try cursor.lookup(BPos(0, 4096)) }
    cursor.seek(.min)
    #expect(try cursor.next()?.key.position == BPos(0, 5))
  }

  @Test(.timeLimit(.minutes(1)))
  func twoPointersToOneNodeGiveEachKeyOnce() throws {
    let hostile = try HostileVolume()
    let (middle, root) = (BPos(0, 6, 0), Self.sector + 8)
    try hostile.writeNode(
      .loggedOps, level: 0, from: .min, through: .max, at: Self.sector,
      [cookie(5), cookie(7), cookie(9)])
    try hostile.writeNode(
      .loggedOps, level: 1, from: .min, through: .max, at: root,
      [
        HostileVolume.pointer(
          .loggedOps, level: 0, through: middle, at: Self.sector, from: .min),
        HostileVolume.pointer(
          .loggedOps, level: 0, through: .max, at: Self.sector, from: BPos(0, 6, 1)),
      ])
    hostile.add(
      HostileVolume.pointer(.loggedOps, level: 1, through: .max, at: root, isRoot: true))
    let volume = try hostile.open()
    for _ in 0..<3 {
      var found: [UInt64] = []
      try volume.forEachKey(of: .loggedOps) { (key, _) in
        found.append(key.position.offset)
        return found.count < 100
      }
      #expect(found == [5, 7, 9])
    }
  }

  @Test func aGapBetweenNodesIsAnError() throws {
    let hostile = try HostileVolume()
    let root = Self.sector + 8
    try hostile.writeNode(
      .loggedOps, level: 0, from: BPos(0, 6), through: .max, at: Self.sector, [cookie(7)])
    try hostile.writeNode(
      .loggedOps, level: 1, from: .min, through: .max, at: root,
      [
        HostileVolume.pointer(
          .loggedOps, level: 0, through: .max, at: Self.sector, from: BPos(0, 6))
      ])
    hostile.add(
      HostileVolume.pointer(.loggedOps, level: 1, through: .max, at: root, isRoot: true))
    let cursor = BTreeCursor(try hostile.open().forest, .loggedOps)
    #expect(throws: VolumeError.self) { try cursor.next() }
    #expect(try cursor.lookup(BPos(0, 7)) != nil)
  }

  /// As many keys as there are positions, over and over: what a later list has hides the earlier.
  @Test func mergingManyListsIsWhatWritingThemInOrderGives() {
    var random = RandomSource(seed: 3)
    for round in 0..<200 {
      var runs = NodeEntryRuns()
      var expected: [BPos: Int] = [:]
      for list in 0..<Int(random.next() % 40) {
        let step = 1 + random.next() % 50
        var entries: [NodeEntry] = []
        var offset = random.next() % 100
        for _ in 0..<random.next() % 60 {
          let place = list << 8 | entries.count
          entries.append(NodeEntry(BPos(0, offset), imageOffset: place))
          expected[BPos(0, offset)] = place
          offset += 1 + random.next() % step
        }
        runs.append(entries)
      }
      let merged = runs.finish()
      #expect(merged.map(\.position) == expected.keys.sorted(), "round \(round)")
      #expect(merged.allSatisfy { expected[$0.position] == Int($0.imageOffset) })
    }
  }

  /// 250,000 keys in 4,000 lists: with work for each list over all keys this takes minutes.
  @Test(.timeLimit(.minutes(1)))
  func thousandsOfListsInOneNodeTakeNoTime() {
    var runs = NodeEntryRuns()
    let (lists, perList) = (4000, 62)
    for list in 0..<lists {
      runs.append(
        (0..<perList).map { NodeEntry(BPos(0, UInt64($0 * lists + list)), imageOffset: 0) })
    }
    #expect(runs.finish().count == lists * perList)
  }
}
