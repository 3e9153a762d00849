// SPDX-License-Identifier: GPL-2.0
// Extents become part of a file: the file's counters follow in the same transaction.
//
// How it works
//   1. What a new extent covers is overwritten (Transaction+ExtentUpdates.swift); by how much what
//      the file has allocated grows or shrinks goes into its inode, and a size that grows with it.
//      Several extents in a row go in together.
//   2. What covers very many others goes in piece by piece, each in a transaction: so a transaction
//      is of a bounded size.
// Invariants
//   (1) After each transaction an inode counts the sectors that its extents have.
// Locks: as all transactions; the inode comes first, so changes of one file come one after the
// other.
// Source: io_write.c (bch2_extent_update, bch2_sum_sector_overwrites), extent_update.c
// (bch2_extent_trim_atomic).

internal import BcachefsFormat
internal import BcachefsSupport

/// What else of a file changes with its contents.
struct InodeChange {
  /// The size, if it is larger than the file was and what is written reaches so far.
  var size: UInt64 = 0
  /// The file ends at the size: what is behind it goes, as far as one transaction can have it.
  var cutsOff = false
  /// When it was changed, in the volume's time units; nil where nobody changed anything.
  var time: UInt64?
}

extension Inode {
  /// Contents were changed at some time. Attributes may have been changed since: when that was does
  /// not go back.
  mutating func noteWritten(at time: UInt64) {
    mtime = time
    if Int64(bitPattern: time) > Int64(bitPattern: ctime) { ctime = time }
  }
}

/// A file whose extents a transaction changes.
struct FileUpdate {
  let file: FileID
  let snapshot: UInt32
  let before: Inode
  /// With the sectors that it has now.
  var inode: Inode
  /// The sector behind the last that was put.
  var end: UInt64 = 0
  /// So many extents may be put or overwritten yet; one is in any case.
  var extentsLeft: Int
}

extension Transaction {
  /// Extents of a file that one transaction overwrites; the indirect ones that they point to count.
  var overwrittenAtOnce: Int { extentsAtOnce(32) }

  /// What an extent that goes needs of a journal entry, for each of its copies: with its bucket,
  /// its backpointer and what is counted.
  private static var wordsOfCopy: Int { 100 }

  /// So many extents, at most, go in one transaction. Where buckets are small the journal's entries
  /// are: fewer then.
  func extentsAtOnce(_ limit: Int) -> Int {
    let copies = min(max(engine.media.devices.count, 1), 4)
    return max(1, min(limit, engine.journal.reservationMax / (copies * Self.wordsOfCopy)))
  }

  /// For how many extents one counts that goes: a pointer takes with it what it points to.
  static func weight(of type: BKeyType) -> Int { type == .reflinkP ? 8 : 1 }

  /// Puts an extent, or its first part, into a file, and commits.
  ///
  /// - Parameters:
  ///   - key: Its inode and snapshot do not matter; type `deleted` leaves nothing there.
  ///   - value: `key.valueByteCount` bytes.
  /// - Returns: the sector up to which it is in, and where the logged_ops btree says that more has
  ///   to be cut off; nil if nothing has.
  /// - Throws: `.notFound`, `.readOnly`; what updates throw.
  func putFileExtent(
    _ file: FileID, _ key: BKey, _ value: RawSpan, _ change: InodeChange
  ) throws(TransactionError) -> (end: UInt64, logged: BPos?) {
    var update = try beginUpdate(of: file)
    _ = try put(key, value, &update)
    return try finish(update, change)
  }

  /// Begins to put extents into a file, one behind the other.
  ///
  /// - Throws: `.notFound`, `.readOnly`.
  func beginUpdate(of file: FileID) throws(TransactionError) -> FileUpdate {
    let (snapshot, inode) = try inodeToChange(file)
    return FileUpdate(
      file: file, snapshot: snapshot, before: inode, inode: inode, extentsLeft: overwrittenAtOnce)
  }

  /// Puts an extent, or its first part, into a file.
  ///
  /// - Returns: whether all of it went in; if not, the transaction has enough.
  func put(
    _ whole: BKey, _ value: RawSpan, _ update: inout FileUpdate
  ) throws(TransactionError) -> Bool {
    guard update.extentsLeft > 0 else { return false }
    var key = whole
    key.position = BPos(update.file.inode, key.position.offset, update.snapshot)
    let end = try endOfOverwritten(by: key, upTo: &update.extentsLeft)
    key.cutBack(to: end)
    let removed = try updateExtent(.extents, key, value.extracting(first: key.valueByteCount))
    let added = key.type.isAllocation ? UInt64(key.size) : 0
    update.inode.sectors = update.inode.sectors &+ added
    update.inode.sectors -= min(removed, update.inode.sectors)
    update.end = end
    update.extentsLeft -= 1
    return end == whole.position.offset
  }

  /// What else changes with the extents that were put; and commits.
  ///
  /// - Returns: as `putFileExtent`.
  func finish(
    _ update: FileUpdate, _ change: InodeChange
  ) throws(TransactionError) -> (end: UInt64, logged: BPos?) {
    var inode = update.inode
    let size = min(update.end * 512, change.size)
    inode.snapshot = update.snapshot
    var logged: BPos?
    if change.cutsOff {
      logged = try cutOff(&inode, update.file, to: change.size)
    } else if size > inode.size, !inode.flags.contains(.sizeDirty) {
      inode.size = size
    }
    if let time = change.time { inode.noteWritten(at: time) }
    if inode != update.before { put(inode, update.snapshot) }
    try commit()
    return (update.end, logged)
  }

  /// How far an extent may reach in this transaction.
  private func endOfOverwritten(
    by key: BKey, upTo left: inout Int
  ) throws(TransactionError) -> UInt64 {
    let end = key.position.offset
    var walk = SnapshotWalk(
      .extents, key.position.inode, from: key.start.offset + 1,
      snapshot: key.position.snapshot, mode: .intent)
    while let old = try next(&walk), old.key.start.offset < end {
      left -= 1
      let oldKey = old.key
      let start = max(oldKey.start.offset, key.start.offset)
      if oldKey.type == .reflinkP {
        let pointer = try old.decoded { (value) throws(FormatError) in
          try ReflinkP(decoding: value)
        }
        let first = pointer.index &+ (start - oldKey.start.offset)
        let count = min(oldKey.position.offset, end) - start
        let sectors = try sectorsOfIndirect(first..<first &+ count, upTo: &left)
        if sectors < count { return start + sectors }
      }
      if left <= 0 { return min(oldKey.position.offset, end) }
    }
    return end
  }

  /// How many sectors of a range of indirect extents so many of them cover, at least.
  func sectorsOfIndirect(
    _ range: Range<UInt64>, upTo left: inout Int
  ) throws(TransactionError) -> UInt64 {
    var walk = KeyWalk(
      .reflink, from: BPos(0, range.lowerBound + 1), upTo: BPos(0, .max, .max))
    while let found = try next(&walk), found.key.start.offset < range.upperBound {
      left -= 1
      if left <= 0 {
        return min(found.key.position.offset, range.upperBound) - range.lowerBound
      }
    }
    return UInt64(range.count)
  }
}
