// SPDX-License-Identifier: GPL-2.0
// The lock of a btree node: shared for reading, intent to write, exclusive for writing, and a
// sequence number that tells whether anything was written since.
//
// How it works
//   1. All of it is one 64-bit word:
//        bits  0 ..< 20  readers
//        bit  20         intent: one holder, beside any readers
//        bit  21         write: no readers but the writer's own; intent stays set
//        bit  22         a writer waits for readers to leave: no new ones come in
//        bit  23         somebody sleeps until the lock is free: whoever unlocks looks into the
//                        parking lot
//        bits 24 ..< 32  the lock's place in the parking lot, given when it is made
//        bits 32 ..< 64  sequence number, one more for each unlockWrite; it wraps
//   2. A change of many nodes takes intent on its way down, which keeps other writers out and lets
//      readers be, and write only for the moment in which a node's memory changes.
//   3. Whoever let go of a lock and remembers its sequence number can take it again, if nothing was
//      written since (`tryRelock...`): what was found there still stands.
//   4. Optimistic reads take nothing: readSequence, read, validate. What was read in between may be
//      torn; it must not be followed or trusted before it is validated.
//   5. tryWrite keeps new readers away while it spins; it gives up after a bounded time.
//   6. waitUntilFree is for those with empty hands: it spins, then sleeps in the parking lot
//      (`ParkingLot`), and may come back without reason.
//
// Rule against deadlock: *a holder only ever tries*. A thread that holds any lock calls the `try`
// operations alone; when one fails it drops all that it holds, calls `waitUntilFree`, and starts
// anew. So nobody who holds something ever waits for anybody.
//
// Invariants
//   (1) write is only set while intent is, and has the same holder; so has the bit of a waiting
//       writer.
//   (2) While write is set, the readers are those of the writer, and no others come.
//   (3) The sequence number only changes in unlockWrite: same number and no write bit, same memory.
//   (4) Unlocking costs one atomic operation when nobody sleeps.
//   (5) The bit of sleepers is set and cleared by those who hold their place in the parking lot; a
//       sleeper set it after it last saw the lock taken.
//
// Memory order: taking acquires, giving back releases. For optimistic readers the write bit is
// published before anything is written (a release fence after it), and validate's load comes after
// the reads (an acquire fence before it).
// Locks: this is one; what the parking lot takes is a leaf.
// Source: six.c, six.h (states and sequence number); waiting and the rule are our own.

public import Synchronization

/// A lock with the states read, intent and write, and a sequence number, in 8 bytes.
///
/// For a stored `let` of an object. Whoever unlocks keeps that object alive until unlocking has
/// returned.
public struct SixLock: ~Copyable, Sendable {
  /// How a lock can be held (`enum six_lock_type`).
  public enum State: Sendable, CaseIterable {
    /// With any number of other readers, and one holder of intent.
    case read
    /// Alone, but for readers.
    case intent
    /// Alone. On top of intent.
    case write
  }

  @usableFromInline enum Bits {
    @usableFromInline static var readers: UInt64 { (1 << 20) - 1 }
    @usableFromInline static var intent: UInt64 { 1 << 20 }
    @usableFromInline static var write: UInt64 { 1 << 21 }
    @usableFromInline static var pending: UInt64 { 1 << 22 }
    @usableFromInline static var sleepers: UInt64 { 1 << 23 }
    @usableFromInline static var placeShift: UInt64 { 24 }
    @usableFromInline static var sequence: UInt64 { 1 << 32 }
    @usableFromInline static var sequenceShift: UInt64 { 32 }
  }

  @usableFromInline let word: Atomic<UInt64>

  /// A lock that nobody holds, with sequence number 0.
  public init() {
    word = Atomic(UInt64(ParkingLot.nextPlace()) << Bits.placeShift)
  }

  // MARK: Looking

  /// How often it was written, modulo 2^32. Means something to holders only.
  @inlinable public var sequence: UInt32 {
    UInt32(truncatingIfNeeded: word.load(ordering: .relaxed) >> Bits.sequenceShift)
  }

  /// Readers at this moment, for assertions and dumps.
  @inlinable public var readerCount: Int { Int(word.load(ordering: .relaxed) & Bits.readers) }
  /// Whether anybody holds intent at this moment, for assertions and dumps.
  @inlinable public var isIntentHeld: Bool { word.load(ordering: .relaxed) & Bits.intent != 0 }
  /// Whether anybody holds write at this moment, for assertions and dumps.
  @inlinable public var isWriteHeld: Bool { word.load(ordering: .relaxed) & Bits.write != 0 }

