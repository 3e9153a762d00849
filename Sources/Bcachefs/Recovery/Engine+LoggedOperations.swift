// SPDX-License-Identifier: GPL-2.0
// Operations on files that take more than one transaction, and were under way when the machine
// stopped: they are completed when the volume is opened.
//
// How it works
//   1. The logged_ops btree says what was being done. A truncation sets the size, then removes what
//      is behind it. An insertion or removal of a range has states: what is in the way goes first
//      (or the size grows), then one extent after the other moves, then the size is right.
//   2. How far an insertion has come stands in its key, which changes with each extent's move.
//   3. An extent that is seen from another snapshot too becomes an indirect one before it moves:
//      else it would be in two places, and be counted for one. The driver leaves it so, and its
//      fsck finds it.
//   4. Where the file or its subvolume is gone there is nothing to complete.
//   5. What fails while the volume is written to is tried no more: whoever asked for it is told,
//      and may do something else with the file, or delete it, so that its number is another's. What
//      fails when the volume is opened is tried again the next time, where that may succeed: nobody
//      has touched the file. Where it will not the volume opens without.
//   6. What is left then a check finds. The superblock says that it is there, before the key goes:
//      on such a volume whoever opens a file looks for what is behind its end.
// Invariants
//   (1) Every transaction leaves the file so that the operation can go on from its key.
//   (2) What the key says is checked: no sum of it overflows, and each move makes progress.
//   (3) While the volume is written to, a key is there only as long as somebody is at work on what
//       it says, and has the file to himself: nothing may come later than the operation and before
//       its completion.
// Locks: as all transactions.
// Source: logged_ops.c (bch2_resume_logged_ops), io_misc.c (__bch2_resume_logged_op_truncate,
// __bch2_resume_logged_op_finsert).

internal import BcachefsFormat
internal import BcachefsSupport

/// What a key of the logged_ops btree says.
private enum LoggedOperation {
  case truncate(LoggedOpTruncate)
  case finsert(LoggedOpFinsert)
}

extension LoggedOpFinsert {
  var file: FileID { FileID(subvolume: subvolume, inode: inode) }
}

/// By how much which extents of a file move.
struct RangeShift {
  /// States of an operation (`enum logged_op_finsert_state`).
  static let start: UInt8 = 0
  static let moving: UInt8 = 1
  static let finish: UInt8 = 2
  /// The largest file (`MAX_LFS_FILESIZE`).
  static let maxBytes = UInt64(Int64.max)

  /// Sectors from here on move.
  let source: UInt64
  /// Sectors.
  let count: UInt64
  let isInsert: Bool

  /// Nil where no file can be like that.
  init?(_ operation: LoggedOpFinsert) {
    let limit = Self.maxBytes / 512
    guard operation.source <= limit, operation.destination <= Int64(limit),
      operation.destination >= -Int64(limit)
    else { return nil }
    let difference = operation.destination - Int64(operation.source)
    source = operation.source
    count = difference.magnitude
    isInsert = difference > 0
    guard count > 0 else { return nil }
  }

  var bytes: UInt64 { count * 512 }
}

extension Engine {
  /// Completes what was under way, but for what never can be.
  ///
  /// - Throws: what transactions throw, and may not throw the next time.
  func resumeLoggedOperations() throws(VolumeError) {
    var position: BPos? = .min
    while let start = position {
      let found = try run("resume_logged_ops") {
        (transaction) throws(TransactionError) -> (BPos, LoggedOperation?)? in
        guard let next = try transaction.next(.loggedOps, from: start) else { return nil }
        return (next.key.position, try Transaction.loggedOperation(next))
      }
      guard let (place, operation) = found else { return }
      position = place.successor
      // What it is nobody knows: it stays for who does.
      guard let operation else { continue }
      if wasClean { store.recordFinding(.logged_op_but_clean) }
      do throws(VolumeError) {
        switch operation {
        case .truncate(let operation): try resume(operation)
        case .finsert(let operation): try resume(operation, at: place)
        }
      } catch {
        guard !error.mayPass else { throw error }
        if case .truncate = operation { store.recordFinding(.extent_past_end_of_inode) }
        try store.recordInconsistency()
      }
      try finishLoggedOperation(at: place)
    }
  }

  /// Calls `body`, which does what a key says; then that goes, whatever has become of it. If
  /// something is left, the superblock says so before.
  ///
  /// - Throws: what `body` throws; why the key is still there: nothing is written any more then.
  func completing(
    operationAt place: BPos, _ body: () throws(VolumeError) -> Void
  ) throws(VolumeError) {
    do throws(VolumeError) { try body() } catch {
      // Or the key stays, for the next opening.
      try checkWritable()
      do throws(VolumeError) { try store.recordInconsistency() } catch {
        stopWriting(because: error)
        throw error
      }
      try? finishLoggedOperation(at: place)
      throw error
    }
    try finishLoggedOperation(at: place)
  }

