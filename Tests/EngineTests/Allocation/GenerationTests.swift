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
}
