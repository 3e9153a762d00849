// SPDX-License-Identifier: GPL-2.0
// The simulated device: its faults one by one, its log, its determinism.

import BcachefsIO
import Foundation
import Synchronization
import TestSupport
import Testing

struct SimulatedDeviceTests {
  private func make(
    _ byteCount: UInt64 = 1 << 20, seed: UInt64 = 1, _ faults: [SimulatedFaultRule] = [],
    configure: (inout SimulatedDevice.Configuration) -> Void = { _ in }
  ) throws -> (SimulatedDevice, BlockDevice) {
    var configuration = SimulatedDevice.Configuration()
    configure(&configuration)
    let medium = SimulatedDevice(
      byteCount: byteCount, seed: seed, configuration: configuration, faults: faults)
    return (medium, try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite))
  }

  @Test func aTerabyteCostsOnlyWhatIsWritten() throws {
    let (_, device) = try make(1 << 40)
    try device.put(pattern(8192), at: (1 << 40) - 8192)
    #expect(try device.bytes(8192, at: (1 << 40) - 8192) == pattern(8192))
    #expect(try device.bytes(8192, at: 1 << 39).allSatisfy { $0 == 0 })
    try device.discard(0..<1 << 40)
    #expect(try device.bytes(8192, at: (1 << 40) - 8192).allSatisfy { $0 == 0 })
  }

  @Test func boundsModesAndAlignmentAreThoseOfARealDevice() throws {
    let (medium, device) = try make(4096) { $0.blockSizeBytes = 1024 }
    let beyond = DeviceError.Reason.outOfBounds(deviceBytes: 4096)
    #expect(failure { () throws(DeviceError) in try device.put(pattern(1024), at: 4096) } == beyond)
    let askew = DeviceError.Reason.misaligned(bytes: 1024)
    #expect(failure { () throws(DeviceError) in try device.put(pattern(512), at: 0) } == askew)
    #expect(failure { () throws(DeviceError) in _ = try device.bytes(1024, at: 512) } == askew)
    #expect(
      failure { () throws(DeviceError) in
        _ = try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite)
      } == .inUse([]))
    let reader = try BlockDevice.open(simulated: medium, mode: .readOnly)
    #expect(failure { () throws(DeviceError) in try reader.put(pattern(1024), at: 0) } == .readOnly)
    #expect(medium.operations == [])
    try device.close()
    #expect(failure { () throws(DeviceError) in try device.put(pattern(1024), at: 0) } == .closed)
    _ = try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite)
  }

  @Test func everyChangeIsRecordedInOrder() throws {
    let (medium, device) = try make()
    try device.put(pattern(1024), at: 512)
    try device.flush()
    try device.discard(0..<4096)
    try device.punchHole(4096..<8192)
    _ = try device.bytes(512, at: 0)
    try device.resize(toByteCount: 2 << 20)
    let expected: [(SimulatedOperation.Kind, UInt64, UInt64)] = [
      (.write, 512, 1024), (.flush, 0, 0), (.discard, 0, 4096), (.punchHole, 4096, 4096),
      (.resize, 0, 2 << 20),
    ]
    let log = medium.operations
    #expect(log.map(\.kind) == expected.map(\.0))
    #expect(log.map(\.offsetBytes) == expected.map(\.1))
    #expect(log.map(\.lengthBytes) == expected.map(\.2))
    #expect(log.map(\.sequence) == [0, 1, 2, 3, 4])
  }

  @Test func vectorsAreOneOperation() throws {
    let (medium, device) = try make()
    let (one, two) = (pattern(512, seed: 1), pattern(1536, seed: 2))
    var vector = WriteVector()
    vector.append(one.span)
    vector.append(two.span)
    try device.writev(vector, atByte: 512)
    #expect(medium.operations.map(\.lengthBytes) == [2048])
    #expect(try device.bytes(2048, at: 512) == one + two)
  }

  // MARK: - Faults

  @Test func errorsStrikeTheNthOperationTheRangeOrByChance() throws {
    let (medium, device) = try make(
      faults([
        SimulatedFaultRule(.writeError, operationNumber: 1),
        SimulatedFaultRule(.readError, bytes: 4096..<8192, limit: 2),
      ]))
    try device.put(pattern(512), at: 0)
    #expect(
      failure { () throws(DeviceError) in try device.put(pattern(512), at: 512) } == .system(EIO))
    try device.put(pattern(512), at: 1024)
    #expect(try device.bytes(512, at: 512).allSatisfy { $0 == 0 })
    for _ in 0..<2 {
      #expect(
        failure { () throws(DeviceError) in _ = try device.bytes(1024, at: 3584) } == .system(EIO))
    }
    _ = try device.bytes(1024, at: 3584)
    #expect(medium.operations.map(\.fault) == [nil, .writeError, nil])

    medium.setFaults([SimulatedFaultRule(.readError, probability: 0.25)])
    var failures = 0
    for _ in 0..<1000
    where failure({ () throws(DeviceError) in _ = try device.bytes(512, at: 0) }) != nil {
      failures += 1
    }
    #expect((180...320).contains(failures))
  }

  private func faults(_ rules: [SimulatedFaultRule]) -> [SimulatedFaultRule] { rules }

  private func make(
    _ faults: [SimulatedFaultRule]
  ) throws -> (SimulatedDevice, BlockDevice) { try make(1 << 20, faults) }

  @Test func aLostWriteReportsSuccessAndChangesNothing() throws {
    let (_, device) = try make([SimulatedFaultRule(.lostWrite, operationNumber: 1)])
    try device.put(pattern(4096, seed: 1), at: 0)
    try device.put(pattern(4096, seed: 2), at: 0)
    #expect(try device.bytes(4096, at: 0) == pattern(4096, seed: 1))
  }

  @Test(arguments: 0..<50 as Range<UInt64>)
  func aTornWriteLeavesWholeOldAndWholeNewSectors(seed: UInt64) throws {
    for tearing in [SimulatedTearing.prefix, .sectors] {
      let (_, device) = try make(
        1 << 20, seed: seed, [SimulatedFaultRule(.tornWrite(tearing), operationNumber: 1)])
      let (old, new) = (pattern(8192, seed: 1), pattern(8192, seed: 2))
      try device.put(old, at: 4096)
      try device.put(new, at: 4096)
      let found = try device.bytes(8192, at: 4096)
      let isNew = (0..<16).map { sector in
        let range = sector * 512..<(sector + 1) * 512
        #expect(found[range] == old[range] || found[range] == new[range], "seed \(seed)")
        return found[range] == new[range]
      }
      #expect(isNew.contains(false), "seed \(seed)")
      if tearing == .prefix {
        #expect(isNew == isNew.sorted { $0 && !$1 }, "seed \(seed)")
      }
    }
  }

  @Test(arguments: 0..<20 as Range<UInt64>)
  func aMisdirectedWriteLandsOnceElsewhere(seed: UInt64) throws {
    let (_, device) = try make(65_536, seed: seed, [SimulatedFaultRule(.misdirectedWrite)])
    try device.put([UInt8](repeating: 7, count: 2048), at: 8192)
    let all = try device.bytes(65_536, at: 0)
    #expect(all.count { $0 == 7 } == 2048, "seed \(seed)")
    let start = try #require(all.firstIndex(of: 7))
    #expect(start % 512 == 0 && start != 8192, "seed \(seed)")
    #expect(all[start..<start + 2048].allSatisfy { $0 == 7 }, "seed \(seed)")
  }

  @Test func bitRotFlipsOneBitAndStays() throws {
    let (medium, device) = try make([SimulatedFaultRule(.bitRot, limit: 1)])
    try device.put(pattern(4096), at: 0)
    let found = try device.bytes(4096, at: 0)
    let flipped = zip(found, pattern(4096)).reduce(0) { $0 + ($1.0 ^ $1.1).nonzeroBitCount }
    #expect(flipped == 1)
    #expect(try device.bytes(4096, at: 0) == found)
    let copy = try BlockDevice.open(simulated: medium.copy(), mode: .readOnly)
    #expect(try copy.bytes(4096, at: 0) == found)
  }

  @Test func aVanishedDeviceAnswersNothingAnyMore() throws {
    let (_, device) = try make([SimulatedFaultRule(.vanish, operationNumber: 2)])
    try device.put(pattern(512), at: 0)
    _ = try device.bytes(512, at: 0)
    let gone = DeviceError.Reason.system(ENODEV)
    #expect(failure { () throws(DeviceError) in try device.flush() } == gone)
    #expect(failure { () throws(DeviceError) in _ = try device.bytes(512, at: 0) } == gone)
    #expect(failure { () throws(DeviceError) in try device.put([], at: 0) } == gone)
    #expect(failure { () throws(DeviceError) in try device.discard(0..<512) } == gone)
  }

  @Test func aFailedFlushIsNeverFollowedByASuccess() throws {
    let (medium, device) = try make([SimulatedFaultRule(.flushError, limit: 1)])
    try device.put(pattern(512), at: 0)
    #expect(failure { () throws(DeviceError) in try device.flush() } == .system(EIO))
    #expect(
      failure { () throws(DeviceError) in try device.flush() } == .earlierFlushFailed(EIO))
    #expect(medium.unflushedCount == 1)
    #expect(medium.operations.map(\.kind) == [.write, .flush])
  }

  @Test func discardsLeaveWhatTheConfigurationSays() throws {
    for result in [SimulatedDevice.DiscardResult.zeros, .oldData, .garbage] {
      let (_, device) = try make(1 << 20) { $0.discardResult = result }
      try device.put(pattern(8192), at: 0)
      try device.discard(0..<8192)
      let found = try device.bytes(8192, at: 0)
      switch result {
      case .zeros: #expect(found.allSatisfy { $0 == 0 })
      case .oldData: #expect(found == pattern(8192))
      case .garbage: #expect(found != pattern(8192) && found.contains { $0 != 0 })
      }
    }
  }

  @Test func latencyIsSpentOnTheClockThatWasGiven() throws {
    let spent = Spent()
    let (_, device) = try make(1 << 20) {
      $0.latencyNanoseconds = 100...200
      $0.sleep = { spent.total.add($0, ordering: .relaxed) }
    }
    for _ in 0..<10 { _ = try device.bytes(512, at: 0) }
    #expect((1000...2000).contains(spent.total.load(ordering: .relaxed)))
  }

  private final class Spent: Sendable {
    let total = Atomic<UInt64>(0)
  }

  @Test func theSameSeedGivesTheSameRun() throws {
    var results: [[UInt8]] = []
    var logs: [[SimulatedOperation]] = []
    for seed in [5, 5, 6] as [UInt64] {
      let (medium, device) = try make(
        65_536, seed: seed,
        [
          SimulatedFaultRule(.lostWrite, probability: 0.2),
          SimulatedFaultRule(.tornWrite(.sectors), probability: 0.3),
          SimulatedFaultRule(.misdirectedWrite, probability: 0.2),
        ])
      for round in 0..<100 {
        try device.put(pattern(2048, seed: round), at: UInt64(round * 1536 % 61_440))
      }
      results.append(try device.bytes(65_536, at: 0))
      logs.append(medium.operations)
    }
    #expect(results[0] == results[1] && logs[0] == logs[1])
    #expect(results[0] != results[2])
  }

  @Test func contentsTravelToAFileAndBack() throws {
    let folder = try TemporaryFolder()
    let (medium, device) = try make(3 << 20)
    try device.put(pattern(12_288), at: 1 << 20)
    let file = try BlockDevice.create(path: folder.file("a"), byteCount: 3 << 20)
    try medium.export(to: file)
    #expect(try file.bytes(3 << 20, at: 0) == device.bytes(3 << 20, at: 0))
    let back = try SimulatedDevice(copying: file)
    let again = try BlockDevice.open(simulated: back, mode: .readOnly)
    #expect(try again.bytes(3 << 20, at: 0) == device.bytes(3 << 20, at: 0))
    #expect(back.byteCount == 3 << 20)
  }

  @Test func anEndThatIsCutOffTwiceLeavesNothingBehind() throws {
    let folder = try TemporaryFolder()
    let (medium, device) = try make(1 << 20)
    try device.put(pattern(65_536), at: 0)
    // The first end lies within a page, the second before it.
    try device.resize(toByteCount: 32_768 + 512)
    try device.resize(toByteCount: 8192)
    let file = try BlockDevice.create(path: folder.file("a"), byteCount: 8192)
    try medium.export(to: file)
    #expect(try file.bytes(8192, at: 0) == pattern(8192))
  }
}
