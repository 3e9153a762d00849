// SPDX-License-Identifier: GPL-2.0
// Data of files with the option `nocow`, written over what was there before.
//
// How it works
//   1. A transaction looks for an extent that may be written over (Transaction+InPlace.swift), and
//      tries to lock the buckets of its copies (NocowLocks.swift). Where somebody moves what is in
//      one of them, he is waited for, with nothing held, and all begins again.
//   2. With these locks alone the data goes to all copies. The transaction goes on so long, without
//      any lock: whoever freezes the volume waits for it.
//   3. Another one then says that an extent was written that was only allocated before, and changes
//      the inode: size and times. Whoever moved the extent in between moved no data: then the data,
//      which the caller still has, is written once more, to where the extent is now.
//   4. Where a copy could not be written, the copies differ: what was to be written goes to a new
//      place, and its device counts as failed. After a crash copies may differ, too, sector by
//      sector, in what was being written; as with the driver nothing tells.
// Invariants
//   (1) No bucket is allocated, and no extent changes but by becoming a written one.
//   (2) What is written is noted before its inode is committed: a flush of that entry covers it.
// Locks: those of buckets during I/O, and no other; see NocowLocks.swift.
// Source: io_write.c (bch2_nocow_write, bch2_nocow_write_convert_unwritten).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// What became of the first sectors that somebody wanted to write in place.
enum InPlaceOutcome {
  /// So many are written.
  case written(UInt64)
  /// So many have to go elsewhere; because of a device that failed, or of what is there.
  case refused(UInt64, DeviceError?)
}

extension Engine {
  private enum Attempt {
    case written(WritableExtent)
    case refused(upTo: UInt64, DeviceError?)
    /// Somebody moves what is in a bucket.
    case blocked(by: BPos)
  }

  /// Writes the first sectors over what a file has there, if that may be. The range of the file is
  /// the caller's.
  ///
  /// - Parameters:
  ///   - bytes: Whole blocks.
  ///   - sector: The first one.
  /// - Throws: `.notFound`, `.readOnly`; what transactions throw.
  /// - Complexity: a transaction that reads, a write for each copy, a transaction of the inode.
  func writeInPlace(
    _ bytes: RawSpan, atSector sector: UInt64, _ write: FileWrite
  ) throws(VolumeError) -> InPlaceOutcome {
    while true {
      let attempt = try run("nocow_write") { (transaction) throws(TransactionError) in
        try self.tryWriting(bytes, atSector: sector, write, transaction)
      }
      switch attempt {
      case .refused(let end, let failure): return .refused(end - sector, failure)
      case .blocked(let bucket):
        let start = instruments.times.now
        nocowLocks.waitForMovers(of: bucket)
        instruments.times.record(.nocowLockContended, from: start)
      case .written(let extent):
        let end = extent.sectors.upperBound
        guard extent.isUnwritten else {
          try run("nocow_inode") { (transaction) throws(TransactionError) in
            try transaction.noteOverwritten(write.file, upTo: end, write.change)
          }
          return .written(end - sector)
        }
        let done = try markWritten(extent, write)
        if done > sector { return .written(done - sector) }
      }
    }
  }

  /// The locks are the last that the transaction needs: nothing makes it begin again with them.
  private func tryWriting(
    _ bytes: RawSpan, atSector sector: UInt64, _ write: FileWrite, _ transaction: Transaction
  ) throws(TransactionError) -> Attempt {
    let extent: WritableExtent
    switch try transaction.placeToOverwrite(
      write.file, sector..<sector + UInt64(bytes.byteCount / 512),
      replicas: write.options.replicas)
    {
    case .other(let end): return .refused(upTo: end, nil)
    case .writable(let found): extent = found
    }
    if let bucket = nocowLocks.tryWriting(to: extent.buckets) { return .blocked(by: bucket) }
    defer { nocowLocks.endWriting(to: extent.buckets) }
    transaction.unlock()
    var failure: DeviceError?
    let good = writeData(
      bytes.extracting(first: extent.sectors.count * 512), to: extent.places, &failure)
    return good.count == extent.places.count
      ? .written(extent) : .refused(upTo: extent.sectors.upperBound, failure)
  }

  /// - Returns: up to which sector the extent is a written one; its first where it was moved.
  private func markWritten(
    _ extent: WritableExtent, _ write: FileWrite
  ) throws(VolumeError) -> UInt64 {
    var start = extent.sectors.lowerBound
    while start < extent.sectors.upperBound {
      let rest = start..<extent.sectors.upperBound
      let end = try run("nocow_written") { (transaction) throws(TransactionError) in
        try transaction.markWritten(extent, rest, write)
      }
      guard let end, end > start else { return start }
      start = end
    }
    return start
  }
}
