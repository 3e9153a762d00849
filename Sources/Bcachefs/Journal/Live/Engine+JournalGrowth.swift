// SPDX-License-Identifier: GPL-2.0
// More buckets for a journal that is too short for what is done with the volume.
//
// How it works
//   1. Whoever had to make room in the journal before he could go on counts. After so many of them
//      every journal grows by half, as long as it takes no more than one free bucket in four, and
//      until it is as long as the driver lets it be.
//   2. A member that should have a journal and has none gets one when the volume is opened.
//   3. Free buckets are opened, and their keys say that they are the journal's. Once that is
//      flushed the superblock names them, behind the bucket that is written to now: nobody writes
//      an entry meanwhile. Then they are in use.
//   4. A crash in between leaves buckets that are the journal's by their keys only. When the volume
//      is opened next, accounting has more of them than the superblock: they become free again.
// Invariants
//   (1) Every bucket that the superblock names is the journal's by its key as well.
//   (2) Buckets are in the superblock in the order in which they are used.
// Locks: none is held; what the writer of entries has to itself is the grower's for a while.
// Source: journal.c (bch2_set_nr_journal_buckets, bch2_fs_journal_alloc).

internal import BcachefsFormat
internal import BcachefsSupport

extension Engine {
  /// Lets the journals grow if they were too short for a while.
  func growJournalsIfShort() throws(VolumeError) {
    guard journal.takeShortages() else { return }
    for (device, count) in journal.bucketCounts {
      guard let member = media.member(device), count > 0 else { continue }
      let most = ReservedBuckets.journalBucketsMax(bucketSectors: member.bucketSizeSectors)
      guard UInt64(count) < most else { continue }
      try growJournal(of: device, by: min(count / 2 + 1, Int(most) - count))
    }
  }

  /// Gives a journal to those members that should have one.
  func makeMissingJournals() throws(VolumeError) {
    for (device, count) in journal.bucketCounts {
      guard let member = media.member(device), count == 0 else { continue }
      let wanted = ReservedBuckets.journalBucketCount(
        bucketCount: member.bucketCount, bucketSectors: member.bucketSizeSectors)
      try growJournal(of: device, by: Int(clamping: wanted))
    }
  }

  /// Adds buckets to a device's journal, or fewer, where it has not so many to spare.
  private func growJournal(of device: UInt8, by wanted: Int) throws(VolumeError) {
    let most = Int(clamping: usage.buckets(.free, of: device) / 4)
    var taken: [BPos] = []
    defer { openBuckets.release(taken) }
    while taken.count < min(wanted, most),
      let bucket = try openBuckets.take(device, .journal, .normal, self)
    {
      taken.append(bucket.position)
    }
    guard !taken.isEmpty else { return }
    try setDataType(.journal, ofWhole: taken)
    try journal.flush(upTo: journal.currentSequence)
    do throws(VolumeError) {
      try journal.add(taken.map(\.offset), to: device) { (all) throws(VolumeError) in
        try self.store.setJournalBuckets(all, of: Int(device))
      }
    } catch {
      guard error.code == .limit else { throw error }
      // The superblock has no room for so many pieces: the journal stays what it is.
      try setDataType(.free, ofWhole: taken)
    }
  }

  /// Frees buckets that are the journal's by their keys, and not by the superblock.
  ///
  /// - Complexity: nothing is read unless accounting has more of them than the superblock.
  func freeForgottenJournalBuckets() throws(VolumeError) {
    for (device, count) in journal.bucketCounts
    where usage.buckets(.journal, of: device) > UInt64(count) {
      let known = Set(store.journalBuckets(of: Int(device)))
      try setDataType(.free, ofWhole: try journalBuckets(of: device, except: known))
    }
  }

  private func journalBuckets(
    of device: UInt8, except known: Set<UInt64>
  ) throws(VolumeError) -> [BPos] {
    try run("dev_journal_scan", watermark: .reclaim) {
      (transaction) throws(TransactionError) -> [BPos] in
      var result: [BPos] = []
      var walk = KeyWalk(
        .alloc, from: BPos(UInt64(device), 0, 0), upTo: BPos(UInt64(device), .max, .max))
      while let found = try transaction.next(&walk) {
        let position = found.key.position
        guard !known.contains(position.offset) else { continue }
        let alloc = try transaction.bucket(position, .read)
        if alloc.dataType == DataType.journal.rawValue { result.append(position) }
      }
      return result
    }
  }

  /// Gives buckets to what needs whole ones, or frees them.
  func setDataType(_ type: DataType, ofWhole buckets: [BPos]) throws(VolumeError) {
    try run("dev_journal_alloc", watermark: .reclaim, forEach: buckets) {
      (transaction, bucket) throws(TransactionError) in
      let (_, member) = try transaction.device(ofBucket: bucket)
      try transaction.changeBucket(bucket) { alloc in
        alloc.dataType = type.rawValue
        alloc.dirtySectors =
          type == .free ? 0 : UInt32(truncatingIfNeeded: member.bucketSizeSectors)
      }
    }
  }
}

extension Journal {
  /// Transactions that had to make room first, after which journals should grow.
  private static var shortagesMax: Int { 64 }

  /// Takes note that somebody found the journal full.
  func noteShortage() { condition.withLock { shortages += 1 } }

  /// Whether it was too short for a while; asking begins another one.
  func takeShortages() -> Bool {
    condition.withLock {
      guard shortages >= Self.shortagesMax else { return false }
      shortages = 0
      return true
    }
  }

  /// The devices that have a journal, or should have one, and the buckets of each.
  var bucketCounts: [(device: UInt8, count: Int)] {
    condition.withLock {
      rings.filter { !failures.contains($0.device) }.map { ($0.device, $0.count) }
    }
  }

  /// Adds buckets to those that are in use, behind the one that is written to now.
  ///
  /// - Parameter publish: Gets all of them in their order, before any new one is in use.
  /// - Throws: what publishing throws; then nothing was added.
  func add(
    _ buckets: [UInt64], to device: UInt8,
    publish: ([UInt64]) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    let grown = condition.withLock { () -> JournalRing? in
      while isWriting, failure == nil { condition.wait() }
      guard failure == nil, let ring = rings.first(where: { $0.device == device }) else {
        return nil
      }
      isWriting = true
      return ring.adding(buckets)
    }
    guard let grown else { return }
    defer { condition.broadcast() }
    do throws(VolumeError) { try publish(grown.buckets) } catch {
      condition.withLock { isWriting = false }
      throw error
    }
    condition.withLock {
      isWriting = false
      if let index = rings.firstIndex(where: { $0.device == device }) { rings[index] = grown }
      updateRoom()
    }
  }
}
