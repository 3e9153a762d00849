// SPDX-License-Identifier: GPL-2.0
// Subvolumes and snapshots beside a model: what each shows is what the model says, whatever is done
// to the others, and when the volume is opened again.

internal import BcachefsFormat
internal import BcachefsSupport
internal import FileModel
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct SubvolumeTests {
  private func name(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test(arguments: [UInt64(1), 2, 3, 4])
  func subvolumesShowWhatAModelDoes(seed: UInt64) throws {
    let disk = try OpenFileSystem { $0.sizes = [256 << 20] }
    var files = try disk.open(seed: seed)
    var model = SubvolumeModel(files, seed: seed)
    let steps = runsLongTests ? 3000 : 300
    for round in 0..<3 {
      for number in 0..<steps {
        let what = try model.step(files)
        if number % 50 == 0 || number < 300 {
          let differences = try model.differences(in: files)
          #expect(differences == [], "seed \(seed), step \(number) of round \(round): \(what)")
          if !differences.isEmpty { return }
        }
      }
      #expect(try model.differences(in: files) == [], "seed \(seed), round \(round)")
      if round == 1 {
        try files.cleanSnapshots()
        #expect(try !files.hasDeadSnapshots())
        #expect(try model.differences(in: files) == [], "seed \(seed), cleaned")
        #expect(try files.storedSubvolumes() == model.ids)
      }
      try files.close()
      try expectSound(disk.device, "seed \(seed), round \(round)")
      try disk.read { volume in
        let differences = try model.differences(in: volume)
        #expect(differences == [], "seed \(seed), round \(round), closed")
      }
      files = try disk.open(seed: seed + 9)
      #expect(files.engine.deadInodeCount.load(ordering: .relaxed) == 0)
    }
    #expect(model.snapshots > 20 && model.deletions > 15)
    try files.close()
  }

  @Test func aSubvolumeIsARootOfItsOwn() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let before = try files.attributes(of: files.root)
    let made = try files.createSubvolume(
      name("sub"), in: files.root, FileCreation(.directory, permissions: 0o750))
    #expect(made.id.subvolume == 2)
    #expect(made.mode == 0o040750 && made.linkCount == 2)
    #expect(try files.lookup(name("sub"), in: files.root).id == made.id)
    #expect(try files.attributes(of: files.root).linkCount == before.linkCount)
    #expect(try files.parent(of: made.id) == files.root)
    expectCode(.exists) { () throws(VolumeError) in
      try files.createSubvolume(
        name("sub"), in: files.root, FileCreation(.directory, permissions: 0o755))
    }
    let file = try files.makeFile("file", in: made.id)
    expectCode(.notFound) { () throws(VolumeError) in
      try files.deleteSubvolume(name("file"), in: made.id)
    }
    let inner = try files.createSubvolume(
      name("inner"), in: made.id, FileCreation(.directory, permissions: 0o755))
    expectCode(.notEmpty) { () throws(VolumeError) in
      try files.deleteSubvolume(name("sub"), in: files.root)
    }
    try files.deleteSubvolume(name("inner"), in: made.id)
    expectCode(.notFound) { () throws(VolumeError) in try files.attributes(of: inner.id) }
    try files.deleteSubvolume(name("sub"), in: files.root)
    expectCode(.notFound) { () throws(VolumeError) in try files.attributes(of: file) }
    expectCode(.notFound) { () throws(VolumeError) in
      try files.lookup(name("sub"), in: files.root)
    }
    // Numbers are not used again while somebody may know a file by them.
    let again = try files.createSubvolume(
      name("sub"), in: files.root, FileCreation(.directory, permissions: 0o755))
    #expect(again.id.subvolume == 4)
    try files.cleanSnapshots()
    #expect(try files.storedSubvolumes() == [1, 4])
    try files.close()
    try expectSound(disk.device)
  }

  @Test func aSnapshotHasWhatWasWrittenBeforeAndNothingElse() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let file = try files.makeFile("file")
    try files.write(file, name("before").rawBytes, at: 0)
    let snapshot = try files.createSnapshot(
      of: 1, as: name("snap"), in: files.root, isReadOnly: true)
    try files.write(file, name("after!").rawBytes, at: 0)
    let old = FileID(subvolume: snapshot.id.subvolume, inode: file.inode)
    #expect(try files.allBytes(of: old) == name("before"))
    #expect(try files.allBytes(of: file) == name("after!"))
    // The snapshot's own name counts in the first subvolume only.
    expectCode(.notFound) { () throws(VolumeError) in
      try files.lookup(name("snap"), in: snapshot.id)
    }
    expectCode(.readOnly) { () throws(VolumeError) in
      try files.write(old, name("x").rawBytes, at: 0)
    }
    expectCode(.readOnly) { () throws(VolumeError) in
      try files.createSnapshot(of: 1, as: name("x"), in: snapshot.id)
    }
    let second = try files.createSnapshot(
      of: snapshot.id.subvolume, as: name("second"), in: files.root)
    let copy = FileID(subvolume: second.id.subvolume, inode: file.inode)
    try files.write(copy, name("second").rawBytes, at: 0)
    #expect(try files.allBytes(of: old) == name("before"))
    #expect(try files.allBytes(of: copy) == name("second"))
    try files.close()
    try expectSound(disk.device)
  }

  @Test func whatIsOpenInADeletedSubvolumeIsForgotten() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open(withThreads: true)
    let sub = try files.createSubvolume(
      name("sub"), in: files.root, FileCreation(.directory, permissions: 0o755))
    let (open, unlinked) = (
      try files.makeFile("open", in: sub.id), try files.makeFile("unlinked", in: sub.id)
    )
    for file in [open, unlinked] {
      try files.hold(file)
      try files.write(file, [UInt8](repeating: 7, count: 300_000).rawBytes, at: 5)
    }
    try files.unlink(name("unlinked"), in: sub.id)
    try files.deleteSubvolume(name("sub"), in: files.root)
    #expect(files.contents.dirtyByteCount == 0)
    expectCode(.notFound) { () throws(VolumeError) in
      try files.write(open, [1].rawBytes, at: 0)
    }
    try files.cleanSnapshots()
    try files.letGo(open)
    try files.letGo(unlinked)
    #expect(try !files.hasDeletedInodes())
    #expect(try files.storedSubvolumes() == [1])
    try files.sync()
    try files.close()
    try expectSound(disk.device)
  }

  /// Who writes numbers in order to two files, each to the first before it is in the second, finds
  /// no snapshot in which the second is ahead, nor one that lacks what was written before it.
  @Test func snapshotsShowAPrefixOfWhatThreadsWrite() throws {
    let disk = try OpenFileSystem { $0.sizes = [256 << 20] }
    let files = try disk.open(withThreads: true)
    let sub = try files.createSubvolume(
      name("sub"), in: files.root, FileCreation(.directory, permissions: 0o755)
    ).id
    let pairs = try (0..<2).map { number in
      (try files.makeFile("a\(number)", in: sub), try files.makeFile("b\(number)", in: sub))
    }
    let counts = InlineCounts()
    let isEnd = Atomic<Bool>(false)
    let taken = Mutex<[(root: FileID, before: [UInt64])]>([])
    onThreads(3) { thread in
      do {
        if thread < 2 {
          var number: UInt64 = 0
          while !isEnd.load(ordering: .relaxed) {
            number += 1
            let bytes = Self.bytes(number, count: 5000)
            try files.write(pairs[thread].0, bytes.rawBytes, at: 0)
            try files.write(pairs[thread].1, bytes.rawBytes, at: 0)
            counts.set(thread, number)
          }
        } else {
          defer { isEnd.store(true, ordering: .relaxed) }
          for number in 0..<12 {
            let before = [counts.get(0), counts.get(1)]
            let made = try files.createSnapshot(
              of: sub.subvolume, as: Array("snap\(number)".utf8), in: files.root)
            taken.withLock { $0.append((made.id, before)) }
          }
        }
      } catch {
        Issue.record("thread \(thread): \(error)")
      }
    }
    for (root, before) in taken.withLock({ $0 }) {
      for (thread, pair) in pairs.enumerated() {
        let seen = try [pair.0, pair.1].map { file in
          Self.number(
            try files.allBytes(of: FileID(subvolume: root.subvolume, inode: file.inode)))
        }
        #expect(seen[0] >= before[thread] && seen[1] >= before[thread])
        #expect(seen[0] == seen[1] || seen[0] == seen[1] + 1, "\(seen)")
      }
    }
    try files.close()
    try expectSound(disk.device)
  }

  private static func bytes(_ number: UInt64, count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: number >> UInt64($0 % 8 * 8)) }
  }

  private static func number(_ bytes: [UInt8]) -> UInt64 {
    bytes.count < 8 ? 0 : (0..<8).reduce(0) { $0 | UInt64(bytes[$1]) << UInt64($1 * 8) }
  }

  @Test func cleaningEndsWithinAStepAndGoesOnWhenTheVolumeIsOpenedAgain() throws {
    let disk = try OpenFileSystem()
    var files = try disk.open()
    let sub = try files.createSubvolume(
      name("sub"), in: files.root, FileCreation(.directory, permissions: 0o755)
    ).id
    for number in 0..<600 { _ = try files.makeFile("file \(number)", in: sub) }
    _ = try files.createSnapshot(of: sub.subvolume, as: name("snap"), in: files.root)
    try files.deleteSubvolume(name("sub"), in: files.root)
    var openings = 0
    while try files.hasDeadSnapshots() {
      var steps = 0
      try files.cleanSnapshots {
        steps += 1
        return steps > 3 + openings
      }
      #expect(steps <= 4 + openings)
      try files.close()
      try expectSound(disk.device, "opening \(openings)")
      files = try disk.open(seed: UInt64(openings))
      openings += 1
      // All keys that are left are looked at anew: who has more time each time gets through.
      try #require(openings < 100)
    }
    #expect(openings > 2)
    let left = try files.lookup(name("snap"), in: files.root).id
    #expect(try files.entries(of: left, limit: 10_000).count == 600)
    #expect(files.engine.snapshots.withLock { $0.ids }.count == 2)
    try files.close()
    try expectSound(disk.device)
  }

  /// A chain of snapshots, each of the one before, of which all but the first and last go.
  @Test func aChainOfSnapshotsGivesWayToItsEnds() throws {
    let disk = try OpenFileSystem { $0.sizes = [128 << 20] }
    let files = try disk.open()
    let file = try files.makeFile("file")
    var last: UInt32 = 1
    var contents: [[UInt8]] = []
    for number in 0..<20 {
      let text = name("text \(number)")
      try files.write(FileID(subvolume: last, inode: file.inode), text.rawBytes, at: 0)
      contents.append(text)
      last = try files.createSnapshot(
        of: last, as: name("snap \(number)"), in: files.root
      ).id.subvolume
    }
    for number in 0..<19 { try files.deleteSubvolume(name("snap \(number)"), in: files.root) }
    try files.cleanSnapshots()
    let table = files.engine.snapshots.withLock { $0 }
    #expect(table.ids.count == 3)
    #expect(table.ids.compactMap { table[$0]?.depth } == [1, 1, 0])
    #expect(try files.allBytes(of: file) == contents[0])
    #expect(try files.allBytes(of: FileID(subvolume: last, inode: file.inode)) == contents[19])
    try files.deleteSubvolume(name("snap 19"), in: files.root)
    try files.cleanSnapshots()
    #expect(files.engine.snapshots.withLock { $0.ids }.count == 1)
    #expect(try files.allBytes(of: file) == contents[0])
    try files.close()
    try expectSound(disk.device)
  }
}

