// SPDX-License-Identifier: GPL-2.0
// What keeps the journal's entries: something whose keys are in them and not yet on disk elsewhere.
//
// How it works
//   Each entry that is needed has a list of pins (JournalPins). The oldest entry with a pin is the
//   journal's `last_seq`: recovery begins there, and the space before it is free.
// Invariants
//   (1) A pin is in one list at most, that of its `sequence`; 0 is no list.
//   (2) A pin only ever moves to an older entry, or is dropped.
// Locks: lists belong to the journal's lock. `sequence` may be read without it: who changes keys
// holds the lock of the node that owns the pin.
// Source: journal_reclaim.c (bch2_journal_pin_set, bch2_journal_pin_drop).

internal import BcachefsSupport
internal import Synchronization

/// One thing that holds journal entries.
@safe
final class JournalPin: @unchecked Sendable {
  // Safety: see Locks.
  fileprivate let word = Atomic<UInt64>(0)
  fileprivate unowned(unsafe) var previous: JournalPin?
  fileprivate var next: JournalPin?
  /// What has to be written for the pin to go; nil where that happens by itself.
  private(set) var owner: NodeRef?
  let kind: Kind

  /// What holds entries.
  enum Kind: UInt8, CaseIterable, Sendable {
    /// Keys of a node that are not on disk.
    case dirtyNode
    /// Keys of a node that are being written.
    case writtenNode
    /// New nodes to which the disk does not lead yet.
    case interiorUpdate
    /// Keys that are not in their nodes.
    case writeBuffer

    /// Whether it goes only with an entry that says so.
    fileprivate var needsEntry: Bool { self == .writtenNode || self == .interiorUpdate }
  }

  init(_ kind: Kind) { self.kind = kind }

  /// Once, before anything is pinned.
  func setOwner(_ owner: NodeRef) { self.owner = owner }

  /// The oldest entry that it holds; 0 if none.
  @inline(__always) var sequence: UInt64 { word.load(ordering: .acquiring) }
}

/// The pins of all entries that are needed, oldest first.
struct JournalPins: ~Copyable {
  private struct Entry {
    var first: JournalPin?
    /// The entry is not written yet, or is to be replayed.
    var isHeld = false
  }

  private var entries: [Entry] = []
  private var head = 0
  /// Sequence number of the first entry there is.
  private(set) var front: UInt64
  /// Pins that go only when one more entry is written.
  private(set) var needingEntry = 0

  init(front: UInt64) { self.front = front }

  /// One past the newest entry.
  var end: UInt64 { front + UInt64(entries.count - head) }

  /// Entries that are needed.
  var count: Int { entries.count - head }

  private func index(_ sequence: UInt64) -> Int { head + Int(sequence - front) }

  /// Adds the entry behind the newest; it is held until `release`.
  mutating func addEntry() { entries.append(Entry(first: nil, isHeld: true)) }

  /// The entry itself needs nothing any more.
  mutating func release(_ sequence: UInt64) {
    guard sequence >= front, sequence < end else { return }
    entries[index(sequence)].isHeld = false
    advance()
  }

  mutating func set(_ pin: JournalPin, _ sequence: UInt64) {
    invariant(sequence >= front && sequence < end, "only entries that are there can be pinned")
    let old = pin.word.load(ordering: .relaxed)
    guard old == 0 || sequence < old else { return }
    if old != 0 { unlink(pin, old) }
    if old == 0, pin.kind.needsEntry { needingEntry += 1 }
    let place = index(sequence)
    unsafe pin.previous = nil
    pin.next = entries[place].first
    unsafe entries[place].first?.previous = pin
    entries[place].first = pin
    pin.word.store(sequence, ordering: .releasing)
    if old != 0 { advance() }
  }

  mutating func drop(_ pin: JournalPin) {
    let old = pin.word.load(ordering: .relaxed)
    guard old != 0 else { return }
    unlink(pin, old)
    if pin.kind.needsEntry { needingEntry -= 1 }
    pin.word.store(0, ordering: .releasing)
    advance()
  }

  private mutating func unlink(_ pin: JournalPin, _ sequence: UInt64) {
    if let previous = unsafe pin.previous {
      previous.next = pin.next
    } else {
      entries[index(sequence)].first = pin.next
    }
    unsafe pin.next?.previous = pin.previous
    unsafe pin.previous = nil
    pin.next = nil
  }

  /// Forgets the oldest entries as long as nothing holds them.
  private mutating func advance() {
    while head < entries.count, entries[head].first == nil, !entries[head].isHeld {
      head += 1
      front += 1
    }
    if head > 1024, head * 2 > entries.count {
      entries.removeFirst(head)
      head = 0
    }
  }

  /// Calls `body` for each entry that is needed, oldest first, with whether the entry itself is
  /// held, then for each of its pins.
  func forEach(_ body: (_ sequence: UInt64, _ isHeld: Bool, _ pin: JournalPin?) -> Void) {
    for place in head..<entries.count {
      let (sequence, isHeld) = (front + UInt64(place - head), entries[place].isHeld)
      body(sequence, isHeld, nil)
      var pin = entries[place].first
      while let here = pin {
        body(sequence, isHeld, here)
        pin = here.next
      }
    }
  }

  /// Owners of the oldest pins, up to an entry.
  func owners(upTo sequence: UInt64, max: Int) -> [NodeRef] {
    var found: [NodeRef] = []
    var place = head
    while place < entries.count, front + UInt64(place - head) <= sequence, found.count < max {
      var pin = entries[place].first
      while let here = pin, found.count < max {
        if let owner = here.owner { found.append(owner) }
        pin = here.next
      }
      place += 1
    }
    return found
  }
}
