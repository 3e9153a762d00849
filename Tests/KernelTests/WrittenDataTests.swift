// SPDX-License-Identifier: GPL-2.0
// Data that the engine's write points have placed: the driver reads it, finds nothing wrong, and
// counts the same room.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct WrittenDataTests {
  private static let inode: UInt64 = 5000

  @Test(arguments: [
    "a.img", "--replicas=2 a.img --fs_size=128M b.img --fs_size=160M c.img",
    "--label=ssd a.img --label=hdd b.img --durability=0 --label=cache c.img "
      + "--foreground_target=ssd --metadata_target=hdd",
  ])
  func theDriverReadsWhatWasPlacedAndCountsTheSameRoom(arguments: String) throws {
    try withTemporaryFolder { folder in
      let words = arguments.split(separator: " ").map(String.init)
      let images = ["a.img", "b.img", "c.img"].filter(words.contains).map { "\(folder)/\($0)" }
      for image in images { try runProgramOrThrow("truncate", ["-s", "192M", image]) }
      try runProgramOrThrow(
        builtProgram("bcachefs"), ["format", "--quiet", "--bucket=128k"] + words, folder: folder)
      let engine = try OpenedImages.open(images)
      let data = try makeFile(engine, sectors: 100_000)
      try writeFile("\(folder)/expected", data)
      try close(engine)
      let again = try OpenedImages.open(images)
      let (capacity, available) = (again.usage.capacity, again.usage.available)
      try close(again)
      let outcome = try KernelGuest.run(
        job: """
          set -eu
          . "$JOB_GUEST/common.sh"
          mount_volume ro,fsck,errors=continue /mnt/a
          stat -f -c 'room %S %b %a' /mnt/a
          md5sum </mnt/a/data
          umount /mnt/a
          """, images: images)
      #expect(outcome.complaints == [])
      let lines = outcome.lines
      let room = try #require(lines.first { $0.hasPrefix("room ") })
        .split(separator: " ").dropFirst().compactMap { UInt64($0) }
      #expect(room[1] == capacity * 512 / room[0])
      #expect(room[2] == available * 512 / room[0])
      let sum = String(
        decoding: try runProgramOrThrow("md5sum", ["\(folder)/expected"]).standardOutput,
        as: UTF8.self)
      #expect(lines.contains { $0.prefix(32) == sum.prefix(32) })
    }
  }

  private func close(_ engine: Engine) throws {
    try engine.close()
    try OpenedImages.letGo(engine)
  }

  /// Makes a file `data` in the root directory, with as much data.
  ///
  /// - Returns: its contents.
  private func makeFile(_ engine: Engine, sectors: UInt64) throws -> [UInt8] {
    let options = engine.media.options
    let target = DiskTarget(rawValue: UInt16(options[.foregroundTarget]))
    let replicas = Int(options[.dataReplicas])
    var reservation = try engine.usage.reserve(sectors, replicas: replicas)
    var random = SplitMix64(seed: 11)
    var contents: [UInt8] = []
    var start: UInt64 = 0
    while start < sectors {
      let found = try engine.allocateSectors(
        AllocationRequest(
          sectors: min(sectors - start, 8 * (1 + random.next() % 40)), replicas: replicas,
          target: engine.targets.members(of: target)),
        in: engine.writePoints.user(Self.inode))
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
            position: Positions.extent(inode: Self.inode, end: end, snapshot: .max),
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
    let name = Array("data".utf8)
    try engine.run("test_create") { (transaction) throws(TransactionError) in
      let position = BPos(0, Positions.rootInode, .max)
      guard let found = try transaction.lookup(.inodes, position) else { return }
      var file = Inode()
      do throws(FormatError) {
        let root = try found.withValue { (value) throws(FormatError) in
          try Inode(key: found.key, value: value)
        }
        file.number = Self.inode
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
          target: .inode(Self.inode), type: 8, name: name.rawBytes, into: &bytes)
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
      var value = AlignedBuffer(byteCount: file.encodedU64s * 8)
      var bytes = value.mutableBytes
      file.encode(into: &bytes)
      transaction.update(
        .inodes,
        BKey(
          type: .inodeV3, position: BPos(0, Self.inode, .max), valueU64s: file.encodedU64s),
        value.bytes.extracting(0..<file.encodedU64s * 8))
      try transaction.commit()
    }
  }
}
