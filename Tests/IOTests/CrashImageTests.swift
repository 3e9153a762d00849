// SPDX-License-Identifier: GPL-2.0
// Crash images against a model that is too simple to be wrong: arrays, replayed from the start.

import BcachefsIO
import BcachefsSupport
import Foundation
import TestSupport
import Testing

struct CrashImageTests {
  private static let sectorCount = 64

  /// One step of a random run, as the model knows it.
  private enum Step {
    case write(first: Int, values: [UInt8])
    case discard(first: Int, count: Int)
    case flush
  }

  /// A device of 64 sectors, each filled with one value, and what was done to it.
  private struct Run {
    let medium: SimulatedDevice
    let steps: [Step]

    init(seed: UInt64, stepCount: Int) throws {
      var configuration = SimulatedDevice.Configuration()
      configuration.recordsContents = true
      medium = SimulatedDevice(
        byteCount: UInt64(sectorCount * 512), seed: seed, configuration: configuration)
      let device = try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite)
      var generator = SplitMix64(seed: seed)
      var steps: [Step] = []
      for number in 0..<stepCount {
        let first = Int.random(in: 0..<sectorCount, using: &generator)
        let count = Int.random(in: 1...min(8, sectorCount - first), using: &generator)
        switch Int.random(in: 0..<10, using: &generator) {
        case 0:
          try device.flush()
          steps.append(.flush)
        case 1:
          try device.discard(UInt64(first * 512)..<UInt64((first + count) * 512))
          steps.append(.discard(first: first, count: count))
        default:
          let values = (0..<count).map { UInt8(truncatingIfNeeded: number &* 8 &+ $0 &+ 1) }
          try device.put(
            values.flatMap { [UInt8](repeating: $0, count: 512) }, at: UInt64(first * 512))
          steps.append(.write(first: first, values: values))
        }
      }
      try device.close()
      self.steps = steps
    }

