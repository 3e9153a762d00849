// SPDX-License-Identifier: GPL-2.0
// Moves extents: what a pointer leads to is written elsewhere, and the key follows.
//
// How it works
//   1. A transaction copies the key, with all that says how its file's data is to be kept, and
//      gives its locks back. Then the data is read (StoredExtent.swift).
//   2. Places come from the stream of what is moved, where the file's background target says. What
//      is not compressed goes in as many pieces as the open buckets ask for, each with a checksum
//      of its own; what is compressed is written whole.
//   3. What is written is given to the keys that still lead to the old place
//      (Transaction+Move.swift): often that is one, none where the file was overwritten meanwhile.
//   4. Where enough other copies are left, the pointer goes and nothing is written. A place that
//      was promised and never written to moves without data.
// Invariants
//   (1) The old place is not given up before a commit leads to the new one.
//   (2) Memory is that of one extent, at most a mebibyte where no checksum asks for more.
//   (3) Nobody writes in place to the bucket that is emptied while an extent of it is moved.
// Locks: the bucket's for moving (Data/InPlace/NocowLocks.swift); no other while devices are at
// work. A mover belongs to one thread.
// Source: data_update.c (bch2_data_update_init), move.c (bch2_move_extent).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// How the move of an extent ended.
enum MoveOutcome {
  /// So many sectors lead to new places.
  case moved(UInt64)
  /// The key was changed meanwhile: there is nothing left to move.
  case raced
  /// No copy could be read, or somebody knows what the key says who is not here.
  case impossible
}

final class ExtentMover {
  private static var pieceBytes: Int { 1 << 20 }

  private let engine: Engine
  private let stored: StoredExtent
  private var buffer = HeapBuffer(byteCount: 0)

  init(_ engine: Engine) {
    self.engine = engine
    stored = StoredExtent(engine.media)
  }

  /// Moves what a pointer into a bucket leads to.
  ///
  /// - Parameter backpointer: Of the bucket's, of level 0.
  /// - Throws: `.noSpace`; what devices say that nothing can be written to; what transactions
  ///   throw.
  func move(
    _ backpointer: Backpointer, from bucket: BPos, generation: UInt8
  ) throws(VolumeError) -> MoveOutcome {
    try engine.nocowLocks.whileMoving(bucket) { () throws(VolumeError) in
      try moveLocked(backpointer, from: bucket, generation)
    }
  }

  private func moveLocked(
    _ backpointer: Backpointer, from bucket: BPos, _ generation: UInt8
  ) throws(VolumeError) -> MoveOutcome {
    let found = try engine.run("move_extent_read", watermark: .btreeCopygc) {
      (transaction) throws(TransactionError) in
      try transaction.extentToMove(backpointer, from: bucket, generation: generation)
    }
    switch found {
    case .gone: return .raced
    case .unknown: return .impossible
    case .found(let extent): return try move(extent)
    }
  }

  private func move(_ extent: MovedExtent) throws(VolumeError) -> MoveOutcome {
    let key = extent.key
    let whole = key.start.offset..<key.position.offset
    guard extent.copiesWanted(engine.media) > 0 else {
      return try commit(
        extent, MovedPiece(sectors: whole, crc: ExtentCrc(plainSectors: key.size), places: []))
    }
    guard !extent.old.ptr.isUnwritten else { return try moveUnwritten(extent) }
    engine.instruments.count(.moveExtentRead)
    let copies = StoredExtent.copies(extent, engine.media)
    for copy in copies {
      if copy.crc.isEncoded {
        do throws(VolumeError) {
          try stored.readEncoded(copy, of: key, blockBytes)
        } catch {
          try note(error, copy, extent)
          continue
        }
        return try writeEncoded(extent)
      }
      if let outcome = try movePlain(extent, copy) { return outcome }
    }
    return .impossible
  }

  private var blockBytes: Int { Int(engine.media.superblock.blockSizeSectors) * 512 }

  /// Counts a copy that could not be read, if it is still one.
  private func note(
    _ error: VolumeError, _ copy: DecodedPtr, _ extent: MovedExtent
  ) throws(VolumeError) {
    let isThere = try engine.run("move_extent_check", watermark: .btreeCopygc) {
      (transaction) throws(TransactionError) -> Bool in
      guard let found = try transaction.lookup(extent.btree, extent.key.position),
        let parts = try transaction.parts(of: found)
      else { return false }
      return parts.pointers.contains { $0.ptr == copy.ptr }
    }
    guard isThere else { return }
    engine.instruments.count(.moveExtentStartFail)
    // A pointer may name a device that is no member.
    guard engine.media.member(copy.ptr.device) != nil else { return }
    let kind: MemberErrorType = error.code == .device ? .read : .checksum
    engine.store.memberErrors.add(kind, member: Int(copy.ptr.device))
  }

