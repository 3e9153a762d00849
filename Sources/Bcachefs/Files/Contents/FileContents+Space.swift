// SPDX-License-Identifier: GPL-2.0
// A file's size, and what it has room for: truncate and fallocate.
//
// How it works
//   1. Whatever changes extents wholesale has the range to the end of the file to itself, and
//      windows there are written first. Where they are cut off they are forgotten, but only after
//      that: it can fail, and others read meanwhile.
//   2. A file that ends within a block afterwards has zeros behind its end: who makes it longer
//      sees them. That block is written with the new size in one transaction.
//   3. A file has its new end from that transaction on. What could not be removed behind it is
//      remembered as long as the volume is open, and goes before the file grows.
// Invariants
//   (1) Behind the end of a file its last block is zeros, in memory and on devices.
// Locks: see FileContents.swift.
// Source: fs-io.c (bchfs_truncate, bchfs_fpunch, bchfs_fallocate, bchfs_fcollapse_finsert).

internal import BcachefsFormat
internal import BcachefsSupport

extension FileContents {
  static var toTheEnd: Range<UInt64> { 0..<maxBytes }

  /// Rounds up to whole blocks.
  func up(_ bytes: UInt64) -> UInt64 {
    let block = UInt64(blockBytes)
    return (bytes + block - 1) / block * block
  }

  func down(_ bytes: UInt64) -> UInt64 {
    bytes / UInt64(blockBytes) * UInt64(blockBytes)
  }

  func checkSize(_ size: UInt64) throws(VolumeError) {
    guard size <= Self.maxBytes else {
      throw VolumeError(.fileTooLarge, "a file ends at byte \(Self.maxBytes), before \(size)")
    }
  }

  /// Where a range ends.
  ///
  /// - Throws: `.fileTooLarge` where no file has it.
  func end(of count: UInt64, from offset: UInt64) throws(VolumeError) -> UInt64 {
    let (end, overflow) = offset.addingReportingOverflow(count)
    try checkSize(overflow ? .max : end)
    return end
  }

  // MARK: - Size

  /// Sets the size (ftruncate): what is behind it is gone, what is new is zeros.
  ///
  /// - Throws: `.fileTooLarge`, `.noSpace`, `.readOnly`; what reading the last block throws. All is
  ///   as it was then, but where the rest of what is behind the end cannot be removed.
  func truncate(to new: UInt64) throws(VolumeError) {
    try checkSize(new)
    try withRange(Self.toTheEnd) { () throws(VolumeError) in
      let (old, time) = (shown.size, now)
      if new > old { try removeTailHeld() }
      // Or what is not written yet would show as zeros after a crash.
      if new > 0 { try writeWindowsHeld(0..<up(new)) }
      let logged =
        if new < old, new % UInt64(blockBytes) != 0, try isKept(down(new)..<up(new)) {
          try writeLastBlock(of: new, time)
        } else {
          try engine.truncate(file, to: new, time: time)
        }
      setSize(new)
      dropWindows(up(new)..<up(Self.maxBytes))
      if let logged {
        do throws(VolumeError) {
          try engine.completeTruncation(of: file, to: new, at: logged)
        } catch {
          noteTail(true)
          throw error
        }
      }
      noteTail(false)
    }
  }

  /// Whether a block has something that is not zeros.
  private func isKept(_ block: Range<UInt64>) throws(VolumeError) -> Bool {
    let number = block.lowerBound / UInt64(ContentWindow.byteCount)
    let inside = Int(block.lowerBound % UInt64(ContentWindow.byteCount)) / blockBytes
    if condition.withLock({ windows[number]?.valid.contains(inside) ?? false }) { return true }
    return try engine.hasData(file, block.lowerBound / 512..<block.upperBound / 512)
  }