    /// How many of `steps[..<count]` stand before or are the last flush among them.
    func durableCount(before count: Int) -> Int {
      var durable = 0
      for index in 0..<count { if case .flush = steps[index] { durable = index + 1 } }
      return durable
    }
  }

  private static func apply(_ step: Step, to sectors: inout [UInt8]) {
    switch step {
    case .write(let first, let values):
      sectors.replaceSubrange(first..<first + values.count, with: values)
    case .discard(let first, let count):
      sectors.replaceSubrange(first..<first + count, with: repeatElement(0, count: count))
    case .flush: break
    }
  }

  private static func replay(_ steps: ArraySlice<Step>) -> [UInt8] {
    var sectors = [UInt8](repeating: 0, count: sectorCount)
    for step in steps { apply(step, to: &sectors) }
    return sectors
  }

  /// The value of each sector of an image; a sector that is not uniform is an issue.
  private static func sectors(_ image: SimulatedDevice) throws -> [UInt8] {
    let device = try BlockDevice.open(simulated: image, mode: .readOnly)
    let bytes = try device.bytes(sectorCount * 512, at: 0)
    let values = (0..<sectorCount).map { bytes[$0 * 512] }
    #expect(bytes == values.flatMap { [UInt8](repeating: $0, count: 512) }, "a sector was torn")
    return values
  }

  @Test(arguments: 0..<5 as Range<UInt64>)
  func noneAllAndEveryPrefixAreWhatTheModelSaysAtEveryMoment(seed: UInt64) throws {
    let run = try Run(seed: seed, stepCount: 60)
    for moment in 0...60 {
      let durable = run.durableCount(before: moment)
      let none = try #require(run.medium.crashImage(beforeOperation: UInt64(moment), .none))
      #expect(try Self.sectors(none) == Self.replay(run.steps[..<durable]), "seed \(seed)")
      let all = try #require(run.medium.crashImage(beforeOperation: UInt64(moment), .all))
      #expect(try Self.sectors(all) == Self.replay(run.steps[..<moment]), "seed \(seed)")
      for count in 0...moment - durable {
        let image = try #require(
          run.medium.crashImage(beforeOperation: UInt64(moment), .prefix(count)))
        #expect(
          try Self.sectors(image) == Self.replay(run.steps[..<(durable + count)]),
          "seed \(seed), moment \(moment), prefix \(count)")
      }
    }
  }

  @Test(arguments: 0..<5 as Range<UInt64>)
  func aSubsetHoldsForEachSectorAValueThatWasThereSinceTheFlush(seed: UInt64) throws {
    let run = try Run(seed: seed, stepCount: 60)
    var distinct = Set<[UInt8]>()
    for moment in 0...60 {
      let durable = run.durableCount(before: moment)
      var possible = Self.replay(run.steps[..<durable]).map { Set([$0]) }
      for step in run.steps[durable..<moment] {
        switch step {
        case .write(let first, let values):
          for index in values.indices { possible[first + index].insert(values[index]) }
        case .discard(let first, let count):
          for sector in first..<first + count { possible[sector].insert(0) }
        case .flush: break
        }
      }
      for choice in 0..<4 as Range<UInt64> {
        for survivors in [CrashSurvivors.subset(seed: choice), .tornSubset(seed: choice)] {
          let image = try #require(
            run.medium.crashImage(beforeOperation: UInt64(moment), survivors))
          let found = try Self.sectors(image)
          let isPossible = (0..<Self.sectorCount).allSatisfy { possible[$0].contains(found[$0]) }
          #expect(isPossible, "seed \(seed), moment \(moment), choice \(choice)")
          distinct.insert(found)
          let again = try #require(
            run.medium.crashImage(beforeOperation: UInt64(moment), survivors))
          #expect(try Self.sectors(again) == found, "seed \(seed): not reproducible")
        }
      }
    }
    #expect(distinct.count > 100, "the choices differ too little")
  }

  @Test func aCrashNowNeedsNoRecordedContents() throws {
    let medium = SimulatedDevice(byteCount: 1 << 20)
    let device = try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite)
    try device.put(pattern(512, seed: 1), at: 0)
    try device.flush()
    try device.put(pattern(512, seed: 2), at: 0)
    try device.resize(toByteCount: 2 << 20)
    let before = try BlockDevice.open(simulated: medium.crashImage(.none), mode: .readOnly)
    #expect(try before.bytes(512, at: 0) == pattern(512, seed: 1))
    #expect(before.byteCount == 1 << 20)
    let after = try BlockDevice.open(simulated: medium.crashImage(.all), mode: .readOnly)
    #expect(try after.bytes(512, at: 0) == pattern(512, seed: 2))
    #expect(after.byteCount == 2 << 20)
    #expect(medium.crashImage(beforeOperation: 0, .all) == nil)
    #expect(medium.crashImage(beforeOperation: 99, .all) == nil)
  }

  @Test func writingToACrashImageLeavesTheOriginalAlone() throws {
    let medium = SimulatedDevice(byteCount: 1 << 20)
    let device = try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite)
    try device.put(pattern(8192), at: 0)
    let image = medium.crashImage(.all)
    let other = try BlockDevice.open(simulated: image, mode: .exclusiveReadWrite)
    try other.put(pattern(4096, seed: 9), at: 0)
    try device.put(pattern(512, seed: 8), at: 4096)
    #expect(try device.bytes(4096, at: 0) == Array(pattern(8192)[..<4096]))
    #expect(try other.bytes(4096, at: 4096) == Array(pattern(8192)[4096...]))
  }

  @Test func aThousandCrashImagesOfALargeDeviceTakeLessThanFiveSeconds() throws {
    let medium = SimulatedDevice(byteCount: 1 << 40)
    let device = try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite)
    let block = pattern(65_536)
    for index in 0..<256 { try device.put(block, at: UInt64(index) << 30) }
    try device.flush()
    for index in 0..<16 { try device.put(pattern(4096, seed: index), at: UInt64(index) << 31) }
    let clock = ContinuousClock()
    let time = clock.measure {
      for seed in 0..<1000 as Range<UInt64> {
        #expect(medium.crashImage(.tornSubset(seed: seed)).byteCount == 1 << 40)
      }
    }
    #expect(time < .seconds(5), "\(time) for 1000 images")
    print("1000 crash images: \(time)")
  }
}