extension FileSystem {
  /// Whether something is left of subvolumes that were deleted.
  func hasDeadSnapshots() throws -> Bool { try !engine.snapshotPlan().isEmpty }

  /// The numbers of all subvolumes, those that are on their way out too.
  func storedSubvolumes() throws -> [UInt32] {
    try engine.run("test_subvolumes") { (transaction) throws(TransactionError) in
      var ids: [UInt32] = []
      var walk = KeyWalk(.subvolumes, from: .min)
      while let found = try transaction.next(&walk) {
        if found.key.type == .subvolume {
          ids.append(UInt32(truncatingIfNeeded: found.key.position.offset))
        }
      }
      return ids
    }
  }
}

/// What threads have done so far.
private final class InlineCounts: Sendable {
  private let first = Atomic<UInt64>(0)
  private let second = Atomic<UInt64>(0)

  func set(_ thread: Int, _ value: UInt64) {
    if thread == 0 {
      first.store(value, ordering: .sequentiallyConsistent)
    } else {
      second.store(value, ordering: .sequentiallyConsistent)
    }
  }

  func get(_ thread: Int) -> UInt64 {
    thread == 0
      ? first.load(ordering: .sequentiallyConsistent)
      : second.load(ordering: .sequentiallyConsistent)
  }
}
