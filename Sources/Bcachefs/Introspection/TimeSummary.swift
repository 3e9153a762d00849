// SPDX-License-Identifier: GPL-2.0
// What is kept of many durations.
//
// How it works
//   1. Mean and deviation are kept up to date value by value (Welford's method: what is squared is
//      the distance from the mean so far, so nothing is lost where values are large and close).
//   2. The same "of late": each value counts for a 256th, the ones before it for the rest.
//   3. A histogram counts values by their highest bit; shares of it (quantiles) are as exact as
//      its buckets, a factor of two.
// Invariants
//   (1) minimum <= mean <= maximum where count > 0; the histogram adds up to count.
// Source: time_stats.c, mean_and_variance.c.

internal import BcachefsSupport

/// Values as they come: how many, from where to where, mean and deviation.
struct RunningValues: Sendable {
  private(set) var count: UInt64 = 0
  private(set) var minimum = UInt64.max
  private(set) var maximum: UInt64 = 0
  /// Stays where it is when it is more than 64 bits hold.
  private(set) var total: UInt64 = 0
  private(set) var mean = 0.0
  private(set) var recentMean = 0.0
  private var squares = 0.0
  private var recentVariance = 0.0

  /// What a value counts for among those of late.
  private static var recentWeight: Double { 1.0 / 256 }

  /// The standard deviation of all values (not an estimate for more of them).
  var deviation: Double { count > 0 ? (squares / Double(count)).squareRoot() : 0 }
  var recentDeviation: Double { recentVariance.squareRoot() }

  mutating func add(_ value: UInt64) {
    count += 1
    minimum = min(minimum, value)
    maximum = max(maximum, value)
    let (sum, isOver) = total.addingReportingOverflow(value)
    total = isOver ? .max : sum
    let number = Double(value)
    let distance = number - mean
    mean += distance / Double(count)
    squares += distance * (number - mean)
    guard count > 1 else {
      recentMean = number
      return
    }
    let recentDistance = number - recentMean
    let step = recentDistance * Self.recentWeight
    recentMean += step
    recentVariance = (1 - Self.recentWeight) * (recentVariance + recentDistance * step)
  }
}

/// What is known of all events of a kind; nanoseconds.
struct TimeSummary: Sendable {
  private(set) var durations = RunningValues()
  /// From the end of one event to the end of the next.
  private(set) var intervals = RunningValues()
  /// Durations by their highest bit; those of no time at all with those of 1 ns.
  private(set) var histogram = InlineArray<64, UInt64>(repeating: 0)
  private var lastEnd: UInt64?

  var count: UInt64 { durations.count }

  /// Adds an event. Of a clock that was read in the wrong order it takes no time.
  mutating func add(from start: UInt64, to end: UInt64) {
    let duration = end > start ? end - start : 0
    durations.add(duration)
    histogram[63 - max(duration, 1).leadingZeroBitCount] += 1
    if let lastEnd, end > lastEnd { intervals.add(end - lastEnd) }
    lastEnd = max(lastEnd ?? 0, end)
  }

  /// What so many of a hundred durations are not above: the end of the histogram's bucket, or the
  /// longest of all.
  func percentile(_ percent: UInt64) -> UInt64 {
    let (product, isOver) = count.multipliedReportingOverflow(by: min(percent, 100))
    let wanted = isOver ? count : (product + 99) / 100
    var seen: UInt64 = 0
    for bit in 0..<64 {
      seen += histogram[bit]
      guard seen >= wanted, seen > 0 else { continue }
      let end = bit == 63 ? UInt64.max : (UInt64(2) << UInt64(bit)) - 1
      return min(end, durations.maximum)
    }
    return 0
  }
}
