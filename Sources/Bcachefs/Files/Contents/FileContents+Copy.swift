// SPDX-License-Identifier: GPL-2.0
// Copies of ranges from one file to another, or within one: whole blocks are shared, the rest is
// written anew.
//
// How it works
//   1. Both ranges are the caller's: of two files that of the lower number is taken first, of one
//      file the range that has both.
//   2. What is dirty in them is written first. Then whole blocks become pointers to the same
//      extents (Engine+CopyRange.swift); parts of blocks, and ranges that do not lie alike in their
//      blocks, are read and written.
//   3. The last block of the source is shared as a whole where the copy is the end of its file too.
// Invariants
//   (1) Behind the end of a file its last block is zeros: so is that of a copy.
//   (2) Who has ranges of two files took them in the order of the files' numbers.
// Locks: see FileContents.swift.
// Source: fs-io.c (bch2_remap_file_range).

internal import BcachefsFormat
internal import BcachefsSupport

extension FileContents {
  /// Copies a range of a file to a place of another, or of this one.
  ///
  /// - Parameters:
  ///   - range: Of the source, in bytes; ends where the file does.
  ///   - offset: The byte of this file at which the copy begins.
  ///   - time: When that is; nil where this file's times stay.
  ///   - rule: What quotas say to it.
  /// - Returns: how many bytes were copied: fewer where it could not go on.
  /// - Throws: when nothing was copied: `.invalid` for ranges of one file that overlap,
  ///   `.fileTooLarge`, `.noSpace`, `.quotaExceeded`, `.readOnly`; `.allCopiesBad` for what cannot
  ///   be read.
  func copy(
    from source: FileContents, _ range: Range<UInt64>, to offset: UInt64, _ time: UInt64?,
    _ rule: QuotaRule = .unchecked
  ) throws(VolumeError) -> UInt64 {
    let end = try end(of: UInt64(range.count), from: offset)
    try checkSize(range.upperBound)
    guard !range.isEmpty else { return 0 }
    let target = offset..<end
    guard source !== self else {
      guard !range.overlaps(target) else {
        throw VolumeError(.invalid, "the ranges of one file overlap")
      }
      let both = min(range.lowerBound, offset)..<max(range.upperBound, end)
      return try withRange(both, growsTo: end) { () throws(VolumeError) in
        try copyHeld(from: source, range, to: offset, time, rule)
      }
    }
    let isFirst =
      (file.subvolume, file.inode) < (source.file.subvolume, source.file.inode)
    let (first, second) = isFirst ? (self, source) : (source, self)
    let (firstRange, secondRange) = isFirst ? (target, range) : (range, target)
    return try first.withRange(firstRange, growsTo: isFirst ? end : 0) { () throws(VolumeError) in
      try second.withRange(secondRange, growsTo: isFirst ? 0 : end) { () throws(VolumeError) in
        try copyHeld(from: source, range, to: offset, time, rule)
      }
    }
  }

  /// The same, with both ranges the caller's. What was copied before a failure counts: the file is
  /// as long as that says, and whoever asks to go on is told why it cannot.
  private func copyHeld(
    from source: FileContents, _ wanted: Range<UInt64>, to offset: UInt64, _ time: UInt64?,
    _ rule: QuotaRule
  ) throws(VolumeError) -> UInt64 {
    var done: UInt64 = 0
    do throws(VolumeError) {
      try copyHeld(from: source, wanted, to: offset, time, rule, &done)
    } catch {
      guard done > 0 else { throw error }
    }
    return done
  }

  private func copyHeld(
    from source: FileContents, _ wanted: Range<UInt64>, to offset: UInt64, _ time: UInt64?,
    _ rule: QuotaRule, _ done: inout UInt64
  ) throws(VolumeError) {
    let sourceSize = source.shown.size
    guard wanted.lowerBound < sourceSize else { return }
    let range = wanted.lowerBound..<min(wanted.upperBound, sourceSize)
    let (count, block) = (UInt64(range.count), UInt64(blockBytes))
    let write = ContentWrite(options: try dataOptions(), time: time, quotas: rule)
    guard range.lowerBound % block == offset % block else {
      return try copyBytes(from: source, range, to: offset, write, &done)
    }
    let first = min(up(range.lowerBound), range.upperBound)
    var last = max(down(range.upperBound), first)
    let isTail = range.upperBound == sourceSize && offset + count >= shown.size
    if isTail, first < range.upperBound { last = range.upperBound }
    try copyBytes(from: source, range.lowerBound..<first, to: offset, write, &done)
    if first < last {
      try share(from: source, first..<last, to: offset + (first - range.lowerBound), write, &done)
    }
    try copyBytes(
      from: source, last..<range.upperBound, to: offset + (last - range.lowerBound), write, &done)
  }

  /// Shares a range that begins with a block, and ends with one or with both files.
  private func share(
    from source: FileContents, _ range: Range<UInt64>, to offset: UInt64, _ write: ContentWrite,
    _ done: inout UInt64
  ) throws(VolumeError) {
    let end = offset + UInt64(range.count)
    let count = up(UInt64(range.count))
    try source.writeWindowsHeld(range)
    try writeWindowsHeld(offset..<end)
    let size = max(shown.size, end)
    var reservation = DiskReservation()
    var sectors: UInt64 = 0
    defer {
      engine.release(&reservation)
      let bytes = min(sectors * 512, UInt64(range.count))
      grow(to: offset + bytes)
      done += bytes
    }
    if engine.quotas != nil {
      try promiseQuota([offset..<offset + count], write.quotas, &reservation)
    }
    try replacingTime(if: write.time != nil) { () throws(VolumeError) in
      try engine.share(
        SectorCopy(
          source: source.file, destination: file, from: range.lowerBound / 512, to: offset / 512,
          count: count / 512),
        InodeChange(size: size, time: write.time), &reservation.quota, &sectors)
    }
  }

  /// Copies bytes by reading and writing them, window by window: one is kept as a whole, or not.
  private func copyBytes(
    from source: FileContents, _ range: Range<UInt64>, to offset: UInt64, _ write: ContentWrite,
    _ done: inout UInt64
  ) throws(VolumeError) {
    guard !range.isEmpty else { return }
    let windowBytes = UInt64(ContentWindow.byteCount)
    let buffer = HeapBuffer(byteCount: Int(min(UInt64(range.count), windowBytes)))
    var from = range.lowerBound
    var target = offset
    while from < range.upperBound {
      let wanted = min(range.upperBound - from, windowBytes - target % windowBytes)
      var all = buffer.mutableBytes
      var part = all._mutatingExtracting(0..<Int(wanted))
      let count = UInt64(try source.read(from: from, into: &part))
      guard count > 0 else { return }
      try keep(buffer.bytes.extracting(0..<Int(count)), at: target, write)
      (from, target, done) = (from + count, target + count, done + count)
      if store.isOverLimit { try writeWindowsHeld(target - count..<target) }
    }
  }
}
