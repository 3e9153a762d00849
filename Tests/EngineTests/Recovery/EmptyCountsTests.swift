// SPDX-License-Identifier: GPL-2.0

internal import BcachefsFormat
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct EmptyCountsTests {
  private func countsOfFilesAndSnapshots(_ files: FileSystem) throws -> Int {
    try files.sync()
    try files.engine.flushWriteBuffer()
    let isSwapped = files.engine.media.superblock.swapsAccountingPositions
    return try files.engine.run("test_counts") { (transaction) throws(TransactionError) in
      var count = 0
      var walk = KeyWalk(.accounting, from: .min)
      while let found = try transaction.next(&walk) {
        switch AccountingKey(found.key.position, isByteSwapped: isSwapped) {
        case .snapshot, .inode: count += 1
        default: break
        }
      }
      return count
    }
  }

  @Test(arguments: [UInt64(64 << 10), 4 << 10])
  func emptyCountsGoWhenAVolumeIsOpenedThatWasClosedClean(nodeBytes: UInt64) throws {
    let disk = try OpenFileSystem { $0.build.options[.btreeNodeSize] = nodeBytes }
    var files = try disk.open()
    let source = try files.createSubvolume(
      Array("source".utf8), in: files.root, FileCreation(.directory, permissions: 0o755)
    ).id
    for number in 0..<200 {
      let file = try files.makeFile("file \(number)", in: source)
      try files.write(file, HeapBuffer(byteCount: 8192).bytes, at: 0)
      let other = try files.makeFile("other", in: files.root)
      try files.write(other, HeapBuffer(byteCount: 8192).bytes, at: 0)
      try files.fsync(other)
      try files.unlink(Array("other".utf8), in: files.root)
      let name = Array("snapshot \(number)".utf8)
      _ = try files.createSnapshot(of: source.subvolume, as: name, in: files.root)
      try files.deleteSubvolume(name, in: files.root)
      try files.cleanSnapshots()
    }
    #expect(try countsOfFilesAndSnapshots(files) > 400)
    try disk.letGo(files)
    files = try disk.open()
    // Its journal may still have what the counts have.
    #expect(try countsOfFilesAndSnapshots(files) > 400)
    try files.close()
    files = try disk.open()
    let left = try countsOfFilesAndSnapshots(files)
    #expect(left < 205)
    try files.close()
    try expectSound(disk.device, "")
    files = try disk.open()
    #expect(try countsOfFilesAndSnapshots(files) == left)
    try files.close()
  }
}
