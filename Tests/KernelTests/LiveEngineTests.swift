// SPDX-License-Identifier: GPL-2.0
// Volumes of the driver's that the engine has changed: the driver's fsck finds nothing, whether
// they were closed or left as after a crash, and the driver goes on with them.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct LiveEngineTests {
  /// Quota keys: nothing follows from them, and nobody looks for their owners.
  private func change(
    _ engine: Engine, _ random: inout SplitMix64, _ model: inout [BPos: UInt64], count: Int
  ) throws {
    for _ in 0..<count {
      let position = BPos(random.next() % 3, random.next() % 20_000, 0)
      let value: UInt64? = random.next() % 4 == 0 ? nil : random.next() >> 8
      try engine.run("test_quota") { (transaction) throws(TransactionError) in
        if let value {
          let words = [value, value, 0, 0]
          unsafe transaction.update(
            .quotas, BKey(type: .quota, position: position, valueU64s: 4), words.span.bytes)
        } else {
          transaction.delete(.quotas, position)
        }
        try transaction.commit()
      }
      model[position] = value
    }
  }

  private func contents(_ engine: Engine) throws -> [BPos: UInt64] {
    try engine.run("test_quota") { (transaction) throws(TransactionError) in
      var result: [BPos: UInt64] = [:]
      var walk = KeyWalk(.quotas, from: .min)
      while let found = try transaction.next(&walk) {
        result[found.key.position] = found.withValue { $0[LEField<UInt64>(0)] }
      }
      return result
    }
  }

  @Test(arguments: ["plain", "compressed", "replicas"])
  func theDriverFindsNothingInWhatWasChangedAndClosed(name: String) throws {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture(name).unpack(into: folder)
      var random = SplitMix64(seed: 1)
      var model: [BPos: UInt64] = [:]
      for round in 0..<3 {
        let engine = try OpenedImages.open(images, seed: UInt64(round + 1))
        #expect(engine.wasClean)
        #expect(try contents(engine) == model, "round \(round)")
        try change(engine, &random, &model, count: 4000)
        if round == 1 { try engine.discardBuckets() }
        try engine.close()
        try OpenedImages.letGo(engine)
        let copies = images.map { "\($0).copy" }
        for (image, copy) in zip(images, copies) {
          try FileManager.default.copyItem(atPath: image, toPath: copy)
        }
        let outcome = try KernelGuest.check(images: copies)
        #expect(outcome.complaints == [], "round \(round)")
        #expect(outcome.status == 0, "round \(round): \(outcome.result.standardError)")
        for copy in copies { try FileManager.default.removeItem(atPath: copy) }
      }
    }
  }

  /// As the driver finds it clean, and with entries in the new buckets to replay.
  @Test(arguments: [true, false])
  func theDriverGoesOnWithAJournalThatHasGrown(isClosed: Bool) throws {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture("replicas").unpack(into: folder)
      var random = SplitMix64(seed: 3)
      var model: [BPos: UInt64] = [:]
      let engine = try OpenedImages.open(images, seed: 1)
      let old = images.indices.map { engine.store.journalBuckets(of: $0).count }
      try change(engine, &random, &model, count: 500)
      for _ in 0..<64 { engine.journal.noteShortage() }
      try engine.growJournalsIfShort()
      let new = images.indices.map { engine.store.journalBuckets(of: $0).count }
      #expect(new == old.map { $0 + $0 / 2 + 1 })
      try change(engine, &random, &model, count: 8000)
      if isClosed {
        try engine.close()
      } else {
        try engine.journal.flush(upTo: engine.journal.currentSequence)
      }
      try OpenedImages.letGo(engine)
      let outcome = try KernelGuest.check(images: images)
      #expect(outcome.complaints == [])
      #expect(outcome.status == 0, "\(outcome.result.standardError)")
    }
  }

  /// Two files a round. In those that end as after a crash one goes that somebody may have open
  /// still: what is left of it is the driver's to delete.
  private func changeFiles(
    _ engine: Engine, round: Int, _ written: inout [WrittenFile: String]
  ) throws {
    if round % 2 == 1, let gone = written.keys.min(by: { $0.inode < $1.inode }) {
      try gone.unlink(in: engine)
      written[gone] = nil
    }
    for number in UInt64(2 * round)..<UInt64(2 * round + 2) {
      let file = WrittenFile(name: "written \(number)", inode: 1_000_000 + number, seed: number)
      let data = try file.make(in: engine, sectors: 8 * (1 + number * 77 % 100))
      let sum = try runProgramOrThrow("md5sum", input: data).standardOutput
      written[file] = String(decoding: sum.prefix(32), as: UTF8.self)
    }
  }

  /// Odd rounds end as after a crash: what was flushed is there, the rest is not.
  @Test(arguments: ["plain", "compressed", "encrypted", "replicas"])
  func theDriverAndTheEngineTakeTurns(name: String) throws {
    try withTemporaryFolder { folder in
      let sample = try SampleVolume.fixture(name)
      let images = try sample.unpack(into: folder)
      var random = SplitMix64(seed: 2)
      var model: [BPos: UInt64] = [:]
      var written: [WrittenFile: String] = [:]
      let rounds = runsLongTests ? 10 : 3
      var progress = Progress("turns, \(name)", of: rounds)
      for round in 0..<rounds {
        progress.reached(round)
        let engine = try OpenedImages.open(
          images, seed: UInt64(round + 1), passphrase: sample.passphrase)
        #expect(try contents(engine) == model, "round \(round)")
        try change(engine, &random, &model, count: 2000)
        try changeFiles(engine, round: round, &written)
        try engine.discardBuckets()
        if round % 2 == 0 {
          try engine.close()
        } else {
          try engine.journal.flush(upTo: engine.journal.currentSequence)
        }
        try OpenedImages.letGo(engine)
        let turn = try KernelGuest.run(
          job: #". "$JOB_GUEST/turn.sh""#, images: images,
          environment: ["JOB_PASSPHRASE": sample.passphrase ?? "", "JOB_SEED": "\(round + 1)"])
        #expect(turn.complaints == [], "round \(round)")
        let found = Set(turn.lines.filter { $0.hasPrefix("found ") })
        #expect(
          found == Set(written.map { "found \($0.key.name) \($0.value)" }), "round \(round)")
        let checked = try KernelGuest.check(images: images, passphrase: sample.passphrase)
        #expect(checked.complaints == [], "round \(round)")
      }
    }
  }

  /// A device of memory that begins with an image's bytes.
  private func recordingDevice(_ image: String) throws -> SimulatedDevice {
    var configuration = SimulatedDevice.Configuration()
    configuration.recordsContents = true
    let bytes = try readFile(image)
    let device = SimulatedDevice(byteCount: UInt64(bytes.count), configuration: configuration)
    let open = try BlockDevice.open(simulated: device, mode: .exclusiveReadWrite)
    try open.write(bytes.rawBytes, atByte: 0)
    try open.flush()
    try open.close()
    return device
  }

  @Test(arguments: [("plain", UInt64(1)), ("compressed", 2)])
  func theDriverAcceptsWhatACrashLeaves(name: String, seed: UInt64) throws {
    try withTemporaryFolder { folder in
      let image = try SampleVolume.fixture(name).unpack(into: folder)[0]
      let device = try recordingDevice(image)
      let open = try BlockDevice.open(simulated: device, mode: .exclusiveReadWrite)
      let engine = try Engine.open(
        VolumeOpener.openForWriting(devices: [open]), EngineOptions(cacheBytes: 4 << 20, seed: seed)
      )
      let start = device.operationCount
      var random = SplitMix64(seed: seed)
      var model: [BPos: UInt64] = [:]
      for _ in 0..<300 {
        try change(engine, &random, &model, count: 10)
        switch random.next() % 6 {
        case 0: try engine.journal.flush(upTo: engine.journal.currentSequence)
        case 1: for node in engine.trees.cache.allNodes.prefix(8) { try engine.flush(node) }
        case 2: engine.nodeWrites.drain(engine)
        case 3: try engine.discardBuckets()
        default: break
        }
      }
      let states = runsLongTests ? 250 : 4
      var progress = Progress("crash, the driver's fsck, \(name)", of: states)
      for state in 0..<states {
        progress.reached(state)
        let operation = start + random.next() % (device.operationCount - start + 1)
        let comment: Comment = "seed \(seed), state \(state), operation \(operation)"
        let left = try #require(
          device.crashImage(beforeOperation: operation, .random(&random)), comment)
        let path = "\(folder)/left"
        let reader = try BlockDevice.open(simulated: left, mode: .readOnly)
        let buffer = HeapBuffer(byteCount: Int(reader.byteCount))
        var bytes = buffer.mutableBytes
        try reader.read(into: &bytes, atByte: 0)
        try writeFile(path, bytes.bytes.copiedBytes)
        let outcome = try KernelGuest.check(images: [path])
        // What a torn write of the last entry leaves, which nobody waited for.
        let ofTornEntries = ["journal checksum error", "dropped unflushed entries"]
        let complaints = outcome.complaints.filter { line in
          !ofTornEntries.contains { line.contains($0) }
        }
        #expect(complaints == [], comment)
      }
      engine.letGo()
    }
  }
}
