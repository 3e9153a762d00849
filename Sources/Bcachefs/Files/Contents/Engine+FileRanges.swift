// SPDX-License-Identifier: GPL-2.0
// Ranges of files that are cut off, allocated, inserted or removed, as far as extents show it.
//
// How it works
//   1. A file is cut off in one transaction where few extents go. Where there are more the
//      logged_ops btree says what is being done, and the extents go some at a time: after a crash
//      the rest is done when the volume is opened (Engine+LoggedOperations.swift). After a failure
//      it is not: the file may be another one by then.
//   2. Allocating puts reservations where there is nothing: they hold a promise of room. Where data
//      is written in place it puts extents that say that nothing was written to them yet.
//   3. A range is inserted or removed by the steps that would complete it after a crash.
// Invariants
//   (1) What is promised on disk was promised in memory before.
// Locks: as all transactions. The caller sees to it that nobody else changes the file.
// Source: io_misc.c (bch2_truncate, bch2_fpunch_at, bch2_extent_fallocate,
// bch2_fcollapse_finsert), logged_ops.c (bch2_logged_op_start).

internal import BcachefsFormat
internal import BcachefsSupport

extension Engine {
  /// The longest reservation that is made at once, in sectors.
  private static var reservationMax: UInt64 { 1 << 30 }

  /// Sets a file's size, and removes what is behind it where that is little.
  ///
  /// - Returns: where the logged_ops btree says that it has to go, where that is much: the caller
  ///   completes it.
  /// - Throws: `.notFound`, `.readOnly`. Nothing was changed then.
  func truncate(
    _ file: FileID, to size: UInt64, time: UInt64
  ) throws(VolumeError) -> BPos? {
    try run("truncate", givesBack: true) { (transaction) throws(TransactionError) -> BPos? in
      var (snapshot, inode) = try transaction.inodeToChange(file)
      inode.snapshot = snapshot
      inode.noteWritten(at: time)
      let logged = try transaction.cutOff(&inode, file, to: size)
      transaction.put(inode, snapshot)
      try transaction.commit()
      return logged
    }
  }

  /// Removes the rest of what the logged_ops btree says has to go.
  ///
  /// - Throws: why some of it is left, though nothing says so any more.
  func completeTruncation(
    of file: FileID, to size: UInt64, at place: BPos
  ) throws(VolumeError) {
    try completing(operationAt: place) { () throws(VolumeError) in
      try removeTail(of: file, behind: size)
    }
  }

  /// Whether something may be behind the end of a file that would come to light if it grew. Only
  /// where it is known that something is wrong with the volume it is looked for.
  func mayHaveTail(_ file: FileID, behind size: UInt64) -> Bool {
    guard store.isInconsistent else { return false }
    let start = media.superblock.sectorsOfBlocks(size)
    do throws(VolumeError) {
      return try run("has_tail") { (transaction) throws(TransactionError) in
        let subvolume = try transaction.subvolume(file.subvolume)
        // What nobody can change does not grow.
        guard !subvolume.isReadOnly else { return false }
        return try transaction.hasData(file.inode, start..<UInt64.max, subvolume.snapshot)
      }
    } catch {
      return true
    }
  }

  /// Leaves nothing behind the block in which a file of some size ends.
  func removeTail(of file: FileID, behind size: UInt64) throws(VolumeError) {
    try punch(file, media.superblock.sectorsOfBlocks(size)..<UInt64.max)
  }

  /// Changes a file's size, where that is larger, and its times, unless they stay.
  func setSize(
    of file: FileID, atLeast size: UInt64, time: UInt64?
  ) throws(VolumeError) {
    try run("set_size") { (transaction) throws(TransactionError) in
      var (snapshot, inode) = try transaction.inodeToChange(file)
      inode.size = max(inode.size, size)
      if let time { inode.noteWritten(at: time) }
      transaction.put(inode, snapshot)
      try transaction.commit()
    }
  }

  // MARK: - Reservations

