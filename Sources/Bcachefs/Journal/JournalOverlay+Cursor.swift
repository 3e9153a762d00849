// SPDX-License-Identifier: GPL-2.0
// What btree cursors ask of the journal's keys.

internal import BcachefsFormat
internal import BcachefsSupport

extension JournalOverlay {
  /// The first row at or behind a position; it may belong to another level or btree.
  func lowerBound(btree: BTreeID, level: Int, position: BPos) -> Int {
    lowerBound(btree, UInt8(clamping: level), position)
  }

  /// The first row behind a position; it may belong to another level or btree.
  func upperBound(btree: BTreeID, level: Int, position: BPos) -> Int {
    let index = lowerBound(btree: btree, level: level, position: position)
    return self.position(at: index, btree: btree, level: level) == position ? index + 1 : index
  }

  /// The position of a row, nil where it is none of this level of the btree.
  func position(at index: Int, btree: BTreeID, level: Int) -> BPos? {
    guard index < rows.count, rows[index].btree == btree, Int(rows[index].level) == level
    else { return nil }
    return rows[index].position
  }

  /// - Precondition: `index` is below `count`.
  func reference(at index: Int) -> KeyReference {
    let entry = entry(at: index)
    return KeyReference(
      key: entry.key, storage: memory, valueStart: entry.valueRange.lowerBound)
  }
}

extension JournalContents {
  /// The roots of all btrees whose roots are known.
  var btreeRoots: [BTreeID: BTreeRoot] {
    var result: [BTreeID: BTreeRoot] = [:]
    for (index, root) in roots.enumerated() {
      guard let root, let key = root.key else { continue }
      let btree = BTreeID(rawValue: UInt8(clamping: index))
      let buffer = HeapBuffer(byteCount: root.value.count)
      var bytes = buffer.mutableBytes
      bytes.copy(root.value.rawBytes, to: 0)
      result[btree] = BTreeRoot(
        btree: btree, level: Int(root.level),
        pointer: KeyReference(key: key, storage: buffer, valueStart: 0))
    }
    return result
  }
}

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
