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
