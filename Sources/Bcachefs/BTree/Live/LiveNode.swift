// SPDX-License-Identifier: GPL-2.0
// A btree node that can change: what it is, what it holds, and how it stands to the disk.
//
// How it works
//   1. Keys stand as records in an arena, packed in the node's format or unpacked, exactly as they
//      will stand on disk; `NodeIndex` is their order. A record of the same size is replaced where
//      it stands, any other goes to the arena's end, and what it replaces is dead space.
//   2. A dirty entry is one whose record is not on disk. A deleted key that is on disk becomes a
//      whiteout, a dirty record without a value, until it has been written (LiveNode+Image.swift).
//   3. What is dirty has to fit into what is left of the node's place on disk: `hasRoom`. When it
//      does not, the node is replaced by one or two new ones (Transactions: interior updates).
//   4. Nodes are never freed before their cache is: a pointer to one may be kept without counting
//      references, and is good as long as `incarnation` is what it was (LiveNodeCache.swift).
// Invariants
//   (1) liveWords is the sum of the records that are no whiteouts, dirtyWords that of the dirty
//       ones.
//   (2) Whiteouts are dirty and on disk, all others of the index show.
//   (3) Every live key lies within minKey ... maxKey.
//   (4) Everything but the atomics is changed under the write lock.
// Locks: `lock` is the node's; see LiveNodeCache.swift for the order.
// Source: `struct btree`, bset.c, btree_trans_commit.c (bch2_btree_bset_insert_key).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// A key as a live node shows it: good as long as the node is locked and not changed.
@safe
struct KeyView {
  let key: BKey
  private let value: UnsafeRawPointer?

  @unsafe @inline(__always) init(_ key: BKey, _ value: UnsafeRawPointer?) {
    self.key = key
    unsafe self.value = value
  }

  /// Calls `body` with the value.
  @inline(__always) func withValue<Result, Failure: Error>(
    _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let bytes = unsafe UnsafeRawBufferPointer(start: value, count: key.valueByteCount)
    return try body(unsafe RawSpan(_unsafeBytes: bytes))
  }

  /// For code that copies words from place to place.
  @unsafe @inline(__always) var unsafeValue: UnsafeRawPointer? { unsafe value }
}

@safe
final class LiveNode: @unchecked Sendable {
  // Safety: see invariant (4).

  /// What others may ask without the lock.
  struct State: OptionSet {
    let rawValue: UInt32
    /// Holds keys that are not on disk.
    static let dirty = State(rawValue: 1 << 0)
    /// Being written.
    static let writing = State(rawValue: 1 << 1)
    /// Not reachable from the disk yet: the interior update that made it goes on.
    static let unreachable = State(rawValue: 1 << 2)
    /// Replaced by other nodes, or read no more: leads nowhere.
    static let dead = State(rawValue: 1 << 3)
    /// Used since the cache's hand came by.
    static let used = State(rawValue: 1 << 4)
    /// The root of its btree.
    static let root = State(rawValue: 1 << 5)
  }

  let lock = SixLock()
  let flags = Atomic<UInt32>(0)
  /// Counts the nodes that this object has been.
  let incarnationWord = Atomic<UInt32>(0)

  var btree = BTreeID(rawValue: 0)
  var level = 0
  var minKey = BPos.min
  var maxKey = BPos.max
  var format = BKeyFormat.current
  /// On disk in all bsets; never zero.
  var sequence: UInt64 = 0
  /// The newest journal entry with keys that are in the node.
  var journalSequence: UInt64 = 0
  /// The key that leads here, with its value; at most `pointerWordsMax` words.
  var pointer = NodePointer()
  /// Holds the journal entries of what is dirty, and of what is being written.
  let dirtyPin = JournalPin(.dirtyNode)
  let writingPin = JournalPin(.writtenNode)
  /// Interior updates whose pointers are in this node and not in the journal yet.
  var blockers = 0
  /// Bytes on disk of one node, and how many of them are written.
  let nodeBytes: Int
  var writtenBytes = 0

