// SPDX-License-Identifier: GPL-2.0
// Operations of several threads: on directories of their own each sees what a model says; on shared
// ones each name leads to something, and everything is counted.

internal import BcachefsFormat
internal import BcachefsSupport
internal import FileModel
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct FileThreadTests {
  @Test(arguments: [UInt64(1), 2])
  func threadsOnDirectoriesOfTheirOwnDoWhatTheirModelsDo(seed: UInt64) throws {
    let disk = try OpenFileSystem()
    let files = try disk.open(seed: seed, withThreads: true, cacheBytes: 2 << 20)
    let tops = try (0..<4).map { try files.makeDirectory("top \($0)") }
    let steps = runsLongTests ? 50_000 : 1500
    let failures = Mutex<[String]>([])
    onThreads(4) { thread in
      do {
        var run = FileModelRun(top: tops[thread], seed: seed &* 16 &+ UInt64(thread))
        for _ in 0..<steps { try run.step(files) }
        try run.letGoOfAll(files)
        let differences = try run.differences(in: files, top: tops[thread])
        failures.withLock { $0 += differences }
      } catch {
        failures.withLock { $0.append("\(error)") }
      }
    }
    let failed = failures.withLock { $0 }
    #expect(failed == [], "seed \(seed)")
    try files.close()
    try expectSound(disk.device, "seed \(seed)")
    try disk.read { volume in
      let violations = try TreeInvariants.violations(in: volume)
      #expect(violations == [], "seed \(seed)")
    }
  }

  /// What may be refused where others change the same directories.
  private static let expected: Set<VolumeError.Code> = [
    .notFound, .exists, .notEmpty, .notADirectory, .isADirectory, .loop, .notPermitted,
    .noAttribute,
  ]

  @Test(arguments: [UInt64(1), 2, 3])
  func threadsOnTheSameDirectoriesLeaveAWholeTree(seed: UInt64) throws {
    let disk = try OpenFileSystem()
    let files = try disk.open(seed: seed, withThreads: true)
    let tops = try (0..<3).map { try files.makeDirectory("top \($0)") }
    let steps = runsLongTests ? 60_000 : 2000
    let failures = Mutex<[String]>([])
    let refusals = Atomic<Int>(0)
    onThreads(4) { thread in
      var work = SharedWork(random: SplitMix64(seed: seed &* 16 &+ UInt64(thread)), tops: tops)
      for _ in 0..<steps {
        do throws(VolumeError) {
          try work.step(files)
        } catch {
          refusals.add(1, ordering: .relaxed)
          if !Self.expected.contains(error.code) {
            failures.withLock { $0.append("\(error.code): \(error)") }
          }
        }
      }
      for id in work.held {
        do throws(VolumeError) { try files.letGo(id) } catch {
          failures.withLock { $0.append("\(error)") }
        }
      }
    }
    let failed = failures.withLock { $0 }
    #expect(failed == [], "seed \(seed)")
    #expect(refusals.load(ordering: .relaxed) < 4 * steps * 9 / 10)
    try files.close()
    try expectSound(disk.device, "seed \(seed)")
    try disk.read { volume in
      let violations = try TreeInvariants.violations(in: volume)
      #expect(violations == [], "seed \(seed)")
    }
  }

  /// What one thread does in directories that others change too.
  private struct SharedWork {
    var random: SplitMix64
    let tops: [FileID]
    var held: [FileID] = []

    init(random: SplitMix64, tops: [FileID]) {
      self.random = random
      self.tops = tops
    }

    private mutating func below(_ limit: Int) -> Int {
      Int(truncatingIfNeeded: random.next() % UInt64(limit))
    }

    private mutating func name() -> [UInt8] { Array("n\(below(8))".utf8) }

    /// One of the tops, or a directory in it.
    private mutating func directory(_ files: FileSystem) throws(VolumeError) -> FileID {
      let top = tops[below(tops.count)]
      guard below(2) == 0 else { return top }
      let found = try files.lookup(name(), in: top)
      return found.kind == .directory ? found.id : top
    }

    mutating func step(_ files: FileSystem) throws(VolumeError) {
      let (name, parent) = (name(), try directory(files))
      switch below(12) {
      case 0, 1:
        _ = try files.create(name, in: parent, FileCreation(.regular, permissions: 0o644))
      case 2, 3:
        _ = try files.create(name, in: parent, FileCreation(.directory, permissions: 0o755))
      case 4: try files.unlink(name, in: parent)
      case 5: try files.removeDirectory(name, in: parent)
      case 6, 7, 8:
        let flags: RenameFlags = [[], .exchange, .noReplace][below(3)]
        try files.rename(name, in: parent, to: self.name(), in: directory(files), flags)
      case 9:
        let file = try files.lookup(name, in: parent).id
        _ = try files.link(file, as: self.name(), in: directory(files))
      case 10:
        if held.count > 4 {
          try files.letGo(held.removeLast())
        } else {
          let file = try files.lookup(name, in: parent).id
          try files.hold(file)
          held.append(file)
        }
      default:
        let file = try files.lookup(name, in: parent).id
        try files.setXattr(Array("user.a".utf8), of: file, to: [1, 2, 3])
        var offset: UInt64 = 0
        while let last = try files.entries(of: parent, from: offset, limit: 3).last {
          offset = last.nextOffset
        }
      }
    }
  }
}
