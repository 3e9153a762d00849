// SPDX-License-Identifier: GPL-2.0
// The journal's buckets on one device, used round and round.
//
// How it works
//   Entries are written one behind the other into the current bucket; where one does not fit, the
//   next bucket becomes the current one. A bucket may be used again when no entry in it is needed,
//   by what the disk says: the `last_seq` of the newest entry that was flushed.
// Invariants
//   (1) sequences[i] is the newest entry in bucket i; 0 if there is none that counts.
//   (2) The current bucket is never one that holds an entry that is needed, but its own.
// Locks: the journal's.
// Source: `struct journal_device`, journal_reclaim.c (bch2_journal_space_available), journal_io.c
// (journal_write_alloc).

internal import BcachefsFormat
internal import BcachefsSupport

struct JournalRing {
  let device: UInt8
  let bucketSectors: UInt64
  private(set) var buckets: [UInt64]
  private var sequences: [UInt64]
  private var current: Int
  private var freeSectors: UInt64 = 0

  /// - Parameters:
  ///   - buckets: In the order in which they are used.
  ///   - sequences: The newest entry in each that may be needed.
  init(device: UInt8, bucketSectors: UInt64, buckets: [UInt64], sequences: [UInt64]) {
    self.device = device
    self.bucketSectors = bucketSectors
    self.buckets = buckets
    self.sequences = sequences
    // What follows the newest entry is the oldest.
    current = sequences.indices.max { sequences[$0] < sequences[$1] } ?? 0
  }

  var count: Int { buckets.count }

  /// A ring that goes on where this one is, with more buckets behind the current one.
  func adding(_ more: [UInt64]) -> JournalRing {
    var ring = self
    let next = min(current + 1, buckets.count)
    ring.buckets.insert(contentsOf: more, at: next)
    ring.sequences.insert(contentsOf: more.map { _ in 0 }, at: next)
    return ring
  }

  /// What dumps show of it.
  ///
  /// - Parameter lastSequence: The oldest entry that is needed, as the disk has it.
  func state(_ lastSequence: UInt64) -> JournalState.Device {
    let free = freeBuckets(lastSequence)
    let oldest = (current + free + 1) % max(buckets.count, 1)
    return JournalState.Device(
      device: device, buckets: buckets.count, bucketSectors: bucketSectors, freeBuckets: free,
      freeSectors: freeSectors, currentIndex: current,
      currentSequence: buckets.isEmpty ? 0 : sequences[current], oldestIndex: oldest,
      oldestSequence: buckets.isEmpty ? 0 : sequences[oldest])
  }

  /// Buckets behind the current one that can be used.
  ///
  /// - Parameter lastSequence: The oldest entry that is needed, as the disk has it.
  func freeBuckets(_ lastSequence: UInt64) -> Int {
    var free = 0
    while free + 1 < buckets.count,
      sequences[(current + free + 1) % buckets.count] < lastSequence
    {
      free += 1
    }
    return free
  }

  /// Takes room for an entry.
  ///
  /// - Returns: The first sector; nil when there is none.
  mutating func take(_ sectors: UInt64, _ sequence: UInt64, _ lastSequence: UInt64) -> UInt64? {
    guard !buckets.isEmpty, sectors <= bucketSectors else { return nil }
    if sectors > freeSectors {
      let next = (current + 1) % buckets.count
      guard sequences[next] < lastSequence else { return nil }
      current = next
      freeSectors = bucketSectors
    }
    let start = buckets[current] * bucketSectors + (bucketSectors - freeSectors)
    freeSectors -= sectors
    sequences[current] = sequence
    return start
  }
}
