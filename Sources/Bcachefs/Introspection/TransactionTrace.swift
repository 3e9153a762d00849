// SPDX-License-Identifier: GPL-2.0
// What others may see of a transaction while its thread works with it.
//
// How it works
//   1. The transaction's thread stores single words (its name, what it is at, the locks it holds),
//      and never waits or looks whether somebody reads them: stores, no more.
//   2. Readers take what they find. Each word is whole; all of them together are what was so within
//      a moment, not at one instant: a lock may be shown twice, or be gone already. Only the name
//      is read again until it is one name.
//   3. A lock is a word of the table: the address of the node, with the mode in the bits that an
//      aligned address leaves, 0 for none. It is the table that the transaction itself searches
//      (HeldLocks): a second one would cost as much again.
//   4. A table that grows leaves the old one behind, for those who may be reading it.
// Invariants
//   (1) Only the transaction's thread stores.
//   (2) What `rows` has once led to lives as long as the table.
// Locks: none.
// Source: debugfs' `btree_transactions` (debug.c, bch2_btree_transactions_read).

internal import BcachefsSupport
internal import Synchronization

/// What a transaction is at.
enum TransactionActivity: UInt8, Sendable, CaseIterable {
  /// Nobody uses it.
  case idle
  case running
  case waitingForLock
  case readingNode
  /// Replaces a node that is full.
  case makingRoom
  case waitingForJournal
  case markingReplicas
  case flushingWriteBuffer

  init(_ reason: RestartReason) {
    self =
      switch reason {
      case .lockConflict: .waitingForLock
      case .nodeRead: .readingNode
      case .nodeSplit: .makingRoom
      case .journalFull: .waitingForJournal
      case .replicasUnmarked: .markingReplicas
      case .writeBufferUnflushed: .flushingWriteBuffer
      }
  }
}

/// A lock as one word; see `LockTable`.
struct LockWord: Equatable {
  let rawValue: UInt
  private static var modeMask: UInt { 3 }

  @inline(__always) init(rawValue: UInt) { self.rawValue = rawValue }
  @inline(__always) init(_ node: NodeRef, _ mode: LockMode) {
    rawValue = node.address | UInt(mode.rawValue)
  }

  @inline(__always) var address: UInt { rawValue & ~Self.modeMask }
  /// nil for no lock.
  @inline(__always) var node: NodeRef? { NodeRef(address: address) }
  @inline(__always) var mode: LockMode {
    LockMode(rawValue: UInt8(truncatingIfNeeded: rawValue & Self.modeMask)) ?? .read
  }
}

/// Words for locks that one thread stores and any may read.
@safe
final class LockTable: @unchecked Sendable {
  // Safety: `blocks` belongs to the thread that stores; others go by `current`.
  private var blocks: [UnsafeMutablePointer<Atomic<UInt>>] = unsafe []
  /// Address of the newest block: its capacity, then so many words.
  private let current = Atomic<UInt>(0)

  deinit { while let block = unsafe blocks.popLast() { unsafe block.deallocate() } }

  /// Begins a larger table with the words of the one before.
  ///
  /// - Returns: where its first word is.
  @unsafe func grow(to capacity: Int) -> UnsafeMutablePointer<Atomic<UInt>> {
    let block = UnsafeMutablePointer<Atomic<UInt>>.allocate(capacity: capacity + 1)
    unsafe block.initialize(to: Atomic(UInt(capacity)))
    let old = words
    for index in 0..<capacity {
      unsafe (block + (index + 1)).initialize(
        to: Atomic(index < old.count ? old[index].rawValue : 0))
    }
    unsafe blocks.append(block)
    // Pairs with the load in `words`.
    current.store(UInt(bitPattern: block), ordering: .releasing)
    return unsafe block + 1
  }

  /// All words, those of no lock included.
  var words: [LockWord] {
    let address = current.load(ordering: .acquiring)
    guard let block = unsafe UnsafeMutablePointer<Atomic<UInt>>(bitPattern: address) else {
      return []
    }
    let capacity = unsafe Int(block.pointee.load(ordering: .relaxed))
    return (1...capacity).map { index in
      LockWord(rawValue: unsafe block[index].load(ordering: .relaxed))
    }
  }
}

/// The words that a transaction shows.
final class TransactionTrace: Sendable {
  let locks = LockTable()
  private let activityWord = Atomic<UInt8>(TransactionActivity.idle.rawValue)
  private let waitWord = Atomic<UInt>(0)
  private let restartCounts = InlineArray<16, Atomic<UInt64>> { _ in Atomic(0) }
  private let name = InlineArray<4, Atomic<UInt64>> { _ in Atomic(0) }
  /// Odd while the name changes.
  private let nameSequence = Atomic<UInt64>(0)

  init() {
    invariant(RestartReason.allCases.count <= 16, "there is a count for every reason")
  }

  // MARK: - Storing

  /// The transaction begins anew, under this name.
  @inline(__always)
  func begin(_ name: InlineArray<4, UInt64>) {
    let sequence = nameSequence.load(ordering: .relaxed)
    nameSequence.store(sequence &+ 1, ordering: .relaxed)
    atomicMemoryFence(ordering: .releasing)
    for word in 0..<4 { self.name[word].store(name[word], ordering: .relaxed) }
    nameSequence.store(sequence &+ 2, ordering: .releasing)
    activityWord.store(TransactionActivity.running.rawValue, ordering: .relaxed)
  }

  /// What it is at from here on.
  @inline(__always)
  func set(_ activity: TransactionActivity) {
    activityWord.store(activity.rawValue, ordering: .relaxed)
  }

  /// It begins again, and deals with what stood in its way.
  ///
  /// - Parameter lock: For which it waits.
  func restart(_ reason: RestartReason, waitingFor lock: LockWord?) {
    restartCounts[Int(reason.rawValue)].wrappingAdd(1, ordering: .relaxed)
    waitWord.store(lock?.rawValue ?? 0, ordering: .relaxed)
    // Pairs with the load in `activity`: who sees this sees the count and the lock too.
    activityWord.store(TransactionActivity(reason).rawValue, ordering: .releasing)
  }

  // MARK: - Reading

  var activity: TransactionActivity {
    TransactionActivity(rawValue: activityWord.load(ordering: .acquiring)) ?? .idle
  }

  /// The lock that it waits for, if what it is at is that.
  var waitsFor: LockWord { LockWord(rawValue: waitWord.load(ordering: .relaxed)) }

  /// How often it began again since it was made, whatever its name was then.
  func restarts(_ reason: RestartReason) -> UInt64 {
    restartCounts[Int(reason.rawValue)].load(ordering: .relaxed)
  }

  /// Its name, or the last one that it had.
  var nameText: String {
    for _ in 0..<Self.nameTries {
      let before = nameSequence.load(ordering: .acquiring)
      let words = (0..<4).map { name[$0].load(ordering: .relaxed) }
      atomicMemoryFence(ordering: .acquiring)
      guard before & 1 == 0, nameSequence.load(ordering: .relaxed) == before else { continue }
      let bytes = words.flatMap { word in
        (0..<8).map { UInt8(truncatingIfNeeded: word.littleEndian >> UInt64($0 * 8)) }
      }
      return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    // It has begun again each time.
    return "?"
  }

  private static var nameTries: Int { 1000 }
}
