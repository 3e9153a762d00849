// SPDX-License-Identifier: GPL-2.0
// Where buckets are small the journal's entries are: what goes at once has to fit one. It did not,
// and could not be removed any more: sixteen extents of buckets of their own, and a subvolume of
// which many snapshots had been taken.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import FileModel
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct SmallJournalTests {
  private static let volume = FreshVolume(testDescription: "small buckets") {
    $0.sizes = [16 << 20]
    $0.build.bucketBytes = 16 << 10
    $0.build.options[.btreeNodeSize] = 4 << 10
  }

  @Test func filesInManyBucketsGo() throws {
    let devices = try Self.volume.format()
    let files = FileSystem(try Self.volume.engine(on: devices).engine)
    let noise = HeapBuffer(byteCount: 12 << 10)
    var bytes = noise.mutableBytes
    var random = SplitMix64(seed: 1)
    for word in 0..<noise.byteCount / 8 { bytes[LEField<UInt64>(word * 8)] = random.next() }
    let names = ["deleted", "cut off", "punched", "overwritten"]
    let ids = try names.map { try files.makeFile($0) }
    // In turn, so that extents of one file lie in different buckets, and backwards, so that they
    // do not become one.
    for part in (0..<40).reversed() {
      for id in ids { try files.write(id, noise.bytes, at: UInt64(part) * 16384) }
      try files.sync()
    }
    try files.unlink(Array("deleted".utf8), in: files.root)
    try files.truncate(ids[1], to: 0)
    try files.change(ids[2], 0..<1 << 20, .punch)
    let large = HeapBuffer(byteCount: 640 << 10)
    try files.write(ids[3], large.bytes, at: 0)
    try files.sync()
    for id in ids[1...2] { #expect(try files.attributes(of: id).inode.sectors == 0) }
    try files.close()
    try Self.volume.expectSound(devices, "closed", ofFiles: true)
  }

  @Test func aFileOfLongAttributesGoes() throws {
    let devices = try Self.volume.format()
    let files = FileSystem(try Self.volume.engine(on: devices).engine)
    let file = try files.makeFile("file")
    let value = [UInt8](repeating: 7, count: 1600)
    for number in 0..<40 {
      try files.setXattr(Array("user.\(number)".utf8), of: file, to: value)
    }
    try files.unlink(Array("file".utf8), in: files.root)
    try files.close()
    try Self.volume.expectSound(devices, "closed", ofFiles: true)
  }

  @Test func aSubvolumeOfManySnapshotsGoes() throws {
    let devices = try Self.volume.format()
    let files = FileSystem(try Self.volume.engine(on: devices).engine)
    let creation = FileCreation(.directory, permissions: 0o755)
    let source = try files.createSubvolume(Array("source".utf8), in: files.root, creation).id
    for number in 0..<60 {
      _ = try files.makeFile("file \(number)", in: source)
      _ = try files.createSnapshot(
        of: source.subvolume, as: Array("snapshot \(number)".utf8), in: files.root)
    }
    try files.deleteSubvolume(Array("source".utf8), in: files.root)
    try files.cleanSnapshots()
    try files.close()
    try Self.volume.expectSound(devices, "closed", ofFiles: true)
    let again = FileSystem(try Self.volume.engine(on: devices, seed: 2).engine)
    for number in [0, 30, 59] {
      let root = try again.lookup(Array("snapshot \(number)".utf8), in: again.root).id
      #expect(try again.entries(of: root, limit: 100).count == number + 1)
    }
    try again.close()
  }

  @Test func aSubvolumeOfManySnapshotsIsRenamed() throws {
    let devices = try Self.volume.format()
    let files = FileSystem(try Self.volume.engine(on: devices).engine)
    let creation = FileCreation(.directory, permissions: 0o755)
    let source = try files.createSubvolume(Array("source".utf8), in: files.root, creation).id
    let other = try files.createSubvolume(Array("other".utf8), in: files.root, creation).id
    for number in 0..<60 {
      for (id, name) in [(source, "s"), (other, "o")] {
        _ = try files.makeFile("file \(number)", in: id)
        _ = try files.createSnapshot(
          of: id.subvolume, as: Array("\(name) \(number)".utf8), in: files.root)
      }
    }
    let folder = try files.create(Array("folder".utf8), in: files.root, creation).id
    try files.rename(
      Array("source".utf8), in: files.root, to: Array("renamed".utf8), in: folder)
    try files.rename(
      Array("renamed".utf8), in: folder, to: Array("other".utf8), in: files.root, .exchange)
    #expect(try files.lookup(Array("other".utf8), in: files.root).id == source)
    #expect(try files.lookup(Array("renamed".utf8), in: folder).id == other)
    try files.close()
    try Self.volume.expectSound(devices, "closed", ofFiles: true)
  }
}
