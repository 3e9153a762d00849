// SPDX-License-Identifier: GPL-2.0
// Reads contents of files of a volume that is open for changes.
//
// How it works
//   1. A transaction copies the keys of a range, indirect ones looked up, and gives its locks back.
//      Then devices are read.
//   2. Meanwhile the range may be written anew, and what was there be given to somebody else. A
//      bucket that becomes empty gets a new generation before it is used again: so what was read is
//      good as long as the generations of its buckets are the pointers' afterwards. Where a
//      checksum says that it is good nothing has to be asked.
//   3. What is not good because of that is looked up again.
// Invariants
//   (1) Each byte asked for is what it was at some moment of the call.
//   (2) Keys that are copied at a time are bounded, by number and by memory.
// Locks: none while devices are at work. A reader belongs to one thread at a time.
// Source: io_read.c (__bch2_read, bch2_rbio_retry, dev_ptr_stale).

internal import BcachefsFormat
internal import BcachefsSupport

final class FileContentReader: @unchecked Sendable {
  // Safety: it belongs to one thread at a time.
  /// A part of a file, and what is there.
  private struct Piece {
    /// Bytes of the file.
    let range: Range<UInt64>
    /// nil where there is nothing, or nothing was written.
    let found: KeyReference?
    /// Where the range starts in the key, in bytes.
    let inside: UInt64
  }

  private static var keysAtOnce: Int { 32 }
  /// How often the same place may change under one read before that counts as an error.
  private static var attemptsMax: Int { 64 }

  private let engine: Engine
  private let extents: ExtentReader
  private let arena = HeapBuffer(byteCount: FileContentReader.keysAtOnce * 2048, alignment: 16)
  private var arenaUsed = 0
  private var pieces: [Piece] = []

  /// - Parameter report: Called for every copy found bad.
  init(_ engine: Engine, report: @escaping (ReadDamage) -> Void) {
    self.engine = engine
    extents = ExtentReader(
      media: engine.media,
      lookup: { (btree, position) throws(VolumeError) in
        try engine.copyOfKey(btree, position)
      }, report: report)
  }

  /// Fills `target` with what a file has from a byte on; where it has nothing, with zeros.
  ///
  /// - Throws: `.notFound`; `.allCopiesBad` and what else reading extents throws.
  func read(
    _ file: FileID, from offset: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    var (done, attempts) = (0, 0)
    while done < target.byteCount {
      let position = offset + UInt64(done)
      try collect(file, position..<offset + UInt64(target.byteCount))
      for piece in pieces {
        let count = piece.range.count
        var part = target._mutatingExtracting(done..<done + count)
        guard try read(piece, into: &part) else {
          attempts += 1
          guard attempts < Self.attemptsMax else {
            throw VolumeError(
              .corrupt, "file \(file.inode) at byte \(piece.range.lowerBound): its extent is stale")
          }
          break
        }
        done += count
      }
    }
  }

  // MARK: - Keys

  /// Fills `pieces` with what is at the start of a range, one byte at least.
  private func collect(_ file: FileID, _ range: Range<UInt64>) throws(VolumeError) {
    try engine.run("read") { (transaction) throws(TransactionError) in
      self.pieces.removeAll(keepingCapacity: true)
      self.arenaUsed = 0
      let snapshot = try transaction.subvolume(file.subvolume).snapshot
      var position = range.lowerBound
      var walk = SnapshotWalk(
        .extents, file.inode, from: position / 512 + 1, snapshot: snapshot)
      while position < range.upperBound, self.pieces.count < Self.keysAtOnce {
        guard let found = try transaction.next(&walk) else {
          self.addHole(position..<range.upperBound)
          return
        }
        let key = try Self.bytes(of: found.key)
        guard key.upperBound > position else { continue }
        if key.lowerBound > position {
          self.addHole(position..<min(key.lowerBound, range.upperBound))
          position = min(key.lowerBound, range.upperBound)
          guard position < range.upperBound else { return }
        }
        let end = min(key.upperBound, range.upperBound)
        let inside = position - key.lowerBound
        if found.key.type == .reflinkP {
          let pointer = try found.decoded { (value) throws(FormatError) in
            try ReflinkP(decoding: value)
          }
          position = try self.addIndirect(transaction, pointer, inside, position..<end)
          guard position == end else { return }
        } else {
          self.add(found, position..<end, inside: inside)
          position = end
        }
      }
    }
  }

  private static func bytes(of key: BKey) throws(TransactionError) -> Range<UInt64> {
    do throws(VolumeError) { return try key.coveredBytes() } catch { throw .failed(error) }
  }

