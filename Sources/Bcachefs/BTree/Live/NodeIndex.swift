// SPDX-License-Identifier: GPL-2.0
// The order of a live node's keys: a sorted list of positions that is cheap to insert into.
//
// How it works
//   1. Entries stand in chunks of at most `chunkCapacity`, each sorted; the chunks' first positions
//      stand in a sorted directory. A search halves the directory, then one chunk: both are a few
//      cache lines. An insertion moves half a chunk, whatever the node's size.
//   2. A full chunk is halved. When the insertion is behind its last entry, the new entry begins a
//      chunk of its own instead: keys inserted in order fill their chunks.
//   3. An empty chunk is given back. Nearly empty ones stay: a node is written anew from time to
//      time, and its index with it.
//   4. An entry says where the key's record is in the node's arena, whether the record is newer
//      than what is on disk (dirty), and whether any version of the position is on disk.
// Invariants
//   (1) No chunk is empty; a directory row's position is that of its chunk's first entry.
//   (2) Positions ascend strictly, within a chunk and from one to the next.
// Locks: none of its own; whoever changes it holds the node's write lock, whoever reads it a read
// or intent lock.

internal import BcachefsFormat
internal import BcachefsSupport

/// Where the record of a position is, and how it stands to the disk.
struct RecordPlace: Equatable {
  private var bits: UInt32

  static var wordLimit: Int { 1 << 30 }

  init(word: Int, isDirty: Bool, isOnDisk: Bool) {
    assert(word < Self.wordLimit)
    bits = UInt32(truncatingIfNeeded: word) | (isDirty ? 1 << 31 : 0) | (isOnDisk ? 1 << 30 : 0)
  }

  /// Words from the start of the arena.
  @inline(__always) var word: Int {
    get { Int(bits & 0x3fff_ffff) }
    set { bits = bits & 0xc000_0000 | UInt32(truncatingIfNeeded: newValue) }
  }

  /// The record is not on disk yet.
  @inline(__always) var isDirty: Bool {
    get { bits & 1 << 31 != 0 }
    set { bits = newValue ? bits | 1 << 31 : bits & ~(1 << 31) }
  }

  /// A record of this position, this one or an older one, is on disk.
  @inline(__always) var isOnDisk: Bool {
    get { bits & 1 << 30 != 0 }
    set { bits = newValue ? bits | 1 << 30 : bits & ~(1 << 30) }
  }
}

/// One position of a live node.
struct IndexEntry {
  let inode: UInt64
  let offset: UInt64
  let snapshot: UInt32
  var place: RecordPlace

  @inline(__always) init(_ position: BPos, _ place: RecordPlace) {
    inode = position.inode
    offset = position.offset
    snapshot = position.snapshot
    self.place = place
  }

  @inline(__always) var position: BPos { BPos(inode, offset, snapshot) }

  @inline(__always) func isBefore(_ position: BPos) -> Bool {
    if inode != position.inode { return inode < position.inode }
    if offset != position.offset { return offset < position.offset }
    return snapshot < position.snapshot
  }
}

/// A place among the entries; valid until the next change.
struct IndexSlot: Equatable {
  var row: Int
  var entry: Int
}

@safe
struct NodeIndex: ~Copyable {
  static var chunkCapacity: Int { 64 }

  /// A chunk, and the first position in it.
  private struct Row {
    var inode: UInt64
    var offset: UInt64
    var snapshot: UInt32
    var chunk: UInt16
    var count: UInt16

    @inline(__always) func isBehind(_ position: BPos) -> Bool {
      if inode != position.inode { return inode > position.inode }
      if offset != position.offset { return offset > position.offset }
      return snapshot > position.snapshot
    }
  }

  private var rows: UnsafeMutablePointer<Row>
  private var rowCapacity: Int
  private(set) var rowCount = 0
  private var entries: UnsafeMutablePointer<IndexEntry>
  /// Chunks that there is memory for, used, and given back.
  private var chunkLimit: Int
  private var chunkCount = 0
  private var freeChunks: [UInt16] = []
  /// Entries in all.
  private(set) var count = 0

  /// - Parameter expected: About how many entries there will be.
  init(expected: Int = 0) {
    let chunks = max(2, expected / (Self.chunkCapacity / 2))
    rowCapacity = chunks
    chunkLimit = chunks
    unsafe rows = .allocate(capacity: rowCapacity)
    unsafe entries = .allocate(capacity: chunkLimit * Self.chunkCapacity)
  }

  deinit {
    unsafe rows.deallocate()
    unsafe entries.deallocate()
  }

  /// What it takes, in bytes.
  var memoryBytes: Int {
    rowCapacity * MemoryLayout<Row>.stride + chunkLimit * Self.chunkCapacity
      * MemoryLayout<IndexEntry>.stride
  }

  // MARK: - Reading

  @inline(__always) subscript(slot: IndexSlot) -> IndexEntry {
    assert(isEntry(slot))
    return unsafe chunk(slot.row)[slot.entry]
  }

