// SPDX-License-Identifier: GPL-2.0
// Volumes that do harm when they are opened for changes: opening ends, with what there is or with
// an error.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.timeLimit(.minutes(1))) struct HostileOpeningTests {
  private static let sector: UInt64 = 5120

  private func cookie(_ btree: BTreeID, _ offset: UInt64, _ value: UInt8 = 1) -> HostileVolume.Key {
    HostileVolume.Key(
      btree: btree, key: BKey(type: .cookie, position: BPos(0, offset), valueU64s: 1),
      value: [UInt8](repeating: value, count: 8))
  }

  @Test func keysOfAVolumeThatDoesNoHarmAreThere() throws {
    let hostile = try HostileVolume()
    hostile.add(cookie(.rebalanceWork, 5))
    try hostile.addLeaf(.loggedOps, [cookie(.loggedOps, 7)])
    let engine = try hostile.openForChanges()
    defer { engine.letGo() }
    for (btree, offset) in [(BTreeID.rebalanceWork, UInt64(5)), (.loggedOps, 7)] {
      let found = try engine.run("test_hostile") { (transaction) throws(TransactionError) in
        try transaction.next(btree, from: .min)?.key.position
      }
      #expect(found == BPos(0, offset))
    }
  }

  /// The node could be read, by a place that does not stand where the cache looks for it.
  @Test func aPointerThatBeginsWithNoPlaceIsAnError() throws {
    let hostile = try HostileVolume()
    try hostile.writeNode(
      .loggedOps, level: 0, from: .min, through: .max, at: Self.sector, [cookie(.loggedOps, 5)])
    let good = HostileVolume.pointer(
      .loggedOps, level: 0, through: .max, at: Self.sector, isRoot: true)
    var value = good.value
    value.insert(contentsOf: [0x80, 0, 0, 0, 0, 0, 0, 0], at: BTreePtrV2.Layout.byteCount)
    hostile.add(
      HostileVolume.Key(
        btree: .loggedOps, type: .btreeRoot,
        key: BKey(type: .btreePtrV2, position: .max, valueU64s: value.count / 8), value: value))
    let error = #expect(throws: VolumeError.self) { try hostile.openForChanges() }
    #expect(error?.code == .corrupt)
    #expect(error?.description.contains("pointer") == true)
  }

  private static let endingNumbers: [UInt64] = [
    .max, .max - 1, .max - 9, UInt64(Int64.max), UInt64(Int64.max) / 2 + 1,
  ]

  @Test(arguments: endingNumbers)
  func numbersNearTheirEndAreRefused(sequence: UInt64) throws {
    for isFlush in [true, false] {
      let hostile = try HostileVolume()
      try hostile.medium.append(sequence, flush: isFlush)
      let error = #expect(throws: VolumeError.self) { try hostile.openForChanges() }
      #expect(error?.code == (sequence == .max ? .allCopiesBad : .corrupt))
      #expect(error?.description.contains("journal") == true)
    }
  }

  @Test func anEntryFarAheadIsRefused() throws {
    for isFlush in [true, false] {
      let hostile = try HostileVolume()
      // The first entry is flushed, and none after it may be.
      try hostile.medium.append(1)
      try hostile.medium.append(1 << 40, lastSeq: 1, flush: isFlush)
      let error = #expect(throws: VolumeError.self) { try hostile.openForChanges() }
      #expect(error?.code == .limit)
    }
  }

  @Test(arguments: [BTreeID.maxCount, 200, 255])
  func keysOfNumbersThatNoBtreeHasAreLeftOut(number: UInt8) throws {
    let hostile = try HostileVolume()
    hostile.add(cookie(BTreeID(rawValue: number), 5))
    _ = try hostile.open()
    let warnings = try hostile.medium.read().told
    #expect(warnings.count == 1 && warnings[0].contains("\(number)"))
    try hostile.openForChanges().letGo()
  }

  @Test(arguments: [4, 5, 255])
  func keysOfLevelsThatNoBtreeHasAreLeftOut(level: Int) throws {
    let hostile = try HostileVolume()
    hostile.add(HostileVolume.pointer(.loggedOps, level: level, through: .max, at: Self.sector))
    _ = try hostile.open()
    let warnings = try hostile.medium.read().told
    #expect(warnings.count == 1 && warnings[0].contains("\(level)"))
    try hostile.openForChanges().letGo()
  }

  /// One of two keys would stay for ever, whatever is removed.
  @Test func twoKeysOfOnePositionAreOne() throws {
    let hostile = try HostileVolume()
    try hostile.addLeaf(
      .loggedOps,
      [
        cookie(.loggedOps, 5, 1), cookie(.loggedOps, 5, 2), cookie(.loggedOps, 5, 3),
        cookie(.loggedOps, 6),
      ])
    let engine = try hostile.openForChanges()
    defer { engine.letGo() }
    var removed: [BPos] = []
    while removed.count < 4 {
      let position = try engine.run("test_hostile") { (transaction) throws(TransactionError) in
        let position = try transaction.next(.loggedOps, from: .min)?.key.position
        if let position { transaction.delete(.loggedOps, position) }
        try transaction.commit()
        return position
      }
      guard let position else { break }
      removed.append(position)
    }
    #expect(removed == [BPos(0, 5), BPos(0, 6)])
  }

  /// Keys that are larger than a node's share of them, more than one node holds.
  @Test(arguments: [1, 2, 3, 7, 30])
  func largeKeysOfOneLeafAreSpreadOverMore(count: Int) throws {
    let hostile = try HostileVolume()
    for offset in 1...UInt64(count) { hostile.add(largeCookie(offset)) }
    hostile.add(
      HostileVolume.key(.freespace, .set, BPos(0, 128, 0), size: 64, value: []))
    let engine = try hostile.openForChanges()
    for node in engine.trees.cache.allNodes where !node.state.contains(.dead) { node.check() }
    let found = try engine.run("test_hostile") { (transaction) throws(TransactionError) in
      var (found, walk) = (0, KeyWalk(.rebalanceWork, from: .min))
      while try transaction.next(&walk) != nil { found += 1 }
      return found
    }
    #expect(found == count)
    try engine.close()
  }

  @Test func moreKeysOfOneLeafThanARootLeadsToAreRefused() throws {
    let hostile = try HostileVolume()
    for offset in 1...UInt64(100) { hostile.add(largeCookie(offset)) }
    let error = #expect(throws: VolumeError.self) { try hostile.openForChanges() }
    #expect(error?.code == .limit)
  }

  private func largeCookie(_ offset: UInt64) -> HostileVolume.Key {
    HostileVolume.Key(
      btree: .rebalanceWork, key: BKey(type: .cookie, position: BPos(0, offset), valueU64s: 250),
      value: [UInt8](repeating: 1, count: 2000))
  }
}
