// SPDX-License-Identifier: GPL-2.0
// A volume that is frozen is clean on disk, and goes on where it was.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct FreezeTests {
  private func open(_ device: SimulatedDevice) throws -> Engine {
    let open = try BlockDevice.open(simulated: device, mode: .exclusiveReadWrite)
    return try Engine.open(
      VolumeOpener.openForWriting(devices: [open]), EngineOptions(cacheBytes: 4 << 20, seed: 5))
  }

  private func device() throws -> SimulatedDevice {
    var configuration = SimulatedDevice.Configuration()
    configuration.recordsContents = true
    return try SmallVolume.make(nodeBytes: 16 << 10, configuration)
  }

  private func put(_ engine: Engine, _ number: UInt64) throws {
    try engine.run("test_put") { (transaction) throws(TransactionError) in
      transaction.set(.xattrs, BPos(1, number, .max), number)
      try transaction.commit()
    }
  }

  /// Some at a time: a transaction begins anew when it needs a node that is not in memory.
  private func count(_ engine: Engine) throws -> UInt64 {
    var count: UInt64 = 0
    var next: BPos? = BPos(1, 0, 0)
    while let first = next {
      let (found, last) = try engine.run("test_count") { (transaction) throws(TransactionError) in
        var (found, last): (UInt64, BPos?) = (0, nil)
        var walk = KeyWalk(.xattrs, from: first, upTo: BPos(1, .max, .max))
        while found < 1000, let key = try transaction.next(&walk) {
          found += 1
          last = key.key.position
        }
        return (found, last)
      }
      count += found
      next = last?.successor
    }
    return count
  }

  /// What is on a device at this moment, when its power fails with nothing in flight.
  private func copy(_ device: SimulatedDevice) throws -> SimulatedDevice {
    try #require(device.crashImage(beforeOperation: device.operationCount, .none))
  }

  @Test func whatIsFrozenIsCleanOnDisk() throws {
    let device = try device()
    let engine = try open(device)
    for number in 0..<UInt64(2000) { try put(engine, number) }
    try engine.freeze()
    let image = try copy(device)
    try expectSound(image, "frozen")
    let copied = try open(image)
    #expect(copied.wasClean)
    #expect(try count(copied) == 2000)
    try copied.close()
    try engine.thaw()
    for number in 2000..<UInt64(3000) { try put(engine, number) }
    try engine.journal.flush(upTo: engine.journal.currentSequence)
    let later = try open(copy(device))
    #expect(!later.wasClean)
    #expect(try count(later) == 3000)
    try later.close()
    try engine.close()
  }

  @Test func nothingIsWrittenWhileItIsFrozenAndThreadsGoOnAfterIt() throws {
    let device = try device()
    let engine = try open(device)
    engine.startThreads()
    let committed = Atomic<UInt64>(0)
    let isOver = Atomic<Bool>(false)
    onThreads(4) { thread in
      do {
        if thread > 0 {
          var number = UInt64(thread)
          while !isOver.load(ordering: .acquiring) {
            try put(engine, number)
            committed.wrappingAdd(1, ordering: .relaxed)
            number += 3
          }
          return
        }
        defer { isOver.store(true, ordering: .releasing) }
        let pause = Condition()
        for round in 0..<5 {
          pause.withLock { _ = pause.wait(nanoseconds: 20_000_000) }
          try engine.freeze()
          let operations = device.operationCount
          let before = committed.load(ordering: .relaxed)
          pause.withLock { _ = pause.wait(nanoseconds: 20_000_000) }
          #expect(device.operationCount == operations, "round \(round)")
          try expectSound(copy(device), "round \(round)")
          try engine.thaw()
          // Three threads may have counted what was committed before.
          var left = 3000
          while committed.load(ordering: .relaxed) <= before + 3, left > 0 {
            pause.withLock { _ = pause.wait(nanoseconds: 20_000_000) }
            left -= 1
          }
          #expect(left > 0, "round \(round): transactions go on")
        }
      } catch {
        Issue.record("\(error)")
      }
    }
    #expect(try count(engine) == committed.load(ordering: .relaxed))
    try engine.close()
  }

  @Test func aFrozenVolumeCanBeClosed() throws {
    let device = try device()
    let engine = try open(device)
    try put(engine, 1)
    try engine.freeze()
    try engine.close()
    for device in engine.media.devices { try device?.close() }
    let again = try open(device)
    #expect(again.wasClean)
    #expect(try count(again) == 1)
    try again.close()
  }
}
