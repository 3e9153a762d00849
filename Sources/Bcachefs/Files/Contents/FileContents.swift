// SPDX-License-Identifier: GPL-2.0
// The contents of one file: what is on devices, with what is not written yet over it.
//
// How it works
//   1. Small writes go to windows in memory (ContentWindow.swift), block by block; a block that is
//      written in part is read first. Room for each dirty block is promised then: who is told that
//      his data is there is not told later that there is no space.
//   2. Large writes of whole blocks to where no window is go to devices at once, from the caller's
//      memory.
//   3. Windows are written when somebody asks for it, when they have been dirty for long, or when
//      there are too many (FileContents+Flush.swift). Then they go: others keep clean contents.
//   4. A read copies what windows have, and reads the rest from devices.
//   5. The size is kept here. What an inode says may be less, until all is written.
//   6. When the file is deleted its number may become another one's. Before that nobody begins to
//      change it by these contents any more, and who has begun is waited for.
// Invariants
//   (1) Who changes a range of the file, or writes windows of it, has that range to himself.
//   (2) A window is only changed with `condition` held, its buffer too: readers copy with it held.
//   (3) Blocks that are dirty have a promise.
//   (4) A read sees all writes that had returned when it began, and no other file's.
//   (5) What a truncation could not remove behind the end goes before the file grows.
// Locks: `condition` is a leaf and not held during I/O; ranges are waited for with nothing held.
// Source: fs-io-buffered.c, fs-io-pagecache.c.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// How bytes are to be written.
struct ContentWrite {
  let options: DataOptions
  /// When the file was changed; nil where its times stay.
  let time: UInt64?
  var quotas = QuotaRule.unchecked
}

final class FileContents: @unchecked Sendable {
  // Safety: see Invariants.
  /// From here on a write of whole blocks is not kept in memory first.
  private static let directBytes = 64 << 10
  /// The largest file (`MAX_LFS_FILESIZE`).
  static let maxBytes = UInt64(Int64.max)

  let file: FileID
  unowned let store: ContentStore
  let blockBytes: Int
  let condition = Condition()

  private let hasSize = Atomic<Bool>(false)
  /// Set under `condition`.
  private let isDeleted = Atomic<Bool>(false)

  // Under `condition`:
  private var isLoading = false
  private(set) var size: UInt64 = 0
  /// When it was changed last; nil where the inode knows.
  var time: UInt64?
  /// So many are about to write that into the inode.
  private var timeWriters = 0
  /// By their place in the file, counted in windows.
  var windows: [UInt64: ContentWindow] = [:]
  var locks = RangeLocks()
  /// Something may be left behind the end that is no part of the file any more.
  private(set) var hasTail = false

  /// - Postcondition: Only `load` may be called yet.
  init(_ file: FileID, _ store: ContentStore) {
    self.file = file
    self.store = store
    blockBytes = Int(store.engine.media.superblock.blockSizeSectors) * 512
  }

  var engine: Engine { store.engine }

  // MARK: - Loading

  var isLoaded: Bool { hasSize.load(ordering: .acquiring) }

  /// Reads the file's size, unless somebody has. Whoever changes it from here on has these contents
  /// and no others: so it stays what it is.
  ///
  /// - Throws: `.notFound`, `.isADirectory`, `.wrongType`; `.corrupt` for a size that no file has;
  ///   what reading the inode throws.
  func load() throws(VolumeError) {
    guard !isLoaded else { return }
    let isMine = condition.withLock {
      while isLoading { condition.wait() }
      isLoading = !isLoaded
      return isLoading
    }
    guard isMine else { return }
    defer {
      condition.withLock { isLoading = false }
      condition.broadcast()
    }
    let inode = try storedInode()
    guard !inode.isDirectory else { throw VolumeError(.isADirectory) }
    let kind = FileKind(inode)
    guard kind == .regular || kind == .symbolicLink else { throw VolumeError(.wrongType) }
    guard inode.size <= Self.maxBytes else {
      throw VolumeError(
        .corrupt, "inode \(file.inode): a size of \(inode.size) bytes, not \(Self.maxBytes) at most"
      )
    }
    let isLeft = engine.mayHaveTail(file, behind: inode.size)
    condition.withLock { size = inode.size }
    if isLeft { noteTail(true) }
    hasSize.store(true, ordering: .releasing)
  }

