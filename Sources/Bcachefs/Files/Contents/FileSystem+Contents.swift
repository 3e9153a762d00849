// SPDX-License-Identifier: GPL-2.0
// Contents of files, as those who use the library read and change them.
//
// Source: fs-io.c, fs-io-buffered.c.

internal import BcachefsFormat
internal import BcachefsSupport

extension FileSystem {
  /// Reads up to `target.byteCount` bytes of a file.
  ///
  /// - Returns: how many: fewer only at the end of the file.
  /// - Throws: `.notFound`, `.isADirectory`, `.wrongType`; `.allCopiesBad` for an extent that no
  ///   copy gives.
  public func read(
    _ id: FileID, from offset: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) -> Int {
    let contents = try contents.open(id)
    defer { self.contents.close(id) }
    return try contents.read(from: offset, into: &target)
  }

  /// Writes bytes to a file: whoever reads it sees them at once. Durable they are after `fsync`.
  ///
  /// - Parameters:
  ///   - keepsTimes: Whether the file's times stay: the caller sets them himself.
  ///   - quotas: Whether the owner's limits count.
  /// - Throws: `.notFound`, `.isADirectory`, `.wrongType`, `.readOnly`, `.noSpace`,
  ///   `.quotaExceeded`, `.fileTooLarge`.
  public func write(
    _ id: FileID, _ bytes: RawSpan, at offset: UInt64, keepsTimes: Bool = false,
    quotas: QuotaRule = .exempt
  ) throws(VolumeError) {
    try withContents(id) { (contents) throws(VolumeError) in
      try contents.write(bytes, at: offset, keepsTimes: keepsTimes, quotas)
    }
  }

  /// Sets a file's size: what is behind it goes, what is new is zeros.
  ///
  /// - Throws: as `write`; `.notPermitted` for a file that is immutable or may only grow.
  public func truncate(_ id: FileID, to byteCount: UInt64) throws(VolumeError) {
    try checkMayChange(id)
    try withContents(id) { (contents) throws(VolumeError) in try contents.truncate(to: byteCount) }
  }

  /// How room is made in a file, or taken away; as the modes of fallocate(2).
  public enum RangeChange: Sendable {
    /// Writing to it will not fail for lack of space.
    case allocate
    /// It becomes a hole; the size stays.
    case punch
    /// It becomes zeros that have room.
    case zero
    /// It is removed, and what is behind it moves; whole blocks.
    case collapse
    /// A hole is inserted, and what was there moves; whole blocks.
    case insert
  }

  /// Changes a range of a file wholesale.
  ///
  /// - Parameters:
  ///   - keepsSize: With `allocate` and `zero`: the file does not become longer.
  ///   - keepsTimes: As of `write`, but for what moves.
  ///   - quotas: Whether the owner's limits count.
  /// - Throws: as `write`; `.invalid` for parts of blocks where only whole ones can move, and for
  ///   ranges that reach the end; `.notPermitted` for an immutable file, and for one that may only
  ///   grow, but with `allocate`.
  public func change(
    _ id: FileID, _ range: Range<UInt64>, _ change: RangeChange, keepsSize: Bool = false,
    keepsTimes: Bool = false, quotas: QuotaRule = .exempt
  ) throws(VolumeError) {
    guard !range.isEmpty else { throw VolumeError(.invalid, "a range that is empty") }
    try checkMayChange(id, onlyGrows: change == .allocate)
    let time = keepsTimes ? nil : engine.now
    try withContents(id) { (contents) throws(VolumeError) in
      switch change {
      case .allocate:
        try self.contents.withRoom { () throws(VolumeError) in
          try contents.allocate(range, keepsSize: keepsSize, time, quotas)
        }
      case .punch: try contents.punch(range, time)
      case .zero:
        try self.contents.withRoom { () throws(VolumeError) in
          try contents.zero(range, keepsSize: keepsSize, time, quotas)
        }
      case .collapse, .insert:
        // All that is behind it moves, which takes keys where a snapshot has it too; and once it
        // has begun it cannot end for lack of room.
        try checkRoom()
        try contents.shift(range, isInsert: change == .insert)
      }
    }
  }