  /// Live words when it was last tried to merge the node.
  var wordsWhenMerged = Int.max

  var index = NodeIndex()
  private(set) var arena: UnsafeMutablePointer<UInt64>
  private(set) var arenaWords: Int
  /// Where the next record goes.
  private(set) var arenaEnd = 0
  private(set) var liveWords = 0
  private(set) var dirtyWords = 0

  init(nodeBytes: Int) {
    self.nodeBytes = nodeBytes
    arenaWords = 512
    unsafe arena = .allocate(capacity: arenaWords)
    dirtyPin.setOwner(NodeRef(self))
  }

  deinit { unsafe arena.deallocate() }

  // MARK: - State

  @inline(__always) var state: State { State(rawValue: flags.load(ordering: .acquiring)) }
  @inline(__always) func set(_ state: State) {
    flags.bitwiseOr(state.rawValue, ordering: .acquiringAndReleasing)
  }
  @inline(__always) func clear(_ state: State) {
    flags.bitwiseAnd(~state.rawValue, ordering: .acquiringAndReleasing)
  }
  @inline(__always) var incarnation: UInt32 { incarnationWord.load(ordering: .acquiring) }

  /// The object will be another node: paths that lead here have to search again.
  func beginIncarnation() { incarnationWord.wrappingAdd(1, ordering: .releasing) }

  /// A recycled object keeps nothing of the node that it was.
  ///
  /// - Precondition: write-locked, without keys; what its pins held was taken over by others.
  func forget() {
    flags.store(0, ordering: .relaxed)
    journalSequence = 0
    pointer = NodePointer()
    blockers = 0
    wordsWhenMerged = .max
  }

  /// What the node costs in memory, in bytes.
  var memoryBytes: Int { arenaWords * 8 + index.memoryBytes }
  /// What of it the cache has counted.
  let countedBytes = Atomic<Int>(0)

  @inline(__always) func covers(_ position: BPos) -> Bool {
    minKey <= position && position <= maxKey
  }

  /// Whether a node that is not locked is worth locking for a position. True where it changes right
  /// now; what is found is to be looked at again.
  @inline(__always) func mayCover(_ position: BPos) -> Bool {
    guard let sequence = lock.readSequence() else { return true }
    let isCovered = covers(position)
    return isCovered || !lock.validate(sequence)
  }

  // MARK: - Room

  /// Bytes of header in front of the keys that are written next.
  @inline(__always) private var headerBytes: Int {
    writtenBytes == 0 ? BTreeNodeHeader.Layout.keys : BTreeNodeHeader.EntryLayout.keys
  }

  /// Whether keys of so many unpacked words can still be inserted and written.
  @inline(__always) func hasRoom(words: Int) -> Bool {
    writtenBytes &+ headerBytes &+ (dirtyWords &+ words) &* 8 <= nodeBytes
      && dirtyWords &+ words <= Int(UInt16.max)
  }

  // MARK: - Reading

  /// The key of an entry.
  @inline(__always) func view(at slot: IndexSlot) -> KeyView {
    unsafe view(index[slot])
  }

  @unsafe @inline(__always) func view(_ entry: IndexEntry) -> KeyView {
    let record = unsafe arena + entry.place.word
    let head = unsafe record.pointee
    let isPacked = UInt8(truncatingIfNeeded: head >> 8) & 0x7f == BKey.packedFormat
    let words = Int(UInt8(truncatingIfNeeded: head))
    if !isPacked {
      let bytes = unsafe RawSpan(
        _unsafeStart: UnsafeRawPointer(record), byteCount: BKey.Layout.byteCount)
      return unsafe KeyView(
        BKey(uncheckedUnpacked: bytes, at: 0), UnsafeRawPointer(record + BKey.headerU64s))
    }
    let keyWords = Int(format.keyU64s)
    let bytes = unsafe RawSpan(
      _unsafeStart: UnsafeRawPointer(record), byteCount: max(keyWords, 1) &* 8)
    var key: BKey
    if isPositionOnly {
      key = BKey(
        type: BKeyType(rawValue: UInt8(truncatingIfNeeded: head >> 16)), position: entry.position,
        valueU64s: words &- keyWords)
    } else {
      key = format.unpack(bytes, at: 0)
    }
    return unsafe KeyView(key, UnsafeRawPointer(record + keyWords))
  }