  /// Nobody is at work on an operation any more. If its key cannot be removed, what it says would
  /// be done to what comes later: then nothing does.
  private func finishLoggedOperation(at place: BPos) throws(VolumeError) {
    do throws(VolumeError) {
      try run("logged_op_finish", watermark: .reclaim, givesBack: true) {
        (transaction) throws(TransactionError) in
        transaction.delete(.loggedOps, place)
        try transaction.commit()
      }
    } catch {
      stopWriting(because: error)
      throw error
    }
  }

  private func resume(_ operation: LoggedOpTruncate) throws(VolumeError) {
    let file = FileID(subvolume: operation.subvolume, inode: operation.inode)
    let exists = try run("truncate", watermark: .reclaim) {
      (transaction) throws(TransactionError) in
      guard var inode = try transaction.inode(of: file) else { return false }
      inode.size = operation.newSize
      transaction.put(inode)
      try transaction.commit()
      return true
    }
    guard exists else { return }
    try removeTail(of: file, behind: operation.newSize)
  }

  func resume(_ logged: LoggedOpFinsert, at place: BPos) throws(VolumeError) {
    var operation = logged
    guard let shift = RangeShift(operation) else { return }
    let file = operation.file
    if operation.state == RangeShift.start {
      if !shift.isInsert { try punch(file, shift.source..<shift.source + shift.count) }
      operation.state = RangeShift.moving
      let isPossible = try advance(operation, at: place) { inode in
        guard shift.isInsert else { return true }
        guard shift.source * 512 < inode.size, inode.size <= RangeShift.maxBytes,
          RangeShift.maxBytes - inode.size >= shift.bytes
        else { return false }
        inode.size += shift.bytes
        return true
      }
      guard isPossible else { return }
    }
    guard operation.state == RangeShift.moving else { return }
    if try isShared(file) {
      try features.use(.reflink)
      try features.use(.reflinkInlineData)
    }
    while let position = try run(
      "finsert", watermark: .btree,
      { (transaction) throws(TransactionError) in
        try transaction.moveOne(of: file, by: shift, operation, at: place)
      })
    {
      operation.position = position
    }
    operation.state = RangeShift.finish
    _ = try advance(operation, at: place) { inode in
      if !shift.isInsert { inode.size -= min(inode.size, shift.bytes) }
      return true
    }
  }

  /// Whether another snapshot sees extents of a file.
  private func isShared(_ file: FileID) throws(VolumeError) -> Bool {
    try run("finsert", watermark: .btree) { (transaction) throws(TransactionError) in
      guard let inode = try transaction.inode(of: file) else { return false }
      var walk = SnapshotWalk(.extents, file.inode, from: 0, snapshot: inode.snapshot)
      while let found = try transaction.next(&walk) {
        if found.key.position.snapshot != inode.snapshot { return true }
      }
      return false
    }
  }

  /// Changes the inode, and what the operation's key says.
  ///
  /// - Returns: False, with nothing changed, where there is no such file or `change` says so.
  private func advance(
    _ operation: LoggedOpFinsert, at place: BPos, _ change: (inout Inode) -> Bool
  ) throws(VolumeError) -> Bool {
    let now = now
    return try run("finsert", watermark: .btree) { (transaction) throws(TransactionError) in
      guard var inode = try transaction.inode(of: operation.file), change(&inode) else {
        return false
      }
      inode.mtime = now
      inode.ctime = now
      transaction.put(inode)
      transaction.put(operation, at: place)
      try transaction.commit()
      return true
    }
  }

  /// Leaves nothing in a range of sectors.
  func punch(_ file: FileID, _ range: Range<UInt64>) throws(VolumeError) {
    while try run(
      "fpunch", watermark: .btree, givesBack: true,
      { (transaction) throws(TransactionError) in try transaction.punchSome(file, range) })
    {}
  }
}

extension Transaction {
  /// Nil where the key is none of those that are known.
  fileprivate static func loggedOperation(
    _ found: KeyView
  ) throws(TransactionError) -> LoggedOperation? {
    try found.decoded { (value) throws(FormatError) -> LoggedOperation? in
      switch found.key.type {
      case .loggedOpTruncate: .truncate(try LoggedOpTruncate(decoding: value))
      case .loggedOpFinsert: .finsert(try LoggedOpFinsert(decoding: value))
      default: nil
      }
    }
  }

  /// A file's inode, to be written in the subvolume's own snapshot; nil where one of them is gone.
  fileprivate func inode(of file: FileID) throws(TransactionError) -> Inode? {
    guard let snapshot = try storedSubvolume(file.subvolume, .read)?.snapshot,
      var inode = try findInode(file.inode, snapshot, .intent)
    else { return nil }
    inode.snapshot = snapshot
    return inode
  }

  fileprivate func put(_ inode: Inode) { put(inode, inode.snapshot) }

  func put(_ operation: LoggedOpFinsert, at place: BPos) {
    put(.loggedOps, .loggedOpFinsert, place, LoggedOpFinsert.encodedU64s) {
      operation.encode(into: &$0)
    }
  }