  /// Writes the block that a size ends in, with zeros behind it, and cuts the file off there.
  ///
  /// - Precondition: What windows had of it is written.
  /// - Returns: as `Engine.truncate`.
  private func writeLastBlock(of size: UInt64, _ time: UInt64) throws(VolumeError) -> BPos? {
    let number = size / UInt64(ContentWindow.byteCount)
    let start = number * UInt64(ContentWindow.byteCount)
    let inside = Int(size - start)
    let block = inside / blockBytes
    let window = ContentWindow()
    try load(block, window, start)
    let bytes = block * blockBytes..<(block + 1) * blockBytes
    let buffer = window.buffer
    var target = buffer.mutableBytes
    target.zero(inside - window.start..<bytes.upperBound - window.start)
    let options = try dataOptions()
    // A file that shrinks is not refused for lack of space: what it has goes when the block is in.
    var reservation =
      (try? engine.usage.reserve(UInt64(blockBytes / 512), replicas: options.replicas))
      ?? DiskReservation()
    defer { engine.usage.release(&reservation) }
    return try store.withWriter { (writer) throws(VolumeError) in
      try writer.cutOff(
        buffer.bytes.extracting(
          bytes.lowerBound - window.start..<bytes.upperBound - window.start),
        atSector: (start + UInt64(bytes.lowerBound)) / 512,
        FileWrite(
          file: file, options: options,
          change: InodeChange(size: size, cutsOff: true, time: time)),
        &reservation)
    }
  }

  /// Overwrites bytes within one block with zeros, if there is anything.
  private func zeroTail(
    of start: UInt64, upTo end: UInt64, _ time: UInt64?
  ) throws(VolumeError) {
    guard start < end else { return }
    guard try isKept(down(start)..<down(start) + UInt64(blockBytes)) else { return }
    let zeros = HeapBuffer(byteCount: Int(end - start))
    try keep(zeros.bytes, at: start, ContentWrite(options: dataOptions(), time: time))
  }

  // MARK: - Room

  /// Sees to it that writing to a range does not fail for lack of space (fallocate).
  ///
  /// - Parameters:
  ///   - keepsSize: The file does not become longer.
  ///   - time: When it does; nil where its times stay.
  ///   - rule: What quotas say to it.
  func allocate(
    _ range: Range<UInt64>, keepsSize: Bool, _ time: UInt64?, _ rule: QuotaRule = .unchecked
  ) throws(VolumeError) {
    try checkSize(range.upperBound)
    try withRange(range, growsTo: range.upperBound) { () throws(VolumeError) in
      try writeWindowsHeld(range)
      let options = try dataOptions()
      try engine.allocate(
        file, down(range.lowerBound) / 512..<up(range.upperBound) / 512, options, rule)
      if !keepsSize { try extend(to: range.upperBound, time) }
    }
  }

  private func extend(to end: UInt64, _ time: UInt64?) throws(VolumeError) {
    try replacingTime(if: time != nil) { () throws(VolumeError) in
      try engine.setSize(of: file, atLeast: end, time: time)
    }
    grow(to: end)
  }

  /// Leaves nothing in a range but zeros (FALLOC_FL_PUNCH_HOLE).
  ///
  /// - Parameter time: When that is; nil where the file's times stay.
  func punch(_ range: Range<UInt64>, _ time: UInt64?) throws(VolumeError) {
    try checkSize(range.upperBound)
    try withRange(Self.toTheEnd) { () throws(VolumeError) in
      try clear(range, time)
      try note(time)
    }
  }

  /// Has the inode say when the file was changed last.
  private func note(_ time: UInt64?) throws(VolumeError) {
    if time != nil { try extend(to: 0, time) }
  }

