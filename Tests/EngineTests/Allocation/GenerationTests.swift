// SPDX-License-Identifier: GPL-2.0
// Buckets are used again and again, more often than a generation has numbers.

internal import BcachefsFormat
internal import BcachefsSupport
internal import FileModel
internal import Testing

@testable internal import Bcachefs

@Suite struct GenerationTests {
  @Test(arguments: [false, true])
  func bucketsAreUsedAgainForEver(withThreads: Bool) throws {
    let setting = FreshVolume(testDescription: "generations") {
      $0.sizes = [16 << 20]
      $0.build.bucketBytes = 64 << 10
      $0.build.options[.btreeNodeSize] = 16 << 10
      $0.build.options[.dataChecksum] = 0
    }
    let devices = try setting.format()
    let engine = try setting.engine(on: devices, seed: 1).engine
    if withThreads { engine.startThreads() }
    let files = FileSystem(engine, dirtyLimitBytes: 256 << 10)
    let file = try files.makeFile("data")
    let buffer = HeapBuffer(byteCount: 1 << 20)
    // Of every bucket more than 256 times.
    for round in 0..<UInt64(700) {
      var bytes = buffer.mutableBytes
      for word in 0..<buffer.byteCount / 8 {
        bytes[LEField<UInt64>(word * 8)] = round &+ UInt64(word)
      }
      for part in 0..<UInt64(6) { try files.write(file, buffer.bytes, at: part << 20) }
      if round % 16 == 0 { try files.sync() }
    }
    let newest = try engine.run("test_generations") { (transaction) throws(TransactionError) in
      var sum = 0
      var walk = KeyWalk(.alloc, from: .min)
      while let found = try transaction.next(&walk) {
        let alloc = try transaction.bucket(found.key.position, .read)
        if alloc.oldestGeneration > 0 { sum += 1 }
        #expect(alloc.generationLag <= AllocV4.maxGenerationLag)
      }
      return sum
    }
    #expect(newest > 32)
    let read = HeapBuffer(byteCount: 1 << 20)
    var target = read.mutableBytes
    #expect(try files.read(file, from: 5 << 20, into: &target) == 1 << 20)
    let isSame = read.bytes.elementsEqual(buffer.bytes.copiedBytes)
    #expect(isSame)
    try files.close()
    try setting.expectSound(devices, "generations")
  }

  /// Puts an extent with a copy on device 0, and one on device 1 that is only cached; nothing
  /// follows from it.
  private func put(
    _ engine: Engine, end: UInt64, cachedIn bucket: UInt64, _ generation: UInt8, isAlone: Bool
  ) throws {
    let value = HeapBuffer(byteCount: 64, alignment: 16)
    var bytes = value.mutableBytes
    var writer = ExtentWriter()
    if !isAlone {
      try writer.append(ExtentPtr(device: 0, offset: 100 * 128, generation: 0), to: &bytes)
    }
    try writer.append(
      ExtentPtr(device: 1, offset: bucket * 128, generation: generation, isCached: true),
      to: &bytes)
    let key = BKey(
      type: .extent, position: BPos(5000, end, .max), size: 8, valueU64s: writer.encodedU64s)
    try engine.run("test_put") { (transaction) throws(TransactionError) in
      transaction.update(
        .extents, key, value.bytes.extracting(first: key.valueByteCount), flags: .noTriggers)
      try transaction.commit()
    }
  }

  @Test func pointersThatLagFarBehindGoWhereOthersAreLeft() throws {
    let setting = FreshVolume(testDescription: "stale") { $0.sizes = [32 << 20, 32 << 20] }
    let devices = try setting.format()
    let engine = try setting.engine(on: devices, seed: 1).engine
    // Of bucket 200 a pointer lags by 50 beside another copy, of 201 by 5, of 202 by 50 alone.
    try put(engine, end: 8, cachedIn: 200, 50, isAlone: false)
    try put(engine, end: 16, cachedIn: 201, 95, isAlone: false)
    try put(engine, end: 24, cachedIn: 202, 50, isAlone: true)
    for bucket in UInt64(200)..<203 {
      try engine.run("test_age") { (transaction) throws(TransactionError) in
        try transaction.changeBucket(Positions.bucket(device: 1, bucket: bucket)) {
          (alloc) throws(VolumeError) in alloc.generation = 100
        }
        try transaction.commit()
      }
    }
    #expect(engine.usage.buckets(.needGcGens, of: 1) == 3)
    #expect(try engine.collectGenerations())
    #expect(engine.usage.buckets(.needGcGens, of: 1) == 0)
    let oldest = try (UInt64(200)..<203).map { bucket in
      try engine.run("test_oldest") { (transaction) throws(TransactionError) in
        try transaction.bucket(Positions.bucket(device: 1, bucket: bucket), .read).oldestGeneration
      }
    }
    #expect(oldest == [100, 95, 50])
    let counts = try [UInt64(8), 16, 24].map { end in
      try engine.run("test_pointers") { (transaction) throws(TransactionError) in
        let found = try transaction.lookup(.extents, BPos(5000, end, .max))
        return try found.flatMap { (found) throws(TransactionError) in
          try transaction.parts(of: found)?.pointers.count
        }
      }
    }
    #expect(counts == [1, 2, 1])
    // There is nothing more to be had.
    #expect(try !engine.collectGenerations())
    engine.letGo()
  }
}
