// SPDX-License-Identifier: GPL-2.0
// Reads the contents of files: extents, indirect extents, inline data, reservations, holes.
//
// How it works
//   1. The extents btree is walked from the first sector wanted; what no key covers is a hole.
//   2. A reflink pointer leads to the reflink btree, whose extents may cut it into pieces.
// Invariants
//   (1) Every byte asked for is written: with data, or with zeros where there is none.
//   (2) Nothing beyond the inode's size is returned.
// Locks: none; a reader belongs to one thread.
// Source: io_read.c (__bch2_read), reflink.c.

internal import BcachefsFormat
internal import BcachefsSupport

/// What a range of a file is.
enum FileRangeKind: Sendable, Hashable {
  case data
  /// Space is reserved and nothing was written.
  case unwritten
}

/// Takes a range of a file that is lost, in bytes, and why.
typealias LostRange = (Range<UInt64>, VolumeError) -> Void

final class FileReader {
  let extents: ExtentReader
  let reflink: BTreeCursor
  private var cursor: SnapshotCursor
  private let blockBytes: Int

  init(
    _ forest: BTreeForest, snapshot: UInt32, table: SnapshotTable, extents: ExtentReader,
    blockBytes: Int
  ) {
    self.extents = extents
    self.blockBytes = blockBytes
    reflink = BTreeCursor(forest, .reflink)
    cursor = SnapshotCursor(forest, .extents, snapshot: snapshot, table: table)
  }

  /// Reads up to `target.byteCount` bytes of a file from `offset` on.
  ///
  /// - Parameter onLost: Takes ranges that cannot be read, which are zeroed then; without it they
  ///   are thrown.
  /// - Returns: bytes read; fewer than asked for only at the end of the file.
  /// - Throws: the first range that no copy gives, as `.allCopiesBad`; bytes before it are good.
  func read(
    _ inode: Inode, from offset: UInt64, into target: inout MutableRawSpan,
    onLost: LostRange? = nil
  ) throws(VolumeError) -> Int {
    guard offset < inode.size else { return 0 }
    let byteCount = Int(min(UInt64(target.byteCount), inode.size - offset))
    var done = 0
    cursor.seek(inode.number, offset / 512 + 1)
    while done < byteCount {
      let position = offset + UInt64(done)
      let next: KeyReference?
      do throws(VolumeError) {
        next = try cursor.next()
      } catch {
        guard let onLost else { throw error }
        // Which extents there were, nobody knows: all up to the end of the node counts as lost.
        let lostEnd = endOfSkipped(inode) ?? .max
        let lost = Int(min(lostEnd - min(position, lostEnd), UInt64(byteCount - done)))
        target.zero(done..<done + lost)
        onLost(position..<position + UInt64(lost), error)
        done += lost
        continue
      }
      guard let found = next, found.key.position.inode == inode.number else { break }
      let covered: Range<UInt64>
      do throws(VolumeError) {
        covered = try found.key.coveredBytes()
      } catch {
        guard let onLost else { throw error }
        let lost = Int(
          min(Self.end(of: found.key, behind: position) - position, UInt64(byteCount - done)))
        target.zero(done..<done + lost)
        if lost > 0 { onLost(position..<position + UInt64(lost), error) }
        done += lost
        continue
      }
      let (start, end) = (covered.lowerBound, covered.upperBound)
      guard end > position else { continue }
      if start > position {
        let hole = Int(min(start - position, UInt64(byteCount - done)))
        target.zero(done..<done + hole)
        done += hole
        guard done < byteCount else { break }
      }
      let from = max(position, start)
      let length = Int(min(end - from, UInt64(byteCount - done)))
      do throws(VolumeError) {
        var part = target._mutatingExtracting(done..<done + length)
        try read(found, from: from - start, into: &part)
      } catch {
        guard let onLost else { throw error }
        target.zero(done..<done + length)
        onLost(from..<from + UInt64(length), error)
      }
      done += length
    }
    target.zero(done..<byteCount)
    return byteCount
  }