  /// Removes some of what is in a range of a file, and commits.
  ///
  /// - Returns: False when there is no more.
  fileprivate func punchSome(
    _ file: FileID, _ range: Range<UInt64>
  ) throws(TransactionError) -> Bool {
    guard var inode = try inode(of: file) else { return false }
    var walk = SnapshotWalk(
      .extents, file.inode, from: range.lowerBound, snapshot: inode.snapshot, mode: .intent)
    let limit = extentsAtOnce(Self.punchedAtOnce)
    var left = limit
    while left > 0, let found = try next(&walk) {
      let key = found.key
      guard key.start.offset < range.upperBound else { break }
      let start = max(range.lowerBound, key.start.offset)
      let end = min(range.upperBound, key.position.offset)
      guard start < end else { continue }
      if key.type.isAllocation { inode.sectors -= min(inode.sectors, end - start) }
      try updateExtent(
        .extents,
        BKey(
          type: .deleted, position: BPos(file.inode, end, inode.snapshot),
          size: UInt32(truncatingIfNeeded: end - start)), RawSpan())
      left -= Self.weight(of: key.type)
    }
    guard left < limit else { return false }
    put(inode)
    try commit()
    return left <= 0
  }

  private static var punchedAtOnce: Int { 16 }

  /// Moves the next extent, and commits: the last one that has not moved if a range is inserted,
  /// the first one if it is removed.
  ///
  /// - Returns: how far the operation has come; nil when it is through.
  fileprivate func moveOne(
    of file: FileID, by shift: RangeShift, _ operation: LoggedOpFinsert, at place: BPos
  ) throws(TransactionError) -> UInt64? {
    guard let inode = try inode(of: file) else { return nil }
    let found =
      shift.isInsert
      ? try lastExtent(of: file, upTo: operation.position, inode.snapshot)
      : try firstExtent(of: file, behind: operation.position, inode.snapshot)
    guard let found, found.key.position.offset > shift.source else { return nil }
    var key = found.key
    let copy = HeapBuffer(byteCount: max(key.valueByteCount, 16), alignment: 16)
    var value = copy.mutableBytes
    found.withValue { value.copy($0, to: 0) }
    if key.position.snapshot != inode.snapshot {
      if try !found.hasData(engine.media.entrySizes) {
        // A promise is made anew.
        key.type = .reservation
        key.u64s = UInt8(BKey.headerU64s + Reservation.encodedU64s)
        let replicas = try Self.promisedCopies(found)
        value.zero(0..<Reservation.encodedU64s * 8)
        Reservation(replicas: replicas).encode(into: &value)
      } else if key.type != .error {
        try indirect(found).encode(into: &value)
        key.type = .reflinkP
        key.u64s = UInt8(BKey.headerU64s + ReflinkP.encodedU64s)
      }
    }
    if shift.isInsert {
      do throws(FormatError) {
        try key.cutFront(to: shift.source, &value, sizes: engine.media.entrySizes)
      } catch {
        throw .failed(VolumeError(error))
      }
    }
    let (start, end) = (key.start.offset, key.position.offset)
    let (moved, overflow) =
      shift.isInsert
      ? end.addingReportingOverflow(shift.count) : end.subtractingReportingOverflow(shift.count)
    guard !overflow, shift.isInsert || start >= shift.count else { return nil }
    try updateExtent(
      .extents,
      BKey(type: .deleted, position: BPos(file.inode, end, inode.snapshot), size: key.size),
      RawSpan())
    key.position = BPos(file.inode, moved, inode.snapshot)
    try updateExtent(.extents, key, value.bytes.extracting(first: key.valueByteCount))
    var operation = operation
    operation.position = shift.isInsert ? start : end
    put(operation, at: place)
    try commit()
    return operation.position
  }

  /// As how many copies room was promised for what is not written.
  private static func promisedCopies(_ found: KeyView) throws(TransactionError) -> UInt8 {
    try found.decoded { (value) throws(FormatError) -> UInt8 in
      guard found.key.type == .extent else { return try Reservation(decoding: value).replicas }
      var pointers = ExtentEntries(value, keySize: found.key.size).pointers
      var count: UInt8 = 0
      while pointers.next() != nil, count < 4 { count += 1 }
      return max(count, 1)
    }
  }

  /// The first extent that a snapshot sees and that ends behind an offset.
  private func firstExtent(
    of file: FileID, behind offset: UInt64, _ snapshot: UInt32
  ) throws(TransactionError) -> KeyView? {
    var walk = SnapshotWalk(
      .extents, file.inode, from: offset, snapshot: snapshot, mode: .intent)
    while let found = try next(&walk) {
      if found.key.position.offset > offset { return found }
    }
    return nil
  }

  /// The last extent that a snapshot sees and that ends at an offset or before.
  private func lastExtent(
    of file: FileID, upTo end: UInt64, _ snapshot: UInt32
  ) throws(TransactionError) -> KeyView? {
    var offset = end
    while let found = try previous(
      .extents, from: BPos(file.inode, offset, .max), downTo: BPos(file.inode, 0, 0), .intent)
    {
      let place = found.key.position.offset
      var walk = SnapshotWalk(
        .extents, file.inode, from: place, upTo: place, snapshot: snapshot, mode: .intent)
      if let visible = try next(&walk) { return visible }
      guard place > 0 else { return nil }
      offset = place - 1
    }
    return nil
  }
}
