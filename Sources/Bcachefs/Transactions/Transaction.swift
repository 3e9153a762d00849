// SPDX-License-Identifier: GPL-2.0
// A transaction: reads of any btrees, and updates that happen all or not at all.
//
// How it works
//   1. The engine's runner calls a body with a transaction. The body reads (Transaction+Read.swift)
//      and says what is to change; nothing changes before `commit` (Transaction+Commit.swift).
//   2. Reads see the transaction's own updates. What they return is good until the transaction
//      unlocks or commits: the nodes stay locked so long.
//   3. At any moment the transaction may have to begin again: then a `restart` is thrown, and the
//      runner calls the body again. A body has no other effects than those of its transaction.
//   4. A transaction belongs to one thread, and is used again and again: its memory, and the paths
//      to the nodes that it visited last, stay (Transaction+Search.swift).
// Invariants
//   (1) Updates are sorted by btree, level and position, one for each place.
//   (2) A key that is to be written stands whole in the arena: header of 40 bytes, then value.
// Locks: see Transaction+Search.swift.
// Source: `struct btree_trans`, btree_update.c (bch2_trans_update).

internal import BcachefsFormat
internal import BcachefsSupport

/// One change that a transaction will make.
@safe
struct TransactionUpdate {
  let btree: BTreeID
  let level: UInt8
  var flags: Flags
  let position: BPos
  /// Key and value, unpacked.
  private let memory: UnsafeMutablePointer<UInt64>
  /// The node that it goes to, once the commit has locked it.
  var node: NodeRef?
  /// Where it goes in the node, as long as the transaction has put nothing else into it.
  var slot = IndexSlot(row: 0, entry: 0)
  var triggered: Triggered = []

  struct Flags: OptionSet {
    let rawValue: UInt8
    /// No triggers: the derived keys are taken care of, or there are none.
    static let noTriggers = Flags(rawValue: 1 << 0)
    /// The journal has the key already.
    static let notJournalled = Flags(rawValue: 1 << 1)
    /// An accounting key whose counters are added to what is there.
    static let delta = Flags(rawValue: 1 << 2)
    /// A bucket that is empty from here on, or not any more: its key names the journal entry.
    static let stampsBucket = Flags(rawValue: 1 << 3)
    /// An inode, which names the journal entry that it was changed in.
    static let stampsInode = Flags(rawValue: 1 << 4)
    /// Goes into the write buffer, and into its node later.
    static let buffered = Flags(rawValue: 1 << 5)
  }

  /// Which of its triggers have run.
  struct Triggered: OptionSet {
    let rawValue: UInt8
    static let insert = Triggered(rawValue: 1 << 0)
    static let overwrite = Triggered(rawValue: 1 << 1)
  }

  @unsafe init(
    _ btree: BTreeID, _ level: Int, _ flags: Flags, _ position: BPos,
    _ words: UnsafeMutablePointer<UInt64>
  ) {
    self.btree = btree
    self.level = UInt8(truncatingIfNeeded: level)
    self.flags = flags
    self.position = position
    unsafe memory = words
  }

  @inline(__always) func isBefore(_ btree: BTreeID, _ level: UInt8, _ position: BPos) -> Bool {
    if self.btree != btree { return self.btree < btree }
    if self.level != level { return self.level < level }
    return self.position < position
  }

  /// Words of key and value.
  @inline(__always) var wordCount: Int {
    unsafe Int(UInt8(truncatingIfNeeded: memory.pointee))
  }

  @inline(__always) var type: BKeyType {
    unsafe BKeyType(rawValue: UInt8(truncatingIfNeeded: memory.pointee >> 16))
  }

  /// Key and value, to be completed when the journal entry is known.
  @inline(__always) var words: MutableRawSpan {
    @_lifetime(borrow self)
    get {
      let bytes = unsafe MutableRawSpan(
        _unsafeStart: UnsafeMutableRawPointer(memory), byteCount: wordCount &* 8)
      return unsafe _overrideLifetime(bytes, borrowing: self)
    }
  }

  @inline(__always) var view: KeyView {
    unsafe KeyView(key, UnsafeRawPointer(memory + BKey.headerU64s))
  }

  @inline(__always) var key: BKey {
    let bytes = unsafe RawSpan(
      _unsafeStart: UnsafeRawPointer(memory), byteCount: BKey.Layout.byteCount)
    return BKey(uncheckedUnpacked: bytes, at: 0)
  }

  @unsafe @inline(__always) var unsafeWords: UnsafeMutablePointer<UInt64> { unsafe memory }
}