  /// Promises room for what is a hole in a range of sectors, or takes it.
  ///
  /// - Throws: `.noSpace`, `.quotaExceeded`, with the part before it done.
  func allocate(
    _ file: FileID, _ range: Range<UInt64>, _ options: DataOptions, _ rule: QuotaRule
  ) throws(VolumeError) {
    var position = range.lowerBound
    while position < range.upperBound {
      let (start, end) = (position, range.upperBound)
      let hole = try run("fallocate") {
        (transaction) throws(TransactionError) -> Range<UInt64>? in
        let snapshot = try transaction.snapshotToChange(file.subvolume)
        return try transaction.firstHole(of: file.inode, start..<end, snapshot)
      }
      guard let hole else { return }
      let count = min(UInt64(hole.count), Self.reservationMax)
      var reservation = try usage.reserve(count, replicas: options.replicas)
      defer { usage.release(&reservation) }
      let part = hole.lowerBound..<hole.lowerBound + count
      position =
        options.isWrittenInPlace
        ? try takeRoom(file, part, options, rule, &reservation)
        : try promiseRoom(file, part, options, rule, &reservation)
    }
  }

  /// Puts a reservation into a hole.
  ///
  /// - Returns: up to which sector.
  private func promiseRoom(
    _ file: FileID, _ hole: Range<UInt64>, _ options: DataOptions, _ rule: QuotaRule,
    _ reservation: inout DiskReservation
  ) throws(VolumeError) -> UInt64 {
    let value = HeapBuffer(byteCount: Reservation.encodedU64s * 8, alignment: 16)
    var bytes = value.mutableBytes
    Reservation(replicas: UInt8(truncatingIfNeeded: options.replicas)).encode(into: &bytes)
    let key = BKey(
      type: .reservation, position: BPos(0, hole.upperBound), size: UInt32(hole.count),
      valueU64s: Reservation.encodedU64s)
    return try fill(file, key, value, rule, &reservation)
  }

  /// Puts an extent into a hole, or its first part, that nothing is written to yet.
  ///
  /// - Returns: up to which sector.
  private func takeRoom(
    _ file: FileID, _ hole: Range<UInt64>, _ options: DataOptions, _ rule: QuotaRule,
    _ reservation: inout DiskReservation
  ) throws(VolumeError) -> UInt64 {
    let found = try allocateSectors(
      AllocationRequest(
        sectors: UInt64(hole.count),
        minSectors: min(UInt64(media.superblock.blockSizeSectors), UInt64(hole.count)),
        replicas: options.replicas, target: targets.members(of: options.foregroundTarget)),
      in: writePoints.user(file.inode))
    defer { settle(found) }
    let value = HeapBuffer(byteCount: BKey.maxValueU64s * 8, alignment: 16)
    var bytes = value.mutableBytes
    var writer = ExtentWriter()
    do throws(FormatError) {
      // What is only a cache would have nothing to give.
      for var place in found.places where !place.isCached {
        place.isUnwritten = true
        try writer.append(place, to: &bytes)
      }
    } catch {
      throw VolumeError(error)
    }
    let key = BKey(
      type: .extent, position: BPos(0, hole.lowerBound + found.sectors),
      size: UInt32(found.sectors), valueU64s: writer.encodedU64s)
    return try fill(file, key, value, rule, &reservation)
  }

  private func fill(
    _ file: FileID, _ key: BKey, _ value: HeapBuffer, _ rule: QuotaRule,
    _ reservation: inout DiskReservation
  ) throws(VolumeError) -> UInt64 {
    let promised = reservation.sectors
    let (end, left) = try run("fallocate", quotas: rule) { (transaction) throws(TransactionError) in
      transaction.promisedSectors = promised
      let (end, _) = try transaction.putFileExtent(
        file, key, value.bytes.extracting(first: key.valueByteCount), InodeChange())
      return (end, transaction.promisedSectors)
    }
    reservation.sectors = left
    return end
  }

  /// Sectors of a range of bytes that have room on devices which is free again when they are
  /// overwritten: what is promised, and data that is nobody else's and takes as much as it will.
  func ownedSectors(
    of file: FileID, _ range: Range<UInt64>, replicas: Int
  ) throws(VolumeError) -> UInt64 {
    try run("owned_sectors") { (transaction) throws(TransactionError) in
      let snapshot = try transaction.subvolume(file.subvolume).snapshot
      let (start, end) = (range.lowerBound / 512, range.upperBound / 512)
      var walk = SnapshotWalk(.extents, file.inode, from: start + 1, snapshot: snapshot)
      var sectors: UInt64 = 0
      while let found = try transaction.next(&walk), found.key.start.offset < end {
        guard found.key.position.snapshot == snapshot,
          try transaction.givesBack(found, replicas: replicas)
        else { continue }
        sectors += min(found.key.position.offset, end) - max(found.key.start.offset, start)
      }
      return sectors
    }
  }