  /// What attributes of the file show, as far as its contents decide it.
  var shown: (size: UInt64, time: UInt64?) { condition.withLock { (size, time) } }

  /// Sectors that the file takes, with those that are not written yet. Which of these have room
  /// already, and what they are compressed to, is not known before: it is never none.
  func sectors(beside written: UInt64) -> UInt64 {
    let (blocks, end) = condition.withLock {
      (windows.values.reduce(0) { $0 + $1.dirty.count }, self.size)
    }
    guard blocks > 0 else { return written }
    let (dirty, whole) = (UInt64(blocks * blockBytes / 512), up(end) / 512)
    return max(written, min(min(written, whole) + dirty, whole), dirty)
  }

  /// Whether there is something that is not written, or is being so.
  var hasDirtyWindows: Bool { condition.withLock { !windows.isEmpty } }

  /// The time for a change, in the volume's units.
  var now: UInt64 { engine.now }

  /// The inode is about to know another time: what was written before does not change it any more
  /// when this returns. It may wait for who writes that.
  private func takeTime() -> UInt64? {
    condition.withLock {
      let old = time
      time = nil
      while timeWriters > 0 { condition.wait() }
      return old
    }
  }

  /// Has `body` put another time into the inode than the one that it does not know yet, if it does.
  func replacingTime<Result>(
    if isReplaced: Bool, _ body: () throws(VolumeError) -> Result
  ) throws(VolumeError) -> Result {
    guard isReplaced else { return try body() }
    let old = takeTime()
    do throws(VolumeError) { return try body() } catch {
      condition.withLock { self.time = self.time ?? old }
      throw error
    }
  }

  /// Has `body` write the file's time into the inode, where the inode does not know it.
  func writingTime<Result>(
    _ body: (_ size: UInt64, _ time: UInt64?) throws(VolumeError) -> Result
  ) throws(VolumeError) -> Result {
    let (size, time) = condition.withLock {
      if self.time != nil { timeWriters += 1 }
      return (self.size, self.time)
    }
    guard time != nil else { return try body(size, nil) }
    defer {
      condition.withLock { timeWriters -= 1 }
      condition.broadcast()
    }
    let result = try body(size, time)
    store.noteCommit()
    condition.withLock { if self.time == time { self.time = nil } }
    return result
  }

  // MARK: - Ranges

  /// Calls `body` while nobody else changes a range, which is widened to whole windows.
  ///
  /// - Parameter end: How long the file may be afterwards, or where it may have room.
  /// - Throws: `.notFound` where the file was deleted; why what a truncation left behind its end
  ///   cannot be removed; what `body` throws.
  func withRange<Result>(
    _ range: Range<UInt64>, growsTo end: UInt64 = 0, _ body: () throws(VolumeError) -> Result
  ) throws(VolumeError) -> Result {
    let whole = Self.windowNumbers(range)
    while try !takeRange(whole, growsTo: end) { try removeTail() }
    defer { giveBackRange(whole) }
    return try body()
  }

  /// Waits until nobody else has windows, and takes them.
  ///
  /// - Returns: false, without them, where something behind the end has to go before.
  private func takeRange(
    _ windows: Range<UInt64>, growsTo end: UInt64
  ) throws(VolumeError) -> Bool {
    try condition.withLock { () throws(VolumeError) in
      while true {
        guard !isDeleted.load(ordering: .relaxed) else { throw VolumeError(.notFound) }
        if hasTail, end > size { return false }
        if locks.take(windows) { return true }
        condition.wait()
      }
    }
  }

  private func giveBackRange(_ windows: Range<UInt64>) {
    condition.withLock { locks.giveBack(windows) }
    condition.broadcast()
  }

  /// Calls `body` when nobody is changing the file any more, which is about to be deleted: nobody
  /// will, by these contents.
  func withoutOthers(_ body: () -> Void) {
    let all = Self.windowNumbers(Self.toTheEnd)
    condition.withLock {
      isDeleted.store(true, ordering: .sequentiallyConsistent)
      while !locks.take(all) { condition.wait() }
    }
    defer { giveBackRange(all) }
    body()
  }

