// SPDX-License-Identifier: GPL-2.0
// The journal of a volume that is open for changes.
//
// How it works
//   1. A transaction reserves words in the open entry, fills them, and gives the reservation back
//      (JournalBuffer.swift). When an entry is full, or somebody wants what is in it on disk, it is
//      closed and another one opened.
//   2. Closed entries are written in order, one at a time, by whoever needs one written: the first
//      who asks writes for all who wait (Journal+Write.swift, Journal+Flush.swift).
//   3. An entry that nobody waits for is written without a flush as long as there is plenty of
//      room: it counts when a later one that was flushed is there.
//   4. What an entry holds keys for is known by pins (JournalPin.swift). The oldest pinned entry is
//      `last_seq`; what is older is free once a flushed entry says so (JournalRing.swift).
//   5. When room is short, only those may reserve who make room (Watermark). The last of it is for
//      nodes that are being written: they hold entries until another one tells where they are.
// Invariants
//   (1) Sequence numbers ascend by one; every number is written, or the journal has failed.
//   (2) lastSequenceOnDisk <= flushedSequence <= writtenSequence < current sequence.
//   (3) There are free buckets for every entry that is not written yet.
//   (4) What `last_seq` an entry tells is known when it is closed, before the next one is opened.
//   (5) After a failure nothing is written, and everybody who asks gets the error.
// Locks: `condition` is a leaf; it is not held during I/O. One thread at a time writes
// (`isWriting`), and has what only the writer touches to itself: the roots.
// Source: journal.c, journal_io.c, journal_reclaim.c.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

/// What all entries of a volume's journal have in common.
struct JournalParameters {
  let magic: UInt64
  let version: MetadataVersion
  let checksumType: ChecksumType
  let key: EncryptionKey?
  let blockBytes: Int
  /// On how many devices each entry is to be.
  let replicas: Int
  /// After so long an entry is flushed though nobody waits for it.
  let flushDelayNanoseconds: UInt64
}

final class Journal: @unchecked Sendable {
  // Safety: see Locks.
  static var buffersMax: Int { 4 }

  let parameters: JournalParameters
  let media: VolumeMedia
  let instruments: Instruments
  let replicas: MarkedReplicas
  let failures: DeviceFailures
  let unflushed: UnflushedDevices
  let condition = Condition()

  // Under `condition`:
  /// Of all entries that are needed, and of the one that is opened next.
  var pins: JournalPins
  var rings: [JournalRing]
  /// Entries that are not written yet, oldest first; the last one may be open.
  var queue: [JournalBuffer] = []
  var freeBuffers: [JournalBuffer] = []
  /// The number of the next entry to be opened.
  var nextSequence: UInt64
  var writtenSequence: UInt64
  var flushedSequence: UInt64
  var lastSequenceOnDisk: UInt64
  /// Entries up to this one are waited for.
  var flushWanted: UInt64 = 0
  var lastFlushNanoseconds: UInt64 = 0
  /// The first entry is always flushed: what was in the journal before may be overwritten by it.
  var needsFlush = true
  var isWriting = false
  /// Those who found it full since it was last asked whether it should grow.
  var shortages = 0
  var tally = JournalTally()
  var failure: VolumeError?

  /// Only touched by who writes.
  var roots: [JournalRoot?]
  var readClock: UInt64
  var writeClock: UInt64
  /// The newest version of an extent that was given out.
  let keyVersion: Atomic<UInt64>

  /// How low a watermark may be to get a reservation.
  private(set) var lowestWatermark = Watermark.stripe
  private let bufferBytes: Int

  /// - Parameters:
  ///   - contents: What was found; entries that were replayed are needed until `replayDone`.
  ///   - nextSequence: Of the first entry; all numbers from the newest found to here are
  ///     blacklisted.
  init(
    _ parameters: JournalParameters, media: VolumeMedia, instruments: Instruments,
    replicas: MarkedReplicas, failures: DeviceFailures, unflushed: UnflushedDevices,
    rings: [JournalRing], contents: JournalContents, nextSequence: UInt64
  ) {
    self.parameters = parameters
    self.media = media
    self.instruments = instruments
    self.replicas = replicas
    self.failures = failures
    self.unflushed = unflushed
    self.rings = rings
    self.nextSequence = nextSequence
    writtenSequence = nextSequence - 1
    flushedSequence = nextSequence - 1
    let front = contents.replayed.isEmpty ? nextSequence : contents.replayed.lowerBound
    lastSequenceOnDisk = front
    pins = JournalPins(front: front)
    for _ in front...nextSequence { pins.addEntry() }
    roots = contents.roots
    endWords = Self.endWords(contents.roots)
    readClock = contents.readClock
    writeClock = contents.writeClock
    keyVersion = Atomic(
      contents.keyVersion &+ (contents.isFromCleanSection ? 0 : Self.keyVersionsLost))
    bufferBytes = Self.bufferBytes(rings)
    updateRoom()
  }

  private static var bufferBytesMax: Int { 1 << 20 }

  private static func bufferBytes(_ rings: [JournalRing]) -> Int {
    min(rings.map { Int($0.bucketSectors) * 512 }.min() ?? 0, bufferBytesMax)
  }