@safe
final class Transaction: @unchecked Sendable {
  // Safety: it belongs to one thread at a time, which takes it from the engine and gives it back.
  let engine: Engine
  /// What others see of it.
  let trace: TransactionTrace
  /// Where it counts.
  let counterRow: Int
  var held: HeldLocks
  var paths: TreePaths
  var arena = KeyArena()
  private(set) var updates: UnsafeMutablePointer<TransactionUpdate>
  private(set) var updateCount = 0
  private var updateCapacity = 64
  /// Journal entries of the transaction's own, whole, and their words.
  private(set) var entries: UnsafeMutablePointer<UInt64>
  private(set) var entryWords = 0
  private var entryCapacity = 256
  /// Told in the journal.
  private(set) var name = InlineArray<4, UInt64>(repeating: 0)
  private(set) var watermark = Watermark.normal
  /// What the commit needs of the journal.
  var journalWords = 0
  /// The journal entry that keys came from that are not journalled again.
  var pinnedSequence: UInt64 = 0
  /// The newest one of them: until that is on disk the nodes count for nothing.
  var newestSequence: UInt64 = 0
  /// Whether what was in the write buffer when it began is in the nodes.
  var seesBuffered = false
  /// Keys go into nodes that have no room for them on disk: only before they can be split.
  var ignoresRoom = false
  /// The lock that stood in the way, for which to wait with empty hands.
  var waitsFor: (node: NodeRef, mode: LockMode)?
  /// A node to read with empty hands.
  var missing: (pointer: NodePointer, btree: BTreeID, level: Int)?
  /// Nodes that were read for it since it began.
  var nodesRead = 0
  /// Sectors that were promised to its updates, all copies counted; a commit takes from it.
  var promisedSectors: UInt64 = 0
  /// Devices that something is about to be on together, and the superblock does not say so yet.
  var unmarkedReplicas: AccountingReplicas?
  /// Nodes that the last commit left with so little that they may be joined with a neighbour.
  private(set) var smallNodes: [SmallNode] = []
  /// Whether the tree of snapshots in memory has to follow.
  var changesSnapshots = false
  /// Nodes of that tree that it is about to make.
  var newSnapshots = NewSnapshotNodes.none
  /// A node that has to be replaced with empty hands.
  var roomNeeded: RoomNeeded?
  /// Whether it takes keys away, and may use the last nodes for that.
  var givesBack = false
  /// Of no matter where the engine has no quotas.
  var quotas = TransactionQuotas()

  init(_ engine: Engine) {
    self.engine = engine
    smallNodes.reserveCapacity(Self.smallNodesMax)
    trace = TransactionTrace()
    counterRow = engine.instruments.counters.takeRow()
    held = HeldLocks(trace.locks)
    paths = TreePaths()
    unsafe updates = .allocate(capacity: updateCapacity)
    unsafe entries = .allocate(capacity: entryCapacity)
  }

  deinit {
    invariant(held.count == 0, "a transaction gives its locks back")
    unsafe updates.deallocate()
    unsafe entries.deallocate()
  }

  /// Begins something new.
  func begin(_ name: StaticString, _ watermark: Watermark) {
    self.watermark = watermark
    givesBack = false
    pinnedSequence = 0
    newestSequence = 0
    seesBuffered = false
    nodesRead = 0
    promisedSectors = 0
    var words = InlineArray<4, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var bytes = unsafe span.mutableBytes
    let told = unsafe RawSpan(
      _unsafeStart: name.utf8Start, byteCount: min(name.utf8CodeUnitCount, bytes.byteCount))
    bytes.copy(told, to: 0)
    self.name = words
    trace.begin(words)
  }

  /// Remembers a node to be joined with a neighbour after the commit. Of many some are left to the
  /// next commit that takes keys away.
  func noteSmall(_ node: SmallNode) {
    guard smallNodes.count < Self.smallNodesMax, smallNodes.last != node else { return }
    smallNodes.append(node)
  }

  private static var smallNodesMax: Int { 16 }

  func takeSmallNode() -> SmallNode? { smallNodes.popLast() }

  /// Forgets all updates; locks stay.
  @inline(__always) func forgetUpdates() {
    updateCount = 0
    entryWords = 0
    changesSnapshots = false
    newSnapshots = .none
    unmarkedReplicas = nil
    arena.reset()
  }

  /// Gives all locks back: what was read may change from here on.
  @inline(__always) func unlock() { held.releaseAll() }

  // MARK: - Journal entries

  /// Adds an entry to the journal entry of the commit: nothing else is done with it.
  func addEntry(_ type: JSetEntryType, _ btree: BTreeID, level: Int, _ words: RawSpan) {
    let count = words.byteCount / 8
    if entryWords + 1 + count > entryCapacity { growEntries(entryWords + 1 + count) }
    unsafe entries[entryWords] = JSetEntryView.headerWord(
      type, btree, level: UInt8(truncatingIfNeeded: level), u64s: count)
    var bytes = unsafe MutableRawSpan(
      _unsafeStart: UnsafeMutableRawPointer(entries + (entryWords + 1)), byteCount: count * 8)
    bytes.copy(words, to: 0)
    entryWords += 1 + count
  }

  /// Adds a key without a value that is in the nodes already.
  func addKey(_ btree: BTreeID, level: Int, _ key: BKey) {
    var words = InlineArray<5, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var bytes = unsafe span.mutableBytes
    key.encode(into: &bytes)
    addEntry(.btreeKeys, btree, level: level, bytes.bytes)
  }

