// SPDX-License-Identifier: GPL-2.0
// Sizes of blocks, nodes and buckets: what can be written is, everything else is refused before
// anything is written.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.timeLimit(.minutes(2))) struct GeometryTests {
  private static func volume(
    blockBytes: UInt64, nodeBytes: UInt64, bucketBytes: UInt64 = 64 << 10
  ) -> FreshVolume {
    FreshVolume(testDescription: "blocks of \(blockBytes), nodes of \(nodeBytes)") {
      $0.build.options[.blockSize] = blockBytes
      $0.build.options[.btreeNodeSize] = nodeBytes
      $0.build.bucketBytes = bucketBytes
    }
  }

  @Test(arguments: [(512, 512), (512, 2048), (4096, 512), (4096, 4096)])
  func nodesThatCannotBeAppendedToAreRefused(blockBytes: UInt64, nodeBytes: UInt64) throws {
    let volume = Self.volume(blockBytes: blockBytes, nodeBytes: nodeBytes)
    let devices = try volume.format()
    let before = devices[0].operationCount
    let error = #expect(throws: VolumeError.self) { try volume.engine(on: devices) }
    #expect(error?.code == .unsupported)
    #expect(devices[0].operationCount == before, "nothing is written")
  }

  @Test(arguments: [(512, 4096), (4096, 8192), (4096, 16384)])
  func nodesOfFewBlocksFill(blockBytes: UInt64, nodeBytes: UInt64) throws {
    let volume = Self.volume(blockBytes: blockBytes, nodeBytes: nodeBytes)
    let devices = try volume.format()
    var bare = try volume.engine(on: devices)
    var random = SplitMix64(seed: 1)
    var expected: [BPos: UInt64] = [:]
    for round in 0..<UInt64(400) {
      let position = BPos(1 + random.next() % 2, random.next() % 4096, .max)
      let value = round % 4 == 0 ? nil : round
      try bare.engine.run("test_geometry") { (transaction) throws(TransactionError) in
        transaction.set(.rebalanceWork, position, value)
        try transaction.commit()
      }
      expected[position] = value
      if round % 100 == 0 { try bare.engine.writeAllNodes() }
    }
    bare.check()
    try bare.engine.close()
    try volume.letGo(bare)
    bare = try volume.engine(on: devices)
    #expect(try bare.differences(of: .rebalanceWork, from: expected) == [])
    try bare.engine.close()
  }

  /// The largest keys that there are.
  @Test(arguments: [(512, 4096), (4096, 8192)])
  func largeKeysAreTakenOrRefused(blockBytes: UInt64, nodeBytes: UInt64) throws {
    let volume = Self.volume(blockBytes: blockBytes, nodeBytes: nodeBytes)
    let bare = try volume.engine(on: try volume.format())
    defer { bare.engine.letGo() }
    for words in [100, 200, 225, 235, 240, 249] {
      let value = [UInt64](repeating: 1, count: words)
      do {
        for offset in 0..<UInt64(20) {
          try bare.engine.run("test_geometry") { (transaction) throws(TransactionError) in
            unsafe transaction.update(
              .xattrs,
              BKey(
                type: .cookie, position: BPos(UInt64(words), offset * 7 % 20, .max),
                valueU64s: words), value.span.bytes, flags: .noTriggers)
            try transaction.commit()
          }
        }
      } catch {
        #expect(error.code == .limit && words > 200, "\(words): \(error)")
      }
    }
  }

  @Test func bucketsThatHoldNoTransactionAreRefused() throws {
    let volume = Self.volume(blockBytes: 512, nodeBytes: 4096, bucketBytes: 4096)
    let devices = try volume.format()
    let error = #expect(throws: VolumeError.self) { try volume.engine(on: devices) }
    #expect(error?.code == .limit)
  }

  /// Roots of all btrees that there can be, which every journal entry ends with.
  @Test func bucketsThatHoldNoJournalEntryAreRefused() throws {
    let root = JournalRoot(
      level: 0, key: BKey(type: .btreePtrV2, position: .max, valueU64s: 6),
      value: [UInt8](repeating: 0, count: 48), sequence: 1)
    let roots = [JournalRoot?](repeating: root, count: Int(BTreeID.maxCount))
    func rings(sectors: UInt64) -> [JournalRing] {
      [JournalRing(device: 0, bucketSectors: sectors, buckets: [1, 2], sequences: [0, 0])]
    }
    let error = #expect(throws: VolumeError.self) {
      try Journal.checkRoom(roots, rings(sectors: 8))
    }
    #expect(error?.code == .limit)
    try Journal.checkRoom(roots, rings(sectors: 32))
  }
}
