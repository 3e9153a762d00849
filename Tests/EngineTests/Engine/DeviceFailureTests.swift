// SPDX-License-Identifier: GPL-2.0
// Devices that fail while a volume is changed: nothing that was acknowledged is lost as long as
// there is another copy, and where there is none the reason is told.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

// Nothing waits for what will never come: a test that hangs fails.
@Suite(.timeLimit(.minutes(5))) struct DeviceFailureTests {
  enum Failure: String, CaseIterable, Sendable {
    case oneWrite, allWrites, oneFlush, allFlushes, vanishes

    /// From the nth operation of its kind on, or only at that one.
    func rules(at number: UInt64) -> [SimulatedFaultRule] {
      switch self {
      case .oneWrite: [SimulatedFaultRule(.writeError, operationNumber: number)]
      case .oneFlush: [SimulatedFaultRule(.flushError, operationNumber: number)]
      case .allWrites: [SimulatedFaultRule(.writeError)]
      case .allFlushes: [SimulatedFaultRule(.flushError)]
      case .vanishes: [SimulatedFaultRule(.vanish)]
      }
    }
  }

  /// What was acknowledged, and what may be there besides.
  private struct Run {
    var acknowledged = 0
    var committed = 0
    var error: VolumeError?
  }

  private static func volume(replicas: UInt64) -> FreshVolume {
    FreshVolume(testDescription: "") {
      $0.sizes = [32 << 20, 32 << 20]
      $0.build.options[.metadataReplicas] = replicas
      $0.build.options[.btreeNodeSize] = 4 << 10
    }
  }

  /// Numbers keys from 1 on, makes some of them durable, and writes nodes now and then.
  private static func work(
    _ engine: Engine, seed: UInt64, transactions: Int, before: (Int) -> Void
  ) -> Run {
    var random = SplitMix64(seed: seed)
    var run = Run()
    do throws(VolumeError) {
      for number in 1...transactions {
        before(number)
        try engine.run("test_fault") { (transaction) throws(TransactionError) in
          transaction.set(.xattrs, Self.position(number), UInt64(number))
          transaction.set(.xattrs, BPos(1, random.next() % 1000, .max), UInt64(number))
          try transaction.commit()
        }
        run.committed = number
        switch random.next() % 8 {
        case 0:
          try engine.journal.flush(upTo: engine.journal.currentSequence)
          run.acknowledged = number
        case 1: for node in engine.trees.cache.allNodes.prefix(4) { try engine.flush(node) }
        case 2: engine.nodeWrites.drain(engine)
        case 3 where random.next() % 4 == 0: try engine.writeAllNodes()
        default: break
        }
      }
    } catch {
      run.error = error
    }
    return run
  }

  private static func position(_ number: Int) -> BPos {
    BPos(2, UInt64(number) &* 0x9e37_79b9 & 0xffff_ffff, .max)
  }

  /// Opens what is on devices as it is, and compares.
  private static func expectKept(
    _ run: Run, on devices: [SimulatedDevice], isDegraded: Bool, _ comment: Comment
  ) throws {
    var options = VolumeOptions()
    if isDegraded { options[.degraded] = 1 }
    let open = try FreshVolume.open(devices)
    let engine = try Engine.open(
      VolumeOpener.openForWriting(devices: open, options: options), EngineOptions(seed: 3))
    defer {
      engine.letGo()
      for device in open { try? device.close() }
    }
    let found = try engine.run("test_contents") { (transaction) throws(TransactionError) in
      var count = 0
      for number in 1...max(1, run.committed + 1) {
        guard let key = try transaction.lookup(.xattrs, Self.position(number)) else { break }
        if key.withValue({ $0[LEField<UInt64>(0)] }) != UInt64(number) { break }
        count = number
      }
      return count
    }
    #expect(found >= run.acknowledged, comment)
    #expect(found <= run.committed + 1, comment)
    // All of it can be read, and written.
    try engine.run("test_scan") { (transaction) throws(TransactionError) in
      var walk = KeyWalk(.xattrs, from: .min)
      while try transaction.next(&walk) != nil {}
    }
    try engine.writeAllNodes()
    try engine.journal.flushAll()
  }

  // MARK: - With a second copy

  @Test(arguments: Failure.allCases, [0, 1])
  func whatHasASecondCopySurvivesTheFailureOfADevice(failure: Failure, failing: Int) throws {
    let setting = Self.volume(replicas: 2)
    for seed in UInt64(1)...(runsLongTests ? 200 : 6) {
      let comment: Comment = "\(failure), device \(failing), seed \(seed)"
      let devices = try setting.format(recorded: true)
      let bare = try setting.engine(on: devices, seed: seed)
      let moment = Int(seed * 37 % 300) + 1
      let run = Self.work(bare.engine, seed: seed, transactions: 400) { number in
        guard number == moment else { return }
        devices[failing].setFaults(failure.rules(at: Self.next(failure, devices[failing])))
      }
      #expect(run.error == nil, comment)
      #expect(run.acknowledged > 300, comment)
      bare.engine.letGo()
      // The device never comes back; or it does, with what it had.
      let other = devices[1 - failing]
      try Self.expectKept(run, on: [other.crashImage(.none)], isDegraded: true, comment)
      if failure != .vanishes {
        for device in devices { device.setFaults([]) }
        try Self.expectKept(
          run, on: devices.map { $0.crashImage(.none) }, isDegraded: false, comment)
      }
    }
  }

  /// The number of the next operation of a kind.
  private static func next(_ failure: Failure, _ device: SimulatedDevice) -> UInt64 {
    let operations = device.operations
    return UInt64(
      operations.count { operation in
        switch (failure, operation.kind) {
        case (.oneWrite, .write), (.oneFlush, .flush): true
        default: false
        }
      })
  }

  @Test func errorsAreCountedAndTheDeviceIsLeftAlone() throws {
    let setting = Self.volume(replicas: 2)
    let devices = try setting.format(recorded: true)
    let bare = try setting.engine(on: devices)
    devices[1].setFaults([SimulatedFaultRule(.writeError)])
    let run = Self.work(bare.engine, seed: 1, transactions: 200) { _ in }
    #expect(run.error == nil)
    #expect(bare.engine.failures.mask == 0b10)
    #expect(bare.engine.store.memberErrors.count(.write, member: 1) > 0)
    #expect(bare.engine.store.memberErrors.count(.write, member: 0) == 0)
    let before = devices[1].operationCount
    try bare.engine.writeAllNodes()
    try bare.engine.journal.flushAll()
    #expect(devices[1].operationCount == before)
    #expect(bare.engine.degradedNodes.withLock { $0.isEmpty })
    bare.engine.letGo()
  }

  @Test(arguments: [0, 1])
  func aVolumeIsClosedWithoutTheDeviceThatFailed(failing: Int) throws {
    let setting = Self.volume(replicas: 2)
    let devices = try setting.format(recorded: true)
    let bare = try setting.engine(on: devices)
    let run = Self.work(bare.engine, seed: 4, transactions: 400) { number in
      if number == 200 { devices[failing].setFaults([SimulatedFaultRule(.writeError)]) }
    }
    #expect(run.error == nil)
    try bare.engine.close()
    try setting.letGo(bare)
    for device in devices { device.setFaults([]) }
    try setting.expectSound(devices, "with both devices")
    let again = try setting.engine(on: devices, seed: 9)
    #expect(again.engine.wasClean)
    // Somebody has to look at it before it is written to again.
    #expect(again.engine.store.superblock.members[failing].state == .ro)
    #expect(again.engine.store.superblock.members[1 - failing].state == .rw)
    let more = Self.work(again.engine, seed: 5, transactions: 100) { _ in }
    #expect(more.error == nil)
    try again.engine.close()
    try setting.letGo(again)
    try setting.expectSound(devices, "used again")
  }

  // MARK: - Without one

  @Test(arguments: Failure.allCases.filter { $0 != .oneFlush && $0 != .oneWrite })
  func withoutASecondCopyNothingMoreIsPromisedAndTheReasonIsTold(failure: Failure) throws {
    let setting = FreshVolume(testDescription: "") { $0.sizes = [32 << 20] }
    let devices = try setting.format(recorded: true)
    let bare = try setting.engine(on: devices)
    let run = Self.work(bare.engine, seed: 2, transactions: 400) { number in
      if number == 150 { devices[0].setFaults(failure.rules(at: 0)) }
    }
    #expect(run.error?.code == .device, "\(failure)")
    #expect(run.acknowledged < 200)
    // Whatever is asked for from here on fails with the same reason, and does not wait.
    let again = Self.work(bare.engine, seed: 3, transactions: 1) { _ in }
    let flushed = #expect(throws: VolumeError.self) { try bare.engine.journal.flushAll() }
    #expect("\(flushed?.description ?? "")" == run.error?.description)
    #expect(again.error?.description == run.error?.description)
    bare.engine.letGo()
    devices[0].setFaults([])
    guard failure != .vanishes else { return }
    try Self.expectKept(run, on: [devices[0].crashImage(.none)], isDegraded: false, "\(failure)")
  }
}