  @inline(__always) func isEntry(_ slot: IndexSlot) -> Bool {
    unsafe slot.row >= 0 && slot.row < rowCount && slot.entry >= 0
      && slot.entry < Int(rows[slot.row].count)
  }

  @inline(__always) var start: IndexSlot { IndexSlot(row: 0, entry: 0) }
  @inline(__always) var end: IndexSlot { IndexSlot(row: rowCount, entry: 0) }

  @inline(__always) func after(_ slot: IndexSlot) -> IndexSlot {
    if unsafe slot.entry &+ 1 < Int(rows[slot.row].count) {
      return IndexSlot(row: slot.row, entry: slot.entry &+ 1)
    }
    return IndexSlot(row: slot.row &+ 1, entry: 0)
  }

  /// The entry before a slot, which may be `end`; nil at the start.
  @inline(__always) func before(_ slot: IndexSlot) -> IndexSlot? {
    if slot.entry > 0 { return IndexSlot(row: slot.row, entry: slot.entry &- 1) }
    guard slot.row > 0 else { return nil }
    return unsafe IndexSlot(row: slot.row &- 1, entry: Int(rows[slot.row &- 1].count) &- 1)
  }

  /// The first entry at or behind a position; `end` if there is none.
  ///
  /// - Complexity: O(log n); allocates nothing.
  func lowerBound(_ position: BPos) -> IndexSlot {
    guard rowCount > 0 else { return end }
    let row = max(rowOf(position), 0)
    let base = unsafe chunk(row)
    var low = 0
    var high = unsafe Int(rows[row].count)
    while low < high {
      let middle = (low &+ high) >> 1
      if unsafe base[middle].isBefore(position) { low = middle &+ 1 } else { high = middle }
    }
    if unsafe low == Int(rows[row].count) { return IndexSlot(row: row &+ 1, entry: 0) }
    return IndexSlot(row: row, entry: low)
  }

  /// As `lowerBound`, where it is likely to be a slot or the one behind it.
  ///
  /// - Parameter guess: Any slot, of whatever node and time: what it says is looked at.
  /// - Complexity: O(1) where the guess is right.
  @inline(__always) func lowerBound(_ position: BPos, near guess: IndexSlot) -> IndexSlot {
    if isEntry(guess) || guess == end {
      if isLowerBound(guess, position) { return guess }
      if guess.row < rowCount {
        let next = after(guess)
        if isLowerBound(next, position) { return next }
      }
    }
    return lowerBound(position)
  }

  /// Whether a slot, an entry's or `end`, is the lower bound of a position.
  @inline(__always) private func isLowerBound(_ slot: IndexSlot, _ position: BPos) -> Bool {
    if slot.row < rowCount, self[slot].isBefore(position) { return false }
    guard let before = before(slot) else { return true }
    return self[before].isBefore(position)
  }

  /// The entry of exactly this position.
  func find(_ position: BPos) -> IndexSlot? {
    let slot = lowerBound(position)
    guard slot.row < rowCount, self[slot].position == position else { return nil }
    return slot
  }

  /// The last row that does not begin behind a position; -1 if all do.
  private func rowOf(_ position: BPos) -> Int {
    var low = 0
    var high = rowCount
    while low < high {
      let middle = (low &+ high) >> 1
      if unsafe rows[middle].isBehind(position) { high = middle } else { low = middle &+ 1 }
    }
    return low &- 1
  }

  @unsafe @inline(__always)
  private func chunk(_ row: Int) -> UnsafeMutablePointer<IndexEntry> {
    unsafe entries + Int(rows[row].chunk) &* Self.chunkCapacity
  }

  // MARK: - Changing

  /// Changes where the record of an entry is.
  @inline(__always) mutating func setPlace(_ place: RecordPlace, at slot: IndexSlot) {
    assert(isEntry(slot))
    unsafe chunk(slot.row)[slot.entry].place = place
  }

  /// Inserts an entry whose position is not there yet, at `slot`, its lower bound.
  mutating func insert(_ entry: IndexEntry, at slot: IndexSlot) {
    count &+= 1
    guard rowCount > 0 else { return insertRow(at: 0, entry) }
    // Behind the last entry of a chunk is the same place as before the first of the next.
    var row = slot.row
    var index = slot.entry
    if index == 0, row > 0 {
      row &-= 1
      index = unsafe Int(rows[row].count)
    }
    let rowEntries = unsafe Int(rows[row].count)
    if rowEntries == Self.chunkCapacity {
      if index == rowEntries {
        if unsafe row &+ 1 == rowCount || Int(rows[row &+ 1].count) == Self.chunkCapacity {
          return insertRow(at: row &+ 1, entry)
        }
        row &+= 1
        index = 0
      } else {
        splitRow(row)
        let half = unsafe Int(rows[row].count)
        if index > half {
          row &+= 1
          index &-= half
        }
      }
    }
    let base = unsafe chunk(row)
    let filled = unsafe Int(rows[row].count)
    unsafe (base + (index &+ 1)).update(from: base + index, count: filled &- index)
    unsafe (base + index).initialize(to: entry)
    unsafe rows[row].count &+= 1
    if index == 0 { setFirst(of: row) }
  }

