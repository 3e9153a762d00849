// SPDX-License-Identifier: GPL-2.0
// Locks of buckets for data that is written in place, against those who move it.
//
// How it works
//   1. Whoever writes over data in place has a lock for writing on the bucket of each copy; many
//      may have one at once. Whoever moves what is in a bucket has one for moving on it; many may
//      have that at once too, but nobody one of the other kind. So nothing is copied while it
//      changes.
//   2. A bucket that somebody writes to in place is not given out as a free one, whatever its key
//      says (OpenBuckets.swift): so a write that is late hits nobody else's data.
//   3. Locks that nobody has take no memory: they are in tables by bucket, of which there are some,
//      so that threads with different buckets seldom meet.
// Invariants
//   (1) Of one bucket nobody has a lock for writing while somebody has one for moving.
//   (2) Whoever wants to write only tries, with the key's node locked: so the key says where its
//       data is when he has the locks. He gets those of all copies or none; who gets none waits
//       with none, and with no lock of a node.
//   (3) Whoever wants to move waits, but for one bucket alone, and with no lock of a node. He comes
//       before those who try to write later.
//   (4) Whoever has a lock for writing waits for devices alone. So whoever moves waits for devices,
//       in the end, and whoever writes for those who move: nobody waits for himself.
// Locks: each table's condition is a leaf.
// Source: nocow_locking.c.

internal import BcachefsFormat
internal import BcachefsSupport

final class NocowLocks: Sendable {
  private struct Holders {
    var writers = 0
    var movers = 0
    /// Movers that wait for writers.
    var waiting = 0

    var isFree: Bool { writers == 0 && movers == 0 && waiting == 0 }
    var letsWrite: Bool { movers == 0 && waiting == 0 }
  }

  private final class Table: @unchecked Sendable {
    // Safety: `buckets` is only touched with `condition` held.
    let condition = Condition()
    var buckets: [BPos: Holders] = [:]

    /// Under `condition`.
    func change(_ bucket: BPos, _ body: (inout Holders) -> Void) {
      var holders = buckets[bucket] ?? Holders()
      body(&holders)
      buckets[bucket] = holders.isFree ? nil : holders
    }
  }

  private static var tableCount: Int { 64 }

  private let tables = (0..<NocowLocks.tableCount).map { _ in Table() }

  private func table(of bucket: BPos) -> Table {
    let word = (bucket.inode << 56 ^ bucket.offset) &* 0x9e37_79b9_7f4a_7c15
    return tables[Int(truncatingIfNeeded: word >> 58)]
  }

  /// Whether somebody writes to a bucket in place, or moves what is in it.
  func contains(_ bucket: BPos) -> Bool {
    let table = table(of: bucket)
    return table.condition.withLock { table.buckets[bucket] != nil }
  }

  /// How many buckets are locked for writing, and how many for moving.
  var counts: (writing: Int, moving: Int) {
    tables.reduce(into: (0, 0)) { sum, table in
      table.condition.withLock {
        for holders in table.buckets.values {
          if holders.writers > 0 { sum.0 += 1 }
          if holders.movers > 0 { sum.1 += 1 }
        }
      }
    }
  }

  // MARK: - Writing

  /// Locks buckets for writing, all of them or none. The caller may hold locks of nodes.
  ///
  /// - Parameter buckets: Of all copies of an extent; a bucket may be there twice.
  /// - Returns: a bucket that somebody moves, or waits to move, and that was in the way; nil when
  ///   the caller has all locks.
  func tryWriting(to buckets: [BPos]) -> BPos? {
    for (index, bucket) in buckets.enumerated() {
      let table = table(of: bucket)
      let isTaken = table.condition.withLock {
        guard table.buckets[bucket]?.letsWrite ?? true else { return false }
        table.change(bucket) { $0.writers += 1 }
        return true
      }
      if !isTaken {
        endWriting(to: buckets.prefix(index))
        return bucket
      }
    }
    return nil
  }

  func endWriting(to buckets: some Sequence<BPos>) {
    for bucket in buckets {
      let table = table(of: bucket)
      table.condition.withLock { table.change(bucket) { $0.writers -= 1 } }
      table.condition.broadcast()
    }
  }

  /// Waits until nobody moves what is in a bucket, nor waits for that. The caller holds no lock.
  func waitForMovers(of bucket: BPos) {
    let table = table(of: bucket)
    table.condition.withLock {
      while !(table.buckets[bucket]?.letsWrite ?? true) { table.condition.wait() }
    }
  }

  // MARK: - Moving

  /// Calls `body` while nobody writes to a bucket in place. The caller holds no lock of a node, nor
  /// one of another bucket.
  func whileMoving<Result, Failure: Error>(
    _ bucket: BPos, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let table = table(of: bucket)
    table.condition.withLock {
      table.change(bucket) { $0.waiting += 1 }
      while table.buckets[bucket]?.writers ?? 0 > 0 { table.condition.wait() }
      table.change(bucket) { holders in
        holders.waiting -= 1
        holders.movers += 1
      }
    }
    defer {
      table.condition.withLock { table.change(bucket) { $0.movers -= 1 } }
      table.condition.broadcast()
    }
    return try body()
  }
}
