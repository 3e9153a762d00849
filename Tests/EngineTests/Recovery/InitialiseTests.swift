// SPDX-License-Identifier: GPL-2.0

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

/// Volumes that are formatted, and opened for the first time by the engine.
@Suite struct InitialiseTests {
  @Test(arguments: FreshVolume.all)
  func aFormattedVolumeGetsItsBTrees(setting: FreshVolume) throws {
    let devices = try setting.format()
    let bare = try setting.engine(on: devices)
    bare.check()
    try bare.engine.close()
    try setting.letGo(bare)
    try setting.expectNew(devices, "closed")
    let again = try setting.engine(on: devices)
    #expect(again.engine.wasClean)
    try again.engine.close()
    try setting.letGo(again)
    try setting.expectNew(devices, "opened again")
  }

  @Test(arguments: FreshVolume.all)
  func itsDevicesAreNamedInTheSuperblock(setting: FreshVolume) throws {
    let devices = try setting.format()
    let bare = try setting.engine(on: devices)
    defer { try? setting.letGo(bare) }
    let replicas = bare.engine.store.superblock.replicas
    #expect(replicas.contains { $0.dataType == .journal })
    try bare.engine.close()
    let closed = bare.engine.store.superblock
    #expect(closed.replicas.contains { $0.dataType == .btree })
    #expect(closed.isInitialized && closed.isClean)
    #expect(closed.members.allSatisfy { $0.freespaceInitialized })
  }

  @Test func allDevicesMustBeThereAtFirst() throws {
    let setting = try #require(FreshVolume.all.first { $0.sizes.count == 3 })
    let devices = try setting.format()
    var options = VolumeOptions()
    options[.degraded] = 1
    let volume = try VolumeOpener.openForWriting(
      devices: FreshVolume.open(Array(devices.dropLast())), options: options)
    let error = #expect(throws: VolumeError.self) {
      _ = try Engine.open(volume, EngineOptions(seed: 1))
    }
    #expect(error?.code == .missingMembers)
  }

  /// A first attempt may have written any number of journal entries before it came to the
  /// superblock. They must not take part in what is replayed later.
  @Test func entriesOfAnAttemptThatFailedAreIgnored() throws {
    let setting = FreshVolume.all[0]
    let devices = try setting.format(recorded: true)
    let first = try setting.engine(on: devices)
    for number in UInt64(0)..<200 { try Self.addQuota(first.engine, number) }
    try setting.letGo(first)
    try setting.writeSuperblocks(to: devices)
    let second = try setting.engine(on: devices, seed: 2)
    try Self.addQuota(second.engine, 1 << 32)
    second.engine.letGo()
    let left = devices[0].crashImage(.all)
    let third = try setting.engine(on: [left], seed: 3)
    let found = try third.engine.run("test_quota") { (transaction) throws(TransactionError) in
      var found: [UInt64] = []
      var walk = KeyWalk(.quotas, from: .min)
      while let key = try transaction.next(&walk) { found.append(key.key.position.offset) }
      return found
    }
    #expect(found == [1 << 32])
    try third.engine.close()
    try setting.letGo(third)
    try setting.expectNew([left], "")
  }

  /// Power fails at any moment of the first opening, then once more after the next.
  @Test func thePowerMayFailBeforeItIsInitialised() throws {
    let setting = FreshVolume.all[0]
    let devices = try setting.format(recorded: true)
    let device = devices[0]
    let start = device.operationCount
    let first = try setting.engine(on: devices)
    let initialised = device.operationCount
    for number in UInt64(0)..<200 { try Self.addQuota(first.engine, number) }
    let end = device.operationCount
    try setting.letGo(first)
    let operations = Array(start...initialised) + stride(from: initialised, to: end, by: 16)
    for operation in operations {
      let comment: Comment = "operation \(operation - start) of \(end - start)"
      let image = try #require(
        device.crashImage(
          beforeOperation: operation, .tornSubset(seed: operation), recordsContents: true))
      let second = try setting.engine(on: [image], seed: operation)
      try Self.addQuota(second.engine, 1 << 32)
      second.engine.letGo()
      let left = image.crashImage(.all)
      let third = try setting.engine(on: [left], seed: operation + 1)
      let isThere = try third.engine.run("test_quota") { (transaction) throws(TransactionError) in
        try transaction.lookup(.quotas, BPos(0, 1 << 32, 0)) != nil
      }
      #expect(isThere, comment)
      try third.engine.close()
      try setting.letGo(third)
      try setting.expectNew([left], comment)
    }
  }

  private static func addQuota(_ engine: Engine, _ number: UInt64) throws {
    try engine.run("test_quota") { (transaction) throws(TransactionError) in
      let words = [number, number, 0, 0]
      unsafe transaction.update(
        .quotas, BKey(type: .quota, position: BPos(0, number, 0), valueU64s: 4), words.span.bytes)
      try transaction.commit()
    }
    try engine.journal.flush(upTo: engine.journal.currentSequence)
  }
}
