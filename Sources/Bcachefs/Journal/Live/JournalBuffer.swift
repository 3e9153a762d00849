// SPDX-License-Identifier: GPL-2.0
// An entry of the journal while it is made, and a transaction's part of it.
//
// Invariants
//   (1) `usedWords` never exceeds `limitWords`: what is added when the entry is written (roots,
//       clocks) has its room behind that.
//   (2) Reserved parts do not overlap; each is filled by its owner, then `references` goes down.
//   (3) An entry is composed only when it is closed and `references` is zero.
// Locks: all but the words of a reserved part belong to the journal's lock.
// Source: `struct journal_buf`, `struct journal_res`.

internal import BcachefsFormat
internal import BcachefsSupport

@safe
final class JournalBuffer: @unchecked Sendable {
  // Safety: see Locks.
  let memory: HeapBuffer
  fileprivate let words: UnsafeMutablePointer<UInt64>
  private(set) var sequence: UInt64 = 0
  fileprivate(set) var usedWords = 0
  private(set) var limitWords = 0
  fileprivate(set) var references = 0
  private(set) var isClosed = false
  /// The oldest entry that was needed when this one was closed.
  private(set) var lastSequence: UInt64 = 0

  /// Words of header and entries that fit.
  var capacityWords: Int { memory.byteCount / 8 }
  static var headerWords: Int { JSetHeader.Layout.byteCount / 8 }

  init(byteCount: Int) {
    let memory = HeapBuffer(byteCount: byteCount)
    self.memory = memory
    var bytes = memory.mutableBytes
    // The memory lives as long as this object, which owns it.
    unsafe words = bytes.withUnsafeMutableBytes { raw in
      guard let base = raw.baseAddress else { unreachable("a buffer has memory") }
      return unsafe base.bindMemory(to: UInt64.self, capacity: byteCount / 8)
    }
  }

  /// Begins an entry.
  func open(_ sequence: UInt64, limitWords: Int) {
    self.sequence = sequence
    self.limitWords = limitWords
    usedWords = Self.headerWords
    references = 0
    isClosed = false
  }

  /// Lets nobody in any more.
  ///
  /// - Parameter lastSequence: The oldest entry that is needed now. What is not needed later on is
  ///   so because of keys in later entries, which may not reach the disk when this one does.
  func close(lastSequence: UInt64) {
    isClosed = true
    self.lastSequence = min(lastSequence, sequence)
  }

  /// Whether so many more words fit.
  @inline(__always) func hasRoom(_ count: Int) -> Bool { usedWords &+ count <= limitWords }

  /// Takes room for a transaction.
  @inline(__always) func take(_ count: Int) -> JournalReservation {
    let start = usedWords
    usedWords &+= count
    references &+= 1
    return unsafe JournalReservation(sequence, self, words + start, count)
  }

  /// Adds words of the journal's own, when the entry is written.
  func append(_ list: [UInt64]) {
    invariant(usedWords + list.count <= capacityWords, "an entry has room for its end")
    for word in list {
      unsafe words[usedWords] = word
      usedWords += 1
    }
  }

  @unsafe @inline(__always)
  fileprivate func position(of word: UnsafeMutablePointer<UInt64>) -> Int { unsafe word - words }

  /// Every part is filled.
  var isFilled: Bool { references == 0 }

  @inline(__always) func returnReference() -> Bool {
    references &-= 1
    return references == 0
  }
}

/// A transaction's part of an entry.
@safe
struct JournalReservation {
  let sequence: UInt64
  unowned(unsafe) let buffer: JournalBuffer
  private var next: UnsafeMutablePointer<UInt64>
  private var left: Int

  @unsafe @inline(__always)
  fileprivate init(
    _ sequence: UInt64, _ buffer: JournalBuffer, _ words: UnsafeMutablePointer<UInt64>, _ count: Int
  ) {
    self.sequence = sequence
    unsafe self.buffer = buffer
    unsafe next = words
    left = count
  }

  /// Words from the start of the journal entry to where the next part goes.
  @unsafe @inline(__always) var wordPosition: Int { unsafe buffer.position(of: next) }

  /// Appends an entry of so many words.
  @unsafe @inline(__always)
  mutating func append(
    _ type: JSetEntryType, _ btree: BTreeID, level: UInt8, _ words: UnsafeRawPointer, u64s: Int
  ) {
    assert(u64s < left)
    unsafe next.pointee = JSetEntryView.headerWord(type, btree, level: level, u64s: u64s)
    unsafe UnsafeMutableRawPointer(next + 1).copyMemory(from: words, byteCount: u64s &* 8)
    unsafe next += u64s &+ 1
    left &-= u64s &+ 1
  }

  /// Appends an entry of one key.
  @unsafe @inline(__always)
  mutating func appendKey(
    _ type: JSetEntryType, _ btree: BTreeID, level: UInt8, _ key: BKey, _ value: UnsafeRawPointer?
  ) {
    let words = Int(key.u64s)
    assert(words < left)
    unsafe next.pointee = JSetEntryView.headerWord(type, btree, level: level, u64s: words)
    var bytes = unsafe MutableRawSpan(
      _unsafeStart: UnsafeMutableRawPointer(next + 1), byteCount: BKey.Layout.byteCount)
    key.encode(into: &bytes)
    if let value = unsafe value {
      unsafe UnsafeMutableRawPointer(next + (1 + BKey.headerU64s)).copyMemory(
        from: value, byteCount: key.valueByteCount)
    }
    unsafe next += words &+ 1
    left &-= words &+ 1
  }

  /// Appends entries that are whole already.
  @unsafe @inline(__always)
  mutating func appendEntries(_ words: UnsafeRawPointer, u64s: Int) {
    assert(u64s <= left)
    unsafe UnsafeMutableRawPointer(next).copyMemory(from: words, byteCount: u64s &* 8)
    unsafe next += u64s
    left &-= u64s
  }

  /// What was not used becomes empty entries.
  @inline(__always) func fillRest() {
    for word in 0..<left { unsafe next[word] = 0 }
  }
}
