// SPDX-License-Identifier: GPL-2.0
// Keys that are committed and not in their nodes yet: of btrees to which nobody writes because of
// what is there, and which are read rarely.
//
// How it works
//   1. A commit journals such keys and adds them here. It needs no leaf for them: no search, no
//      lock that everybody wants, and on a large volume no leaf read from a device for each key,
//      as backpointers are in the order of places, and LRUs in that of time.
//   2. When it is full, when the journal needs the entries that it holds, or when somebody has to
//      see what is in it, all keys are sorted and put into their leaves, the newest of each
//      position only, many of a leaf at a time (Engine+WriteBuffer.swift). Meanwhile others are
//      added.
//   3. On disk nothing tells of it: keys in the journal that are not in the nodes.
// Invariants
//   (1) `pin` holds the oldest journal entry of all keys that wait, `flushingPin` that of those
//       which are being put into nodes.
//   (2) Keys of one position are added in the order of their journal entries: who adds one holds
//       the lock of what it is derived from. Deltas of accounting are not; they are put into nodes
//       only when all of their journal entry is here, and every entry before it (`add` before the
//       reservation is given back).
//   (3) One thread flushes at a time.
//   (4) `isEmpty` is true only when every key that was added before is in its node.
// Locks: `state` is taken with node locks held; only the journal's lock is taken with it held.
// `condition` is for waiting to flush, with empty hands.
// Source: btree_write_buffer.c.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// A key in the write buffer.
struct BufferedKey {
  let btree: BTreeID
  let position: BPos
  /// The journal entry that it is in.
  let sequence: UInt64
  /// Among those of the same entry and position.
  let order: UInt64
  /// Where its words begin.
  fileprivate(set) var start: Int
  fileprivate let wordCount: Int

  /// Whether it goes to the same place as another one.
  func isAt(_ other: BufferedKey) -> Bool {
    btree == other.btree && position == other.position
  }

  static func comesBefore(_ a: BufferedKey, _ b: BufferedKey) -> Bool {
    if a.btree != b.btree { return a.btree < b.btree }
    if a.position != b.position { return a.position < b.position }
    return a.sequence != b.sequence ? a.sequence < b.sequence : a.order < b.order
  }
}

/// Keys, and their words.
struct BufferedKeys {
  fileprivate(set) var keys: [BufferedKey] = []
  /// Of the key that is added next; goes on from flush to flush.
  fileprivate var nextOrder: UInt64 = 0
  private var words: [UInt64] = []

  var byteCount: Int { keys.count * MemoryLayout<BufferedKey>.stride + words.count * 8 }

  /// Adds an update, whose key is complete.
  mutating func append(_ update: TransactionUpdate, _ sequence: UInt64) {
    let order =
      update.flags.contains(.delta)
      ? update.words[BKey.Layout.versionLo] : nextOrder
    nextOrder &+= 1
    keys.append(
      BufferedKey(
        btree: update.btree, position: update.position, sequence: sequence, order: order,
        start: words.count, wordCount: update.wordCount))
    for word in 0..<update.wordCount { unsafe words.append(update.unsafeWords[word]) }
  }

  /// Adds a key of others.
  fileprivate mutating func append(_ key: BufferedKey, of others: borrowing BufferedKeys) {
    var copy = key
    copy.start = words.count
    keys.append(copy)
    words.append(contentsOf: others.words[key.start..<key.start + key.wordCount])
  }

  fileprivate mutating func removeAll() {
    keys.removeAll(keepingCapacity: true)
    words.removeAll(keepingCapacity: true)
  }

  /// Calls `body` with a key and its value.
  func withKey<Result>(_ index: Int, _ body: (BKey, RawSpan) -> Result) -> Result {
    let place = keys[index]
    let bytes = unsafe words.span.extracting(place.start..<place.start + place.wordCount).bytes
    return body(
      BKey(uncheckedUnpacked: bytes, at: 0),
      bytes.extracting(BKey.Layout.byteCount..<bytes.byteCount))
  }
}

final class WriteBuffer: Sendable {
  private struct State {
    var adding = BufferedKeys()
    /// Memory to add to next.
    var spare = BufferedKeys()
  }

  /// The btrees that have it.
  static let btrees = BTreeID.table.reduce(UInt64(0)) { mask, row in
    row.flags.contains(.writeBuffered) ? mask | 1 << UInt64(row.id.rawValue) : mask
  }

