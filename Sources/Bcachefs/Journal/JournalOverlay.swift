// SPDX-License-Identifier: GPL-2.0
// The keys of the journal that the btrees may not have yet, in btree order.
//
// How it works
//   1. Keys are added in the order of the journal: their btree, level and position, and where they
//      stand in their entry. Nothing is copied.
//   2. `finish` sorts, and of several keys at exactly the same place keeps the last one: only it
//      counts. The keys that are left are copied, with their values, into one block of memory.
//   3. A btree cursor merges: at each position the overlay's key is in the place of the btree's.
//      Keys of type deleted and whiteout are kept: they hide what the btree has at their position.
//   4. Keys of type accounting are deltas: all of them are kept, oldest first. One counts when its
//      version is newer than that of the btree's key at that position; counters add up.
// Invariants
//   (1) Rows ascend by btree, level, position; only accounting keys have equal neighbours.
//   (2) Each row's key and value lie in `memory`, and were decoded once when they were added.
//   (3) Immutable once finished: any thread may read it. Lookups allocate nothing.
// Source: btree_journal_iter.c; disk_accounting.c, `bch2_accounting_read`.

internal import BcachefsFormat
internal import BcachefsSupport

/// Journal keys by position. Cursors hold an index into it.
final class JournalOverlay: Sendable {
  /// Where a key belongs, and where its bytes are.
  struct Row: Sendable {
    let position: BPos
    let btree: BTreeID
    let level: UInt8
    /// Of the key's 40 bytes in `memory`; the value follows.
    fileprivate(set) var offset: Int
  }

  /// One key with where it belongs.
  struct Entry {
    let btree: BTreeID
    let level: UInt8
    let key: BKey
    /// Of the value in `memory`.
    let valueRange: Range<Int>
  }

  let rows: ContiguousArray<Row>
  /// All keys with their values.
  let memory: HeapBuffer

  fileprivate init(rows: ContiguousArray<Row>, memory: HeapBuffer) {
    self.rows = rows
    self.memory = memory
  }

  /// No keys.
  convenience init() {
    self.init(rows: [], memory: HeapBuffer(byteCount: 0, alignment: 16))
  }

  var count: Int { rows.count }

  /// The first row at or after a position of a level of a btree; it may belong to the next level,
  /// or be `count`.
  func lowerBound(_ btree: BTreeID, _ level: UInt8, _ position: BPos) -> Int {
    var (low, high) = (0, rows.count)
    while low < high {
      let middle = (low + high) / 2
      if Self.precedes(rows[middle], btree, level, position) {
        low = middle + 1
      } else {
        high = middle
      }
    }
    return low
  }

  /// The rows of a level of a btree.
  func range(_ btree: BTreeID, _ level: UInt8) -> Range<Int> {
    let start = lowerBound(btree, level, .min)
    var (low, high) = (start, rows.count)
    while low < high {
      let middle = (low + high) / 2
      let row = rows[middle]
      if row.btree == btree && row.level == level { low = middle + 1 } else { high = middle }
    }
    return start..<low
  }

  /// - Precondition: `index` is below `count`.
  func entry(at index: Int) -> Entry {
    let row = rows[index]
    let key = key(at: index)
    let start = row.offset + BKey.Layout.byteCount
    return Entry(
      btree: row.btree, level: row.level, key: key,
      valueRange: start..<start + key.valueByteCount)
  }

  func key(at index: Int) -> BKey {
    let memory = memory
    return BKey(uncheckedUnpacked: memory.bytes, at: rows[index].offset)
  }

  /// The value of a key, exactly.
  @_lifetime(borrow self)
  func value(at index: Int) -> RawSpan {
    let memory = memory
    let value = memory.bytes.extracting(entry(at: index).valueRange)
    return unsafe _overrideLifetime(value, borrowing: self)
  }

  private static func precedes(
    _ row: Row, _ btree: BTreeID, _ level: UInt8, _ position: BPos
  ) -> Bool {
    if row.btree != btree { return row.btree < btree }
    if row.level != level { return row.level < level }
    return row.position < position
  }
}

/// Collects keys for an overlay.
struct JournalOverlayBuilder: ~Copyable {
  private struct Pending {
    let position: BPos
    let btree: BTreeID
    let level: UInt8
    let isDelta: Bool
    /// Key and value.
    let byteCount: Int
    /// Which of `sources`, and where in it.
    let source: Int
    let offset: Int

    func isSamePlace(as other: Pending) -> Bool {
      position == other.position && btree == other.btree && level == other.level
    }
  }

  private var sources: [HeapBuffer] = []
  private var pending: ContiguousArray<Pending> = []

  /// Keys that are added from now on stand in `entry`.
  mutating func begin(_ entry: HeapBuffer) { sources.append(entry) }

  /// Adds a key, newer than all before.
  ///
  /// - Parameter offset: Of the key's header in the entry that `begin` was called with.
  mutating func add(_ key: BKey, btree: BTreeID, level: UInt8, offset: Int) {
    pending.append(
      Pending(
        position: key.position, btree: btree, level: level, isDelta: key.type == .accounting,
        byteCount: Int(key.u64s) * 8, source: sources.count - 1, offset: offset))
  }

  consuming func finish() -> JournalOverlay {
    pending.sort { a, b in
      if a.btree != b.btree { return a.btree < b.btree }
      if a.level != b.level { return a.level < b.level }
      if a.position != b.position { return a.position < b.position }
      if a.source != b.source { return a.source < b.source }
      return a.offset < b.offset
    }
    var kept = 0
    var byteCount = 0
    for index in pending.indices {
      let isLast = index + 1 == pending.count
      let isOverwritten = !isLast && pending[index].isSamePlace(as: pending[index + 1])
      if isOverwritten && !pending[index].isDelta { continue }
      byteCount += pending[index].byteCount
      pending[kept] = pending[index]
      kept += 1
    }
    pending.removeSubrange(kept...)
    let memory = HeapBuffer(byteCount: byteCount, alignment: 16)
    var target = memory.mutableBytes
    var rows: ContiguousArray<JournalOverlay.Row> = []
    rows.reserveCapacity(kept)
    var end = 0
    for key in pending {
      let source = sources[key.source]
      target.copy(source.bytes.extracting(key.offset..<key.offset + key.byteCount), to: end)
      rows.append(
        JournalOverlay.Row(
          position: key.position, btree: key.btree, level: key.level, offset: end))
      end += key.byteCount
    }
    return JournalOverlay(rows: rows, memory: memory)
  }
}
