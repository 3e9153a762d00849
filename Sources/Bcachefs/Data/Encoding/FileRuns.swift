// SPDX-License-Identifier: GPL-2.0
// Where in a file the bytes of a buffer belong.

internal import BcachefsSupport

/// Runs of whole blocks of a file, in its order, whose bytes lie one behind the other in a buffer.
struct FileRuns {
  struct Run {
    let sector: UInt64
    var byteCount: Int
  }

  /// How far somebody is.
  struct Place {
    /// The run that is next, or of which a part is left.
    var run = 0
    /// Bytes of that run that are done.
    var byteInRun = 0
    /// Bytes of all runs that are done.
    var byte = 0
  }

  private(set) var all: [Run] = []
  private(set) var byteCount = 0

  init() {}

  init(sector: UInt64, byteCount: Int) { append(sector: sector, byteCount: byteCount) }

  /// Adds a run behind the last one; what follows it without a gap makes it longer.
  mutating func append(sector: UInt64, byteCount count: Int) {
    byteCount += count
    if let last = all.last {
      let end = last.sector + UInt64(last.byteCount / 512)
      invariant(sector >= end, "runs are in the order of the file")
      if sector == end {
        all[all.count - 1].byteCount += count
        return
      }
    }
    all.append(Run(sector: sector, byteCount: count))
  }

  /// Forgets all runs, but not the memory that they took.
  mutating func removeAll() {
    all.removeAll(keepingCapacity: true)
    byteCount = 0
  }

  /// Goes on within a run, or to the next one.
  func advance(_ place: inout Place, by count: Int) {
    place.byte += count
    place.byteInRun += count
    guard place.byteInRun == all[place.run].byteCount else { return }
    place.run += 1
    place.byteInRun = 0
  }
}
