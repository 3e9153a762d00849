// SPDX-License-Identifier: GPL-2.0
// Snapshots that are cleaned up beside a model while others write, step by step and with threads.

internal import BcachefsFormat
internal import BcachefsSupport
internal import FileModel
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct SnapshotCleaningTests {
  private static func name(_ text: String) -> [UInt8] { Array(text.utf8) }

  /// Between any two steps of the cleaner something is done: to the subvolumes that stay, and to
  /// those that go, too.
  @Test(arguments: [UInt64(1), 2, 3, 4])
  func betweenStepsAnythingMayBeDone(seed: UInt64) throws {
    let disk = try OpenFileSystem {
      $0.sizes = [256 << 20]
      $0.build.bucketBytes = 512 << 10
    }
    let files = try disk.open(seed: seed)
    var model = SubvolumeModel(files, seed: seed)
    model.cleansUp = false
    var random = SplitMix64(seed: seed)
    let rounds = runsLongTests ? 60 : 6
    for round in 0..<rounds {
      for _ in 0..<40 { _ = try model.step(files) }
      try files.sync()
      var failure: (any Error)?
      var calls = 0
      try files.cleanSnapshots {
        calls += 1
        // What is deleted meanwhile keeps it busy: it is to come to an end.
        guard failure == nil, calls < 300 else { return false }
        do {
          for _ in 0..<random.next() % 4 { _ = try model.step(files) }
          files.contents.writeAll()
        } catch {
          failure = error
        }
        return false
      }
      let comment: Comment = "seed \(seed), round \(round), \(calls) calls"
      #expect(failure == nil, comment)
      #expect(try files.keysOutsideOfSnapshots() == [], comment)
      let differences = try model.differences(in: files)
      try #require(differences == [], comment)
    }
    #expect(model.snapshots > rounds && model.deletions > rounds)
    try files.cleanSnapshots()
    #expect(try !files.hasDeadSnapshots())
    #expect(try files.storedSubvolumes() == model.ids)
    try files.close()
    try expectSound(disk.device, "seed \(seed)")
    let left = try disk.read { volume in try model.differences(in: volume) }
    #expect(left == [])
  }

  /// Files with extents that are split, names and attributes that come and go, by one thread.
  private struct Writer {
    let files: FileSystem
    var random: SplitMix64
    var contents: [String: [UInt8]] = [:]
    var attributes: [String: [String: [UInt8]]] = [:]
    var ids: [String: FileID] = [:]

    private mutating func below(_ limit: Int) -> Int { Int(random.next() % UInt64(limit)) }

    mutating func make(_ name: String, byteCount: Int) throws {
      let id = try files.makeFile(name)
      let fill = random.next()
      let bytes = (0..<byteCount).map { UInt8(truncatingIfNeeded: fill &+ UInt64($0 / 97)) }
      if byteCount > 0 { try files.write(id, bytes.rawBytes, at: 0) }
      (contents[name], ids[name], attributes[name]) = (bytes, id, [:])
    }

    mutating func step() throws {
      let known = contents.keys.sorted()
      let name = known[below(known.count)]
      guard let id = ids[name] else { return }
      switch below(10) {
      case 0:
        let new = "n\(below(8))"
        if ids[new] == nil { return try make(new, byteCount: below(200_000)) }
        try files.unlink(Array(new.utf8), in: files.root)
        (contents[new], ids[new], attributes[new]) = (nil, nil, nil)
      case 1:
        let attribute = "user.a\(below(4))"
        if attributes[name]?[attribute] == nil {
          let value = [UInt8](repeating: UInt8(below(256)), count: 1 + below(60))
          try files.setXattr(Array(attribute.utf8), of: id, to: value)
          attributes[name]?[attribute] = value
        } else {
          try files.removeXattr(Array(attribute.utf8), of: id)
          attributes[name]?[attribute] = nil
        }
      default:
        guard var bytes = contents[name], !bytes.isEmpty else { return }
        let start = below(bytes.count)
        let new = [UInt8](
          repeating: UInt8(below(256)), count: min(1 + below(9000), bytes.count - start))
        try files.write(id, new.rawBytes, at: UInt64(start))
        bytes.replaceSubrange(start..<start + new.count, with: new)
        contents[name] = bytes
        if below(3) != 0 { try files.fsync(id) }
      }
    }

    /// Where the files are not as they should be.
    func differences() throws -> [String] {
      var lines: [String] = []
      for (name, bytes) in contents {
        let id = try files.lookup(Array(name.utf8), in: files.root).id
        let found = try files.allBytes(of: id)
        if found != bytes {
          let first = zip(found, bytes).enumerated().first { $1.0 != $1.1 }?.offset
          lines.append("\(name): \(found.count) of \(bytes.count) bytes, differs at \(first ?? -1)")
        }
        let names = try files.xattrNames(of: id).filter { $0.starts(with: Array("user.".utf8)) }
        var seen: [String: [UInt8]] = [:]
        for attribute in names {
          seen[String(decoding: attribute, as: UTF8.self)] = try files.xattr(attribute, of: id)
        }
        if seen != attributes[name] { lines.append("\(name): attributes \(seen)") }
      }
      let names = Set(
        try files.entries(of: files.root, limit: 1000).map {
          String(decoding: $0.name, as: UTF8.self)
        })
      for name in names where name.hasPrefix("n") && contents[name] == nil {
        lines.append("\(name): is there")
      }
      return lines
    }
  }

  private func differences(_ writer: borrowing Mutex<Writer>) throws -> [String] {
    try writer.withLock { try $0.differences() }
  }

  private func takeAndDeleteSnapshots(
    _ files: FileSystem, rounds: Int, seed: UInt64
  ) throws {
    var random = SplitMix64(seed: seed)
    for round in 0..<rounds {
      let snapshot = try files.createSnapshot(
        of: 1, as: Self.name("snap \(round)"), in: files.root)
      for number in 0..<6 {
        let file = Self.name("file \(number)")
        switch random.next() % 4 {
        case 0: try files.unlink(file, in: snapshot.id)
        case 1:
          let id = try files.lookup(file, in: snapshot.id).id
          for _ in 0..<10 {
            try files.write(
              id, [UInt8](repeating: 1, count: 5000).rawBytes, at: random.next() % (1 << 20))
          }
          try files.fsync(id)
        default: break
        }
      }
      // Some stay for a while: so there are chains.
      guard round >= 2, random.next() % 3 != 0 || round % 4 == 0 else { continue }
      for old in 0...round {
        guard (try? files.lookup(Self.name("snap \(old)"), in: files.root)) != nil,
          old < round - 1 || round % 4 == 0
        else { continue }
        try files.deleteSubvolume(Self.name("snap \(old)"), in: files.root)
      }
      try files.cleanSnapshots()
    }
  }

  /// A thread writes all the time, and another takes snapshots, changes them and deletes them: the
  /// cleaner comes to an end, and nothing of what was written is lost.
  @Test(arguments: [UInt64(1), 2])
  func whatIsWrittenBesideTheCleanerStays(seed: UInt64) throws {
    let disk = try OpenFileSystem {
      $0.sizes = [512 << 20]
      $0.build.bucketBytes = 512 << 10
    }
    let files = try disk.open(seed: seed, withThreads: true)
    let isEnd = Atomic<Bool>(false)
    let steps = Atomic<Int>(0)
    let rounds = runsLongTests ? 200 : 12
    let writer = Mutex(Writer(files: files, random: SplitMix64(seed: seed)))
    try writer.withLock { writer in
      for number in 0..<6 { try writer.make("file \(number)", byteCount: 1 << 20) }
    }
    try files.sync()
    onThreads(3) { thread in
      do {
        switch thread {
        case 0:
          var own = writer.withLock { $0 }
          defer { writer.withLock { $0 = own } }
          while !isEnd.load(ordering: .relaxed) {
            try own.step()
            steps.add(1, ordering: .relaxed)
          }
        case 1:
          let mover = ExtentMover(files.engine)
          while !isEnd.load(ordering: .relaxed) {
            for number in 0..<6 {
              let id = try files.lookup(Self.name("file \(number)"), in: files.root).id
              try files.evacuateAll(of: id, mover)
              try files.engine.freeWhatWasReplaced()
            }
          }
        default:
          defer { isEnd.store(true, ordering: .relaxed) }
          try takeAndDeleteSnapshots(files, rounds: rounds, seed: seed &+ 99)
        }
      } catch {
        isEnd.store(true, ordering: .relaxed)
        Issue.record("seed \(seed), thread \(thread): \(error)")
      }
    }
    let comment: Comment = "seed \(seed), \(steps.load(ordering: .relaxed)) steps"
    #expect(steps.load(ordering: .relaxed) > 10, comment)
    #expect(try files.keysOutsideOfSnapshots() == [], comment)
    #expect(try differences(writer) == [], comment)
    try files.cleanSnapshots()
    #expect(try !files.hasDeadSnapshots(), comment)
    #expect(try differences(writer) == [], comment)
    try files.close()
    try expectSound(disk.device, comment)
  }
}
