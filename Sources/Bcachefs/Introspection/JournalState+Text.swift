// SPDX-License-Identifier: GPL-2.0
// The text of a journal's state, with upstream's names where it has the same.
// Source: journal.c (bch2_journal_debug_to_text).

internal import BcachefsFormat
internal import BcachefsSupport

extension JournalState {
  var text: String {
    var out = TextPrinter()
    out.addTabStop(28)
    let rows: [(name: String, value: String)] = [
      ("flags", flags.map(\.rawValue).joined(separator: ",")),
      ("dirty journal entries", "\(dirtyEntries)"), ("seq", "\(sequence)"),
      ("seq_ondisk", "\(writtenSequence)"), ("last_seq", "\(lastSequence)"),
      ("last_seq_ondisk", "\(lastSequenceOnDisk)"), ("flushed_seq_ondisk", "\(flushedSequence)"),
      ("flush wanted", "\(flushWanted)"), ("watermark", "\(snake: watermark)"),
      ("nr flush writes", "\(tally.flushWrites)"),
      ("nr noflush writes", "\(tally.noflushWrites)"),
      ("average write size", "\(tally.averageBytes)"),
      ("nr direct reclaim", "\(tally.directReclaims)"),
      ("nr background reclaim", "\(tally.backgroundReclaims)"),
    ]
    for row in rows { out.printLine("\(row.name):\t\(row.value)") }
    if let failure { out.printLine("error:\t\(failure)") }
    printEntries(into: &out)
    out.printLine("space:\t\(freeEntries)/\(totalEntries) buckets for entries")
    for device in devices { device.print(into: &out) }
    printPins(into: &out)
    return out.text
  }

  private func printEntries(into out: inout TextPrinter) {
    if let open = unwritten.last, !open.isClosed {
      out.printLine("current entry:\t\(open.usedWords)/\(open.limitWords)")
    } else {
      out.printLine("current entry:\tclosed")
    }
    out.printLine("unwritten entries:")
    out.indent(2)
    for entry in unwritten {
      out.printLine(
        "seq \(entry.sequence): \(entry.reservations) reservations, u64s \(entry.usedWords)/"
          + "\(entry.limitWords)\(entry.isClosed ? ", closed" : "")")
    }
    out.outdent(2)
  }

  private func printPins(into out: inout TextPrinter) {
    out.printLine("pins:")
    out.indent(2)
    for entry in pins where entry.isHeld || !entry.counts.isEmpty {
      let counts = JournalPin.Kind.allCases.compactMap { kind in
        entry.counts[kind].map { "\(snake: kind) \($0)" }
      }
      let all = (entry.isHeld ? ["held"] : []) + counts
      out.printLine("seq \(entry.sequence): \(all.joined(separator: ", "))")
      out.indent(2)
      for node in entry.nodes { out.printLine("\(node)") }
      out.outdent(2)
    }
    out.outdent(2)
  }
}

extension JournalState.Device {
  fileprivate func print(into out: inout TextPrinter) {
    out.printLine("dev \(device):")
    out.indent(2)
    out.printLine("nr\t\(buckets)")
    out.printLine("bucket size\t\(bucketSectors)")
    out.printLine("available\t\(freeBuckets):\(freeSectors)")
    out.printLine("dirty_idx_ondisk\t\(oldestIndex) (seq \(oldestSequence))")
    out.printLine("cur_idx\t\(currentIndex) (seq \(currentSequence))")
    out.outdent(2)
  }
}
