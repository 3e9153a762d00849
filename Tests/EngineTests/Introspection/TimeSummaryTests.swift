// SPDX-License-Identifier: GPL-2.0
// What is kept of durations, beside the same from a list of all of them.

internal import BcachefsSupport
internal import Foundation
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct TimeSummaryTests {
  /// A clock that a test sets.
  private final class Hand: Sendable {
    private let time = Atomic<UInt64>(0)

    func set(_ nanoseconds: UInt64) { time.store(nanoseconds, ordering: .relaxed) }

    var statistics: TimeStatistics {
      TimeStatistics(
        Clocks(
          wallNanoseconds: { 0 }, monotonicNanoseconds: { self.time.load(ordering: .relaxed) }))
    }
  }

  private func expect(_ value: Double, about expected: Double) {
    #expect(abs(value - expected) <= abs(expected) * 1e-9, "\(value), \(expected)")
  }

  private func values(_ count: Int, seed: UInt64, above base: UInt64) -> [UInt64] {
    var random = SplitMix64(seed: seed)
    return (0..<count).map { _ in base + random.next() >> (44 + random.next() % 16) }
  }

  /// Far from zero and close together is where a sum of squares would lose everything.
  @Test(arguments: [UInt64(0), 1_000_000_000_000])
  func meanAndDeviationAreThoseOfAllValues(base: UInt64) {
    let all = values(5000, seed: 3, above: base)
    var running = RunningValues()
    for value in all { running.add(value) }
    let mean = Double(all.reduce(0, +)) / Double(all.count)
    let squares = all.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
    expect(running.mean, about: mean)
    expect(running.deviation, about: (squares / Double(all.count)).squareRoot())
    #expect(running.count == 5000)
    #expect(running.total == all.reduce(0, +))
    #expect(running.minimum == all.min() && running.maximum == all.max())
  }

  @Test func theRecentMeanFollowsAndTheWholeOneRemembers() {
    var running = RunningValues()
    for _ in 0..<10_000 { running.add(1000) }
    for _ in 0..<3000 { running.add(5000) }
    #expect(running.recentMean > 4990 && running.recentMean <= 5000)
    #expect(running.recentDeviation < 200)
    expect(running.mean, about: (10_000 * 1000 + 3000 * 5000) / 13_000)
  }

  @Test func sumsThatAreTooLargeStayAtTheEnd() {
    var running = RunningValues()
    for _ in 0..<3 { running.add(.max) }
    #expect(running.total == .max && running.maximum == .max)
    var summary = TimeSummary()
    summary.add(from: 0, to: .max)
    #expect(summary.percentile(50) == .max)
  }

  @Test func percentilesAreWithinAFactorOfTwo() {
    var summary = TimeSummary()
    let all = values(4000, seed: 9, above: 1).sorted()
    for value in all { summary.add(from: 1000, to: 1000 + value) }
    for percent in [UInt64(1), 50, 90, 99, 100] {
      let exact = all[max(0, all.count * Int(percent) / 100 - 1)]
      #expect(summary.percentile(percent) >= exact && summary.percentile(percent) < exact * 2)
    }
    #expect((0..<64).reduce(0) { $0 + summary.histogram[$1] } == 4000)
    #expect(TimeSummary().percentile(50) == 0)
  }

  @Test func aClockThatWasReadInTheWrongOrderCountsAsNoTime() {
    var summary = TimeSummary()
    summary.add(from: 200, to: 100)
    summary.add(from: 50, to: 90)
    #expect(summary.count == 2 && summary.durations.minimum == 0 && summary.durations.maximum == 40)
    #expect(summary.intervals.count == 0)
  }

  @Test func eventsAreMeasuredFromTheirBeginningToNow() {
    let hand = Hand()
    let times = hand.statistics
    hand.set(1700)
    times.record(.journalFlushSeq, from: 1000)
    hand.set(2700)
    times.record(.journalFlushSeq, from: 2600)
    let summary = times[.journalFlushSeq]
    #expect(summary.count == 2 && summary.durations.total == 800)
    #expect(summary.intervals.count == 1 && summary.intervals.total == 1000)
    #expect(times[.btreeNodeRead].count == 0)
  }

  @Test func whatBlocksIsAnEventOnceItIsOver() {
    let hand = Hand()
    let times = hand.statistics
    #expect(!times.setBlocked(.blockedAllocate, false))
    #expect(times.setBlocked(.blockedAllocate, true), "also at the moment 0")
    hand.set(500)
    #expect(!times.setBlocked(.blockedAllocate, true))
    #expect(times.blockedFor(.blockedAllocate) == 499)
    #expect(times[.blockedAllocate].count == 0)
    #expect(times.setBlocked(.blockedAllocate, false))
    #expect(times.blockedFor(.blockedAllocate) == nil)
    #expect(times[.blockedAllocate].durations.total == 499)
  }

  @Test func namesAreUpstreamsInItsOrder() {
    let names = TimeStatistic.allCases.map(\.name)
    #expect(Set(names).count == 24)
    #expect(names.first == "btree_node_mem_alloc" && names.last == "nocow_lock_contended")
    #expect(TimeStatistic.journalFlushSeq.name == "journal_flush_seq")
    #expect(TimeStatistic.btreeGC.name == "btree_gc")
    #expect(TimeStatistic.blockedWriteBufferFull.name == "blocked_write_buffer_full")
  }

  @Test func timesAreSaidInAUnitThatSuitsThem() {
    let cases: [(UInt64, String)] = [
      (0, "0 ns"), (1999, "1999 ns"), (2000, "2 us"), (3_700_000, "3 ms"),
      (1_999_999_999, "1999 ms"), (2_000_000_000, "2 s"), (86_400_000_000_000 * 3, "3 d"),
    ]
    for (nanoseconds, text) in cases { #expect(TimeText.text(nanoseconds) == text) }
    #expect(TimeText.text(Double.infinity) == TimeText.text(UInt64.max))
  }
}
