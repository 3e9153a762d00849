// SPDX-License-Identifier: GPL-2.0
// Texts of what is going on in an open volume, in the columns that upstream's own dumps have.

internal import BcachefsFormat
internal import BcachefsSupport

extension Engine {
  /// Counters, as sysfs' folder `counters` has them.
  var countersText: String {
    var out = TextPrinter()
    for width in [48, 16, 16] { out.addTabStop(width) }
    out.printLine("counter\tsince mount\tsince filesystem creation")
    for counter in PersistentCounter.all {
      let (ever, now) = (instruments.counters[counter], instruments.counters.sinceOpen(counter))
      if ever > 0 { out.printLine("\(counter)\t\(now)\t\(ever)") }
    }
    return out.text
  }

  /// Times of all that has happened, as sysfs' folder `time_stats` has them.
  var timesText: String {
    var out = TextPrinter()
    for statistic in TimeStatistic.allCases {
      let summary = instruments.times[statistic]
      let blocked = instruments.times.blockedFor(statistic)
      guard summary.count > 0 || blocked != nil else { continue }
      out.printLine(statistic.name)
      out.indent(2)
      if let blocked { out.printLine("blocked now, for \(TimeText.text(blocked))") }
      summary.print(into: &out)
      out.outdent(2)
    }
    return out.text
  }

  /// Everything that there is to see.
  var stateText: String {
    var out = TextPrinter()
    let parts = [
      ("journal", journal.state.text), ("btree cache", nodeCacheState.text),
      ("write buffer", writeBufferState.text), ("transactions", Self.text(runningTransactions())),
      ("open buckets", Self.text(openBucketStates)),
      ("write points", Self.text(writePointStates)), ("copygc", copygcState.text),
      ("nocow locks", Self.text(nocowLocks.counts)),
      ("counters", countersText), ("time stats", timesText),
    ]
    for (title, text) in parts {
      out.printLine("\(title):")
      out.printRaw(text)
      out.newline()
    }
    return out.text
  }

  static func text(_ transactions: [RunningTransaction]) -> String {
    var out = TextPrinter()
    for transaction in transactions { transaction.print(into: &out) }
    return out.text
  }

  static func text(_ locks: (writing: Int, moving: Int)) -> String {
    "buckets written to in place: \(locks.writing)\nbuckets that are moved: \(locks.moving)\n"
  }

  static func text(_ buckets: [OpenBucketState]) -> String {
    buckets.map { "\($0)\n" }.joined()
  }

  static func text(_ points: [WritePointState]) -> String {
    var out = TextPrinter()
    for point in points
    where !point.buckets.isEmpty || point.clocks.contains(where: { $0.clock > 0 }) {
      out.printLine("\(point.name): \(point.dataType)")
      out.indent(2)
      for bucket in point.buckets { out.printLine("\(bucket)") }
      for (device, clock) in point.clocks where clock > 0 {
        out.printLine("clock of device \(device): \(clock)")
      }
      out.outdent(2)
    }
    return out.text
  }
}

extension String.StringInterpolation {
  /// The name of a case in the case that upstream's names have: `btreeCopygc` is btree_copygc.
  mutating func appendInterpolation<Case: RawRepresentable>(snake value: Case) {
    for letter in "\(value)" {
      appendLiteral(letter.isUppercase ? "_\(letter.lowercased())" : "\(letter)")
    }
  }
}

// MARK: - Times

/// Durations with the unit that suits them.
enum TimeText {
  private static let units: [(name: String, nanoseconds: UInt64)] = [
    ("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000),
    ("h", 3_600_000_000_000), ("d", 86_400_000_000_000),
  ]

  /// In the largest unit of which there are two at least.
  static func text(_ nanoseconds: UInt64) -> String {
    let unit = units.last { $0.nanoseconds * 2 <= nanoseconds } ?? units[0]
    return "\(nanoseconds / unit.nanoseconds) \(unit.name)"
  }

  static func text(_ nanoseconds: Double) -> String {
    text(UInt64(exactly: nanoseconds.rounded()) ?? .max)
  }
}

extension RunningValues {
  fileprivate func print(into out: inout TextPrinter, withTotal: Bool) {
    guard count > 0 else { return }
    out.printLine("min:\t\(TimeText.text(minimum))")
    out.printLine("max:\t\(TimeText.text(maximum))")
    if withTotal { out.printLine("total:\t\(TimeText.text(total))") }
    out.printLine("mean:\t\(TimeText.text(mean))\t\(TimeText.text(recentMean))")
    out.printLine("stddev:\t\(TimeText.text(deviation))\t\(TimeText.text(recentDeviation))")
  }
}

extension TimeSummary {
  /// - Parameter out: Two tab stops are added where there are none.
  func print(into out: inout TextPrinter) {
    if out.tabStopCount == 0 { for width in [20, 16, 16] { out.addTabStop(width) } }
    out.printLine("count:\t\(count)")
    guard count > 0 else { return }
    out.printLine("\tsince mount\trecent")
    out.printLine("duration of events")
    out.indent(2)
    durations.print(into: &out, withTotal: true)
    let shares = [50, 90, 99].map { (percent: UInt64) in
      "\(percent)%: \(TimeText.text(percentile(percent)))"
    }
    out.printLine("at most: \(shares.joined(separator: ", "))")
    out.outdent(2)
    guard intervals.count > 0 else { return }
    out.printLine("time between events")
    out.indent(2)
    intervals.print(into: &out, withTotal: false)
    out.outdent(2)
  }
}

// MARK: - Structures

extension RunningTransaction {
  fileprivate func print(into out: inout TextPrinter) {
    out.printLine("\(name): \(snake: activity)")
    out.indent(2)
    for lock in locks { out.printLine("holds \(lock.mode) \(lock.node)") }
    if let waitsFor { out.printLine("waits for \(waitsFor.mode) \(waitsFor.node)") }
    let counts = RestartReason.allCases.compactMap { reason in
      restarts[reason].map { "\(snake: reason) \($0)" }
    }
    if !counts.isEmpty { out.printLine("restarts: \(counts.joined(separator: ", "))") }
    out.outdent(2)
  }
}

extension OpenBucketState: CustomStringConvertible {
  /// Device, bucket, references, and what is known of it.
  var description: String {
    var text = "\(device):\(bucket) ref \(references)"
    if let generation { text += " gen \(generation)" }
    if let dataType { text += " \(dataType)" }
    if let freeSectors { text += " free \(freeSectors)" }
    switch holder {
    case .writePoint(let name): return text + " write point \(name)"
    case .partial: return text + " partial"
    case .allocations: return text + " not settled"
    }
  }
}

extension NodeCacheState {
  var text: String {
    var out = TextPrinter()
    for width in [28, 12, 12, 12, 12, 12, 12] { out.addTabStop(width) }
    out.printLine("bytes:\t\(byteCount)/\(limitBytes)")
    out.printLine("node size:\t\(nodeBytes)")
    out.printLine("nodes:\t\(nodes)")
    out.printLine("dirty:\t\(dirty)")
    out.printLine("writing:\t\(writing)")
    out.printLine("being changed:\t\(unseen)")
    out.printLine("free objects:\t\(free)")
    out.printLine("queued writes:\t\(queuedWrites)")
    out.printLine("btree\tnodes\tinterior\tdirty\twriting\tunreachable\tbytes")
    for share in shares {
      out.printLine(
        "\(share.btree)\t\(share.nodes)\t\(share.interior)\t\(share.dirty)\t\(share.writing)\t"
          + "\(share.unreachable)\t\(share.bytes)")
    }
    return out.text
  }
}
