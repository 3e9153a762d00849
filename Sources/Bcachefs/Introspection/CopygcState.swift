// SPDX-License-Identifier: GPL-2.0
// What copying garbage collection does, and what it waits for.
// Source: movinggc.c (bch2_copygc_wait_to_text).

internal import BcachefsFormat
internal import BcachefsSupport

/// Since the volume was opened.
struct CopygcState: Sendable {
  let isRunning: Bool
  /// Sectors that may be written before it begins.
  let waitSectors: UInt64
  let totals: Copygc.Totals
}

extension CopygcState {
  var text: String {
    var out = TextPrinter()
    out.addTabStop(32)
    out.printLine("running:\t\(isRunning ? 1 : 0)")
    out.printLine("Currently calculated wait:\t\(waitSectors) sectors")
    out.printLine("rounds:\t\(totals.rounds)")
    out.printLine("buckets emptied:\t\(totals.buckets)")
    out.printLine("sectors moved:\t\(totals.moved.sectors)")
    out.printLine("nodes moved:\t\(totals.moved.nodes)")
    out.printLine("keys raced:\t\(totals.moved.raced)")
    out.printLine("extents that stay:\t\(totals.moved.failed)")
    return out.text
  }
}

extension Engine {
  /// What moves data to make room.
  var copygcState: CopygcState {
    CopygcState(
      isRunning: copygc.isRunning, waitSectors: copygcWait, totals: copygc.totals)
  }
}