  // MARK: - Pieces

  /// Writes what was read of an encoded copy.
  private func writeEncoded(_ extent: MovedExtent) throws(VolumeError) -> MoveOutcome {
    let (key, crc) = (extent.key, stored.crc)
    var used: UInt64 = 0
    var done: UInt32 = 0
    while done < key.size {
      let isWhole = crc.isCompressed
      let sectors = isWhole ? crc.compressedSize : key.size - done
      let found = try allocate(
        extent, UInt64(sectors), atLeast: isWhole ? UInt64(sectors) : UInt64(blockBytes / 512))
      defer { engine.settle(found) }
      let count = isWhole ? key.size : UInt32(found.sectors)
      let bytes = Int(done) * 512..<Int(done) * 512 + Int(found.sectors) * 512
      var pieceCrc = crc
      if count < key.size {
        pieceCrc = try stored.withBytes { (all) throws(VolumeError) in
          try crc.ofPart(all.extracting(bytes), by: done, key.version, engine.media.key)
        }
      }
      let places = try stored.withBytes { (all) throws(VolumeError) in
        try write(all.extracting(bytes), to: found)
      }
      // Those devices are not asked again.
      guard !places.isEmpty else { continue }
      let start = key.start.offset + UInt64(done)
      used += try commitSome(
        extent,
        MovedPiece(sectors: start..<start + UInt64(count), crc: pieceCrc, places: places))
      done += count
    }
    return used > 0 ? .moved(used) : .raced
  }

  /// Moves what is stored as it is, without a checksum.
  ///
  /// - Returns: nil where the copy cannot be read; what was moved before that stays so.
  private func movePlain(
    _ extent: MovedExtent, _ copy: DecodedPtr
  ) throws(VolumeError) -> MoveOutcome? {
    let key = extent.key
    var used: UInt64 = 0
    var done: UInt32 = 0
    while done < key.size {
      let wanted = min(key.size - done, UInt32(Self.pieceBytes / 512))
      let found = try allocate(extent, UInt64(wanted), atLeast: UInt64(blockBytes / 512))
      defer { engine.settle(found) }
      let byteCount = Int(found.sectors) * 512
      if buffer.byteCount < byteCount { buffer = HeapBuffer(byteCount: Self.pieceBytes) }
      let buffer = self.buffer
      var all = buffer.mutableBytes
      var target = all._mutatingExtracting(0..<byteCount)
      do throws(VolumeError) {
        try engine.media.read(
          copy.ptr.device,
          atSector: copy.ptr.offset + UInt64(copy.crc.offset) + UInt64(done), into: &target)
      } catch {
        try note(error, copy, extent)
        return nil
      }
      let places = try write(target.bytes, to: found)
      guard !places.isEmpty else { continue }
      let start = key.start.offset + UInt64(done)
      let count = UInt32(found.sectors)
      used += try commitSome(
        extent,
        MovedPiece(
          sectors: start..<start + UInt64(count), crc: ExtentCrc(plainSectors: count),
          places: places))
      done += count
    }
    return used > 0 ? .moved(used) : .raced
  }

  /// Gives what was promised and not written a promise elsewhere.
  private func moveUnwritten(_ extent: MovedExtent) throws(VolumeError) -> MoveOutcome {
    let key = extent.key
    var used: UInt64 = 0
    var start = key.start.offset
    while start < key.position.offset {
      let found = try allocate(
        extent, key.position.offset - start, atLeast: UInt64(blockBytes / 512))
      defer { engine.settle(found) }
      var places = found.places
      for index in places.indices { places[index].isUnwritten = true }
      used += try commitSome(
        extent,
        MovedPiece(
          sectors: start..<start + found.sectors,
          crc: ExtentCrc(plainSectors: UInt32(found.sectors)), places: places))
      start += found.sectors
    }
    return used > 0 ? .moved(used) : .raced
  }

  // MARK: - Steps

  private func allocate(
    _ extent: MovedExtent, _ sectors: UInt64, atLeast: UInt64
  ) throws(VolumeError) -> SectorAllocation {
    let target = DiskTarget(rawValue: extent.options.atRest.target)
    var request = AllocationRequest(
      sectors: sectors, minSectors: min(atLeast, sectors),
      replicas: extent.copiesWanted(engine.media),
      target: engine.targets.members(of: target), excluded: extent.otherDevices,
      watermark: .copygc)
    request.makesRoom = false
    do throws(VolumeError) {
      return try engine.allocateSectors(request, in: engine.writePoints.moved)
    } catch {
      // Nodes may have taken what is kept for data that moves: a bucket that is emptied gives more
      // than it takes.
      guard error.code == .noSpace else { throw error }
      request.watermark = .btree
      return try engine.allocateSectors(request, in: engine.writePoints.moved)
    }
  }