  // MARK: - The end

  /// The windows that have a part of a range, by their numbers; one at least.
  static func windowNumbers(_ range: Range<UInt64>) -> Range<UInt64> {
    let size = UInt64(ContentWindow.byteCount)
    let last = range.isEmpty ? range.lowerBound : range.upperBound - 1
    return range.lowerBound / size..<last / size + 1
  }

  /// The file has another size from here on, and its inode knows when that was. All of it is the
  /// caller's.
  func setSize(_ new: UInt64) { condition.withLock { (size, time) = (new, nil) } }

  /// Removes what a truncation left behind the end.
  func removeTail() throws(VolumeError) {
    try withRange(Self.toTheEnd) { () throws(VolumeError) in try removeTailHeld() }
  }

  /// The same where all of the file is the caller's.
  func removeTailHeld() throws(VolumeError) {
    guard condition.withLock({ hasTail }) else { return }
    try engine.removeTail(of: file, behind: shown.size)
    noteTail(false)
  }

  /// Whether something may be left behind the end: then the superblock says already that something
  /// is wrong. All of the file is the caller's.
  func noteTail(_ new: Bool) {
    let isNew = condition.withLock {
      defer { hasTail = new }
      return hasTail != new
    }
    if isNew { store.noteTail(of: file, new) }
  }

  /// The file is as long as this, at least.
  func grow(to end: UInt64) { condition.withLock { size = max(size, end) } }

  // MARK: - Reading

  /// Reads up to `target.byteCount` bytes from a byte on.
  ///
  /// - Returns: how many: fewer only at the end of the file.
  /// - Throws: `.notFound` where the file was deleted; `.allCopiesBad`, and what else reading
  ///   extents throws.
  func read(
    from offset: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) -> Int {
    var gaps: [Range<Int>] = []
    condition.lock()
    let count = offset < size ? Int(min(UInt64(target.byteCount), size - offset)) : 0
    if windows.isEmpty {
      gaps.append(0..<count)
    } else {
      copyWindows(from: offset, count, into: &target, &gaps)
    }
    condition.unlock()
    if gaps.contains(where: { !$0.isEmpty }) {
      try store.withReader { (reader) throws(VolumeError) in
        for gap in gaps where !gap.isEmpty {
          var part = target._mutatingExtracting(gap)
          try reader.read(file, from: offset + UInt64(gap.lowerBound), into: &part)
        }
      }
    }
    // Else what was read may be another file's, which has the number now.
    guard !isDeleted.load(ordering: .sequentiallyConsistent) else { throw VolumeError(.notFound) }
    return count
  }

  /// Copies what windows have, and adds what they have not to `gaps`. Under `condition`.
  private func copyWindows(
    from offset: UInt64, _ count: Int, into target: inout MutableRawSpan, _ gaps: inout [Range<Int>]
  ) {
    let size = UInt64(ContentWindow.byteCount)
    var done = 0
    var gapStart: Int?
    while done < count {
      let position = offset + UInt64(done)
      let inside = Int(position % size)
      let window = windows[position / size]
      let block = inside / blockBytes
      // A block at a time, or a whole window where there is none.
      let end = window == nil ? Int(size) : (block + 1) * blockBytes
      let length = min(end - inside, count - done)
      if let window, window.valid.contains(block) {
        if let start = gapStart { gaps.append(start..<done) }
        gapStart = nil
        let buffer = window.buffer
        let first = inside - window.start
        target.copy(buffer.bytes.extracting(first..<first + length), to: done)
      } else if gapStart == nil {
        gapStart = done
      }
      done += length
    }
    if let start = gapStart { gaps.append(start..<done) }
  }

  // MARK: - Writing

