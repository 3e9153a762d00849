// SPDX-License-Identifier: GPL-2.0
// What a hostile volume says of its buckets is an error, before anything is done with it.

internal import BcachefsFormat
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct HostileEngineTests {
  /// Places keys whatever follows from them.
  private func place(_ engine: Engine, _ btree: BTreeID, _ key: BKey) throws {
    try engine.run("test_hostile") { (transaction) throws(TransactionError) in
      transaction.update(btree, key, RawSpan(), flags: .noTriggers)
      try transaction.commit()
    }
  }

  private func engine() throws -> Engine {
    var setting = BuildSetting()
    setting.byteCount = 64 << 20
    let devices = try setting.makeDevices()
    try withTemporaryFolder { folder in _ = try setting.build(folder, on: devices) }
    return try BareEngine(on: devices).engine
  }

  @Test(arguments: [BPos(0, 1 << 50, 0), BPos(256, 100, 0), BPos(9, 100, 0), BPos(0, 0, 0)])
  func bucketsThatNoDeviceHasAreNotDiscarded(bucket: BPos) throws {
    let engine = try engine()
    defer { engine.letGo() }
    try place(engine, .needDiscard, BKey(type: .set, position: bucket))
    #expect(throws: VolumeError.self) { try engine.discardBuckets() }
  }

  @Test func bucketsThatNoDeviceHasAreNotAllocated() throws {
    let engine = try engine()
    defer { engine.letGo() }
    let free = try engine.run("test_hostile") { (transaction) throws(TransactionError) in
      try transaction.next(.freespace, from: .min)?.key
    }
    let range = try #require(free)
    try engine.run("test_hostile") { (transaction) throws(TransactionError) in
      transaction.delete(.freespace, range.position, flags: .noTriggers)
      transaction.update(
        .freespace, BKey(type: .set, position: BPos(0, 1 << 55, 0), size: 64), RawSpan(),
        flags: .noTriggers)
      try transaction.commit()
    }
    #expect(throws: VolumeError.self) {
      for offset in 0..<UInt64(100_000) {
        try engine.run("test_hostile") { (transaction) throws(TransactionError) in
          transaction.set(.xattrs, BPos(1, offset, .max), offset)
          try transaction.commit()
        }
      }
    }
  }
}
