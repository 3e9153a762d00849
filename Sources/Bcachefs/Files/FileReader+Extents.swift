// SPDX-License-Identifier: GPL-2.0
// The map of a file: every key of it with where its copies are.
//
// How it works
//   1. Keys are walked as for reading; what lies between them is a hole.
//   2. A reflink pointer is cut into the indirect extents that it leads to.
// Invariants
//   (1) Pieces ascend and adjoin: between two there is nothing.
//   (2) Every step moves on by a sector at least, so the walk ends with the file's keys.
// Locks: none; see FileReader.
// Source: fiemap of fs.c (bch2_fiemap, bch2_fill_extent).

internal import BcachefsFormat
internal import BcachefsSupport

extension FileReader {
  /// Calls `body` with the pieces of a file from the one at `offset` on; false ends it.
  func forEachExtent(
    _ inode: Inode, from offset: UInt64, onLost: LostRange?,
    _ body: (FileExtent) throws(VolumeError) -> Bool
  ) throws(VolumeError) {
    var position = offset / 512 * 512
    var goesOn = true
    // What nobody knows is no hole.
    let reportLost: LostRange? = onLost.map { onLost in
      { range, error in
        let lost = range.clamped(to: 0..<max(inode.size, position))
        position = max(position, range.upperBound)
        if !lost.isEmpty { onLost(lost, error) }
      }
    }
    try forEachKey(inode, from: position, onLost: reportLost) {
      (found, range) throws(VolumeError) in
      // Keys that overlap are damage: each byte is told of once.
      guard range.upperBound > position else { return true }
      if range.lowerBound > position { goesOn = try body(Self.hole(position..<range.lowerBound)) }
      if goesOn {
        let rest = max(position, range.lowerBound)..<range.upperBound
        let skipped = (rest.lowerBound - range.lowerBound) / 512
        goesOn = try forEachPiece(found, rest, fromSector: skipped, body)
      }
      position = range.upperBound
      return goesOn
    }
    if goesOn && position < inode.size { _ = try body(Self.hole(position..<inode.size)) }
  }

  private static func hole(_ range: Range<UInt64>) -> FileExtent {
    FileExtent(range: range, kind: .hole, isShared: false, copies: [])
  }

  /// The pieces of a range of one key of a file, `skipped` sectors from its start.
  private func forEachPiece(
    _ found: KeyReference, _ range: Range<UInt64>, fromSector skipped: UInt64,
    _ body: (FileExtent) throws(VolumeError) -> Bool
  ) throws(VolumeError) -> Bool {
    guard found.key.type == .reflinkP else {
      let sector = UInt32(truncatingIfNeeded: skipped)
      return try body(try piece(found, range, fromSector: sector, isShared: false))
    }
    let pointer = try reflinkPointer(found)
    var sector = skipped
    while sector < UInt64(found.key.size) {
      let wanted = pointer.index + sector
      reflink.seek(BPos(0, wanted + 1))
      let indirect = try reflink.next().flatMap { $0.key.position.inode == 0 ? $0 : nil }
      let left = UInt64(found.key.size) - sector
      let start = range.lowerBound + (sector - skipped) * 512
      let next: FileExtent
      if let indirect, indirect.key.start.offset <= wanted {
        let count = min(indirect.key.position.offset - wanted, left)
        let inside = UInt32(wanted - indirect.key.start.offset)
        next = try piece(
          indirect, start..<start + count * 512, fromSector: inside, isShared: true)
        sector += count
      } else {
        // Up to where there is something again.
        let gap = indirect.map { $0.key.start.offset - wanted } ?? left
        let count = min(max(gap, 1), left)
        next = FileExtent(
          range: start..<start + count * 512, kind: .lost, isShared: true, copies: [])
        sector += count
      }
      guard try body(next) else { return false }
    }
    return true
  }

  /// A piece of one key that says itself where its data is, `sector` from the key's start.
  private func piece(
    _ found: KeyReference, _ range: Range<UInt64>, fromSector sector: UInt32, isShared: Bool
  ) throws(VolumeError) -> FileExtent {
    var kind: FileExtent.Kind
    var copies: [FileExtent.Copy] = []
    switch found.key.type {
    case .extent, .reflinkV:
      kind = .data
      try extents.media.withEntries(of: found) { entries in
        if entries.flags.isPoisoned { kind = .lost }
        var pointers = entries.pointers
        while let pointer = pointers.next() {
          if pointer.ptr.isUnwritten { kind = .unwritten }
          copies.append(FileExtent.Copy(pointer, fromSector: sector))
        }
      }
    case .inlineData, .indirectInlineData: kind = .inline
    case .reservation: kind = .unwritten
    default: kind = .lost
    }
    return FileExtent(range: range, kind: kind, isShared: isShared, copies: copies)
  }
}

extension FileExtent.Copy {
  /// - Parameter sector: From the start of what is visible of the extent.
  fileprivate init(_ pointer: DecodedPtr, fromSector sector: UInt32) {
    let crc = pointer.crc
    let inside = UInt32(crc.offset) &+ sector
    device = pointer.ptr.device
    self.sector = pointer.ptr.offset &+ (crc.isCompressed ? 0 : UInt64(inside))
    generation = pointer.ptr.generation
    isCached = pointer.ptr.isCached
    storedSectors = crc.compressedSize
    contentSectors = crc.uncompressedSize
    offsetSectors = inside
    checksumType = ChecksumType(rawValue: crc.checksumType)
    compressionType = CompressionType(rawValue: crc.compressionType)
    stripe = pointer.stripe?.stripe
  }
}
