// SPDX-License-Identifier: GPL-2.0
// A scrub that is interrupted anywhere and goes on is the same as one that is not.
//
// Invariants under test: counts and findings are equal whatever the windows and interruptions;
// states survive being written down.

import BcachefsFormat
import BcachefsIO
import BcachefsSupport
import Synchronization
import TestSupport
import Testing

@testable import Bcachefs

@Suite struct ScrubResumeTests {
  /// A volume with two copies of everything, one of them with some noise.
  private func damagedVolume() throws -> Volume {
    let fixture = try OpeningFixture("replicas")
    var generator = SplitMix64(seed: 5)
    let size = fixture.devices[1].byteCount
    // Every few extents, and in most nodes.
    for offset in stride(from: 3 << 20, to: size - (2 << 20), by: 11 << 10) {
      let bytes = (0..<64).map { _ in UInt8.random(in: 0...255, using: &generator) }
      try fixture.overwrite(1, at: UInt64(offset), with: bytes)
    }
    return try Volume(media: try fixture.open())
  }

  private func run(
    _ volume: Volume, _ state: ScrubState, _ events: ScrubEvents = ScrubEvents(),
    entriesMax: Int
  ) -> ScrubState {
    Scrubber(volume, state, events, entriesMax: entriesMax).run()
  }

  @Test func everyCheckpointGoesOnToTheSameEnd() throws {
    let volume = try damagedVolume()
    let whole = run(volume, volume.newScrub(), entriesMax: 1 << 17)
    #expect(whole.isFinished && whole.repairableCount > 3 && whole.lostCount == 0)
    let data = whole.devices[0].dataSectors
    #expect(data > 0 && whole.devices[1].dataSectors == data)

    var checkpoints: [ScrubState] = []
    var events = ScrubEvents()
    events.checkpoint = { checkpoints.append($0) }
    let windowed = run(volume, volume.newScrub(), events, entriesMax: 7)
    #expect(windowed == whole)
    #expect(checkpoints.count > 12)
    for checkpoint in checkpoints {
      let readBack = try ScrubState(decoding: checkpoint.encoded)
      #expect(readBack == checkpoint)
      let end = run(volume, readBack, entriesMax: 7)
      #expect(end == whole, "from \(checkpoint.place)")
    }
  }

  @Test func aScrubThatIsStoppedAgainAndAgainComesToTheEnd() throws {
    let volume = try damagedVolume()
    let whole = run(volume, volume.newScrub(), entriesMax: 1 << 17)
    var state = volume.newScrub()
    var rounds = 0
    while !state.isFinished, rounds < 1000 {
      let budget = CallCounter(limit: 5 + 2 * rounds)
      var events = ScrubEvents()
      events.shouldStop = { budget.isExhausted() }
      state = run(volume, state, events, entriesMax: 5)
      rounds += 1
    }
    #expect(state == whole)
    #expect(rounds > 5)
  }

  @Test func statesThatAreCutOffOrChangedAreRefused() throws {
    let volume = try damagedVolume()
    let state = run(volume, volume.newScrub(), entriesMax: 1 << 17)
    let text = state.encoded
    for end in stride(from: 0, to: text.count - 1, by: 997) {
      #expect(throws: VolumeError.self) { try ScrubState(decoding: Array(text[..<end])) }
    }
    var generator = SplitMix64(seed: 6)
    for _ in 0..<200 {
      var changed = text
      changed[Int.random(in: changed.indices, using: &generator)] =
        UInt8.random(in: 0...255, using: &generator)
      // An error or another state, and never a trap.
      _ = try? ScrubState(decoding: changed)
    }
  }
}

/// Says yes after a number of calls; any thread may ask.
private final class CallCounter: Sendable {
  private let left: Mutex<Int>

  init(limit: Int) { left = Mutex(limit) }

  func isExhausted() -> Bool {
    left.withLock { left in
      left -= 1
      return left < 0
    }
  }
}