  /// The same as punching, and promises room for it (FALLOC_FL_ZERO_RANGE).
  func zero(
    _ range: Range<UInt64>, keepsSize: Bool, _ time: UInt64?, _ rule: QuotaRule = .unchecked
  ) throws(VolumeError) {
    try checkSize(range.upperBound)
    try withRange(Self.toTheEnd, growsTo: range.upperBound) { () throws(VolumeError) in
      let options = try dataOptions()
      // What it has gives its room back, but for snapshots: it is not counted on before it is gone.
      var reservation = try reserve(
        down(range.lowerBound)..<up(range.upperBound), dirtyBlocks: 0, options)
      do throws(VolumeError) { try clear(range, time) } catch {
        engine.release(&reservation)
        throw error
      }
      engine.release(&reservation)
      try engine.allocate(
        file, down(range.lowerBound) / 512..<up(range.upperBound) / 512, options, rule)
      if keepsSize { try note(time) } else { try extend(to: range.upperBound, time) }
    }
  }

  /// Zeros a range: whole blocks go, parts are overwritten, and nothing is where the file has
  /// ended. All of the file is the caller's.
  private func clear(_ range: Range<UInt64>, _ time: UInt64?) throws(VolumeError) {
    let size = shown.size
    let (first, last) = (up(range.lowerBound), down(range.upperBound))
    guard first <= last else {
      return try zeroTail(of: range.lowerBound, upTo: min(range.upperBound, size), time)
    }
    try zeroTail(of: range.lowerBound, upTo: min(first, size), time)
    try zeroTail(of: last, upTo: min(range.upperBound, size), time)
    guard first < last else { return }
    if last >= size {
      // Nobody else would tell the inode how long the file is. A crash must not show that, and
      // zeros where data is that came before it.
      if first > 0 { try writeWindowsHeld(0..<first) }
      try engine.setSize(of: file, atLeast: size, time: time)
    }
    try engine.punch(file, first / 512..<last / 512)
    dropWindows(first..<last)
  }

  // MARK: - Holes

  /// The next byte that is data, or in a hole (SEEK_DATA, SEEK_HOLE).
  ///
  /// - Returns: nil at the end of the file and behind it, and where no data follows.
  func next(inHole: Bool, from offset: UInt64) throws(VolumeError) -> UInt64? {
    guard offset < shown.size else { return nil }
    return try withRange(Self.toTheEnd) { () throws(VolumeError) in
      try writeWindowsHeld(offset..<Self.maxBytes)
      let size = shown.size
      let found = try engine.next(inHole: inHole, of: file, from: offset)
      guard let found, found < size else { return inHole && offset < size ? size : nil }
      return found
    }
  }

  // MARK: - Moving

  /// Inserts a hole, or removes a range, so that all behind it moves; whole blocks.
  ///
  /// - Throws: `.invalid` for parts of blocks and ranges that reach the end, `.fileTooLarge`.
  func shift(_ range: Range<UInt64>, isInsert: Bool) throws(VolumeError) {
    guard range.lowerBound == down(range.lowerBound), range.upperBound == down(range.upperBound),
      !range.isEmpty
    else { throw VolumeError(.invalid, "only whole blocks of \(blockBytes) bytes can move") }
    try withRange(Self.toTheEnd, growsTo: isInsert ? .max : 0) { () throws(VolumeError) in
      let size = shown.size
      guard isInsert ? range.lowerBound < size : range.upperBound < size else {
        throw VolumeError(.invalid, "the range reaches the end of the file")
      }
      let new = isInsert ? size + UInt64(range.count) : size - UInt64(range.count)
      try checkSize(new)
      try writeWindowsHeld(Self.toTheEnd)
      do throws(VolumeError) {
        try engine.shift(
          file, from: range.lowerBound / 512, by: UInt64(range.count / 512), isInsert: isInsert)
      } catch {
        // A part may have moved, and room for the rest was made before.
        if isInsert, let inode = try? storedInode() { grow(to: inode.size) }
        try? settleMoved()
        throw error
      }
      try settleMoved()
      setSize(new)
    }
  }

  /// What is written over next must not be found where it was before after a crash.
  private func settleMoved() throws(VolumeError) {
    guard try dataOptions().isWrittenInPlace else { return }
    try engine.journal.flush(upTo: engine.journal.currentSequence)
  }
}
