// SPDX-License-Identifier: GPL-2.0
// What others do while snapshots are cleaned up, between two of its steps, each chosen to put keys
// where the cleaner has been already.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import FileModel
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct DeadSnapshotTests {
  /// Of extents with a checksum (`encoded_extent_max`).
  private static let extentBytes = 64 << 10

  /// What is done to a file of which the cleaner has done a part.
  enum Meanwhile: CaseIterable {
    /// The second half of each extent is written over, in part.
    case writes
    /// Its data goes elsewhere.
    case moves
    case both
  }

  private func name(_ text: String) -> [UInt8] { Array(text.utf8) }

  private func noise(_ count: Int, _ seed: UInt64) -> [UInt8] {
    var random = SplitMix64(seed: seed)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }

  /// An extent of which the cleaner has seen what hides it from the snapshot that goes, but not the
  /// extent itself yet, is split: its first part is then where the cleaner has been already.
  @Test(arguments: Meanwhile.allCases, [true, false])
  func whatIsSplitBehindTheCleanerStays(_ meanwhile: Meanwhile, isOdd: Bool) throws {
    for call in 3..<6 {
      let comment: Comment = "\(meanwhile), \(isOdd), call \(call)"
      let disk = try OpenFileSystem { $0.sizes = [256 << 20] }
      let files = try disk.open(seed: UInt64(call))
      // One key that changes before those of the file.
      let first = try files.makeFile("first")
      if isOdd { try files.write(first, noise(Self.extentBytes, 1).rawBytes, at: 0) }
      let file = try files.makeFile("file")
      var model = noise(64 * Self.extentBytes, 2)
      try files.write(file, model.rawBytes, at: 0)
      try files.sync()
      let snapshot = try files.createSnapshot(of: 1, as: name("snap"), in: files.root)
      try files.unlink(name("file"), in: snapshot.id)
      if isOdd { try files.write(first, noise(Self.extentBytes, 3).rawBytes, at: 0) }
      try files.sync()
      try files.deleteSubvolume(name("snap"), in: files.root)
      let mover = ExtentMover(files.engine)
      var calls = 0
      var failure: (any Error)?
      try files.cleanSnapshots {
        calls += 1
        guard calls == call else { return false }
        do {
          if meanwhile != .writes { try files.evacuateAll(of: file, mover) }
          guard meanwhile != .moves else { return false }
          for start in stride(from: Self.extentBytes / 2, to: model.count, by: Self.extentBytes) {
            let new = noise(4096, UInt64(start))
            try files.write(file, new.rawBytes, at: UInt64(start))
            model.replaceSubrange(start..<start + new.count, with: new)
          }
          try files.fsync(file)
        } catch {
          failure = error
        }
        return false
      }
      #expect(failure == nil, comment)
      #expect(try !files.hasDeadSnapshots(), comment)
      #expect(files.engine.snapshots.withLock { $0.ids }.count == 1, comment)
      #expect(try files.keysOutsideOfSnapshots() == [], comment)
      #expect(try files.allBytes(of: file) == model, comment)
      try files.close()
      try expectSound(disk.device, comment)
    }
  }

  /// A file without a name that somebody holds is in a node that gives way: its extents have gone
  /// to the heir, the inode has not yet, when power fails. All of it goes at the next opening.
  @Test func whatHasMovedOfAFileWithoutANameGoesWithIt() throws {
    var isFound = false
    for call in 2..<8 {
      let disk = try OpenFileSystem({ $0.sizes = [64 << 20] }, recorded: true)
      let files = try disk.open()
      let file = try files.makeFile("file")
      try files.write(file, noise(20 * Self.extentBytes, 2).rawBytes, at: 0)
      try files.hold(file)
      try files.unlink(name("file"), in: files.root)
      try files.sync()
      _ = try files.createSnapshot(of: 1, as: name("snap"), in: files.root)
      try files.deleteSubvolume(name("snap"), in: files.root)
      var calls = 0
      try files.cleanSnapshots {
        calls += 1
        return calls == call
      }
      try files.sync()
      isFound = try isFound || files.hasDeadSnapshots()
      let image = disk.device.crashImage(.all)
      try disk.letGo(files)
      let comment: Comment = "call \(call)"
      try expectSound(image, comment)
      let left = OpenFileSystem(on: image)
      let again = try left.open()
      #expect(try !again.hasDeletedInodes(), comment)
      try again.close()
      try expectSound(image, "\(comment), opened again")
    }
    #expect(isFound)
  }

  /// The number of a file that the cleaner is about to delete is another one's by then, which is
  /// not held yet.
  @Test func aNewFileWithTheNumberOfADeadOneStays() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    func makeDead() throws -> BPos {
      let setting = files.setting()
      let inode = try files.engine.run("test_create") { (transaction) throws(TransactionError) in
        let inode = try transaction.create(
          nil, in: files.root, FileCreation(.regular, permissions: 0o644), setting)
        try transaction.commit()
        return inode
      }
      return BPos(0, inode.number, inode.snapshot)
    }
    let old = try makeDead()
    let dead = try files.cleaner.unreachableFiles()
    #expect(dead.count == 1)
    try files.engine.deleteInode(old)
    let new = try makeDead()
    try #require(new == old)
    try files.cleaner.delete(dead)
    #expect(try files.hasDeletedInodes())
    try files.cleaner.delete(try files.cleaner.unreachableFiles())
    #expect(try !files.hasDeletedInodes())
    try files.close()
    try expectSound(disk.device)
  }

  /// IDs of snapshots that are gone serve again: what is in the new one counts for nobody.
  @Test func aSnapshotWithTheIDOfACountedOneCountsForNobody() throws {
    let disk = try QuotaVolume.make()
    let files = try disk.open()
    var creation = FileCreation(.directory, permissions: 0o755)
    (creation.uid, creation.gid) = (1000, 100)
    _ = try files.createSubvolume(name("sub"), in: files.root, creation)
    try files.deleteSubvolume(name("sub"), in: files.root)
    try files.cleanSnapshots()
    let before = UseTable(files.quotaReports())
    let snapshot = try files.createSnapshot(of: 1, as: name("snap"), in: files.root)
    _ = try files.makeOwnedFile("file", in: snapshot.id)
    let (kept, counted) = try files.useTables()
    // The root directory has one name more.
    #expect(kept == counted)
    #expect(kept == before)
    try files.close()
  }
}

