// SPDX-License-Identifier: GPL-2.0
// What an open volume counts and measures, for all parts of the engine.

internal import BcachefsFormat
internal import BcachefsSupport

/// Counters that the superblock keeps, and times that are kept as long as the volume is open.
final class Instruments: Sendable {
  let counters: PersistentCounters
  let times: TimeStatistics

  /// - Parameter counters: Zero, where nobody asks what was before.
  init(_ counters: PersistentCounters = PersistentCounters(), clocks: Clocks = .system) {
    self.counters = counters
    times = TimeStatistics(clocks)
  }

  /// Counts an event that does not happen often.
  func count(_ counter: PersistentCounter) { counters.add(counter) }

  /// Takes note that something is in the way of all, or no longer.
  ///
  /// - Parameter counter: Counts how often that began.
  func note(
    _ statistic: TimeStatistic, isBlocked: Bool, _ counter: PersistentCounter? = nil
  ) {
    guard times.setBlocked(statistic, isBlocked), isBlocked, let counter else { return }
    count(counter)
  }
}