  /// Sectors of ranges of bytes of a file that count for nobody, and for whom they would; nil where
  /// nothing of the file is counted.
  func unallocatedSectors(
    of file: FileID, _ ranges: [Range<UInt64>], _ quotas: Quotas
  ) throws(VolumeError) -> (ids: QuotaIDs, sectors: UInt64)? {
    try run("quota_promise") { (transaction) throws(TransactionError) in
      let snapshot = try transaction.subvolume(file.subvolume).snapshot
      guard quotas.isCounted(snapshot) else { return nil }
      let ids = QuotaIDs(try transaction.inode(file.inode, snapshot))
      var sectors: UInt64 = 0
      for range in ranges {
        let (start, end) = (range.lowerBound / 512, range.upperBound / 512)
        sectors += end - start
        var walk = SnapshotWalk(.extents, file.inode, from: start + 1, snapshot: snapshot)
        while let found = try transaction.next(&walk), found.key.start.offset < end {
          guard found.key.type.isAllocation else { continue }
          let taken = min(found.key.position.offset, end) - max(found.key.start.offset, start)
          // Keys may overlap, though they should not.
          sectors -= min(sectors, taken)
        }
      }
      return (ids, sectors)
    }
  }

  /// Whether a file has something in a range of sectors that is not zeros.
  func hasData(_ file: FileID, _ range: Range<UInt64>) throws(VolumeError) -> Bool {
    try run("has_data") { (transaction) throws(TransactionError) in
      let snapshot = try transaction.subvolume(file.subvolume).snapshot
      return try transaction.hasData(file.inode, range, snapshot)
    }
  }

  /// The next byte of a file at or behind an offset that is data, or that is not.
  func next(
    inHole: Bool, of file: FileID, from offset: UInt64
  ) throws(VolumeError) -> UInt64? {
    try run("seek") { (transaction) throws(TransactionError) -> UInt64? in
      let snapshot = try transaction.subvolume(file.subvolume).snapshot
      var position = offset
      var walk = SnapshotWalk(.extents, file.inode, from: offset / 512 + 1, snapshot: snapshot)
      while let found = try transaction.next(&walk) {
        guard found.key.type != .reservation, found.key.position.offset <= Int64.max / 512 else {
          continue
        }
        let (start, end) = (found.key.start.offset * 512, found.key.position.offset * 512)
        if !inHole { return max(position, start) }
        guard start <= position else { return position }
        position = max(position, end)
      }
      return inHole ? position : nil
    }
  }

  // MARK: - Moving

  /// Inserts a hole in front of a sector, or removes sectors from there on; both are whole blocks.
  ///
  /// - Throws: `.notFound`, `.readOnly`; where something fails on the way the rest stays undone.
  func shift(
    _ file: FileID, from sector: UInt64, by count: UInt64, isInsert: Bool
  ) throws(VolumeError) {
    let difference = isInsert ? Int64(count) : -Int64(count)
    let operation = LoggedOpFinsert(
      state: RangeShift.start, subvolume: file.subvolume, inode: file.inode,
      destination: Int64(sector) + difference, source: sector,
      position: isInsert ? UInt64.max : sector)
    let place = try run("finsert") { (transaction) throws(TransactionError) -> BPos in
      _ = try transaction.inodeToChange(file)
      let place = try transaction.placeForLoggedOperation()
      transaction.put(operation, at: place)
      try transaction.commit()
      return place
    }
    try completing(operationAt: place) { () throws(VolumeError) in
      try resume(operation, at: place)
    }
  }
}

extension Superblock {
  /// Sectors of the blocks that so many bytes take.
  func sectorsOfBlocks(_ bytes: UInt64) -> UInt64 {
    let sectors = UInt64(blockSizeSectors)
    return (bytes / (sectors * 512) + (bytes % (sectors * 512) > 0 ? 1 : 0)) * sectors
  }
}