  private func addHole(_ range: Range<UInt64>) {
    pieces.append(Piece(range: range, found: nil, inside: 0))
  }

  private func add(_ found: KeyView, _ range: Range<UInt64>, inside: UInt64) {
    let key = found.key
    guard key.type != .reservation else { return addHole(range) }
    let start = arenaUsed
    let arena = self.arena
    var bytes = arena.mutableBytes
    found.withValue { bytes.copy($0, to: start) }
    arenaUsed += key.valueByteCount
    pieces.append(
      Piece(
        range: range, found: KeyReference(key: key, storage: arena, valueStart: start),
        inside: inside))
  }

  /// Adds what a pointer to indirect extents leads to.
  ///
  /// - Parameter inside: Where the range starts, from the pointer's start, in bytes.
  /// - Returns: the byte of the file up to which that is known.
  private func addIndirect(
    _ transaction: Transaction, _ pointer: ReflinkP, _ inside: UInt64, _ range: Range<UInt64>
  ) throws(TransactionError) -> UInt64 {
    var position = range.lowerBound
    // Sectors of a pointer are fewer than 2^56.
    let origin = pointer.index &* 512 &+ inside
    var walk = KeyWalk(.reflink, from: BPos(0, origin / 512 + 1), upTo: BPos(0, .max, .max))
    while position < range.upperBound, pieces.count < Self.keysAtOnce {
      let wanted = origin &+ (position - range.lowerBound)
      guard let found = try transaction.next(&walk), found.key.start.offset <= wanted / 512,
        found.key.type != .reflinkP
      else {
        throw .failed(
          VolumeError(
            .corrupt, "byte \(position) of a file points to no indirect extent at \(wanted / 512)"))
      }
      let key = try Self.bytes(of: found.key)
      let end = min(range.upperBound, position + (key.upperBound - wanted))
      add(found, position..<end, inside: wanted - key.lowerBound)
      position = end
    }
    return position
  }

  // MARK: - Data

  /// - Returns: False where it is not there any more.
  private func read(
    _ piece: Piece, into target: inout MutableRawSpan
  ) throws(VolumeError) -> Bool {
    guard let found = piece.found else {
      target.zero(0..<target.byteCount)
      return true
    }
    do throws(VolumeError) {
      try extents.readContents(of: found, from: piece.inside, into: &target)
    } catch {
      if found.isExtent, try engine.isStale(found) { return false }
      throw error
    }
    guard found.isExtent, try !engine.hasChecksums(found) else { return true }
    return try !engine.isStale(found)
  }
}

extension KeyReference {
  /// Whether it says where data is.
  fileprivate var isExtent: Bool { key.type == .extent || key.type == .reflinkV }
}

extension Engine {
  /// A copy of a key, nil where there is none.
  fileprivate func copyOfKey(
    _ btree: BTreeID, _ position: BPos
  ) throws(VolumeError) -> KeyReference? {
    try run("lookup") { (transaction) throws(TransactionError) -> KeyReference? in
      guard let found = try transaction.lookup(btree, position) else { return nil }
      let copy = HeapBuffer(byteCount: max(found.key.valueByteCount, 8), alignment: 16)
      var bytes = copy.mutableBytes
      found.withValue { bytes.copy($0, to: 0) }
      return KeyReference(key: found.key, storage: copy, valueStart: 0)
    }
  }

  /// Whether a checksum covers all that an extent's copies have.
  fileprivate func hasChecksums(_ found: KeyReference) throws(VolumeError) -> Bool {
    try media.withEntries(of: found) { entries in
      var pointers = entries.pointers
      while let pointer = pointers.next() {
        if pointer.crc.checksumType == 0 { return false }
      }
      return true
    }
  }

  /// Whether a bucket of a copy was given up since the key was found.
  fileprivate func isStale(_ found: KeyReference) throws(VolumeError) -> Bool {
    let places = try media.withEntries(of: found) { entries in
      var places: [ExtentPtr] = []
      var pointers = entries.pointers
      while let pointer = pointers.next() {
        if !pointer.ptr.isCached { places.append(pointer.ptr) }
      }
      return places
    }
    return try run("read_check") { (transaction) throws(TransactionError) in
      for place in places {
        guard let bucket = self.media.member(place.device)?.bucket(ofSector: place.offset) else {
          continue
        }
        let position = Positions.bucket(device: place.device, bucket: bucket)
        if try transaction.bucket(position, .read).generation != place.generation { return true }
      }
      return false
    }
  }
}
