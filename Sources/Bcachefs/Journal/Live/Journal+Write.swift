// SPDX-License-Identifier: GPL-2.0
// From a closed entry to the disk.
//
// How it works
//   1. The writer takes the oldest entry. Roots that transactions set become the journal's; all the
//      others are added, and clocks, time and the newest key version: recovery begins with them.
//   2. The entry is encrypted, checksummed, and written to the devices with most free buckets.
//      Where a device fails another one is taken; one good copy is enough to go on.
//   3. Before an entry that is flushed, every device that was written to is flushed; after it, the
//      devices that it is on.
// Invariants
//   (1) Entries are written in the order of their numbers.
//   (2) When an entry counts as flushed, it, all entries before it, and everything else that was
//       written before are on stable storage.
//   (3) An unflushed entry has no `last_seq`.
// Locks: `condition` for state, nothing during I/O.
// Source: journal_io.c (bch2_journal_write, bch2_journal_write_prep), sb-clean.c
// (bch2_journal_super_entries_add_common).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

extension Journal {
  /// An entry that is being written.
  private struct Writing {
    let buffer: JournalBuffer
    let isFlush: Bool
  }

  /// Writes the oldest closed entry, if nobody is at it.
  ///
  /// - Returns: False when there was nothing to write, or somebody else writes, or a transaction
  ///   has not filled its part yet.
  @discardableResult
  func writeStep() -> Bool {
    guard let writing = condition.withLock({ begin() }) else { return false }
    var (failed, byteCount) = (VolumeError?.none, 0)
    let start = instruments.times.now
    do throws(VolumeError) {
      byteCount = try write(writing)
      instruments.times.record(
        writing.isFlush ? .journalFlushWrite : .journalNoflushWrite, from: start)
    } catch {
      failed = error
    }
    condition.withLock {
      isWriting = false
      if let failed {
        if failure == nil { failure = failed }
        // Nobody gets into an entry that will not be written.
        closeEntry()
      } else {
        finish(writing)
        tally.addEntry(byteCount, isFlush: writing.isFlush)
      }
      updateRoom()
    }
    condition.broadcast()
    return true
  }

  /// Takes the oldest entry. Under `condition`.
  private func begin() -> Writing? {
    guard !isWriting, failure == nil, let first = queue.first else { return nil }
    if !first.isClosed {
      guard flushWanted >= first.sequence else { return nil }
      closeEntry()
    }
    guard first.isFilled else { return nil }
    isWriting = true
    let isLastWanted = queue.count < 2 || queue[1].sequence > flushWanted
    let now = media.clocks.monotonicNanoseconds()
    let isDue = now &- lastFlushNanoseconds >= parameters.flushDelayNanoseconds
    let isFlush =
      needsFlush || isDue || lowestWatermark != .stripe
      || flushWanted >= first.sequence && isLastWanted
    if isFlush { lastFlushNanoseconds = now }
    return Writing(buffer: first, isFlush: isFlush)
  }

  /// Takes note of what is on disk. Under `condition`.
  private func finish(_ writing: Writing) {
    let sequence = writing.buffer.sequence
    queue.removeFirst()
    instruments.note(.blockedJournalMaxInFlight, isBlocked: false)
    freeBuffers.append(writing.buffer)
    writtenSequence = sequence
    if writing.isFlush {
      flushedSequence = sequence
      lastSequenceOnDisk = max(lastSequenceOnDisk, writing.buffer.lastSequence)
      needsFlush = false
    }
    pins.release(sequence)
  }

  // MARK: - Composing

  /// - Returns: the bytes of one copy.
  private func write(_ writing: Writing) throws(VolumeError) -> Int {
    let buffer = writing.buffer
    adoptRoots(buffer)
    buffer.append(endOfEntry())
    var header = JSetHeader(
      magic: parameters.magic, seq: buffer.sequence,
      lastSeq: writing.isFlush ? buffer.lastSequence : 0, version: parameters.version,
      checksumType: parameters.checksumType.rawValue, isFlush: writing.isFlush)
    header.u64s = UInt32(buffer.usedWords - JournalBuffer.headerWords)
    let block = parameters.blockBytes
    let padded = (header.byteCount + block - 1) / block * block
    guard padded <= buffer.memory.byteCount else {
      throw VolumeError(.limit, "journal entry \(buffer.sequence) is too large to be written")
    }
    let memory = buffer.memory
    var bytes = memory.mutableBytes
    header.encode(into: &bytes)
    bytes.zero(header.byteCount..<padded)
    if parameters.checksumType.isEncryption, let key = parameters.key {
      var part = bytes._mutatingExtracting(header.encryptedRange)
      key.applyChaCha20(to: &part, nonce: header.nonce)
    }
    do throws(ChecksumError) {
      let sum = try parameters.checksumType.checksum(
        bytes.bytes.extracting(header.checksummedRange), key: parameters.key, nonce: header.nonce)
      bytes[JSetHeader.Layout.checksumLo] = sum.lo
      bytes[JSetHeader.Layout.checksumHi] = sum.hi
    } catch {
      throw VolumeError(error)
    }
    try put(memory.bytes.extracting(0..<padded), buffer.sequence, isFlush: writing.isFlush)
    return padded
  }