  /// Whether `state` could be taken, by one who holds nothing, from a word.
  @inlinable static func isFree(_ word: UInt64, for state: State) -> Bool {
    switch state {
    case .read: word & (Bits.write | Bits.pending) == 0
    case .intent: word & Bits.intent == 0
    case .write: word & (Bits.intent | Bits.readers) == 0
    }
  }

  // MARK: Reading

  /// Takes it for reading, if no writer has it or waits for it.
  @inlinable public borrowing func tryRead() -> Bool {
    var old = word.load(ordering: .relaxed)
    while true {
      if old & (Bits.write | Bits.pending) != 0 { return false }
      assert(old & Bits.readers != Bits.readers, "too many readers")
      let (done, now) = word.weakCompareExchange(
        expected: old, desired: old &+ 1, successOrdering: .acquiring, failureOrdering: .relaxed)
      if done { return true }
      old = now
    }
  }

  /// As `tryRead`, if the sequence number still is `expected`.
  @inlinable public borrowing func tryRelockRead(ifSequenceIs expected: UInt32) -> Bool {
    var old = word.load(ordering: .relaxed)
    while true {
      if old & (Bits.write | Bits.pending) != 0 { return false }
      if UInt32(truncatingIfNeeded: old >> Bits.sequenceShift) != expected { return false }
      assert(old & Bits.readers != Bits.readers, "too many readers")
      let (done, now) = word.weakCompareExchange(
        expected: old, desired: old &+ 1, successOrdering: .acquiring, failureOrdering: .relaxed)
      if done { return true }
      old = now
    }
  }

  /// Takes it for reading once more. The caller holds it already, in any state, so nothing can be
  /// in the way.
  @inlinable public borrowing func addRead() {
    let old = word.wrappingAdd(1, ordering: .relaxed).oldValue
    assert(old & (Bits.readers | Bits.intent) != 0, "addRead is for holders")
  }

  /// Gives one `tryRead`, `tryRelockRead` or `addRead` back.
  @inlinable public borrowing func unlockRead() {
    let (old, now) = word.wrappingSubtract(1, ordering: .releasing)
    assert(old & Bits.readers != 0, "it was held for reading")
    if now & Bits.sleepers != 0 && now & Bits.readers == 0 { wakeSleepers() }
  }

  // MARK: Intent

  /// Takes it with intent, if nobody else has.
  @inlinable public borrowing func tryIntent() -> Bool {
    var old = word.load(ordering: .relaxed)
    while true {
      if old & Bits.intent != 0 { return false }
      let (done, now) = word.weakCompareExchange(
        expected: old, desired: old | Bits.intent, successOrdering: .acquiring,
        failureOrdering: .relaxed)
      if done { return true }
      old = now
    }
  }

  /// As `tryIntent`, if the sequence number still is `expected`.
  @inlinable public borrowing func tryRelockIntent(ifSequenceIs expected: UInt32) -> Bool {
    var old = word.load(ordering: .relaxed)
    while true {
      if old & Bits.intent != 0 { return false }
      if UInt32(truncatingIfNeeded: old >> Bits.sequenceShift) != expected { return false }
      let (done, now) = word.weakCompareExchange(
        expected: old, desired: old | Bits.intent, successOrdering: .acquiring,
        failureOrdering: .relaxed)
      if done { return true }
      old = now
    }
  }

  /// Turns one read of the caller's into intent, if nobody else has intent.
  @inlinable public borrowing func tryUpgrade() -> Bool {
    var old = word.load(ordering: .relaxed)
    while true {
      assert(old & Bits.readers != 0, "it is held for reading")
      if old & Bits.intent != 0 { return false }
      let (done, now) = word.weakCompareExchange(
        expected: old, desired: (old &- 1) | Bits.intent, successOrdering: .acquiring,
        failureOrdering: .relaxed)
      if done {
        if now & Bits.sleepers != 0 && (now &- 1) & Bits.readers == 0 { wakeSleepers() }
        return true
      }
      old = now
    }
  }

  /// Turns the caller's intent into a read.
  @inlinable public borrowing func downgrade() {
    let (old, now) = word.wrappingSubtract(Bits.intent &- 1, ordering: .releasing)
    assert(old & Bits.intent != 0 && old & Bits.write == 0, "it was held with intent")
    if now & Bits.sleepers != 0 { wakeSleepers() }
  }

  /// Gives intent back.
  @inlinable public borrowing func unlockIntent() {
    let (old, now) = word.wrappingSubtract(Bits.intent, ordering: .releasing)
    assert(old & Bits.intent != 0 && old & Bits.write == 0, "it was held with intent")
    if now & Bits.sleepers != 0 { wakeSleepers() }
  }