  /// Whether the format keeps nothing but positions: then a key need not be unpacked.
  private var isPositionOnly = false

  func setFormat(_ format: BKeyFormat) {
    self.format = format
    isPositionOnly = true
    for field in 3..<BKeyFormat.fieldCount
    where format.bitsPerField[field] > 0 || format.fieldOffset[field] > 0 {
      isPositionOnly = false
    }
  }

  @inline(__always) func type(of entry: IndexEntry) -> BKeyType {
    unsafe BKeyType(rawValue: UInt8(truncatingIfNeeded: arena[entry.place.word] >> 16))
  }

  /// Words of an entry's record.
  @inline(__always) func words(of entry: IndexEntry) -> Int {
    unsafe Int(UInt8(truncatingIfNeeded: arena[entry.place.word]))
  }

  /// The first key that shows at or behind a slot.
  @inline(__always) func firstVisible(from slot: IndexSlot) -> IndexSlot? {
    var slot = slot
    while slot.row < index.rowCount {
      if type(of: index[slot]) != .deleted { return slot }
      slot = index.after(slot)
    }
    return nil
  }

  /// The last key that shows before a slot.
  @inline(__always) func lastVisible(before slot: IndexSlot) -> IndexSlot? {
    var slot = slot
    while let previous = index.before(slot) {
      if type(of: index[previous]) != .deleted { return previous }
      slot = previous
    }
    return nil
  }

  /// The key of exactly this position.
  @inline(__always) func find(_ position: BPos) -> KeyView? {
    key(at: index.lowerBound(position), position)
  }

  /// The key of exactly this position, at its lower bound.
  @inline(__always) func key(at slot: IndexSlot, _ position: BPos) -> KeyView? {
    guard slot.row < index.rowCount else { return nil }
    let entry = index[slot]
    guard entry.position == position, type(of: entry) != .deleted else { return nil }
    return unsafe view(entry)
  }

  /// Words of the same key, unpacked; those of an empty one if there is none.
  @inline(__always) func wordsOfOld(at slot: IndexSlot, _ position: BPos) -> Int {
    guard slot.row < index.rowCount else { return BKey.headerU64s }
    let entry = index[slot]
    guard entry.position == position else { return BKey.headerU64s }
    return unsafe type(of: entry) == .deleted
      ? BKey.headerU64s : Int(view(entry).key.u64s)
  }

  // MARK: - Changing

  /// Replaces the key at a position, or inserts or (type `deleted`) removes it.
  ///
  /// - Parameters:
  ///   - value: `key.valueByteCount` bytes; not in this node's arena.
  ///   - slot: The lower bound of the position.
  /// - Precondition: write-locked, and `hasRoom(words: Int(key.u64s))`.
  @unsafe @inline(__always)
  func put(_ key: BKey, _ value: UnsafeRawPointer?, at slot: IndexSlot) {
    assert(covers(key.position) && slot == index.lowerBound(key.position))
    guard slot.row < index.rowCount, index[slot].position == key.position else {
      guard key.type != .deleted else { return }
      let word = unsafe append(key, value)
      let words = unsafe Int(UInt8(truncatingIfNeeded: arena[word]))
      liveWords &+= words
      dirtyWords &+= words
      index.insert(
        IndexEntry(key.position, RecordPlace(word: word, isDirty: true, isOnDisk: false)), at: slot)
      return
    }
    unsafe replace(at: slot, key, value)
  }

  /// As above, where the place has to be looked for.
  @unsafe func put(_ key: BKey, _ value: UnsafeRawPointer?) {
    unsafe put(key, value, at: index.lowerBound(key.position))
  }

