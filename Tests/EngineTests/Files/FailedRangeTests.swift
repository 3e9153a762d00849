// SPDX-License-Identifier: GPL-2.0
// Files that are cut off, punched or shifted where that fails half way: whoever called is told, and
// what is written afterwards stays as it is, whatever was left to do.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct FailedRangeTests {
  private static let blockBytes: UInt64 = 4096
  /// Blocks of the file that has very many extents: each second one is a hole.
  private static let blockCount: UInt64 = 4000
  private static var byteCount: UInt64 { blockCount * blockBytes }

  private static func block(_ value: UInt8) -> [UInt8] {
    [UInt8](repeating: value, count: Int(blockBytes))
  }

  /// A file with extents in several leaves, of which one in the midst cannot be read from now on.
  private func openDamaged(
    _ disk: OpenFileSystem
  ) throws -> (FileSystem, FileID, leaf: Range<UInt64>) {
    let files = try disk.open()
    let id = try files.makeFile("file")
    for number in stride(from: 1, to: Self.blockCount, by: 2) {
      try files.write(id, Self.block(1).rawBytes, at: number * Self.blockBytes)
    }
    try files.close()
    let leaf = try #require(try disk.leafOfExtents())
    let again = try disk.open()
    disk.device.setFaults([SimulatedFaultRule(.readError, bytes: leaf.bytes)])
    return (
      again, id, UInt64(leaf.sectors.lowerBound) * 512..<UInt64(leaf.sectors.upperBound) * 512
    )
  }

  private func hasLoggedOperations(_ files: FileSystem) throws -> Bool {
    try files.engine.run("test_logged") { (transaction) throws(TransactionError) in
      try transaction.next(.loggedOps, from: .min) != nil
    }
  }

  /// What a file has is what was written to it after something failed, now and when the volume was
  /// closed and opened again.
  private func rewriteAndCompare(
    _ disk: OpenFileSystem, _ files: FileSystem, _ id: FileID, byteCount: Int
  ) throws {
    #expect(try !hasLoggedOperations(files))
    disk.device.setFaults([])
    let bytes = [UInt8](repeating: 2, count: byteCount)
    try files.write(id, bytes.rawBytes, at: 0)
    try files.fsync(id)
    #expect(try Array(files.contents(of: id).prefix(byteCount)) == bytes)
    let all = try files.contents(of: id)
    try files.close()
    let again = try disk.open()
    #expect(try again.contents(of: id) == all)
    try again.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }

  @Test(arguments: [UInt64(0), 5000])
  func aFileThatCouldNotBeCutOffWhollyKeepsWhatIsWrittenToItThen(size: UInt64) throws {
    let disk = try OpenFileSystem()
    let (files, id, _) = try openDamaged(disk)
    expectCode(.allCopiesBad) { () throws(VolumeError) in try files.truncate(id, to: size) }
    #expect(try files.attributes(of: id).byteCount == size)
    try rewriteAndCompare(disk, files, id, byteCount: 1 << 20)
  }

  /// What could not be removed does not come to light when the file grows again.
  @Test(arguments: ["written", "truncated", "allocated", "zeroed", "copied"], [false, true])
  func whatWasBehindTheEndIsZerosWhenTheFileGrows(how: String, isForgotten: Bool) throws {
    let disk = try OpenFileSystem()
    let (files, id, _) = try openDamaged(disk)
    let other = try files.makeFile("other")
    try files.write(other, Self.block(2).rawBytes, at: 0)
    expectCode(.allCopiesBad) { () throws(VolumeError) in try files.truncate(id, to: 5000) }
    // Before the end it is a file as any other.
    try files.write(id, [2], at: 0)
    if isForgotten { try files.fsync(id) }
    let end = Self.byteCount
    let grow = { () throws(VolumeError) in
      switch how {
      case "written": try files.write(id, [2], at: end - 1)
      case "truncated": try files.truncate(id, to: end)
      case "allocated": try files.change(id, end - 4096..<end, .allocate)
      case "zeroed": try files.change(id, end - 4096..<end, .zero)
      default: _ = try files.copyRange(from: other, 0..<4096, to: id, at: end - 4096)
      }
    }
    expectCode(.allCopiesBad, "still damaged") { () throws(VolumeError) in try grow() }
    #expect(try files.attributes(of: id).byteCount == 5000)
    disk.device.setFaults([])
    try grow()
    let found = try files.contents(of: id)
    #expect(UInt64(found.count) == end && found[0] == 2 && found[4500] == 1)
    #expect(found[5000..<found.count - 4096].allSatisfy { $0 == 0 })
    try files.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }

  /// What of it could not be removed goes when the volume is closed.
  @Test func nothingIsLeftBehindTheEndWhenTheVolumeIsClosed() throws {
    let disk = try OpenFileSystem()
    let (files, id, _) = try openDamaged(disk)
    expectCode(.allCopiesBad) { () throws(VolumeError) in try files.truncate(id, to: 5000) }
    disk.device.setFaults([])
    try files.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }

  /// Neither with the number of a file that is gone is anything done.
  @Test func anotherFileOfTheSameNumberIsNotCutOff() throws {
    let disk = try OpenFileSystem()
    let (files, id, _) = try openDamaged(disk)
    expectCode(.allCopiesBad) { () throws(VolumeError) in try files.truncate(id, to: 100) }
    disk.device.setFaults([])
    try files.unlink(Array("file".utf8), in: files.root)
    let new = try files.makeFile("new")
    #expect(new == id)
    try files.write(new, Self.block(3).rawBytes, at: 0)
    try files.close()
    let again = try disk.open()
    #expect(try again.contents(of: new) == Self.block(3))
    try again.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }

  @Test(arguments: [true, false])
  func aShiftThatFailedHalfWayIsNotGoneOnWith(isInsert: Bool) throws {
    let disk = try OpenFileSystem()
    let (files, id, _) = try openDamaged(disk)
    expectCode(.allCopiesBad) { () throws(VolumeError) in
      try files.change(id, 8192..<16384, isInsert ? .insert : .collapse)
    }
    let size = try files.attributes(of: id).byteCount
    #expect(size == Self.byteCount + (isInsert ? 8192 : 0))
    try rewriteAndCompare(disk, files, id, byteCount: Int(Self.byteCount))
  }

  // MARK: - Damage that stays

  /// A file with many extents, of which the last points to nothing.
  private func openDangling(_ disk: OpenFileSystem) throws -> (FileSystem, FileID) {
    let files = try disk.open()
    let id = try files.makeFile("file")
    for number in stride(from: UInt64(1), to: 100, by: 2) {
      try files.write(id, Self.block(1).rawBytes, at: number * Self.blockBytes)
    }
    try files.fsync(id)
    _ = try files.copyRange(
      from: id, 99 * Self.blockBytes..<100 * Self.blockBytes, to: id, at: 101 * Self.blockBytes)
    try files.fsync(id)
    try files.engine.run("test_damage") { (transaction) throws(TransactionError) in
      guard let found = try transaction.next(.reflink, from: .min) else { return }
      transaction.delete(.reflink, found.key.position)
      try transaction.commit()
    }
    return (files, id)
  }

  @Test func aVolumeOpensThoughAFileCannotBeCutOff() throws {
    let disk = try OpenFileSystem()
    let (files, id) = try openDangling(disk)
    expectCode(.corrupt) { () throws(VolumeError) in try files.truncate(id, to: 100) }
    try files.sync()
    try disk.letGo(files)
    let again = try disk.open()
    #expect(try again.attributes(of: id).byteCount == 100)
    #expect(try !hasLoggedOperations(again))
    try disk.letGo(again)
  }

  /// The same where the machine stopped on the way: it is tried once, and counted.
  @Test func whatCannotBeCompletedIsTriedOnceWhenAVolumeIsOpened() throws {
    let disk = try OpenFileSystem()
    let (files, id) = try openDangling(disk)
    let removed = BPos(0, 1)
    try files.engine.run("test_log") { (transaction) throws(TransactionError) in
      transaction.put(.loggedOps, .loggedOpTruncate, .min, LoggedOpTruncate.encodedU64s) {
        LoggedOpTruncate(subvolume: id.subvolume, inode: id.inode, newSize: 100).encode(into: &$0)
      }
      let shift = LoggedOpFinsert(
        state: 0, subvolume: id.subvolume, inode: id.inode, destination: 8, source: 16,
        position: 16)
      transaction.put(shift, at: removed)
      try transaction.commit()
    }
    try files.sync()
    try disk.letGo(files)
    let again = try disk.open()
    #expect(try !hasLoggedOperations(again))
    #expect(try again.attributes(of: id).byteCount == 100)
    let counts = again.engine.store.findingCounts
    #expect(counts.contains { $0.id == .extent_past_end_of_inode })
    try disk.letGo(again)
  }

  // MARK: - What is not written yet

  /// The last block cannot be read: nothing of what was written is lost.
  @Test func aFileThatCannotBeCutOffKeepsWhatIsNotWrittenYet() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let id = try files.makeFile("file")
    var bytes = [UInt8](repeating: 1, count: 256 << 10)
    try files.write(id, bytes.rawBytes, at: 0)
    try files.fsync(id)
    bytes.replaceSubrange(128 << 10..<(128 << 10) + 10_000, with: repeatElement(2, count: 10_000))
    try files.write(id, bytes.rawBytes.extracting(128 << 10..<(128 << 10) + 10_000), at: 128 << 10)
    // What was appended, too: the inode does not know of it.
    try files.write(id, [UInt8](repeating: 3, count: 100).rawBytes, at: 256 << 10)
    bytes += [UInt8](repeating: 3, count: 100)
    disk.device.setFaults([SimulatedFaultRule(.readError)])
    for size in [5000, (256 << 10) - 1] as [UInt64] {
      expectCode(.allCopiesBad) { () throws(VolumeError) in try files.truncate(id, to: size) }
    }
    disk.device.setFaults([])
    #expect(try files.contents(of: id) == bytes)
    try files.fsync(id)
    try files.close()
    let again = try disk.open()
    #expect(try again.contents(of: id) == bytes)
    try again.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }

  /// The same as what a file had when it was flushed last is what it is to become.
  @Test func aSizeThatTheInodeHasDoesNotMeanThatItWasCutOff() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let id = try files.makeFile("file")
    try files.write(id, [UInt8](repeating: 1, count: 5000).rawBytes, at: 0)
    try files.fsync(id)
    try files.write(id, [2], at: 300_000)
    disk.device.setFaults([SimulatedFaultRule(.readError)])
    expectCode(.allCopiesBad) { () throws(VolumeError) in try files.truncate(id, to: 5000) }
    disk.device.setFaults([])
    let found = try files.contents(of: id)
    #expect(found.count == 300_001 && found.last == 2)
    try files.truncate(id, to: 5000)
    #expect(try files.contents(of: id) == [UInt8](repeating: 1, count: 5000))
    try files.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }

  @Test(arguments: [false, true]) func aHoleThatCannotBeMadeKeepsWhatIsNotWrittenYet(
    reachesEnd: Bool
  ) throws {
    let disk = try OpenFileSystem()
    let (files, id, _) = try openDamaged(disk)
    let end = Self.byteCount - (reachesEnd ? 0 : 4096)
    try files.write(id, Self.block(2).rawBytes, at: 0)
    expectCode(.allCopiesBad) { () throws(VolumeError) in
      try files.change(id, 0..<end, .punch)
    }
    var found = [UInt8](repeating: 0, count: Int(Self.blockBytes))
    var span = found.mutableRawBytes
    _ = try files.read(id, from: 0, into: &span)
    #expect(found == Self.block(2))
    disk.device.setFaults([])
    try files.fsync(id)
    try files.change(id, 0..<Self.byteCount, .punch)
    #expect(try files.contents(of: id).allSatisfy { $0 == 0 })
    try files.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }
}

extension FileSystem {
  fileprivate func write(
    _ id: FileID, _ bytes: [UInt8], at offset: UInt64
  ) throws(VolumeError) {
    try write(id, bytes.rawBytes, at: offset)
  }
}