  // MARK: Writing

  /// Takes it for writing, if there are no readers but the caller's own; spins a little for others
  /// to leave, and keeps new ones away meanwhile. The caller holds intent.
  ///
  /// - Parameter ownReaders: Reads that the caller holds itself.
  @inlinable public borrowing func tryWrite(ownReaders: Int = 0) -> Bool {
    var old = word.load(ordering: .relaxed)
    while true {
      assert(old & Bits.intent != 0 && old & Bits.write == 0, "it is held with intent")
      if old & Bits.readers != UInt64(truncatingIfNeeded: ownReaders) {
        return tryWriteWhenReadersLeave(ownReaders: ownReaders)
      }
      let (done, now) = word.weakCompareExchange(
        expected: old, desired: old | Bits.write, successOrdering: .acquiring,
        failureOrdering: .relaxed)
      if done {
        atomicMemoryFence(ordering: .releasing)
        return true
      }
      old = now
    }
  }

  /// Back to intent; the sequence number moves on.
  @inlinable public borrowing func unlockWrite() {
    let (old, now) = word.wrappingAdd(Bits.sequence &- Bits.write, ordering: .releasing)
    assert(old & Bits.intent != 0 && old & Bits.write != 0, "it was held for writing")
    if now & Bits.sleepers != 0 { wakeSleepers() }
  }

  @usableFromInline @inline(never)
  borrowing func tryWriteWhenReadersLeave(ownReaders: Int) -> Bool {
    let own = UInt64(truncatingIfNeeded: ownReaders)
    var old = word.bitwiseOr(Bits.pending, ordering: .relaxed).newValue
    var patience = SpinPatience()
    while true {
      assert(old & Bits.readers >= own, "the caller has as many reads as it says")
      if old & Bits.readers == own {
        let (done, now) = word.weakCompareExchange(
          expected: old, desired: (old | Bits.write) & ~Bits.pending,
          successOrdering: .acquiring, failureOrdering: .relaxed)
        if done {
          atomicMemoryFence(ordering: .releasing)
          return true
        }
        old = now
        continue
      }
      guard patience.spin() else { break }
      old = word.load(ordering: .relaxed)
    }
    let now = word.bitwiseAnd(~Bits.pending, ordering: .relaxed).newValue
    if now & Bits.sleepers != 0 { wakeSleepers() }
    return false
  }

  // MARK: Optimistic reading

  /// The sequence number to validate with; nil while it is written.
  @inlinable public borrowing func readSequence() -> UInt32? {
    let now = word.load(ordering: .acquiring)
    if now & Bits.write != 0 { return nil }
    return UInt32(truncatingIfNeeded: now >> Bits.sequenceShift)
  }

  /// Whether nothing was written since `readSequence` gave `expected`.
  @inlinable public borrowing func validate(_ expected: UInt32) -> Bool {
    atomicMemoryFence(ordering: .acquiring)
    let now = word.load(ordering: .relaxed)
    return now & Bits.write == 0
      && UInt32(truncatingIfNeeded: now >> Bits.sequenceShift) == expected
  }

  // MARK: Waiting

  /// How long a sleeper sleeps at most, in nanoseconds: a writer comes back, though there always
  /// were readers, and keeps them away.
  static var longestSleep: UInt64 { 10_000_000 }

  /// Waits until `state` could be taken, or for a while: the caller tries again either way.
  /// The caller holds no lock at all.
  ///
  /// - Returns: False when it was given up, after `longestSleep`.
  @discardableResult
  public borrowing func waitUntilFree(for state: State) -> Bool {
    var patience = SpinPatience()
    repeat {
      if Self.isFree(word.load(ordering: .relaxed), for: state) { return true }
    } while patience.spin()
    let place = sleepingPlace
    place.lock()
    defer { place.unlock() }
    var old = word.load(ordering: .relaxed)
    while !Self.isFree(old, for: state) {
      let (done, now) = word.compareExchange(
        expected: old, desired: old | Bits.sleepers, ordering: .relaxed)
      if !done {
        old = now
        continue
      }
      if !place.wait(nanoseconds: Self.longestSleep) { return false }
      old = word.load(ordering: .relaxed)
    }
    return true
  }

  private var sleepingPlace: Condition {
    let number = word.load(ordering: .relaxed) >> Bits.placeShift & 0xff
    return ParkingLot.place(Int(truncatingIfNeeded: number))
  }

  @usableFromInline @inline(never)
  borrowing func wakeSleepers() {
    let place = sleepingPlace
    place.withLock {
      _ = word.bitwiseAnd(~Bits.sleepers, ordering: .relaxed)
      place.broadcast()
    }
  }
}
