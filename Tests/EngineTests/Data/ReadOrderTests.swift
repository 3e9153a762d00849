// SPDX-License-Identifier: GPL-2.0
// The order in which copies are tried: by what reads have taken so far.

import BcachefsFormat
import BcachefsIO
import BcachefsSupport
import Synchronization
import TestSupport
import Testing

@testable import Bcachefs

@Suite struct ReadOrderTests {
  /// A clock that moves on by what a test says at every second look: each read takes that long.
  private final class SteppingClock: Sendable {
    let stepNanoseconds = Atomic<UInt64>(0)
    private let now = Mutex<(time: UInt64, looks: Int)>((0, 0))

    var clocks: Clocks {
      Clocks(
        wallNanoseconds: { 0 },
        monotonicNanoseconds: { [self] in
          let step = stepNanoseconds.load(ordering: .relaxed)
          return now.withLock { now in
            now.looks += 1
            if now.looks % 2 == 0 { now.time += step }
            return now.time
          }
        })
    }
  }

  private func media(missing: Int? = nil) throws -> (VolumeMedia, SteppingClock) {
    let clock = SteppingClock()
    let base = try OpeningFixture("replicas").open()
    var devices = base.devices
    if let missing { devices[missing] = nil }
    let media = VolumeMedia(
      superblock: base.superblock, devices: devices, key: nil, options: base.options,
      warnings: [], clocks: clock.clocks)
    return (media, clock)
  }

  private func place(_ device: UInt8, cached: Bool = false) -> ExtentPtr {
    ExtentPtr(device: device, offset: 4096, generation: 0, isCached: cached)
  }

  private func read(_ media: VolumeMedia, _ device: UInt8, times: Int) throws {
    var bytes = [UInt8](repeating: 0, count: 512)
    var span = bytes.mutableRawBytes
    for _ in 0..<times { try media.read(device, atSector: 8, into: &span) }
  }

  @Test func theDeviceThatAnswersFasterComesFirst() throws {
    let (media, clock) = try media()
    for (slow, fast) in [(UInt8(0), UInt8(1)), (1, 0)] {
      clock.stepNanoseconds.store(20_000_000, ordering: .relaxed)
      try read(media, slow, times: 40)
      clock.stepNanoseconds.store(50_000, ordering: .relaxed)
      try read(media, fast, times: 80)
      let order = media.inReadOrder([place(slow), place(fast)]).map(\.device)
      #expect(order == [fast, slow])
    }
  }

  @Test func dirtyCopiesComeBeforeCachedAndMissingOnesLast() throws {
    let (media, _) = try media(missing: 1)
    let order = media.inReadOrder([
      place(1), place(255), place(0, cached: true), place(0),
    ])
    #expect(order.map(\.device).prefix(2) == [0, 0])
    #expect(order.map(\.isCached).prefix(2) == [false, true])
    #expect(order.count == 4)
  }

  @Test func aSlowDeviceIsTriedAgainSomeDay() throws {
    let (media, clock) = try media()
    clock.stepNanoseconds.store(50_000_000, ordering: .relaxed)
    try read(media, 0, times: 40)
    clock.stepNanoseconds.store(100_000, ordering: .relaxed)
    try read(media, 1, times: 40)
    var count = 0
    while media.inReadOrder([place(0), place(1)]).first?.device == 1, count < 10_000 { count += 1 }
    #expect(100..<10_000 ~= count)
  }

  @Test func aReadThatFailsMakesItsDeviceTheLastChoice() throws {
    let (media, _) = try media()
    var bytes = [UInt8](repeating: 0, count: 512)
    var span = bytes.mutableRawBytes
    #expect(throws: VolumeError.self) {
      try media.read(0, atSector: 1 << 40, into: &span)
    }
    #expect(media.inReadOrder([place(0), place(1)]).map(\.device) == [1, 0])
  }
}