extension Transaction {
  /// Where the logged_ops btree has room.
  fileprivate func placeForLoggedOperation() throws(TransactionError) -> BPos {
    let last = try previous(.loggedOps, from: .max, downTo: .min, .intent)
    guard let last else { return .min }
    guard let next = last.key.position.successor else {
      throw .failed(VolumeError(.limit, "there is no room for another logged operation"))
    }
    return next
  }

  /// Whether a file has something in a range of sectors that is not zeros.
  fileprivate func hasData(
    _ inode: UInt64, _ range: Range<UInt64>, _ snapshot: UInt32
  ) throws(TransactionError) -> Bool {
    var walk = SnapshotWalk(.extents, inode, from: range.lowerBound + 1, snapshot: snapshot)
    while let found = try next(&walk), found.key.start.offset < range.upperBound {
      if try found.hasData(engine.media.entrySizes) { return true }
    }
    return false
  }

  /// Whether a file has more extents behind a sector than so many.
  fileprivate func hasManyExtents(
    of inode: Inode, from sector: UInt64, _ limit: Int
  ) throws(TransactionError) -> Bool {
    var walk = SnapshotWalk(
      .extents, inode.number, from: sector + 1, snapshot: inode.snapshot, mode: .intent)
    for _ in 0...limit {
      guard let found = try next(&walk) else { return false }
      // What is behind a pointer has to be counted too.
      if found.key.type == .reflinkP { return true }
    }
    return true
  }

  /// Sets a file's size, and removes what is behind it, or says so in the logged_ops btree where
  /// that is much.
  ///
  /// - Returns: where it says so.
  func cutOff(
    _ inode: inout Inode, _ file: FileID, to size: UInt64
  ) throws(TransactionError) -> BPos? {
    let sector = engine.media.superblock.sectorsOfBlocks(size)
    inode.size = size
    if try hasManyExtents(of: inode, from: sector, extentsAtOnce(Self.cutOffAtOnce)) {
      let place = try placeForLoggedOperation()
      let operation = LoggedOpTruncate(
        subvolume: file.subvolume, inode: file.inode, newSize: size)
      put(.loggedOps, .loggedOpTruncate, place, LoggedOpTruncate.encodedU64s) {
        operation.encode(into: &$0)
      }
      return place
    }
    var walk = SnapshotWalk(
      .extents, inode.number, from: sector + 1, snapshot: inode.snapshot, mode: .intent)
    while let found = try next(&walk) {
      let start = max(found.key.start.offset, sector)
      let end = found.key.position.offset
      let removed = try updateExtent(
        .extents,
        BKey(
          type: .deleted, position: BPos(inode.number, end, inode.snapshot),
          size: UInt32(truncatingIfNeeded: end - start)), RawSpan())
      inode.sectors -= min(inode.sectors, removed)
    }
    return nil
  }

  /// Extents that go in the transaction that changes a file's size.
  private static var cutOffAtOnce: Int { 16 }

  /// The first part of a range of sectors in which a file has nothing.
  fileprivate func firstHole(
    of inode: UInt64, _ range: Range<UInt64>, _ snapshot: UInt32
  ) throws(TransactionError) -> Range<UInt64>? {
    var position = range.lowerBound
    var walk = SnapshotWalk(.extents, inode, from: position + 1, snapshot: snapshot)
    while position < range.upperBound {
      guard let found = try next(&walk) else { return position..<range.upperBound }
      if found.key.start.offset > position {
        return position..<min(found.key.start.offset, range.upperBound)
      }
      position = max(position, found.key.position.offset)
    }
    return nil
  }
}

extension Transaction {
  /// Whether to overwrite any part of a key gives back as much as new data takes, at most.
  fileprivate func givesBack(
    _ found: KeyView, replicas: Int
  ) throws(TransactionError) -> Bool {
    if found.key.type == .reservation { return true }
    guard found.key.type == .extent else { return false }
    let sizes = engine.media.entrySizes
    return try found.decoded { (value) throws(FormatError) in
      var pointers = try ExtentEntries(key: found.key, value: value, sizes: sizes).pointers
      var copies = 0
      while let pointer = pointers.next() {
        guard !pointer.ptr.isCached else { continue }
        guard pointer.stripe == nil, !pointer.crc.isCompressed else { return false }
        copies += 1
      }
      return copies >= replicas
    }
  }
}
