// SPDX-License-Identifier: GPL-2.0
// What of the journal's contents is kept while a volume is open that is only read.

internal import BcachefsFormat

/// What reading the journal told, beside roots and keys.
struct JournalSummary: Sendable {
  let warnings: [JournalWarning]
  /// Btrees that there are, and whose roots are not known.
  let lostRoots: [BTreeID]
  /// Sequence numbers that were replayed; empty on a clean volume.
  let replayed: Range<UInt64>
  /// The newest version of a key that was given out.
  let keyVersion: UInt64
  /// On which devices entries are that were replayed, with the first such entry; of the oldest one
  /// that does not count.
  let devices: [[UInt8]: UInt64]

  init(_ contents: JournalContents) {
    warnings = contents.warnings
    lostRoots = contents.roots.enumerated().compactMap { index, root in
      root.map { $0.key == nil } == true ? BTreeID(rawValue: UInt8(clamping: index)) : nil
    }
    replayed = contents.replayed
    keyVersion = contents.keyVersion
    var devices: [[UInt8]: UInt64] = [:]
    for entry in contents.entries
    where entry.fate == .replayed && entry.sequence != contents.replayed.lowerBound {
      let own = Set(entry.places.map(\.device)).sorted()
      devices[own] = min(devices[own] ?? .max, entry.sequence)
    }
    self.devices = devices
  }
}