  /// Writes bytes at a place. When it returns, everybody who reads sees them.
  ///
  /// - Parameters:
  ///   - keepsTimes: Whether the file's times stay.
  ///   - rule: What quotas say to it.
  /// - Throws: `.fileTooLarge`, `.noSpace`, `.quotaExceeded`, `.readOnly`, `.notFound`; what
  ///   reading a block that is written in part throws. Nothing is written then, or a part.
  func write(
    _ bytes: RawSpan, at offset: UInt64, keepsTimes: Bool = false, _ rule: QuotaRule = .unchecked
  ) throws(VolumeError) {
    let end = try end(of: UInt64(bytes.byteCount), from: offset)
    guard !bytes.isEmpty else { return }
    try store.withRoom { () throws(VolumeError) in
      try withRange(offset..<end, growsTo: end) { () throws(VolumeError) in
        try writeHeld(bytes, at: offset, keepsTimes ? nil : now, rule)
      }
    }
    if store.isOverLimit { writeBack() }
  }

  /// Writes bytes at a place whose range is the caller's.
  private func writeHeld(
    _ bytes: RawSpan, at offset: UInt64, _ time: UInt64?, _ rule: QuotaRule
  ) throws(VolumeError) {
    let write = ContentWrite(options: try dataOptions(), time: time, quotas: rule)
    let end = offset + UInt64(bytes.byteCount)
    let (first, last) = (up(offset), down(end))
    guard last > first, last - first >= UInt64(Self.directBytes), !hasWindow(offset..<end) else {
      return try keep(bytes, at: offset, write)
    }
    try keep(bytes.extracting(first: Int(first - offset)), at: offset, write)
    let middle = Int(first - offset)..<Int(last - offset)
    try writeThrough(bytes.extracting(middle), at: first, write)
    try keep(bytes.extracting(last: Int(end - last)), at: last, write)
  }

  private func hasWindow(_ range: Range<UInt64>) -> Bool {
    let numbers = Self.windowNumbers(range)
    return condition.withLock { !windows.isEmpty && numbers.contains { windows[$0] != nil } }
  }

  private func writeThrough(
    _ bytes: RawSpan, at offset: UInt64, _ write: ContentWrite
  ) throws(VolumeError) {
    let end = offset + UInt64(bytes.byteCount)
    var reservation = try reserve(offset..<end, dirtyBlocks: 0, write.options)
    defer { engine.release(&reservation) }
    if engine.quotas != nil { try promiseQuota([offset..<end], write.quotas, &reservation) }
    let change = InodeChange(size: max(shown.size, end), time: write.time)
    do throws(VolumeError) {
      try replacingTime(if: write.time != nil) { () throws(VolumeError) in
        try store.withWriter { (writer) throws(VolumeError) in
          try writer.write(
            bytes, atSector: offset / 512,
            FileWrite(file: file, options: write.options, change: change), &reservation)
        }
      }
    } catch {
      // A part of it may be in.
      if let inode = try? storedInode() { grow(to: min(inode.size, end)) }
      throw error
    }
    grow(to: end)
  }

  /// The inode as it is in its btree.
  func storedInode() throws(VolumeError) -> Inode {
    try engine.run("open") { (transaction) throws(TransactionError) in
      let snapshot = try transaction.subvolume(file.subvolume).snapshot
      return try transaction.inode(file.inode, snapshot)
    }
  }

  /// Puts bytes into windows.
  func keep(
    _ bytes: RawSpan, at offset: UInt64, _ write: ContentWrite
  ) throws(VolumeError) {
    var done = 0
    while done < bytes.byteCount {
      let position = offset + UInt64(done)
      let inside = Int(position % UInt64(ContentWindow.byteCount))
      let count = min(ContentWindow.byteCount - inside, bytes.byteCount - done)
      let number = position / UInt64(ContentWindow.byteCount)
      try keep(bytes.extracting(done..<done + count), inside, number, write)
      done += count
    }
  }

