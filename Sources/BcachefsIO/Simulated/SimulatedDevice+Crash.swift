// SPDX-License-Identifier: GPL-2.0
// Crash images: what may be on the medium after power fails at some moment.
//
// How it works
//   1. Before the moment stands a flush that succeeded: all before it is there.
//   2. Of the changes between that flush and the moment, any may be there: none, a prefix, all, or
//      any subset, each of them whole or torn into 512-byte sectors.
//   3. Changes that are there are applied in the order of issue: a device does not put older data
//      over newer data that it has accepted for the same place.
// Invariants
//   (1) A crash image is a new device: its pages are shared until written, the original unharmed.
//   (2) It depends on the recorded run, the moment, the choice and its seed, on nothing else.

internal import BcachefsSupport
internal import Synchronization

/// Which of the changes since the last flush survive a crash.
public enum CrashSurvivors: Sendable, Equatable {
  /// None: only what a flush made durable.
  case none
  /// All, as if power had failed an instant later than the last write completed.
  case all
  /// The first ones, in order of issue.
  case prefix(Int)
  /// Each with probability one half, from the seed.
  case subset(seed: UInt64)
  /// Each whole, torn or not at all, one third each, from the seed.
  case tornSubset(seed: UInt64)
}

extension SimulatedDevice {
  /// The device as a crash now could leave it, without faults or history.
  public func crashImage(_ survivors: CrashSurvivors) -> SimulatedDevice {
    let (contents, byteCount, changes) = state.withLock {
      ($0.durable, $0.durableByteCount, $0.pending)
    }
    return makeImage(contents, byteCount, changes[...], survivors)
  }

  /// The device as a crash could have left it when the operations numbered below `sequence` had
  /// been done. Needs `recordsContents`.
  ///
  /// - Parameter recordsContents: whether there can be crash images of the image's own future.
  /// - Returns: nil if the contents of that moment were not recorded.
  public func crashImage(
    beforeOperation sequence: UInt64, _ survivors: CrashSurvivors, recordsContents: Bool = false
  ) -> SimulatedDevice? {
    let found = state.withLock { state -> (PageStore, UInt64, ArraySlice<Change>)? in
      guard sequence <= state.nextSequence else { return nil }
      // The first epoch whose flush had not been done then.
      var low = 0
      var high = state.epochs.count
      while low < high {
        let middle = (low + high) / 2
        if state.epochs[middle].endSequence < sequence { low = middle + 1 } else { high = middle }
      }
      if low < state.epochs.count {
        let epoch = state.epochs[low]
        return (
          epoch.durable, epoch.durableByteCount, Self.changes(epoch.changes, before: sequence)
        )
      }
      guard configuration.recordsContents || sequence == state.nextSequence else { return nil }
      return (
        state.durable, state.durableByteCount, Self.changes(state.pending, before: sequence)
      )
    }
    guard let (contents, byteCount, changes) = found else { return nil }
    return makeImage(contents, byteCount, changes, survivors, recordsContents: recordsContents)
  }

  private static func changes(_ all: [Change], before sequence: UInt64) -> ArraySlice<Change> {
    all.prefix { $0.sequence < sequence }
  }

  private func makeImage(
    _ durable: PageStore, _ durableByteCount: UInt64, _ changes: ArraySlice<Change>,
    _ survivors: CrashSurvivors, recordsContents: Bool = false
  ) -> SimulatedDevice {
    var contents = durable
    var byteCount = durableByteCount
    switch survivors {
    case .none: break
    case .all:
      for change in changes { change.apply(to: &contents, byteCount: &byteCount) }
    case .prefix(let count):
      for change in changes.prefix(max(count, 0)) {
        change.apply(to: &contents, byteCount: &byteCount)
      }
    case .subset(let seed):
      var generator = SplitMix64(seed: seed)
      for change in changes where generator.chance(0.5) {
        change.apply(to: &contents, byteCount: &byteCount)
      }
    case .tornSubset(let seed):
      var generator = SplitMix64(seed: seed)
      for change in changes {
        switch generator.below(3) {
        case 0: change.apply(to: &contents, byteCount: &byteCount)
        case 1: change.applyTorn(to: &contents, byteCount: &byteCount, &generator)
        default: break
        }
      }
    }
    var quiet = configuration
    quiet.recordsContents = recordsContents
    return SimulatedDevice(
      byteCount: byteCount, seed: 0, configuration: quiet, contents: contents)
  }
}

extension SimulatedDevice.Change {
  /// Some sectors of a write; changes of other kinds are small, and happen whole or not at all.
  fileprivate func applyTorn(
    to contents: inout PageStore, byteCount: inout UInt64, _ generator: inout SplitMix64
  ) {
    guard case .write(let data) = kind else { return }
    let tearing: SimulatedTearing = generator.chance(0.5) ? .prefix : .sectors
    let ranges = SimulatedDevice.State.torn(sectors: data.count / 512, tearing, &generator)
    for range in ranges {
      let bytes = Array(data[range.lowerBound * 512..<range.upperBound * 512])
      Self(kind: .write(bytes), offset: offset + UInt64(range.lowerBound * 512), sequence: sequence)
        .apply(to: &contents, byteCount: &byteCount)
    }
  }
}
