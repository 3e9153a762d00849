// SPDX-License-Identifier: GPL-2.0
// The journal as it is at a moment: numbers, entries under way, room, and what holds entries.
//
// How it works
//   All is copied with the journal's lock held once, so the numbers belong together. Nodes are
//   looked at afterwards, each by itself.
// Invariants
//   (1) No lock of a node is taken with the journal's held.
// Locks: the journal's `condition`; then, one at a time, tried read locks of nodes.
// Source: journal.c (bch2_journal_debug_to_text, bch2_journal_seq_pins_to_text).

internal import BcachefsFormat
internal import BcachefsSupport

/// What a journal has done since the volume was opened.
struct JournalTally: Sendable, Equatable {
  private(set) var flushWrites: UInt64 = 0
  private(set) var noflushWrites: UInt64 = 0
  /// Of entries, each counted once.
  private(set) var writtenBytes: UInt64 = 0
  /// Times that somebody who wanted room made it.
  var directReclaims: UInt64 = 0
  var backgroundReclaims: UInt64 = 0

  var averageBytes: UInt64 {
    let count = flushWrites + noflushWrites
    return count > 0 ? writtenBytes / count : 0
  }

  mutating func addEntry(_ byteCount: Int, isFlush: Bool) {
    if isFlush { flushWrites += 1 } else { noflushWrites += 1 }
    writtenBytes &+= UInt64(byteCount)
  }
}

/// A journal at a moment.
struct JournalState: Sendable {
  /// An entry that is not written yet.
  struct Entry: Sendable {
    let sequence: UInt64
    let usedWords: Int
    let limitWords: Int
    /// Transactions that have not filled their parts yet.
    let reservations: Int
    let isClosed: Bool
  }

  /// The ring of buckets on one device.
  struct Device: Sendable {
    let device: UInt8
    let buckets: Int
    let bucketSectors: UInt64
    let freeBuckets: Int
    /// In the current bucket.
    let freeSectors: UInt64
    let currentIndex: Int
    let currentSequence: UInt64
    /// The bucket with the oldest entries that may be needed.
    let oldestIndex: Int
    let oldestSequence: UInt64
  }

  /// What holds one entry.
  struct Pins: Sendable {
    let sequence: UInt64
    /// The entry is not written yet, or waits to be replayed.
    let isHeld: Bool
    /// How many pins there are of each kind.
    var counts: [JournalPin.Kind: Int] = [:]
    /// Some of the nodes whose dirty keys it has.
    var nodes: [NodeSight] = []
  }

  enum Flag: String, Sendable {
    case running
    case needFlushWrite = "need_flush_write"
    case spaceLow = "space_low"
    case writing
    case error
  }

  let flags: [Flag]
  let failure: VolumeError?
  /// Entries that are needed.
  let dirtyEntries: Int
  let sequence: UInt64
  let writtenSequence: UInt64
  let flushedSequence: UInt64
  /// The oldest entry that is needed, and the one that the disk says is.
  let lastSequence: UInt64
  let lastSequenceOnDisk: UInt64
  let flushWanted: UInt64
  let watermark: Watermark
  let tally: JournalTally
  let unwritten: [Entry]
  /// Entries that fit, each in a bucket of its own, before anything has to be given up; and all.
  let freeEntries: Int
  let totalEntries: Int
  let devices: [Device]
  /// Of each entry that is needed, oldest first.
  fileprivate(set) var pins: [Pins] = []
}

extension JournalPins {
  /// How many pins of each kind entries have, and whose; oldest entry first.
  fileprivate func shown(nodesMax: Int) -> [(pins: JournalState.Pins, nodes: [NodeRef])] {
    var result: [(pins: JournalState.Pins, nodes: [NodeRef])] = []
    forEach { sequence, isHeld, pin in
      guard let pin else {
        return result.append((JournalState.Pins(sequence: sequence, isHeld: isHeld), []))
      }
      let last = result.count - 1
      result[last].pins.counts[pin.kind, default: 0] += 1
      if let owner = pin.owner, result[last].nodes.count < nodesMax {
        result[last].nodes.append(owner)
      }
    }
    return result
  }
}

extension Journal {
  /// Nodes that are named for each entry.
  private static var nodesShown: Int { 16 }

  /// Somebody makes room.
  ///
  /// - Parameter isDirect: He needs it himself.
  func noteReclaim(isDirect: Bool) {
    condition.withLock {
      if isDirect { tally.directReclaims += 1 } else { tally.backgroundReclaims += 1 }
    }
  }

  /// What the journal is like now.
  ///
  /// - Complexity: one step for each pin, with the journal's lock held.
  var state: JournalState {
    var (state, shown) = condition.withLock {
      (stateWithoutPins, pins.shown(nodesMax: Self.nodesShown))
    }
    for index in shown.indices { shown[index].pins.nodes = shown[index].nodes.map(\.sight) }
    // What is opened next is held already, and no entry yet.
    state.pins = shown.map(\.pins).filter { [last = state.sequence] in
      $0.sequence <= last || !$0.counts.isEmpty
    }
    return state
  }

  /// Under `condition`.
  private var stateWithoutPins: JournalState {
    let room = roomOnDevices
    var flags: [JournalState.Flag] = failure == nil ? [.running] : [.error]
    if needsFlush { flags.append(.needFlushWrite) }
    if lowestWatermark > .stripe { flags.append(.spaceLow) }
    if isWriting { flags.append(.writing) }
    let entries = queue.map {
      JournalState.Entry(
        sequence: $0.sequence, usedWords: $0.usedWords, limitWords: $0.limitWords,
        reservations: $0.references, isClosed: $0.isClosed)
    }
    return JournalState(
      flags: flags, failure: failure, dirtyEntries: pins.count - 1, sequence: nextSequence - 1,
      writtenSequence: writtenSequence, flushedSequence: flushedSequence,
      lastSequence: pins.front, lastSequenceOnDisk: lastSequenceOnDisk, flushWanted: flushWanted,
      watermark: lowestWatermark, tally: tally, unwritten: entries, freeEntries: room.free,
      totalEntries: room.total, devices: rings.map { $0.state(lastSequenceOnDisk) })
  }
}
