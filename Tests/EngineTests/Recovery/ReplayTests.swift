// SPDX-License-Identifier: GPL-2.0
// Live btrees after a replay hold what the reading side shows of the same volume: invariants of
// Engine+Replay.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct ReplayTests {
  private static let volumes = (SampleVolume.fixtures + SampleVolume.corpus)

  @Test(arguments: volumes)
  func liveBtreesHoldWhatReadersSee(_ sample: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let images = try sample.unpack(into: folder)
      // What is split goes behind all that is there.
      let first = try readFile(images[0]).count
      let isLonger = unsafe truncate(images[0], first + 1 << 30) == 0
      try #require(isLonger)
      let devices = try images.map { try BlockDevice.open(path: $0, mode: .exclusiveReadWrite) }
      let unlock = UnlockSource(ask: { _ in sample.passphrase })
      let volume = try Volume(media: VolumeOpener.open(devices: devices, unlock: unlock))
      let bare = try BareEngine(on: devices, places: UInt64(first), unlock: unlock)
      bare.check()
      for btree in (0..<BTreeID.count).map({ BTreeID(rawValue: $0) }) {
        try compare(btree, volume, bare.engine)
      }
    }
  }

  /// The journal has keys for more leaves than memory holds, among them some that are full on disk:
  /// they were split, and nothing on disk says so.
  @Test(.timeLimit(.minutes(1)), arguments: [32 << 10, 64 << 20])
  func fullLeavesAreSplitWhenAllIsReplayed(cacheBytes: Int) throws {
    var setting = BuildSetting()
    setting.byteCount = 4 << 30
    setting.options[.btreeNodeSize] = 4 << 10
    let devices = try setting.makeDevices()
    try withTemporaryFolder { folder in _ = try setting.build(folder, on: devices) }
    var expected: [BPos: UInt64] = [:]
    func open(cacheBytes: Int = 64 << 20) throws -> BareEngine {
      try BareEngine(on: devices, cacheBytes: cacheBytes).withRoots()
    }
    func put(_ offsets: [UInt64], _ engine: Engine) throws {
      try engine.run("test_replay", forEach: offsets) { (transaction, offset) in
        transaction.set(.xattrs, BPos(1, offset, .max), offset)
      }
      for offset in offsets { expected[BPos(1, offset, .max)] = offset }
    }
    var bare = try open()
    try put((0..<20_000).map { $0 * 64 }, bare.engine)
    try bare.engine.close()
    bare = try open()
    // A run of keys in each of many leaves.
    for start in stride(from: UInt64(0), to: 20_000, by: 200) {
      try put((1...63).map { start * 64 + $0 }, bare.engine)
    }
    try bare.engine.journal.flush(upTo: bare.engine.journal.currentSequence)
    #expect(bare.engine.nodeWrites.count > 10, "splits that are not on disk")
    bare.engine.letGo()
    bare = try open(cacheBytes: cacheBytes)
    bare.check()
    let differences = try bare.differences(of: .xattrs, from: expected)
    #expect(differences == [])
    try bare.engine.close()
  }

  /// A key for each of many leaves, which hardly any of them has no room for: they do not stay in
  /// memory all at once.
  @Test(.timeLimit(.minutes(1))) func replayedLeavesAreWrittenWhenTheCacheIsFull() throws {
    var setting = BuildSetting()
    setting.byteCount = 4 << 30
    setting.options[.btreeNodeSize] = 64 << 10
    let devices = try setting.makeDevices()
    try withTemporaryFolder { folder in _ = try setting.build(folder, on: devices) }
    var expected: [BPos: UInt64] = [:]
    func put(_ offsets: [UInt64], _ engine: Engine) throws {
      try engine.run("test_replay", forEach: offsets) { (transaction, offset) in
        transaction.set(.xattrs, BPos(1, offset, .max), offset)
      }
      for offset in offsets { expected[BPos(1, offset, .max)] = offset }
    }
    var bare = try BareEngine(on: devices, cacheBytes: 64 << 20).withRoots()
    try put((0..<60_000).map { $0 * 64 }, bare.engine)
    try bare.engine.close()
    bare = try BareEngine(on: devices, cacheBytes: 64 << 20).withRoots()
    try put(stride(from: 1, to: 60_000, by: 300).map { $0 * 64 + 1 }, bare.engine)
    try bare.engine.journal.flush(upTo: bare.engine.journal.currentSequence)
    let leaves = bare.engine.trees.cache.allNodes.filter { $0.btree == .xattrs && $0.level == 0 }
    bare.engine.letGo()
    let limit = 512 << 10
    #expect(leaves.count * 64 << 10 > 4 * limit, "\(leaves.count) leaves")
    bare = try BareEngine(on: devices, cacheBytes: limit).withRoots()
    // Roots, and what the opening needs at once, are over the limit.
    #expect(bare.engine.trees.cache.byteCount < 4 * limit, "\(bare.engine.trees.cache.byteCount)")
    bare.check()
    #expect(try bare.differences(of: .xattrs, from: expected) == [])
    try bare.engine.close()
  }

  private func compare(_ btree: BTreeID, _ volume: Volume, _ engine: Engine) throws {
    guard volume.forest.roots[btree] != nil || engine.trees.root(btree) != nil else { return }
    if btree == .accounting { return try compareAccounting(volume, engine) }
    let cursor = BTreeCursor(volume.forest, btree)
    var count = 0
    let difference = try engine.run("test_compare") { (transaction) throws(TransactionError) in
      var walk = KeyWalk(btree, from: .min)
      cursor.seek(.min)
      count = 0
      while true {
        let expected: KeyReference?
        do throws(VolumeError) { expected = try cursor.next() } catch { throw .failed(error) }
        let found = try transaction.next(&walk)
        guard found?.key == expected?.key else {
          return "\(String(describing: found?.key)), not \(String(describing: expected?.key))"
        }
        guard let found, let expected else { return "" }
        let value = found.withValue { $0.copiedBytes }
        if value != expected.withValue({ $0.copiedBytes }) { return "value of \(found.key)" }
        count += 1
      }
    }
    #expect(difference == "", "\(btree), key \(count)")
  }

  private func compareAccounting(_ volume: Volume, _ engine: Engine) throws {
    let found = try engine.run("test_compare") { (transaction) throws(TransactionError) in
      var result: [BPos: [Int64]] = [:]
      var walk = KeyWalk(.accounting, from: .min)
      while let key = try transaction.next(&walk) {
        let counters = key.withValue { value in
          (0..<value.byteCount / 8).map { value[LEField<Int64>($0 * 8)] }
        }
        if counters.contains(where: { $0 != 0 }) { result[key.key.position] = counters }
      }
      return result
    }
    let expected = try volume.accounting()
    #expect(expected.count > 5)
    for count in expected { #expect(found[count.key.position] == count.counters, "\(count.key)") }
  }
}