  /// Refuses buckets that what every entry ends with does not fit.
  ///
  /// - Throws: `.limit`.
  static func checkRoom(_ roots: [JournalRoot?], _ rings: [JournalRing]) throws(VolumeError) {
    let (room, needed) = (bufferBytes(rings), (JournalBuffer.headerWords + endWords(roots)) * 8)
    guard room > needed else {
      throw VolumeError(
        .limit,
        "a bucket of the journal has \(room) bytes, and the roots of all btrees, with which every "
          + "entry ends, may take \(needed)")
    }
  }

  /// More than the versions that are given out between two entries that tell the newest one: what
  /// they encrypted may be on disk after a crash, and none may be used twice.
  private static var keyVersionsLost: UInt64 { 1 << 20 }

  /// A version that no extent has had: part of the nonce of what it encrypts.
  func nextKeyVersion() -> BVersion {
    BVersion(lo: keyVersion.wrappingAdd(1, ordering: .relaxed).newValue)
  }

  /// Words that are added to an entry when it is written: roots, clocks, time, key version.
  private let endWords: Int

  /// - Parameter roots: Those that there are. Btrees that we know may get other ones.
  private static func endWords(_ roots: [JournalRoot?]) -> Int {
    let others = roots.dropFirst(Int(BTreeID.count)).reduce(0) { $0 + 1 + Int($1?.key?.u64s ?? 0) }
    return Int(BTreeID.count) * (1 + NodePointer.wordsMax) + others + 16
  }

  /// Words that a transaction can have at most.
  var reservationMax: Int { bufferBytes / 8 - JournalBuffer.headerWords - endWords }

  // MARK: - Reservations

  /// Reserves words in the open entry, or in a new one.
  ///
  /// - Returns: nil when there is no room now; `waitForRoom` tells when there is, or why there will
  ///   not be any.
  /// - Complexity: one mutex; nothing is allocated but the first buffers.
  @inline(__always)
  func reserve(u64s: Int, watermark: Watermark) -> JournalReservation? {
    condition.lock()
    defer { condition.unlock() }
    guard watermark >= lowestWatermark else { return nil }
    if let open = queue.last, !open.isClosed, open.hasRoom(u64s) { return open.take(u64s) }
    return reserveInNext(u64s)
  }

  @inline(never)
  private func reserveInNext(_ u64s: Int) -> JournalReservation? {
    guard failure == nil, u64s <= reservationMax else { return nil }
    closeEntry()
    guard openEntry(), let open = queue.last else { return nil }
    return open.take(u64s)
  }

  /// Gives a reservation back: its words are filled.
  @inline(__always)
  func release(_ reservation: JournalReservation) {
    reservation.fillRest()
    condition.lock()
    defer { condition.unlock() }
    if unsafe reservation.buffer.returnReference(), unsafe reservation.buffer.isClosed {
      condition.broadcast()
    }
  }

  /// Closes the open entry, if there is one. Under `condition`.
  func closeEntry() {
    guard let open = queue.last, !open.isClosed else { return }
    open.close(lastSequence: pins.front)
    condition.broadcast()
  }

  /// Opens the next entry, if there is a buffer and room on disk for it.
  func openEntry() -> Bool {
    guard queue.count < Self.buffersMax else {
      instruments.note(.blockedJournalMaxInFlight, isBlocked: true, .journalEntryFull)
      return false
    }
    guard roomForEntries > queue.count else { return false }
    let buffer = freeBuffers.popLast() ?? JournalBuffer(byteCount: bufferBytes)
    buffer.open(nextSequence, limitWords: bufferBytes / 8 - endWords)
    queue.append(buffer)
    pins.addEntry()
    nextSequence += 1
    updateRoom()
    return true
  }

  // MARK: - Room

  /// Entries that can be written before anything becomes free: on as many devices as an entry
  /// needs, a bucket for each.
  private var roomForEntries: Int { roomOnDevices.free }

  var roomOnDevices: (free: Int, total: Int) {
    let usable = rings.filter { !failures.contains($0.device) && $0.count > 0 }
    guard !usable.isEmpty else { return (0, 0) }
    let free = usable.map { (free: $0.freeBuckets(lastSequenceOnDisk), total: $0.count) }
      .sorted { $0.free > $1.free }
    return free[min(parameters.replicas, free.count) - 1]
  }

  /// Whether more than half of the journal is in use.
  var isHalfFull: Bool {
    condition.withLock {
      let room = roomOnDevices
      return failure == nil && (room.free - queue.count) * 2 < room.total
    }
  }

  /// What telling of a node takes at worst: an entry of its own, with the roots and all that is
  /// counted.
  private static var updateBytes: Int { 8192 }

  /// Nodes whose writing can begin and be told of in what is free; one at least.
  var updatesThatFit: Int {
    condition.withLock {
      let free = (roomOnDevices.free - queue.count) * bufferBytes / Self.updateBytes
      return max(1, (free - pins.needingEntry) / 2)
    }
  }

