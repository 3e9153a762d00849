// SPDX-License-Identifier: GPL-2.0
// Image files: transfers, bounds, modes, space, closing.

import BcachefsIO
import BcachefsSupport
import Foundation
import TestSupport
import Testing

struct ImageFileTests: ~Copyable {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func makeImage(_ name: String = "a.img", _ byteCount: UInt64 = 1 << 20) throws -> String {
    let path = folder.file(name)
    let device = try BlockDevice.create(path: path, byteCount: byteCount)
    try device.close()
    return path
  }

  @Test(arguments: [false, true])
  func writtenBytesAreReadBackAndStandInTheFile(direct: Bool) throws {
    let path = try makeImage()
    let device = try BlockDevice.open(path: path, mode: .exclusiveReadWrite, direct: direct)
    let data = pattern(12_288)
    try device.put(data, at: 8192)
    try device.flush()
    #expect(try device.bytes(12_288, at: 8192) == data)
    #expect(try device.bytes(700, at: 8200) == Array(data[8..<708]))
    try device.close()
    let file = try Data(contentsOf: URL(fileURLWithPath: path))
    #expect(file.count == 1 << 20)
    #expect(Array(file[8192..<20_480]) == data)
    #expect(file[..<8192].allSatisfy { $0 == 0 })
    #expect(file[20_480...].allSatisfy { $0 == 0 })
  }

  @Test(arguments: [false, true])
  func vectorsAreWrittenAndReadInOrder(direct: Bool) throws {
    let device = try BlockDevice.open(
      path: makeImage(), mode: .exclusiveReadWrite, direct: direct)
    let (one, two, three) = (pattern(4096, seed: 1), pattern(100, seed: 2), pattern(8092, seed: 3))
    let joined = one + two + three
    var vector = WriteVector()
    vector.append(one.span)
    vector.append(two.span)
    vector.append(three.span)
    #expect(vector.byteCount == 12_288)
    try device.writev(vector, atByte: 4096)
    #expect(try device.bytes(12_288, at: 4096) == joined)

    var first = AlignedBuffer(byteCount: 300)
    var second = AlignedBuffer(byteCount: 8192)
    try readInto(&first, &second, from: device)
    #expect((0..<300).allSatisfy { first.bytes.byte($0) == joined[$0] })
    #expect((0..<8192).allSatisfy { second.bytes.byte($0) == joined[$0 + 300] })
  }

  private func readInto(
    _ first: inout AlignedBuffer, _ second: inout AlignedBuffer, from device: BlockDevice
  ) throws {
    var vector = ReadVector()
    vector.append(first.mutableBytes)
    vector.append(second.mutableBytes)
    try device.readv(into: vector, atByte: 4096)
  }

  @Test func aThousandsPartVectorExceedsTheKernelsLimitAndStillArrives() throws {
    let device = try BlockDevice.open(path: makeImage(), mode: .exclusiveReadWrite)
    let piece = pattern(3)
    var vector = WriteVector()
    for _ in 0..<2500 { vector.append(piece.span) }
    try device.writev(vector, atByte: 1)
    let expected = (0..<2500).flatMap { _ in piece }
    #expect(try device.bytes(7500, at: 1) == expected)
  }

