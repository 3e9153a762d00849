// SPDX-License-Identifier: GPL-2.0
// Measuring: how long things take, and for how long something is in the way.
//
// How it works
//   1. Whoever does what is measured asks for the time before and tells it here behind. Nothing is
//      measured that happens for every key: nodes, journal entries, flushes, buckets are.
//   2. What blocks others is a state, not a call: `setBlocked` notes when it begins, and adds an
//      event when it ends. Saying again what is known costs one load.
// Invariants
//   (1) A state that is there when it is asked for is not among the events yet.
// Locks: one mutex for each statistic, for some additions; others are held meanwhile, the journal's
// among them, and nothing is called with it.
// Source: time_stats.c (__bch2_time_stats_update), time_stats.h (track_event_change).

internal import BcachefsSupport
internal import Synchronization

/// The times of a volume that is open.
final class TimeStatistics: Sendable {
  private final class Slot: Sendable {
    let summary = Mutex(TimeSummary())
    /// When a state began; 0 where it is not so.
    let blockedSince = Atomic<UInt64>(0)
  }

  private let clocks: Clocks
  private let slots: [Slot]

  init(_ clocks: Clocks) {
    self.clocks = clocks
    slots = TimeStatistic.allCases.map { _ in Slot() }
  }

  /// Nanoseconds since some moment.
  var now: UInt64 { clocks.monotonicNanoseconds() }

  /// Adds an event that began at a time and is over.
  func record(_ statistic: TimeStatistic, from start: UInt64) {
    let end = now
    slots[Int(statistic.rawValue)].summary.withLock { $0.add(from: start, to: end) }
  }

  /// Something is in the way of others from now on, or no longer.
  ///
  /// - Returns: whether that is new.
  @discardableResult
  func setBlocked(_ statistic: TimeStatistic, _ isBlocked: Bool) -> Bool {
    let slot = slots[Int(statistic.rawValue)]
    let since = slot.blockedSince.load(ordering: .relaxed)
    guard (since != 0) != isBlocked else { return false }
    let desired = isBlocked ? max(now, 1) : 0
    let (isMine, _) = slot.blockedSince.compareExchange(
      expected: since, desired: desired, ordering: .relaxed)
    if isMine, !isBlocked { record(statistic, from: since) }
    return isMine
  }

  /// For how long something has been in the way, in nanoseconds; nil if it is not.
  func blockedFor(_ statistic: TimeStatistic) -> UInt64? {
    let since = slots[Int(statistic.rawValue)].blockedSince.load(ordering: .relaxed)
    guard since != 0 else { return nil }
    let now = now
    return now > since ? now - since : 0
  }

  subscript(_ statistic: TimeStatistic) -> TimeSummary {
    slots[Int(statistic.rawValue)].summary.withLock { $0 }
  }
}