  /// Removes an entry; slots behind it are not valid any more.
  ///
  /// - Returns: where the entry behind it stands now.
  @discardableResult
  mutating func remove(at slot: IndexSlot) -> IndexSlot {
    assert(isEntry(slot))
    count &-= 1
    let base = unsafe chunk(slot.row)
    let filled = unsafe Int(rows[slot.row].count)
    unsafe (base + slot.entry).update(
      from: base + (slot.entry &+ 1), count: filled &- slot.entry &- 1)
    unsafe rows[slot.row].count &-= 1
    if filled == 1 {
      removeRow(slot.row)
      return IndexSlot(row: slot.row, entry: 0)
    }
    if slot.entry == 0 { setFirst(of: slot.row) }
    if slot.entry == filled &- 1 { return IndexSlot(row: slot.row &+ 1, entry: 0) }
    return slot
  }

  /// Adds an entry behind all others.
  mutating func append(_ entry: IndexEntry) {
    insert(entry, at: end)
  }

  mutating func removeAll() {
    rowCount = 0
    chunkCount = 0
    freeChunks.removeAll(keepingCapacity: true)
    count = 0
  }

  // MARK: - Rows

  private mutating func setFirst(of row: Int) {
    let first = unsafe chunk(row)[0]
    unsafe rows[row].inode = first.inode
    unsafe rows[row].offset = first.offset
    unsafe rows[row].snapshot = first.snapshot
  }

  private mutating func takeChunk() -> UInt16 {
    if let chunk = freeChunks.popLast() { return chunk }
    if chunkCount == chunkLimit { growChunks() }
    invariant(chunkCount <= Int(UInt16.max), "a node has fewer keys than its index can hold")
    chunkCount &+= 1
    return UInt16(truncatingIfNeeded: chunkCount &- 1)
  }

  private mutating func growChunks() {
    let larger = UnsafeMutablePointer<IndexEntry>.allocate(
      capacity: chunkLimit * 2 * Self.chunkCapacity)
    unsafe larger.update(from: entries, count: chunkLimit * Self.chunkCapacity)
    unsafe entries.deallocate()
    unsafe entries = larger
    chunkLimit *= 2
  }

  /// Makes room for a row, with a chunk that is empty.
  private mutating func openRow(at row: Int) {
    if rowCount == rowCapacity {
      let larger = UnsafeMutablePointer<Row>.allocate(capacity: rowCapacity * 2)
      unsafe larger.update(from: rows, count: rowCount)
      unsafe rows.deallocate()
      unsafe rows = larger
      rowCapacity *= 2
    }
    unsafe (rows + (row &+ 1)).update(from: rows + row, count: rowCount &- row)
    let chunk = takeChunk()
    unsafe rows[row] = Row(inode: 0, offset: 0, snapshot: 0, chunk: chunk, count: 0)
    rowCount &+= 1
  }

  private mutating func insertRow(at row: Int, _ entry: IndexEntry) {
    openRow(at: row)
    unsafe chunk(row).initialize(to: entry)
    unsafe rows[row].count = 1
    setFirst(of: row)
  }

  private mutating func splitRow(_ row: Int) {
    openRow(at: row &+ 1)
    let half = Self.chunkCapacity / 2
    let moved = unsafe Int(rows[row].count) &- half
    unsafe chunk(row &+ 1).update(from: chunk(row) + half, count: moved)
    unsafe rows[row].count = UInt16(truncatingIfNeeded: half)
    unsafe rows[row &+ 1].count = UInt16(truncatingIfNeeded: moved)
    setFirst(of: row &+ 1)
  }

  private mutating func removeRow(_ row: Int) {
    unsafe freeChunks.append(rows[row].chunk)
    unsafe (rows + row).update(from: rows + (row &+ 1), count: rowCount &- row &- 1)
    rowCount &-= 1
  }

  // MARK: - Checks

  /// Stops the process if an invariant does not hold. O(n).
  func check() {
    var seen = 0
    var last: BPos?
    var slot = start
    for row in 0..<rowCount {
      unsafe invariant(rows[row].count > 0, "no chunk is empty")
      let first = unsafe chunk(row)[0].position
      let named = unsafe BPos(rows[row].inode, rows[row].offset, rows[row].snapshot)
      invariant(first == named, "the directory knows each chunk's first position")
    }
    while slot.row < rowCount {
      let position = self[slot].position
      if let last { invariant(last < position, "positions of a node ascend") }
      last = position
      seen += 1
      slot = after(slot)
    }
    invariant(seen == count, "a node's keys are counted")
  }
}