  private let state = Mutex(State())
  private let pin = JournalPin(.writeBuffer)
  private let flushingPin = JournalPin(.writeBuffer)
  /// Keys here, those that are being put into nodes among them.
  private let keyCount = Atomic<Int>(0)
  private let addingBytes = Atomic<Int>(0)
  let limitBytes: Int
  private let condition = Condition()
  private let isFlushing = Atomic<Bool>(false)

  /// - Parameter limitBytes: From when on who adds keys has to flush first.
  init(limitBytes: Int) { self.limitBytes = limitBytes }

  /// Keys that are not in their nodes.
  var count: Int { keyCount.load(ordering: .acquiring) }
  @inline(__always) var isEmpty: Bool { count == 0 }

  /// Bytes of keys that were added since the last flush.
  var byteCount: Int { addingBytes.load(ordering: .relaxed) }
  @inline(__always) var isFull: Bool { byteCount >= limitBytes }
  var isHalfFull: Bool { byteCount >= limitBytes / 2 }

  /// The oldest journal entry that keys are added of; 0 if none.
  var oldestSequence: UInt64 { pin.sequence }

  // MARK: - Adding

  /// Adds keys of a journal entry.
  ///
  /// - Precondition: the reservation in that entry was not given back.
  func add(of sequence: UInt64, _ journal: Journal, _ body: (inout BufferedKeys) -> Void) {
    state.withLock { state in
      let before = state.adding.keys.count
      body(&state.adding)
      journal.pin(pin, sequence: sequence)
      note(state, added: state.adding.keys.count - before)
    }
  }

  private func note(_ state: borrowing State, added: Int) {
    keyCount.wrappingAdd(added, ordering: .releasing)
    addingBytes.store(state.adding.byteCount, ordering: .relaxed)
  }

  // MARK: - Flushing

  /// Waits until nobody flushes; `endFlush` must follow.
  func beginFlush() {
    while !tryBeginFlush() {
      condition.withLock {
        if isFlushing.load(ordering: .acquiring) { _ = condition.wait(nanoseconds: 10_000_000) }
      }
    }
  }

  /// As `beginFlush`; false where somebody flushes.
  func tryBeginFlush() -> Bool {
    isFlushing.compareExchange(
      expected: false, desired: true, ordering: .acquiringAndReleasing
    ).exchanged
  }

  func endFlush() {
    condition.withLock { isFlushing.store(false, ordering: .releasing) }
    condition.broadcast()
  }

  /// Takes what can be put into nodes, sorted.
  func take(_ journal: Journal) -> BufferedKeys {
    let filled = journal.filledSequence
    return state.withLock { state in
      var taken = BufferedKeys()
      swap(&taken, &state.adding)
      swap(&state.adding, &state.spare)
      state.adding.nextOrder = taken.nextOrder
      journal.move(pin, into: flushingPin)
      // What else there is of their journal entries is not here yet.
      for key in taken.keys where key.btree == .accounting && key.sequence > filled {
        state.adding.append(key, of: taken)
        journal.pin(pin, sequence: key.sequence)
      }
      taken.keys.removeAll { $0.btree == .accounting && $0.sequence > filled }
      addingBytes.store(state.adding.byteCount, ordering: .relaxed)
      taken.keys.sort(by: BufferedKey.comesBefore)
      return taken
    }
  }

  /// What was taken is in the nodes, which hold the journal.
  func finish(_ taken: consuming BufferedKeys, _ journal: Journal) {
    journal.drop(flushingPin)
    keyCount.wrappingSubtract(taken.keys.count, ordering: .releasing)
    taken.removeAll()
    let memory = taken
    state.withLock { $0.spare = memory }
  }

  /// What was taken could not be put into nodes, or not all of it: it is to be tried again.
  func putBack(_ taken: BufferedKeys, _ journal: Journal) {
    state.withLock { state in
      for key in taken.keys { state.adding.append(key, of: taken) }
      addingBytes.store(state.adding.byteCount, ordering: .relaxed)
      journal.move(flushingPin, into: pin)
    }
  }
}

extension BTreeID {
  /// Whether keys of its leaves go through the write buffer.
  @inline(__always) var isWriteBuffered: Bool {
    WriteBuffer.btrees & 1 << UInt64(rawValue & 63) != 0
  }
}