  private func keep(
    _ bytes: RawSpan, _ inside: Int, _ number: UInt64, _ write: ContentWrite
  ) throws(VolumeError) {
    let start = number * UInt64(ContentWindow.byteCount)
    let end = inside + bytes.byteCount
    let blocks = inside / blockBytes..<(end + blockBytes - 1) / blockBytes
    let window = condition.withLock { windows[number] } ?? ContentWindow()
    let missing = window.dirty.missing(blocks)
    var promised = DiskReservation()
    if missing > 0 {
      let first = start + UInt64(blocks.lowerBound * blockBytes)
      promised = try reserve(
        first..<first + UInt64(blocks.count * blockBytes), dirtyBlocks: blocks.count - missing,
        write.options)
    }
    do throws(VolumeError) {
      if missing > 0, engine.quotas != nil {
        try promiseQuota(clean(blocks, of: window, start), write.quotas, &promised)
      }
      // What is written in part has to be there before.
      if inside % blockBytes != 0 { try load(blocks.lowerBound, window, start) }
      if end % blockBytes != 0 { try load(blocks.upperBound - 1, window, start) }
    } catch {
      engine.release(&promised)
      throw error
    }
    engine.add(promised, to: &window.reservation)
    let (grown, isNew) = condition.withLock {
      window.cover(blocks.lowerBound * blockBytes..<blocks.upperBound * blockBytes)
      let buffer = window.buffer
      var target = buffer.mutableBytes
      target.copy(bytes, to: inside - window.start)
      window.valid.insert(blocks)
      window.dirty.insert(blocks)
      let isNew = windows.updateValue(window, forKey: number) == nil
      size = max(size, start + UInt64(end))
      if let time = write.time { self.time = time }
      let grown = window.buffer.byteCount - window.countedBytes
      window.countedBytes += grown
      return (grown, isNew)
    }
    store.count(file, bytes: grown, windows: isNew ? 1 : 0)
  }

  /// Makes a block of a window valid: what the file has there, and zeros behind its end. The range
  /// is the caller's.
  func load(_ block: Int, _ window: ContentWindow, _ start: UInt64) throws(VolumeError) {
    guard !window.valid.contains(block) else { return }
    let inside = block * blockBytes
    let position = start + UInt64(inside)
    // Others may make the file longer meanwhile: behind its end now there are zeros in any case.
    let size = shown.size
    let length = Int(min(UInt64(blockBytes), size - min(size, position)))
    let copy = HeapBuffer(byteCount: blockBytes)
    if length > 0 {
      var all = copy.mutableBytes
      var part = all._mutatingExtracting(0..<length)
      try store.withReader { (reader) throws(VolumeError) in
        try reader.read(file, from: position, into: &part)
      }
    }
    condition.withLock {
      window.cover(inside..<inside + blockBytes)
      let buffer = window.buffer
      var target = buffer.mutableBytes
      target.copy(copy.bytes, to: inside - window.start)
      window.valid.insert(block..<block + 1)
    }
  }

  // MARK: - Options and room

  /// How the file's data is to be stored now.
  ///
  /// - Throws: `.notFound`, `.readOnly`.
  func dataOptions() throws(VolumeError) -> DataOptions {
    let inode = try engine.run("data_options") { (transaction) throws(TransactionError) in
      let snapshot = try transaction.snapshotToChange(file.subvolume)
      return try transaction.inode(file.inode, snapshot)
    }
    return DataOptions(engine.media.options, key: engine.media.key, inode: inode)
  }

  /// Promises room for whole blocks of the file. Where there is none, only for those that do not
  /// have room on devices that they give back when they are overwritten.
  ///
  /// - Parameter dirtyBlocks: How many of them have a promise already.
  /// - Throws: `.noSpace`.
  func reserve(
    _ range: Range<UInt64>, dirtyBlocks: Int, _ options: DataOptions
  ) throws(VolumeError) -> DiskReservation {
    // A file's last block can end where no `Int` reaches.
    let bytes = range.upperBound - range.lowerBound
    let sectors = (bytes - UInt64(dirtyBlocks * blockBytes)) / 512
    do throws(VolumeError) {
      return try engine.usage.reserve(sectors, replicas: options.replicas)
    } catch {
      guard error.code == .noSpace else { throw error }
      let owned = try engine.ownedSectors(of: file, range, replicas: options.replicas)
      // Which of them are dirty is not known here: those that give room back, at worst.
      let more = UInt64(dirtyBlocks * blockBytes / 512)
      guard owned > more else { throw error }
      return try engine.usage.reserve(
        sectors - min(owned - more, sectors), replicas: options.replicas)
    }
  }
}
