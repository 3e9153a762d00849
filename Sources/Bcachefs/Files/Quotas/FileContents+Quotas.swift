// SPDX-License-Identifier: GPL-2.0
// What is written to a file counts before it is on devices.
//
// How it works
//   1. A write adds to its owner's use what it covers and the file has nothing at yet: overwriting
//      costs nothing. It is counted as a promise, beside the one of room, and refused here: so who
//      writes is told, not who flushes.
//   2. Each transaction that puts a part of it into the file takes as much from the promise as the
//      file grew; what is left of it when its window goes is given back.
//   3. A file whose owner changes is written before that. What is promised all the same stays the
//      old owner's until it is written, or more is promised.
// Invariants
//   (1) A sector counts once: while it is promised, or when it is the file's.
// Locks: the range is the caller's; see FileContents.swift.
// Source: fs-io.h (bch2_quota_reservation_add), fs-io-pagecache.c (__bch2_folio_reservation_get),
// fs-io.c (quota_reserve_range). The driver asks for all of a direct write, whatever is there.

internal import BcachefsFormat
internal import BcachefsSupport

extension FileContents {
  /// Counts what will be written to ranges of whole blocks.
  ///
  /// - Parameter reservation: What it has of quotas is set.
  /// - Throws: `.quotaExceeded`.
  func promiseQuota(
    _ ranges: [Range<UInt64>], _ rule: QuotaRule, _ reservation: inout DiskReservation
  ) throws(VolumeError) {
    guard let quotas = engine.quotas,
      let (ids, sectors) = try engine.unallocatedSectors(of: file, ranges, quotas)
    else { return }
    reservation.quota = try quotas.promise(sectors, to: ids, rule)
  }

  /// The blocks of a window that are not dirty, of those given, as ranges of the file.
  func clean(_ blocks: Range<Int>, of window: ContentWindow, _ start: UInt64) -> [Range<UInt64>] {
    var result: [Range<UInt64>] = []
    for block in blocks where !window.dirty.contains(block) {
      let first = start + UInt64(block * blockBytes)
      let end = first + UInt64(blockBytes)
      if let last = result.last, last.upperBound == first {
        result[result.count - 1] = last.lowerBound..<end
      } else {
        result.append(first..<end)
      }
    }
    return result
  }
}