  private func write(
    _ bytes: RawSpan, to found: SectorAllocation
  ) throws(VolumeError) -> [ExtentPtr] {
    engine.instruments.count(.moveExtentWrite)
    var failure: DeviceError?
    return engine.writeData(bytes, to: found.places, &failure)
  }

  private func commit(
    _ extent: MovedExtent, _ piece: MovedPiece
  ) throws(VolumeError) -> MoveOutcome {
    let used = try commitSome(extent, piece)
    return used > 0 ? .moved(used) : .raced
  }

  /// Has all keys lead to a piece that still lead to where it was.
  ///
  /// - Returns: how many sectors of them.
  private func commitSome(
    _ extent: MovedExtent, _ piece: MovedPiece
  ) throws(VolumeError) -> UInt64 {
    var (start, used) = (piece.sectors.lowerBound, UInt64(0))
    while start < piece.sectors.upperBound {
      let from = start
      let (end, count) = try engine.run("data_update", watermark: .btreeCopygc) {
        (transaction) throws(TransactionError) in
        try transaction.move(extent, to: piece, from: from)
      }
      used += count
      start = end
    }
    engine.instruments.count(used > 0 ? .moveExtentFinish : .moveExtentFail)
    if used > 0 { engine.instruments.counters.add(.ioMove, used) }
    return used
  }
}

extension MovedExtent {
  /// Devices that have other copies: bit n stands for member n.
  fileprivate var otherDevices: UInt64 {
    parts.pointers.reduce(0) { mask, pointer in
      pointer == old || pointer.ptr.isCached || pointer.ptr.device > 63
        ? mask : mask | 1 << UInt64(pointer.ptr.device)
    }
  }

  /// How many copies are to be written for the one that goes: as many as it stood for, as far as
  /// the file's options want them (`bch2_data_update_init`).
  fileprivate func copiesWanted(_ media: VolumeMedia) -> Int {
    func durability(_ pointer: DecodedPtr) -> Int {
      Int(media.member(pointer.ptr.device)?.durability ?? 0)
        + Int(pointer.stripe?.redundancy ?? 0)
    }
    var others = 0
    for pointer in parts.pointers where pointer != old && !pointer.ptr.isCached {
      others += durability(pointer)
    }
    let own = durability(old)
    guard own + others > 0 else { return 1 }
    // What several files share is kept as it is: each may want it otherwise.
    guard btree == .extents else { return max(own, others > 0 ? 0 : 1) }
    return min(own, max(0, options.replicas - others))
  }
}

// MARK: - Keys

/// What a backpointer leads to.
enum FoundExtent {
  case found(MovedExtent)
  /// It has no pointer there any more.
  case gone
  /// It has entries that are not known.
  case unknown
}

extension Transaction {
  /// The key that a backpointer of a bucket names, with its pointer into the bucket.
  fileprivate func extentToMove(
    _ backpointer: Backpointer, from bucket: BPos, generation: UInt8
  ) throws(TransactionError) -> FoundExtent {
    guard backpointer.btree == .extents || backpointer.btree == .reflink else { return .unknown }
    let (device, member) = try device(ofBucket: bucket)
    guard let found = try lookup(backpointer.btree, backpointer.position),
      found.key.type == .extent || found.key.type == .reflinkV
    else { return .gone }
    guard found.key.size > 0, UInt64(found.key.size) <= found.key.position.offset,
      let parts = try parts(of: found)
    else { return .unknown }
    let old = parts.pointers.first {
      !$0.ptr.isCached && $0.ptr.device == device && $0.ptr.generation == generation
        && $0.ptr.offset / member.bucketSizeSectors == bucket.offset
    }
    guard let old else { return .gone }
    let position = found.key.position
    var inode: Inode?
    if backpointer.btree == .extents {
      inode = try findInode(position.inode, position.snapshot, .read)
    }
    return .found(
      MovedExtent(
        btree: backpointer.btree, key: found.key, parts: parts, old: old,
        options: DataOptions(engine.media.options, key: engine.media.key, inode: inode)))
  }

  /// - Returns: nil for entries that are not known.
  func parts(of found: KeyView) throws(TransactionError) -> ExtentParts? {
    let sizes = engine.media.entrySizes
    return try found.decoded { (value) throws(FormatError) -> ExtentParts? in
      ExtentParts(try ExtentEntries(key: found.key, value: value, sizes: sizes))
    }
  }
}
