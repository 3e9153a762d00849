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
  private static let copiedAtOnce: UInt64 = 1 << 20

  /// Copies a range of a file to a place of another, or of this one.
  ///
  /// - Parameters:
  ///   - range: Of the source, in bytes; ends where the file does.
  ///   - offset: The byte of this file at which the copy begins.
  ///   - rule: What quotas say to it.
  /// - Returns: how many bytes were copied.
  /// - Throws: `.invalid` for ranges of one file that overlap, `.fileTooLarge`, `.noSpace`,
  ///   `.quotaExceeded`, `.readOnly`; `.allCopiesBad` for what cannot be read. A part may be copied
  ///   then.
  func copy(
    from source: FileContents, _ range: Range<UInt64>, to offset: UInt64,
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
      return try withRange(both) { () throws(VolumeError) in
        try copyHeld(from: source, range, to: offset, rule)
      }
    }
    let isFirst =
      (file.subvolume, file.inode) < (source.file.subvolume, source.file.inode)
    let (first, second) = isFirst ? (self, source) : (source, self)
    let (firstRange, secondRange) = isFirst ? (target, range) : (range, target)
    return try first.withRange(firstRange) { () throws(VolumeError) in
      try second.withRange(secondRange) { () throws(VolumeError) in
        try copyHeld(from: source, range, to: offset, rule)
      }
    }
  }

  /// The same, with both ranges the caller's.
  private func copyHeld(
    from source: FileContents, _ wanted: Range<UInt64>, to offset: UInt64, _ rule: QuotaRule
  ) throws(VolumeError) -> UInt64 {
    let sourceSize = source.shown.size
    guard wanted.lowerBound < sourceSize else { return 0 }
    let range = wanted.lowerBound..<min(wanted.upperBound, sourceSize)
    let (count, block) = (UInt64(range.count), UInt64(blockBytes))
    let write = ContentWrite(options: try dataOptions(), time: now, quotas: rule)
    guard range.lowerBound % block == offset % block else {
      try copyBytes(from: source, range, to: offset, write)
      return count
    }
    let first = min(up(range.lowerBound), range.upperBound)
    var last = max(down(range.upperBound), first)
    let isTail = range.upperBound == sourceSize && offset + count >= shown.size
    if isTail, first < range.upperBound { last = range.upperBound }
    try copyBytes(from: source, range.lowerBound..<first, to: offset, write)
    if first < last {
      try share(from: source, first..<last, to: offset + (first - range.lowerBound), write)
    }
    try copyBytes(
      from: source, last..<range.upperBound, to: offset + (last - range.lowerBound), write)
    return count
  }

  /// Shares a range that begins with a block, and ends with one or with both files.
  private func share(
    from source: FileContents, _ range: Range<UInt64>, to offset: UInt64, _ write: ContentWrite
  ) throws(VolumeError) {
    let end = offset + UInt64(range.count)
    let count = up(UInt64(range.count))
    try source.writeWindowsHeld(range)
    try writeWindowsHeld(offset..<end)
    let size = max(shown.size, end)
    var reservation = DiskReservation()
    defer { engine.release(&reservation) }
    if engine.quotas != nil {
      try promiseQuota([offset..<offset + count], write.quotas, &reservation)
    }
    try engine.share(
      SectorCopy(
        source: source.file, destination: file, from: range.lowerBound / 512, to: offset / 512,
        count: count / 512),
      InodeChange(size: size, time: write.time), &reservation.quota)
    grow(to: size)
  }

  /// Copies bytes by reading and writing them.
  private func copyBytes(
    from source: FileContents, _ range: Range<UInt64>, to offset: UInt64, _ write: ContentWrite
  ) throws(VolumeError) {
    guard !range.isEmpty else { return }
    let buffer = HeapBuffer(byteCount: Int(min(UInt64(range.count), Self.copiedAtOnce)))
    var done: UInt64 = 0
    while done < UInt64(range.count) {
      let wanted = min(UInt64(range.count) - done, Self.copiedAtOnce)
      var all = buffer.mutableBytes
      var part = all._mutatingExtracting(0..<Int(wanted))
      let count = try source.read(from: range.lowerBound + done, into: &part)
      guard count > 0 else { return }
      try keep(buffer.bytes.extracting(0..<count), at: offset + done, write)
      if store.isOverLimit {
        try writeWindowsHeld(offset + done..<offset + done + UInt64(count))
      }
      done += UInt64(count)
    }
  }
}