  private func replace(at slot: IndexSlot, _ key: BKey, _ value: UnsafeRawPointer?) {
    var place = index[slot].place
    let oldWords = words(of: index[slot])
    if type(of: index[slot]) != .deleted { liveWords &-= oldWords }
    if place.isDirty { dirtyWords &-= oldWords }
    if key.type == .deleted, !place.isOnDisk {
      index.remove(at: slot)
      return
    }
    if unsafe !overwrite(place.word, oldWords, key, value) {
      place.word = unsafe append(key, value)
    }
    place.isDirty = true
    let words = unsafe Int(UInt8(truncatingIfNeeded: arena[place.word]))
    if key.type != .deleted { liveWords &+= words }
    dirtyWords &+= words
    index.setPlace(place, at: slot)
  }

  /// Writes a record over one of the same size.
  @unsafe private func overwrite(
    _ word: Int, _ oldWords: Int, _ key: BKey, _ value: UnsafeRawPointer?
  ) -> Bool {
    let valueWords = key.valueU64s
    let record = unsafe arena + word
    let isPacked = unsafe UInt8(truncatingIfNeeded: record.pointee >> 8) & 0x7f == BKey.packedFormat
    let keyWords = isPacked ? Int(format.keyU64s) : BKey.headerU64s
    guard keyWords &+ valueWords == oldWords else { return false }
    var bytes = unsafe MutableRawSpan(
      _unsafeStart: UnsafeMutableRawPointer(record), byteCount: keyWords &* 8)
    if isPacked {
      // The old header is lost if the new one does not fit; nobody looks at it then.
      guard format.pack(key, into: &bytes, at: 0) else { return false }
    } else {
      key.encode(into: &bytes)
    }
    if valueWords > 0, let value = unsafe value {
      unsafe UnsafeMutableRawPointer(record + keyWords).copyMemory(
        from: value, byteCount: valueWords &* 8)
    }
    return true
  }

  /// Writes a record at the arena's end.
  ///
  /// - Returns: where it begins.
  @unsafe func append(_ key: BKey, _ value: UnsafeRawPointer?) -> Int {
    let valueWords = key.valueU64s
    reserve(words: BKey.headerU64s &+ valueWords)
    let record = unsafe arena + arenaEnd
    var keyWords = Int(format.keyU64s)
    var bytes = unsafe MutableRawSpan(
      _unsafeStart: UnsafeMutableRawPointer(record), byteCount: BKey.Layout.byteCount)
    if !format.pack(key, into: &bytes, at: 0) {
      key.encode(into: &bytes)
      keyWords = BKey.headerU64s
    }
    if valueWords > 0, let value = unsafe value {
      unsafe UnsafeMutableRawPointer(record + keyWords).copyMemory(
        from: value, byteCount: valueWords &* 8)
    }
    let word = arenaEnd
    arenaEnd &+= keyWords &+ valueWords
    return word
  }

  // MARK: - Arena

  /// Makes room for `words` more: dead space is given up when there is enough of it.
  private func reserve(words: Int) {
    guard arenaEnd &+ words > arenaWords else { return }
    let wanted = max(arenaWords, (liveWords &+ dirtyWords &+ words) &* 2)
    moveRecords(toArenaOf: wanted)
    invariant(arenaEnd &+ words <= arenaWords, "an arena has room for what was reserved")
  }

  /// Copies the records that count into a new arena.
  private func moveRecords(toArenaOf words: Int) {
    let target = UnsafeMutablePointer<UInt64>.allocate(capacity: words)
    var end = 0
    var slot = index.start
    while slot.row < index.rowCount {
      var place = index[slot].place
      let count = self.words(of: index[slot])
      unsafe (target + end).update(from: arena + place.word, count: count)
      place.word = end
      index.setPlace(place, at: slot)
      end &+= count
      slot = index.after(slot)
    }
    unsafe arena.deallocate()
    unsafe arena = target
    arenaWords = words
    arenaEnd = end
  }

