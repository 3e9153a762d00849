// SPDX-License-Identifier: GPL-2.0
// A file of random data that the engine's write points have placed, in a volume of the driver's.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

/// A file in the root directory of the first subvolume.
struct WrittenFile: Hashable {
  let name: String
  let inode: UInt64
  /// Of its contents.
  let seed: UInt64

  /// Makes the file, with as much data.
  ///
  /// - Returns: its contents.
  func make(in engine: Engine, sectors: UInt64) throws -> [UInt8] {
    let options = engine.media.options
    let target = DiskTarget(rawValue: UInt16(options[.foregroundTarget]))
    let replicas = Int(options[.dataReplicas])
    var reservation = try engine.usage.reserve(sectors, replicas: replicas)
    var random = SplitMix64(seed: seed)
    var contents: [UInt8] = []
    var start: UInt64 = 0
    while start < sectors {
      let found = try engine.allocateSectors(
        AllocationRequest(
          sectors: min(sectors - start, 8 * (1 + random.next() % 40)), replicas: replicas,
          target: engine.targets.members(of: target)),
        in: engine.writePoints.user(inode))
      var bytes = AlignedBuffer(byteCount: Int(found.sectors) * 512)
      var span = bytes.mutableBytes
      for word in 0..<span.byteCount / 8 { span[LEField<UInt64>(word * 8)] = random.next() }
      contents += (0..<span.byteCount).map { bytes.bytes[LEField<UInt8>($0)] }
      for place in found.places {
        let device = try #require(engine.media.device(place.device))
        try device.write(bytes.bytes, atByte: place.offset * 512)
        engine.unflushed.add(place.device)
      }
      let end = start + found.sectors
      let words = found.places.map(\.word)
      let promised = reservation.sectors
      reservation.sectors = try engine.run("test_write") {
        (transaction) throws(TransactionError) in
        transaction.promisedSectors = promised
        try unsafe transaction.updateExtent(
          .extents,
          BKey(
            type: .extent,
            position: Positions.extent(inode: inode, end: end, snapshot: .max),
            size: UInt32(found.sectors), valueU64s: words.count), words.span.bytes)
        try transaction.commit()
        return transaction.promisedSectors
      }
      engine.settle(found)
      start = end
    }
    try makeInode(engine, sectors: sectors)
    engine.usage.release(&reservation)
    return contents
  }

  private func makeInode(_ engine: Engine, sectors: UInt64) throws {
    let name = Array(name.utf8)
    try engine.run("test_create") { (transaction) throws(TransactionError) in
      let position = BPos(0, Positions.rootInode, .max)
      guard let found = try transaction.lookup(.inodes, position) else { return }
      var file = Inode()
      do throws(FormatError) {
        let root = try found.withValue { (value) throws(FormatError) in
          try Inode(key: found.key, value: value)
        }
        file.number = inode
        file.snapshot = .max
        file.stringHash = root.stringHash
        file.hashSeed = 1
        file.mode = 0o100644
        file.size = sectors * 512
        file.sectors = sectors
        file.directory = root.number
        file.directoryOffset = NameHash(root).dirent(name.span)
        var dirent = AlignedBuffer(byteCount: Dirent.encodedU64s(nameByteCount: name.count) * 8)
        var bytes = dirent.mutableBytes
        _ = try Dirent.encode(
          target: .inode(inode), type: 8, name: name.rawBytes, into: &bytes)
        transaction.update(
          .dirents,
          BKey(
            type: .dirent,
            position: Positions.dirent(
              directory: root.number, hash: file.directoryOffset, snapshot: .max),
            valueU64s: Dirent.encodedU64s(nameByteCount: name.count)),
          dirent.bytes.extracting(0..<Dirent.encodedU64s(nameByteCount: name.count) * 8))
      } catch {
        throw .failed(VolumeError(error))
      }
      put(file, in: transaction)
      try transaction.commit()
    }
  }

  /// Takes its name away, and leaves the rest to whoever opens the volume next.
  func unlink(in engine: Engine) throws {
    try engine.run("test_unlink") { (transaction) throws(TransactionError) in
      let position = BPos(0, inode, .max)
      guard let found = try transaction.lookup(.inodes, position, .intent) else { return }
      var file = try Transaction.inode(found)
      transaction.delete(
        .dirents,
        Positions.dirent(
          directory: file.directory, hash: file.directoryOffset, snapshot: .max))
      file.flags.insert(.unlinked)
      file.directory = 0
      file.directoryOffset = 0
      put(file, in: transaction)
      try transaction.commit()
    }
  }

  private func put(_ file: Inode, in transaction: Transaction) {
    transaction.put(.inodes, .inodeV3, BPos(0, inode, .max), file.encodedU64s) {
      file.encode(into: &$0)
    }
  }
}