  /// Adds the root of a btree.
  func addRoot(_ btree: BTreeID, level: Int, _ pointer: NodePointer) {
    pointer.withWords { addEntry(.btreeRoot, btree, level: level, $0) }
  }

  private func growEntries(_ words: Int) {
    let larger = UnsafeMutablePointer<UInt64>.allocate(capacity: words * 2)
    unsafe larger.update(from: entries, count: entryWords)
    unsafe entries.deallocate()
    unsafe entries = larger
    entryCapacity = words * 2
  }

  // MARK: - Updates

  /// The key at its position will be this one; type `deleted` removes what is there.
  ///
  /// - Parameter value: `key.valueByteCount` bytes.
  func update(
    _ btree: BTreeID, level: Int = 0, _ key: BKey, _ value: RawSpan,
    flags: TransactionUpdate.Flags = []
  ) {
    assert(value.byteCount == key.valueByteCount)
    let words = unsafe arena.take(words: Int(key.u64s))
    var bytes = unsafe MutableRawSpan(
      _unsafeStart: UnsafeMutableRawPointer(words), byteCount: Int(key.u64s) &* 8)
    key.encode(into: &bytes)
    bytes.copy(value, to: BKey.Layout.byteCount)
    unsafe insert(
      TransactionUpdate(btree, level, Self.flags(flags, btree, level), key.position, words))
  }

  /// Sets a key to a value that `encode` writes into zeroed words, where they will stay.
  ///
  /// - Throws: what `encode` throws; nothing is set then.
  @inline(__always)
  func put<Failure: Error>(
    _ btree: BTreeID, _ type: BKeyType, _ position: BPos, _ u64s: Int,
    flags: TransactionUpdate.Flags = [],
    _ encode: (inout MutableRawSpan) throws(Failure) -> Void
  ) throws(Failure) {
    let key = BKey(type: type, position: position, valueU64s: u64s)
    let words = unsafe arena.take(words: Int(key.u64s))
    var bytes = unsafe MutableRawSpan(
      _unsafeStart: UnsafeMutableRawPointer(words), byteCount: BKey.Layout.byteCount)
    key.encode(into: &bytes)
    var value = unsafe MutableRawSpan(
      _unsafeStart: UnsafeMutableRawPointer(words + BKey.headerU64s), byteCount: u64s &* 8)
    value.zero(0..<value.byteCount)
    try encode(&value)
    unsafe insert(TransactionUpdate(btree, 0, Self.flags(flags, btree, 0), position, words))
  }

  /// What is known of an update beside what its maker says.
  @inline(__always) private static func flags(
    _ flags: TransactionUpdate.Flags, _ btree: BTreeID, _ level: Int
  ) -> TransactionUpdate.Flags {
    btree.isWriteBuffered && level == 0 && !flags.contains(.notJournalled)
      ? flags.union(.buffered) : flags
  }

  /// Removes the key at a position.
  func delete(
    _ btree: BTreeID, level: Int = 0, _ position: BPos, flags: TransactionUpdate.Flags = []
  ) {
    update(btree, level: level, BKey(type: .deleted, position: position), RawSpan(), flags: flags)
  }

  /// Has an inode name the journal entry of the commit.
  func stampInode(_ update: TransactionUpdate) {
    unsafe updates[firstUpdate(update.btree, update.level, update.position)].flags
      .insert(.stampsInode)
  }

  private func insert(_ update: TransactionUpdate) {
    let index = firstUpdate(update.btree, update.level, update.position)
    if index < updateCount, unsafe updates[index].btree == update.btree,
      unsafe updates[index].level == update.level, unsafe updates[index].position == update.position
    {
      unsafe updates[index] = update
      return
    }
    if updateCount == updateCapacity { growUpdates() }
    unsafe (updates + (index &+ 1)).update(from: updates + index, count: updateCount &- index)
    unsafe (updates + index).initialize(to: update)
    updateCount &+= 1
  }

  private func growUpdates() {
    let larger = UnsafeMutablePointer<TransactionUpdate>.allocate(capacity: updateCapacity * 2)
    unsafe larger.moveInitialize(from: updates, count: updateCount)
    unsafe updates.deallocate()
    unsafe updates = larger
    updateCapacity *= 2
  }

  /// The first update at or behind a place; `updateCount` if there is none.
  @inline(__always)
  func firstUpdate(_ btree: BTreeID, _ level: UInt8, _ position: BPos) -> Int {
    var low = 0
    var high = updateCount
    while low < high {
      let middle = (low &+ high) >> 1
      if unsafe updates[middle].isBefore(btree, level, position) {
        low = middle &+ 1
      } else {
        high = middle
      }
    }
    return low
  }

  /// The update at or behind a position of a btree's leaves, up to `end`.
  @inline(__always)
  func ownKey(_ btree: BTreeID, from position: BPos, upTo end: BPos) -> TransactionUpdate? {
    guard updateCount > 0 else { return nil }
    let index = firstUpdate(btree, 0, position)
    guard index < updateCount else { return nil }
    let update = unsafe updates[index]
    guard update.btree == btree, update.level == 0, update.position <= end else { return nil }
    return update
  }
}