extension FileSystem {
  /// Moves all that a file has in closed buckets elsewhere.
  func evacuateAll(of id: FileID, _ mover: ExtentMover) throws {
    var counts = EvacuationCounts()
    var done: Set<BPos> = []
    for pointer in try places(of: id).flatMap(\.pointers) {
      guard let bucket = engine.media.member(pointer.device)?.bucket(ofSector: pointer.offset)
      else { continue }
      let position = Positions.bucket(device: pointer.device, bucket: bucket)
      guard done.insert(position).inserted, !engine.openBuckets.contains(position) else { continue }
      try engine.evacuate(
        FragmentedBucket(
          position: position, generation: pointer.generation, sectors: 1, wasted: 1),
        mover, &counts, until: { false })
    }
    #expect(counts.failed == 0)
  }

  /// Keys of files in snapshots that there are not.
  func keysOutsideOfSnapshots() throws -> [String] {
    let table = engine.snapshots.withLock { $0 }
    var result: [String] = []
    for number in 0..<BTreeID.count where BTreeID(rawValue: number).hasSnapshots {
      result += try engine.run("test_keys") { (transaction) throws(TransactionError) in
        var found: [String] = []
        var walk = KeyWalk(BTreeID(rawValue: number), from: .min)
        while let view = try transaction.next(&walk) {
          let position = view.key.position
          if table[position.snapshot] == nil { found.append("\(number): \(position)") }
        }
        return found
      }
    }
    return result
  }
}
