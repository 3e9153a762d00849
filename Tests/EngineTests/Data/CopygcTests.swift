// SPDX-License-Identifier: GPL-2.0
// Full volumes whose files are overwritten at random for long: there is always room, nothing is
// lost, and all that is derived is right.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import FileModel
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct CopygcTests {
  private static func volume(
    _ name: String, _ change: (inout FreshVolume) -> Void = { _ in }
  ) -> FreshVolume {
    FreshVolume(testDescription: name) {
      $0.sizes = [16 << 20]
      $0.build.bucketBytes = 32 << 10
      $0.build.options[.btreeNodeSize] = 8 << 10
      change(&$0)
    }
  }

  static let volumes: [FreshVolume] = [
    volume("plain"),
    volume("no checksums") { $0.build.options[.dataChecksum] = 0 },
    volume("lz4, encrypted") {
      $0.build.encryption = .passphrase(Array("secret".utf8))
      $0.passphrase = "secret"
      $0.build.options[.compression] = 1
      $0.build.options[.encodedExtentMax] = 32 << 10
    },
    volume("zstd, small extents") {
      $0.build.options[.compression] = 3
      $0.build.options[.encodedExtentMax] = 16 << 10
    },
    volume("two replicas of three devices") {
      $0.sizes = [12 << 20, 12 << 20, 16 << 20]
      $0.build.options[.dataReplicas] = 2
      $0.build.options[.metadataReplicas] = 2
    },
    volume("nodes of a block") {
      $0.build.bucketBytes = 16 << 10
      $0.build.options[.btreeNodeSize] = 4 << 10
    },
  ]

  private func open(
    _ setting: FreshVolume, _ devices: [SimulatedDevice], seed: UInt64, withThreads: Bool = false
  ) throws -> FileSystem {
    let engine = try setting.engine(on: devices, seed: seed).engine
    if withThreads { engine.startThreads() }
    return FileSystem(engine, dirtyLimitBytes: 256 << 10)
  }

  /// Blocks of a file that fills so much of what is free, or half of it where they are compressed:
  /// a block takes three sectors then.
  private func blocks(_ files: FileSystem, percent: UInt64) -> Int {
    let replicas = max(1, files.engine.media.options[.dataReplicas])
    let isCompressed = files.engine.media.options[.compression] != 0
    let sectors = files.engine.usage.available * percent / 100 / replicas
    return Int(isCompressed ? sectors * 3 / 2 / 8 : sectors / 8)
  }

  @Test(arguments: volumes, [UInt64(1)])
  func overwritesOfAFullVolumeGoOnForEver(setting: FreshVolume, seed: UInt64) throws {
    let devices = try setting.format()
    var files = try open(setting, devices, seed: seed)
    let id = try files.makeFile("data")
    var file = OverwrittenFile(id, blockCount: blocks(files, percent: 90), seed: seed)
    try file.writeAll(files)
    // Nothing is derived wrong on the way, either.
    let rounds = runsLongTests ? 40 : 2
    var progress = Progress("copygc, \(setting.testDescription)", of: rounds)
    for round in 0..<rounds {
      progress.reached(round)
      try file.overwrite(file.blockCount / 2, files)
      try files.sync()
      #expect(try file.wrongBlocks(files) == 0, "seed \(seed), round \(round)")
      // Where there was room enough nobody had to.
      _ = try files.engine.collectNow(on: [0], goal: 4)
      #expect(try file.wrongBlocks(files) == 0, "seed \(seed), round \(round), collected")
      let moved = files.engine.copygc.totals.moved
      #expect(moved.sectors > 0 && moved.failed == 0, "seed \(seed), round \(round): \(moved)")
      #expect(files.engine.stateText.contains("sectors moved:"))
      try files.close()
      try setting.expectSound(devices, "seed \(seed), round \(round)")
      files = try open(setting, devices, seed: seed + UInt64(round))
    }
    #expect(try file.wrongBlocks(files) == 0)
    try files.close()
  }

  @Test(arguments: [2, 4])
  func threadsCollectAndStopAtOnce(threadCount: Int) throws {
    let setting = Self.volume("threads")
    let devices = try setting.format()
    let files = try open(setting, devices, seed: 1, withThreads: true)
    let count = blocks(files, percent: 92) / threadCount
    var overwritten = try (0..<threadCount).map { number in
      OverwrittenFile(
        try files.makeFile("data \(number)"), blockCount: count, seed: UInt64(number))
    }
    for index in overwritten.indices { try overwritten[index].writeAll(files) }
    let times = runsLongTests ? 20 : 1
    let results = Mutex(overwritten)
    onThreads(overwritten.count) { index in
      var file = results.withLock { $0[index] }
      do throws(VolumeError) {
        for _ in 0..<times { try file.overwrite(count, files) }
      } catch {
        Issue.record("\(error)")
      }
      results.withLock { $0[index] = file }
    }
    overwritten = results.withLock { $0 }
    for file in overwritten { #expect(try file.wrongBlocks(files) == 0) }
    #expect(files.engine.copygc.totals.moved.sectors > 0)
    #expect(files.engine.copygc.totals.moved.failed == 0)
    let start = files.engine.media.clocks.monotonicNanoseconds()
    files.engine.stopThreads()
    #expect(files.engine.media.clocks.monotonicNanoseconds() - start < 2_000_000_000)
    for file in overwritten { #expect(try file.wrongBlocks(files) == 0) }
    try files.close()
    try setting.expectSound(devices, "threads")
  }

  /// What is overwritten gives back as much as it takes, so it never lacks room.
  @Test(arguments: [256 << 10, 16 << 20])
  func whatIsThereIsOverwrittenThoughThereIsNoRoomForMore(dirtyLimitBytes: Int) throws {
    let setting = Self.volume("full")
    let devices = try setting.format()
    let engine = try setting.engine(on: devices, seed: 3).engine
    let files = FileSystem(engine, dirtyLimitBytes: dirtyLimitBytes)
    var file = OverwrittenFile(
      try files.makeFile("data"), blockCount: blocks(files, percent: 98), seed: 3)
    try file.writeAll(files)
    try files.sync()
    // The rest is filled to the last sector that anybody gets.
    let rest = try files.makeFile("rest")
    let block = HeapBuffer(byteCount: 4096)
    var end: UInt64 = 0
    var failure: VolumeError?
    while failure == nil {
      do throws(VolumeError) { try files.write(rest, block.bytes, at: end) } catch {
        failure = error
      }
      end += 4096
    }
    #expect(failure?.code == .noSpace)
    try files.sync()
    try file.overwrite(2 * file.blockCount, files)
    try files.sync()
    #expect(try file.wrongBlocks(files) == 0)
    try files.close()
    try setting.expectSound(devices, "full")
  }

  @Test func waitsLongerTheEmptierTheVolumeIs() throws {
    let setting = Self.volume("wait")
    let devices = try setting.format()
    let files = try open(setting, devices, seed: 1)
    let empty = files.engine.copygcWait
    #expect(empty > 8000)
    var file = OverwrittenFile(
      try files.makeFile("data"), blockCount: blocks(files, percent: 50), seed: 1)
    try file.writeAll(files)
    try files.sync()
    let half = files.engine.copygcWait
    #expect(half < empty)
    try file.overwrite(file.blockCount / 4, files)
    try files.sync()
    #expect(files.engine.copygcWait < half)
    try files.close()
  }

  // MARK: - Power

  /// After a crash each block is what it was when it was last made durable, or anything newer.
  @Test(arguments: [UInt64(1), 2])
  func whatIsMovedSurvivesCrashes(seed: UInt64) throws {
    let setting = Self.volume("crash") {
      if seed % 2 == 0 { $0.build.options[.dataChecksum] = 0 }
    }
    let devices = try setting.format(recorded: true)
    let device = devices[0]
    let files = try open(setting, devices, seed: seed)
    let id = try files.makeFile("data")
    var file = OverwrittenFile(id, blockCount: blocks(files, percent: 85), seed: seed)
    try file.writeAll(files)
    try files.sync()
    var flushes: [(operations: UInt64, versions: [UInt64])] = []
    let start = device.operationCount
    flushes.append((start, file.versions))
    for _ in 0..<12 {
      try file.overwrite(file.blockCount / 10, files)
      try files.sync()
      flushes.append((device.operationCount, file.versions))
    }
    #expect(files.engine.copygc.totals.moved.sectors > 0)
    let end = device.operationCount
    files.engine.letGo()
    for device in files.engine.media.devices { try device?.close() }
    var random = SplitMix64(seed: seed &* 77)
    let states = runsLongTests ? 1000 : 6
    var progress = Progress("crash of copygc, seed \(seed)", of: states)
    for state in 0..<states {
      progress.reached(state)
      let operation = start + random.next() % (end - start + 1)
      let survivors: CrashSurvivors =
        switch random.next() % 4 {
        case 0: .none
        case 1: .all
        case 2: .subset(seed: random.next())
        default: .tornSubset(seed: random.next())
        }
      let comment: Comment = "seed \(seed), state \(state), operation \(operation)"
      let image = try #require(
        device.crashImage(beforeOperation: operation, survivors), comment)
      let left = try setting.engine(on: [image], seed: 9)
      let again = FileSystem(left.engine)
      let oldest = try #require(flushes.last { $0.operations <= operation }, comment).versions
      let newest = flushes.first { $0.operations >= operation }?.versions ?? file.versions
      var wrong = 0
      try OverwrittenFile.eachVersion(
        file.blockCount,
        { offset, target in _ = try again.read(id, from: offset, into: &target) },
        { block, version in
          let isGood = version.map { $0 >= oldest[block] && $0 <= newest[block] } ?? false
          if !isGood { wrong += 1 }
        })
      #expect(wrong == 0, comment)
      try again.close()
      try setting.expectSound([image], comment)
    }
  }
}