  /// What there is, for messages.
  var roomText: String {
    condition.withLock {
      let room = roomOnDevices
      return "\(room.free) of \(room.total) buckets are free, entries \(pins.front) to "
        + "\(nextSequence - 1) are needed, \(pins.needingEntry) nodes are being written"
    }
  }

  /// Decides who may reserve. Those who write nodes hold old entries until they have told of it:
  /// nobody takes the room from them that they need for that, nor a quarter of it all for the nodes
  /// that hold the oldest entries, and are not being written yet. Writing one may make others dirty
  /// that tell what its places are used for.
  func updateRoom() {
    let room = roomOnDevices
    let free = room.free - queue.count
    let kept =
      max(2, room.total / 4) + pins.needingEntry * Self.updateBytes / max(bufferBytes, 1)
    if free < kept {
      lowestWatermark = .interiorUpdates
    } else {
      lowestWatermark = free < kept + room.total / 8 ? .reclaim : .stripe
    }
    if failure != nil { lowestWatermark = .stripe }
    instruments.note(
      .blockedJournalLowOnSpace, isBlocked: lowestWatermark > .stripe, .journalFull)
  }

  /// Whether it is buckets that are short, for those of a watermark, and not buffers.
  func isShortOfRoom(_ watermark: Watermark) -> Bool {
    condition.withLock { watermark < lowestWatermark || roomForEntries <= queue.count }
  }

  /// Whether a reservation could succeed.
  ///
  /// - Throws: why no reservation will succeed any more.
  func hasRoom(u64s: Int, watermark: Watermark) throws(VolumeError) -> Bool {
    condition.lock()
    defer { condition.unlock() }
    if let failure { throw failure }
    guard u64s <= reservationMax else {
      throw VolumeError(
        .limit, "a transaction of \(u64s) words does not fit a journal entry of \(reservationMax)")
    }
    guard watermark >= lowestWatermark else { return false }
    if let open = queue.last, !open.isClosed, open.hasRoom(u64s) { return true }
    let left = queue.count - (queue.last.map { $0.isClosed ? 0 : 1 } ?? 0)
    return left < Self.buffersMax - 1 && roomForEntries > queue.count
  }

  // MARK: - Pins

  /// Holds an entry until the pin is dropped; a pin that holds an older one stays.
  @inline(__always)
  func pin(_ pin: JournalPin, sequence: UInt64) {
    let old = pin.sequence
    if old != 0, old <= sequence { return }
    condition.withLock { pins.set(pin, sequence) }
  }

  /// Holds the open entry, and all that come.
  func pinCurrent(_ pin: JournalPin) {
    changePins { pins.set(pin, newestToPin) }
  }

  /// Changes what is pinned; who may reserve depends on it only by those that need an entry.
  private func changePins(_ change: () -> Void) {
    condition.withLock {
      let before = pins.needingEntry
      change()
      if pins.needingEntry != before { updateRoom() }
    }
  }

  /// The newest entry that can be pinned. Under `condition`.
  private var newestToPin: UInt64 {
    // Where nothing is open and nothing is needed, that is the next one.
    max(nextSequence - 1, pins.front)
  }

  /// The newest entry that can be pinned: for what no entry has, and only has to get to disk.
  var newestNeeded: UInt64 { condition.withLock { newestToPin } }

  /// What one pin holds, another one holds from here on.
  func move(_ pin: JournalPin, into other: JournalPin) {
    changePins {
      let sequence = pin.sequence
      guard sequence != 0 else { return }
      pins.set(other, sequence)
      pins.drop(pin)
    }
  }

  func drop(_ pin: JournalPin) {
    guard pin.sequence != 0 else { return }
    changePins { pins.drop(pin) }
  }

  /// All that was replayed is in nodes that pin it.
  func replayDone() {
    condition.withLock {
      var sequence = pins.front
      while sequence <= writtenSequence, sequence < pins.end {
        pins.release(sequence)
        sequence += 1
      }
    }
  }

  /// Whether an entry is in the oldest quarter of those that are needed.
  func isAmongOldest(_ sequence: UInt64) -> Bool {
    guard sequence != 0 else { return false }
    return condition.withLock { sequence <= pins.front + UInt64(pins.count) / 4 }
  }

  /// Whether nobody who replays the journal from the disk sees an entry any more.
  func hasForgotten(_ sequence: UInt64) -> Bool {
    condition.withLock { sequence < lastSequenceOnDisk }
  }

  /// The newest entry that, like all before it, is closed and filled by everybody.
  var filledSequence: UInt64 {
    condition.withLock {
      for entry in queue where !entry.isClosed || !entry.isFilled { return entry.sequence - 1 }
      return nextSequence - 1
    }
  }

  /// The nodes that hold the oldest entries.
  func oldestOwners(max: Int) -> [NodeRef] {
    condition.withLock { pins.owners(upTo: pins.end, max: max) }
  }

  // MARK: - Failure

  /// The journal writes nothing any more.
  func fail(_ reason: VolumeError) {
    condition.withLock {
      if failure == nil { failure = reason }
      updateRoom()
    }
    condition.broadcast()
  }
}