  /// Roots that transactions have set.
  private func adoptRoots(_ buffer: JournalBuffer) {
    let memory = buffer.memory
    let bytes = memory.bytes
    var entries = JSetEntryIterator(
      bytes.extracting(JSetHeader.Layout.byteCount..<buffer.usedWords * 8))
    var isWhole = true
    do throws(FormatError) {
      while try entries.advance() { try adoptRoot(entries.current, buffer.sequence) }
    } catch {
      isWhole = false
    }
    invariant(isWhole, "transactions write whole entries")
  }

  private func adoptRoot(
    _ entry: borrowing JSetEntryView, _ sequence: UInt64
  ) throws(FormatError) {
    guard entry.type == .btreeRoot, entry.btree.rawValue < BTreeID.maxCount else { return }
    var root: JournalRoot?
    var keys = entry.keys
    if let key = try keys.next() {
      root = JournalRoot(
        level: entry.level, key: key, value: [UInt8](copying: keys.value), sequence: sequence)
    }
    roots[Int(entry.btree.rawValue)] = root
  }

  /// What every entry ends with.
  func endOfEntry() -> [UInt64] {
    let seconds = UInt64(clamping: media.clocks.wallNanoseconds() / 1_000_000_000)
    let time = [
      JSetEntryView.headerWord(.datetime, BTreeID(rawValue: 0), level: 0, u64s: 1),
      seconds.littleEndian,
    ]
    return rootEntries() + time + commonEnd()
  }

  /// The roots of all btrees.
  func rootEntries() -> [UInt64] {
    var words: [UInt64] = []
    for (index, root) in roots.enumerated() {
      guard let root, let key = root.key else { continue }
      let btree = BTreeID(rawValue: UInt8(truncatingIfNeeded: index))
      words.append(
        JSetEntryView.headerWord(.btreeRoot, btree, level: root.level, u64s: Int(key.u64s)))
      words += Self.words(key, root.value)
    }
    return words
  }

  /// The key version and the clocks.
  func commonEnd() -> [UInt64] {
    let version = BTreeID(rawValue: FilesystemUsageType.keyVersion.rawValue)
    let none = BTreeID(rawValue: 0)
    let newest = keyVersion.load(ordering: .relaxed)
    return [
      JSetEntryView.headerWord(.usage, version, level: 0, u64s: 1), newest.littleEndian,
      JSetEntryView.headerWord(.clock, none, level: 0, u64s: 2), 0, readClock.littleEndian,
      JSetEntryView.headerWord(.clock, none, level: 0, u64s: 2), UInt64(1).littleEndian,
      writeClock.littleEndian,
    ]
  }

  private static func words(_ key: BKey, _ value: [UInt8]) -> [UInt64] {
    var bytes = [UInt8](repeating: 0, count: BKey.Layout.byteCount)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    key.encode(into: &raw)
    bytes += value
    return (0..<bytes.count / 8).map { word in
      (0..<8).reduce(0) { $0 | UInt64(bytes[word * 8 + $1]) << UInt64($1 * 8) }.littleEndian
    }
  }

  // MARK: - Devices

  /// Writes an entry to as many devices as it should be on.
  ///
  /// - Throws: when it is on none, or what was written before cannot be flushed.
  private func put(_ bytes: RawSpan, _ sequence: UInt64, isFlush: Bool) throws(VolumeError) {
    if isFlush { try flushOthers() }
    var written: [UInt8] = []
    var failures: [String] = []
    let sectors = UInt64(bytes.byteCount / 512)
    while written.count < parameters.replicas {
      let place = condition.withLock { takePlace(sectors, sequence, except: written) }
      guard let place else { break }
      guard let device = media.device(place.device) else {
        self.failures.noteWriteError(on: place.device)
        continue
      }
      instruments.count(.journalWrite)
      do throws(DeviceError) {
        try device.write(bytes, atByte: place.sector * 512)
        if isFlush {
          // What was written to it before is covered: the next entry has nothing to flush there.
          unflushed.remove(place.device)
          try device.flush()
        } else {
          unflushed.add(place.device)
        }
        written.append(place.device)
      } catch {
        unflushed.add(place.device)
        failures.append("\(error)")
        self.failures.noteWriteError(on: place.device)
      }
    }
    guard !written.isEmpty else {
      throw VolumeError(
        .device,
        "journal entry \(sequence) could be written nowhere: "
          + (failures.isEmpty ? "no device has room" : failures.joined(separator: "; ")))
    }
    // Nobody counts on the entry yet.
    try replicas.mark(
      AccountingReplicas(dataType: DataType.journal.rawValue, required: 1, devices: written))
  }

  private func flushOthers() throws(VolumeError) {
    for index in unflushed.take() {
      guard let device = media.device(index) else { continue }
      do throws(DeviceError) {
        try device.flush()
      } catch {
        // What was written there may be lost, and only copies elsewhere count: there are some while
        // fewer devices have failed than everything is on.
        failures.noteWriteError(on: index)
        guard failures.count < parameters.replicas else { throw VolumeError(error) }
      }
    }
  }

  /// Room on the device with most of it. Under `condition`.
  private func takePlace(
    _ sectors: UInt64, _ sequence: UInt64, except used: [UInt8]
  ) -> (device: UInt8, sector: UInt64)? {
    let last = lastSequenceOnDisk
    let order = rings.indices.filter {
      !used.contains(rings[$0].device) && !failures.contains(rings[$0].device)
    }
    .sorted { rings[$0].freeBuckets(last) > rings[$1].freeBuckets(last) }
    for index in order {
      if let sector = rings[index].take(sectors, sequence, last) {
        return (rings[index].device, sector)
      }
    }
    return nil
  }
}
