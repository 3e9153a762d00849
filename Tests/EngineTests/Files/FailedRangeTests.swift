// SPDX-License-Identifier: GPL-2.0
// Files that are cut off, punched or shifted where that fails half way: whoever called is told, and
// what is written afterwards stays as it is, whatever was left to do.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import FileModel
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
    #expect(try hasErrors(disk))
    let counts = again.engine.store.findingCounts
    #expect(counts.contains { $0.id == .extent_past_end_of_inode })
    try disk.letGo(again)
  }

  // MARK: - When a volume is opened

  /// What was under way when the machine stopped.
  enum UnderWay: CaseIterable { case truncation, insertion, removal }

  /// A file with very many extents, and something that was under way with it.
  ///
  /// - Returns: the file, and the bytes of a leaf in its midst.
  private func stop(
    _ disk: OpenFileSystem, within what: UnderWay
  ) throws -> (FileID, leaf: Range<UInt64>) {
    let (files, id, _) = try openDamaged(disk)
    disk.device.setFaults([])
    try files.close()
    let leaf = try #require(try disk.leafOfExtents()).bytes
    let again = try disk.open()
    try again.engine.run("test_log") { (transaction) throws(TransactionError) in
      if what == .truncation {
        transaction.put(.loggedOps, .loggedOpTruncate, .min, LoggedOpTruncate.encodedU64s) {
          LoggedOpTruncate(subvolume: id.subvolume, inode: id.inode, newSize: 4096)
            .encode(into: &$0)
        }
      } else {
        let isInsert = what == .insertion
        let shift = LoggedOpFinsert(
          state: RangeShift.start, subvolume: id.subvolume, inode: id.inode,
          destination: isInsert ? 32 : 0, source: 16, position: isInsert ? .max : 16)
        transaction.put(shift, at: .min)
      }
      try transaction.commit()
    }
    try again.sync()
    try disk.letGo(again)
    return (id, leaf)
  }

  /// The volume does not open, and nobody touches the file, until it can be completed.
  @Test(arguments: UnderWay.allCases) func whatMayPassIsWaitedFor(what: UnderWay) throws {
    let disk = try OpenFileSystem()
    let (id, leaf) = try stop(disk, within: what)
    disk.device.setFaults([SimulatedFaultRule(.readError, bytes: leaf)])
    let devices = try FreshVolume.open([disk.device])
    let error = #expect(throws: VolumeError.self) { _ = try BareEngine(on: devices) }
    #expect(error?.code == .allCopiesBad)
    for device in devices { try device.close() }
    disk.device.setFaults([])
    let files = try disk.open()
    #expect(try !hasLoggedOperations(files))
    let found = try files.contents(of: id)
    let size: UInt64 =
      switch what {
      case .truncation: 4096
      case .insertion: Self.byteCount + 8192
      case .removal: Self.byteCount - 8192
      }
    #expect(UInt64(found.count) == size)
    for block in 0..<found.count / 4096 where what != .insertion || !(2..<4).contains(block) {
      try #require(found[block * 4096] == UInt8(block % 2), "block \(block)")
    }
    try files.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }

  private func hasErrors(_ disk: OpenFileSystem) throws -> Bool {
    try disk.read { $0.media.superblock[Superblock.Layout.hasErrors] != 0 }
  }

  /// What is left behind the end then is zeros when the file grows, and the superblock says that
  /// something is wrong before anything else is written.
  @Test func aTruncationThatIsGivenUpWhenAVolumeIsOpenedLeavesNothingToSee() throws {
    let disk = try OpenFileSystem()
    let (id, leaf) = try stop(disk, within: .truncation)
    // For now the leaf is no node.
    let raw = try BlockDevice.open(simulated: disk.device, mode: .exclusiveReadWrite)
    var node = Self.block(0)
    var span = node.mutableRawBytes
    try raw.read(into: &span, atByte: leaf.lowerBound)
    try raw.write(Self.block(9).rawBytes, atByte: leaf.lowerBound)
    try raw.close()
    let files = try disk.open()
    #expect(try !hasLoggedOperations(files))
    #expect(try hasErrors(disk))
    let counts = files.engine.store.findingCounts
    #expect(counts.contains { $0.id == .extent_past_end_of_inode })
    let grow = { () throws(VolumeError) in try files.truncate(id, to: Self.byteCount) }
    expectCode(.allCopiesBad) { () throws(VolumeError) in try grow() }
    try files.engine.media.devices[0]?.write(node.rawBytes, atByte: leaf.lowerBound)
    try grow()
    #expect(try files.contents(of: id).allSatisfy { $0 == 0 })
    try files.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }

  /// Nobody remembers after a crash what is left: the superblock says that something is.
  @Test(arguments: UnderWay.allCases)
  func aCrashDoesNotHideThatSomethingIsLeft(what: UnderWay) throws {
    let disk = try OpenFileSystem()
    let (files, id, _) = try openDamaged(disk)
    expectCode(.allCopiesBad) { () throws(VolumeError) in
      switch what {
      case .truncation: try files.truncate(id, to: 4096)
      case .insertion: try files.change(id, 8192..<16384, .insert)
      case .removal: try files.change(id, 8192..<16384, .collapse)
      }
    }
    #expect(try hasErrors(disk))
    try files.sync()
    try disk.letGo(files)
    disk.device.setFaults([])
    #expect(try hasErrors(disk))
    guard what == .truncation else { return }
    let again = try disk.open()
    try again.truncate(id, to: Self.byteCount)
    #expect(try again.contents(of: id).allSatisfy { $0 == 0 })
    try again.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }

  // MARK: - Snapshots

  /// A snapshot has nothing behind the ends of files that comes to light.
  @Test(arguments: [true, false]) func snapshotsDoNotShowWhatIsLeft(isDamaged: Bool) throws {
    let disk = try OpenFileSystem()
    let (files, id, leaf) = try openDamaged(disk)
    expectCode(.allCopiesBad) { () throws(VolumeError) in try files.truncate(id, to: 4096) }
    if !isDamaged { disk.device.setFaults([]) }
    let root = try files.createSnapshot(of: 1, as: Array("snap".utf8), in: files.root)
    let copy = FileID(subvolume: root.id.subvolume, inode: id.inode)
    if isDamaged {
      expectCode(.allCopiesBad) { () throws(VolumeError) in
        try files.truncate(copy, to: Self.byteCount)
      }
      disk.device.setFaults([])
    } else {
      #expect(try !files.engine.hasData(copy, leaf.lowerBound / 512..<leaf.upperBound / 512))
    }
    for file in [copy, id] {
      try files.truncate(file, to: Self.byteCount)
      #expect(try files.contents(of: file).allSatisfy { $0 == 0 })
    }
    try files.close()
    if !isDamaged { try disk.volume.expectSound([disk.device], "closed", ofFiles: true) }
  }

  /// What a snapshot has too takes more keys when it moves.
  @Test func noRangeIsRemovedWhereThereIsNoRoom() throws {
    let disk = try OpenFileSystem { $0.sizes = [24 << 20] }
    let files = try disk.open()
    let id = try files.makeFile("file")
    for number in stride(from: UInt64(1), to: 200, by: 2) {
      try files.write(id, Self.block(1).rawBytes, at: number * Self.blockBytes)
    }
    try files.sync()
    let before = try files.contents(of: id)
    _ = try files.createSnapshot(of: 1, as: Array("snap".utf8), in: files.root)
    var filler = FullVolumeFiller(files, top: try files.makeDirectory("top"), replicas: 1, seed: 5)
    _ = try #require(try filler.fill(.largeWrites))
    _ = try #require(try filler.fill(.files))
    expectCode(.noSpace) { () throws(VolumeError) in try files.change(id, 8192..<16384, .collapse) }
    #expect(try files.contents(of: id) == before)
    try filler.empty()
    try files.change(id, 8192..<16384, .collapse)
    #expect(try files.contents(of: id).count == before.count - 8192)
    try files.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
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