  /// Empties the node, with room for `words`.
  func reset(words: Int, expectedKeys: Int) {
    index = NodeIndex(expected: expectedKeys)
    if words > arenaWords || words < arenaWords / 4 {
      unsafe arena.deallocate()
      arenaWords = max(words, 512)
      unsafe arena = .allocate(capacity: arenaWords)
    }
    arenaEnd = 0
    liveWords = 0
    dirtyWords = 0
  }

  /// Becomes a node without keys that covers its whole btree.
  func becomeEmpty(_ btree: BTreeID, level: Int, sequence: UInt64) {
    self.btree = btree
    self.level = level
    minKey = .min
    maxKey = .max
    self.sequence = sequence
    journalSequence = 0
    writtenBytes = 0
    pointer = NodePointer()
    reset(words: 0, expectedKeys: 0)
    var range = BKeyFormatRange()
    range.add(minKey)
    range.add(maxKey)
    setFormat(range.format())
  }

  /// Adds a key behind all others.
  @unsafe func appendKey(_ key: BKey, _ value: UnsafeRawPointer?, isOnDisk: Bool) {
    let word = unsafe append(key, value)
    let words = arenaEnd &- word
    liveWords &+= words
    if !isOnDisk { dirtyWords &+= words }
    index.append(
      IndexEntry(key.position, RecordPlace(word: word, isDirty: !isOnDisk, isOnDisk: isOnDisk)))
  }

  /// Adds a record as it stands in a node's image, behind all others.
  func appendRecord(_ image: RawSpan, at byteOffset: Int, _ position: BPos) {
    let words = Int(image[LEField<UInt8>(byteOffset)])
    reserve(words: words)
    let record = unsafe arena + arenaEnd
    var bytes = unsafe MutableRawSpan(
      _unsafeStart: UnsafeMutableRawPointer(record), byteCount: words &* 8)
    bytes.copy(image.extracting(byteOffset..<byteOffset &+ words &* 8), to: 0)
    if level > 0, bytes[LEField<UInt8>(2)] == BKeyType.btreePtrV2.rawValue {
      let isPacked = bytes[LEField<UInt8>(1)] & 0x7f == BKey.packedFormat
      let value = isPacked ? Int(format.keyU64s) &* 8 : BKey.Layout.byteCount
      bytes[LEField<UInt64>(value &+ BTreePtrV2.Layout.memoryPointer.offset)] = 0
    }
    index.append(
      IndexEntry(position, RecordPlace(word: arenaEnd, isDirty: false, isOnDisk: true)))
    arenaEnd &+= words
    liveWords &+= words
  }

  /// What was dirty is on disk now, or about to be: whiteouts have done their duty.
  func forgetDirt() {
    var slot = index.start
    while slot.row < index.rowCount {
      let entry = index[slot]
      if type(of: entry) == .deleted {
        slot = index.remove(at: slot)
        continue
      }
      if entry.place.isDirty {
        var place = entry.place
        place.isDirty = false
        place.isOnDisk = true
        index.setPlace(place, at: slot)
      }
      slot = index.after(slot)
    }
    dirtyWords = 0
  }

  // MARK: - Checks

  /// Stops the process if an invariant does not hold. O(n).
  func check() {
    index.check()
    var (live, dirty) = (0, 0)
    var slot = index.start
    while slot.row < index.rowCount {
      let entry = index[slot]
      let isWhiteout = type(of: entry) == .deleted
      let view = unsafe view(entry)
      invariant(view.key.position == entry.position, "a record has its entry's position")
      invariant(covers(entry.position), "a node covers its keys")
      invariant(
        !isWhiteout || entry.place.isDirty && entry.place.isOnDisk, "whiteouts are to be written")
      invariant(entry.place.isDirty || entry.place.isOnDisk, "what is clean is on disk")
      if !isWhiteout { live += words(of: entry) }
      if entry.place.isDirty { dirty += words(of: entry) }
      slot = index.after(slot)
    }
    invariant(live == liveWords && dirty == dirtyWords, "a node's words are counted")
    invariant(dirty == 0 || state.contains(.dirty), "a node with unwritten keys is dirty")
  }
}