  @Test func rangesBeyondTheEndAreRefusedByName() throws {
    let device = try BlockDevice.open(path: makeImage(), mode: .exclusiveReadWrite)
    let end = device.byteCount
    #expect(end == 1 << 20)
    let expected = DeviceError.Reason.outOfBounds(deviceBytes: 1 << 20)
    for offset in [end - 511, end, end + 1, UInt64.max, UInt64(Int64.max)] {
      #expect(
        failure { () throws(DeviceError) in try device.put(pattern(512), at: offset) } == expected)
      #expect(
        failure { () throws(DeviceError) in _ = try device.bytes(512, at: offset) } == expected)
    }
    #expect(failure { () throws(DeviceError) in try device.discard(end..<end + 1) } == expected)
    try device.put(pattern(512), at: end - 512)
    #expect(device.byteCount == 1 << 20)
  }

  @Test func nothingCanBeWrittenThroughAReadOnlyDevice() throws {
    let path = try makeImage()
    let device = try BlockDevice.open(path: path, mode: .readOnly)
    let before = try Data(contentsOf: URL(fileURLWithPath: path))
    #expect(failure { () throws(DeviceError) in try device.put([1], at: 0) } == .readOnly)
    #expect(failure { () throws(DeviceError) in try device.flush() } == .readOnly)
    #expect(failure { () throws(DeviceError) in try device.discard(0..<4096) } == .readOnly)
    #expect(failure { () throws(DeviceError) in try device.punchHole(0..<4096) } == .readOnly)
    #expect(failure { () throws(DeviceError) in try device.resize(toByteCount: 1) } == .readOnly)
    #expect(try device.bytes(1, at: 0) == [0])
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
  }

  @Test func aPunchedHoleReadsAsZerosAndFreesBlocks() throws {
    let path = try makeImage()
    let device = try BlockDevice.open(path: path, mode: .exclusiveReadWrite)
    try device.put(pattern(262_144), at: 0)
    try device.flush()
    let full = try blocks(path)
    try device.punchHole(65_536..<196_608)
    try device.flush()
    #expect(try device.bytes(131_072, at: 65_536).allSatisfy { $0 == 0 })
    #expect(try device.bytes(65_536, at: 0) == Array(pattern(262_144)[..<65_536]))
    #expect(try blocks(path) <= full - 131_072 / 512)
    try device.discard(0..<65_536)
    #expect(try blocks(path) <= full - 196_608 / 512)
    #expect(device.byteCount == 1 << 20)
  }

  private func blocks(_ path: String) throws -> Int {
    var status = stat()
    try #require(unsafe stat(path, &status) == 0)
    return Int(status.st_blocks)
  }

  @Test func resizeGrowsByAHoleAndShrinksByCutting() throws {
    let path = try makeImage()
    let device = try BlockDevice.open(path: path, mode: .exclusiveReadWrite)
    try device.put([7], at: (1 << 20) - 1)
    try device.resize(toByteCount: 2 << 20)
    #expect(device.byteCount == 2 << 20)
    #expect(try device.bytes(2, at: (1 << 20) - 1) == [7, 0])
    try device.resize(toByteCount: 4096)
    #expect(
      failure { () throws(DeviceError) in _ = try device.bytes(1, at: 4096) }
        == .outOfBounds(deviceBytes: 4096))
    #expect(failure { () throws(DeviceError) in try device.resize(toByteCount: 0) } == .invalidSize)
    #expect(
      failure { () throws(DeviceError) in try device.resize(toByteCount: .max) } == .invalidSize)
  }

  @Test func aFileTruncatedBySomebodyElseIsATypedError() throws {
    let path = try makeImage()
    let device = try BlockDevice.open(path: path, mode: .readOnly)
    try #require(unsafe truncate(path, 1000) == 0)
    #expect(
      failure { () throws(DeviceError) in _ = try device.bytes(512, at: 900) } == .unexpectedEnd)
  }

  @Test func directWritesMustBeAligned() throws {
    let device = try BlockDevice.open(path: makeImage(), mode: .exclusiveReadWrite, direct: true)
    guard device.usesDirectIO else { return }
    guard
      case .misaligned(let bytes)? = failure({ () throws(DeviceError) in
        try device.put([1, 2, 3], at: 1)
      })
    else {
      Issue.record("an unaligned direct write was not refused")
      return
    }
    #expect(bytes >= 512)
    #expect(try device.bytes(5, at: 0) == [0, 0, 0, 0, 0])
  }

  @Test func concurrentTransfersDoNotDisturbEachOther() throws {
    let device = try BlockDevice.open(path: makeImage(), mode: .exclusiveReadWrite)
    onThreads(8) { worker in
      for round in 0..<50 {
        let data = pattern(4096, seed: worker * 100 + round)
        #expect(throws: Never.self) {
          try device.put(data, at: UInt64(worker) * 4096)
          #expect(try device.bytes(4096, at: UInt64(worker) * 4096) == data)
        }
      }
    }
  }

  @Test func closingWaitsForTransfersAndRefusesLaterOnes() throws {
    let path = try makeImage()
    let device = try BlockDevice.open(path: path, mode: .exclusiveReadWrite)
    onThreads(5) { worker in
      if worker == 4 {
        usleep(20_000)
        #expect(throws: Never.self) { try device.close() }
        return
      }
      let data = pattern(65_536, seed: worker)
      var reason: DeviceError.Reason?
      while reason == nil {
        reason = failure { () throws(DeviceError) in try device.put(data, at: 0) }
      }
      #expect(reason == .closed)
    }
    #expect(failure { () throws(DeviceError) in _ = try device.bytes(1, at: 0) } == .closed)
    try device.close()
    let again = try BlockDevice.open(path: path, mode: .exclusiveReadWrite)
    try again.close()
  }

  @Test func whatIsNoDeviceIsRefusedWithoutOpeningIt() throws {
    let fifo = folder.file("fifo")
    try #require(unsafe mkfifo(fifo, 0o600) == 0)
    for path in [fifo, folder.path, "/dev/null"] {
      #expect(
        failure { () throws(DeviceError) in _ = try BlockDevice.open(path: path, mode: .readOnly) }
          == .notADevice)
    }
    #expect(
      failure { () throws(DeviceError) in
        _ = try BlockDevice.open(path: "/nowhere/x", mode: .readOnly)
      } == .system(ENOENT))
    let path = try makeImage()
    #expect(
      failure { () throws(DeviceError) in
        _ = try BlockDevice.create(path: path, byteCount: 4096)
      } == .alreadyExists)
  }

  @Test func errorsSayWhatWhereWhyAndWhatNext() throws {
    let device = try BlockDevice.open(path: makeImage("e.img"), mode: .readOnly)
    let reason = #expect(throws: DeviceError.self) { _ = try device.bytes(512, at: 1 << 20) }
    #expect(
      reason?.description
        == "cannot read \(folder.file("e.img")) at byte 1048576, 512 bytes: beyond the end, "
        + "the device has 1048576 bytes")
    #expect(reason?.errorNumber == EIO)
    let missing = #expect(throws: DeviceError.self) {
      try BlockDevice.open(path: "/nowhere/x", mode: .readOnly)
    }
    #expect(
      missing?.description == "cannot open /nowhere/x: No such file or directory; check the path")
  }
}

extension RawSpan {
  func byte(_ offset: Int) -> UInt8 { unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self) }
}