  /// Goes on behind a node that could not be read.
  ///
  /// - Returns: The byte of the file where it goes on, nil if that is behind its last.
  private func endOfSkipped(_ inode: Inode) -> UInt64? {
    guard let end = cursor.skipUnreadable(), end.inode == inode.number else { return nil }
    let (bytes, overflow) = end.offset.multipliedReportingOverflow(by: 512)
    return overflow ? nil : bytes
  }

  /// Where a key ends that starts nowhere: what is before that is lost.
  private static func end(of key: BKey, behind position: UInt64) -> UInt64 {
    let (end, overflow) = key.position.offset.multipliedReportingOverflow(by: 512)
    return overflow ? .max : max(end, position)
  }

  /// Reads bytes of one key, `offset` from its start.
  private func read(
    _ found: KeyReference, from offset: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    if found.key.type == .reflinkP {
      try readIndirect(found, from: offset, into: &target)
    } else {
      try extents.readContents(of: found, from: offset, into: &target)
    }
  }

  private func readIndirect(
    _ found: KeyReference, from offset: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    let pointer = try reflinkPointer(found)
    var done = 0
    while done < target.byteCount {
      let position = offset + UInt64(done)
      let sector = pointer.index + position / 512
      reflink.seek(BPos(0, sector + 1))
      guard let indirect = try reflink.next(), indirect.key.position.inode == 0,
        indirect.key.start.offset <= sector
      else {
        throw VolumeError(
          .corrupt, "extent \(found.key.position) points to no indirect extent at \(sector)")
      }
      let inside = (sector - indirect.key.start.offset) * 512 + position % 512
      let length = Int(
        min(UInt64(indirect.key.size) * 512 - inside, UInt64(target.byteCount - done)))
      var part = target._mutatingExtracting(done..<done + length)
      guard indirect.key.type != .reflinkP else {
        throw VolumeError(.corrupt, "indirect extent \(indirect.key.position) is indirect itself")
      }
      try read(indirect, from: inside, into: &part)
      done += length
    }
  }

  func reflinkPointer(_ found: KeyReference) throws(VolumeError) -> ReflinkP {
    do throws(FormatError) {
      return try found.withValue { (value) throws(FormatError) in
        try ReflinkP(decoding: value)
      }
    } catch {
      throw VolumeError(error)
    }
  }

  /// Calls `body` with the ranges of a file that keys cover, in order; holes are what lies between.
  func forEachRange(
    _ inode: Inode, from offset: UInt64, onLost: LostRange? = nil,
    _ body: (Range<UInt64>, FileRangeKind) throws(VolumeError) -> Bool
  ) throws(VolumeError) {
    try forEachKey(inode, from: offset, onLost: onLost) { (found, range) throws(VolumeError) in
      try body(range, found.key.type == .reservation ? .unwritten : .data)
    }
  }

  /// Calls `body` with the keys of a file and the bytes that they cover, in order, from the one
  /// that covers `offset` on; false ends it.
  func forEachKey(
    _ inode: Inode, from offset: UInt64, onLost: LostRange? = nil,
    _ body: (KeyReference, Range<UInt64>) throws(VolumeError) -> Bool
  ) throws(VolumeError) {
    cursor.seek(inode.number, offset / 512 + 1)
    var position = offset
    while true {
      let next: KeyReference?
      do throws(VolumeError) {
        next = try cursor.next()
      } catch {
        guard let onLost else { throw error }
        let end = endOfSkipped(inode) ?? .max
        onLost(min(position, end)..<end, error)
        guard end < inode.size else { return }
        position = end
        continue
      }
      guard let found = next, found.key.position.inode == inode.number else { return }
      let range: Range<UInt64>
      do throws(VolumeError) {
        range = try found.key.coveredBytes()
      } catch {
        guard let onLost else { throw error }
        let end = Self.end(of: found.key, behind: position)
        if position < end { onLost(position..<end, error) }
        position = end
        continue
      }
      position = range.upperBound
      if try !body(found, range) { return }
    }
  }
}