  /// Copies a range of a file into another, or to another place of the same: whole blocks that lie
  /// alike in both are shared, until one of the files changes them (copy_file_range, FICLONERANGE).
  ///
  /// - Parameters:
  ///   - source: The file that has the data; the range ends where it does.
  ///   - id: The file that gets it, from `offset` on.
  ///   - keepsTimes: As of `write`.
  ///   - quotas: Whether its owner's limits count.
  /// - Returns: how many bytes were copied: fewer where it could not go on.
  /// - Throws: as `read` and `write`, when nothing was copied; `.invalid` for ranges of one file
  ///   that overlap; `.notPermitted` for an immutable file.
  public func copyRange(
    from source: FileID, _ range: Range<UInt64>, to id: FileID, at offset: UInt64,
    keepsTimes: Bool = false, quotas: QuotaRule = .exempt
  ) throws(VolumeError) -> UInt64 {
    try checkRoom()
    try checkMayChange(id, onlyGrows: true)
    // Nobody passes the gate twice at a time: who wants to close it in between would wait for ever.
    let from = try contents.open(source)
    defer { contents.close(source) }
    return try withContents(id) { (contents) throws(VolumeError) in
      try self.contents.withRoom { () throws(VolumeError) in
        try contents.copy(
          from: from, range, to: offset, keepsTimes ? nil : engine.now, quotas)
      }
    }
  }

  /// The next byte at or behind an offset that is data, or that is in a hole; the end of the file
  /// counts as a hole.
  ///
  /// - Returns: nil where there is none.
  /// - Throws: as `read`.
  public func next(
    inHole: Bool, of id: FileID, from offset: UInt64
  ) throws(VolumeError) -> UInt64? {
    try withContents(id) { (contents) throws(VolumeError) in
      try contents.next(inHole: inHole, from: offset)
    }
  }

  /// Makes a file durable as it is now: contents, attributes, and its name. Everything else that
  /// was committed before is durable then, too: that an extent was overwritten does not always show
  /// in the inode.
  ///
  /// - Throws: why something of it was lost since the last time; why nothing is written any more.
  public func fsync(_ id: FileID) throws(VolumeError) {
    try writeOut(id)
    try engine.journal.flush(upTo: engine.journal.currentSequence)
  }

  /// Has devices take what is not written yet of a file's contents, so that memory is free for
  /// others. Durable it is with the next `sync`.
  ///
  /// - Throws: why something of it was lost since the last time.
  public func writeOut(_ id: FileID) throws(VolumeError) {
    if let contents = contents.find(id) { return try contents.flush() }
    if let lost = contents.takeFailure(of: id) { throw lost }
  }

  /// The same for all files. What is lost is told to those who flush the files next.
  public func writeOutAll() { contents.writeAll() }

  /// Whether devices have all that was written to a file: until then it is not known what it takes.
  public func isWritten(_ id: FileID) -> Bool { contents.find(id)?.hasDirtyWindows != true }

  private func withContents<Result>(
    _ id: FileID, _ body: (FileContents) throws(VolumeError) -> Result
  ) throws(VolumeError) -> Result {
    let contents = try contents.open(id)
    defer { self.contents.close(id) }
    return try gate.passing { () throws(VolumeError) in try body(contents) }
  }

  /// Writes what is not written of a file that is about to replace another one: who finds the name
  /// after a crash finds what was written to the file before (`bch2_rename2`). Where nothing is
  /// replaced there is nothing that could be lost.
  func flushBeforeReplace(_ new: NamedPlace, by old: NamedPlace) throws(VolumeError) {
    guard contents.dirtyByteCount > 0, try find(new) != nil, let id = try find(old) else { return }
    contents.find(id)?.writeBack()
  }

  private func find(_ place: NamedPlace) throws(VolumeError) -> FileID? {
    do throws(VolumeError) { return try lookup(place.name, in: place.parent).id } catch {
      guard error.code == .notFound else { throw error }
      return nil
    }
  }
}
