// SPDX-License-Identifier: GPL-2.0
// Ranges that files share: what is read of each is what a model in memory says, whatever the others
// do, and what nobody uses any more goes.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct ReflinkTests {
  /// Files of a volume, and what they should be.
  private struct Run {
    let files: FileSystem
    var models: [FileID: [UInt8]]
    var random: SplitMix64

    mutating func below(_ limit: Int) -> Int { Int(random.next() % UInt64(max(limit, 1))) }

    mutating func anyFile() -> FileID {
      let all = models.keys.sorted { $0.inode < $1.inode }
      return all[below(all.count)]
    }

    private func replace(_ model: inout [UInt8], _ offset: Int, _ bytes: [UInt8]) {
      if model.count < offset + bytes.count {
        model += [UInt8](repeating: 0, count: offset + bytes.count - model.count)
      }
      model.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    }

    private mutating func change(
      _ file: FileID, _ body: (inout [UInt8], inout Run) -> Void
    ) {
      var model = models[file] ?? []
      models[file] = nil
      body(&model, &self)
      models[file] = model
    }

    /// Does something to a file and to its model; what it was.
    mutating func step() throws -> String {
      let (limit, block) = (400 << 10, Int(files.engine.media.options[.blockSize]))
      let file = anyFile()
      let offset = below(limit) / (below(2) == 0 ? 1 : block) * (below(2) == 0 ? 1 : block) % limit
      let aligned = offset / block * block
      let count = 1 + below(below(3) == 0 ? 100_000 : 9000)
      switch below(12) {
      case 0..<3:
        let seed = random.next()
        let bytes = (0..<count).map {
          UInt8(truncatingIfNeeded: seed >> UInt64($0 % 57) &+ UInt64($0 / 300))
        }
        try files.write(file, bytes.rawBytes, at: UInt64(offset))
        change(file) { (model, run) in run.replace(&model, offset, bytes) }
        return "write \(file.inode) \(offset)+\(count)"
      case 3..<8:
        let source = anyFile()
        let model = models[source] ?? []
        // Often alike in their blocks, often to the end.
        let from = below(4) == 0 ? below(model.count + 1) : below(model.count + 1) / block * block
        let to = below(4) == 0 ? offset : aligned + from % block
        let length = below(3) == 0 ? model.count - from : min(count * 3, model.count - from)
        guard length > 0, source != file || from + length <= to || to + length <= from else {
          return "nothing"
        }
        let copied = try files.copyRange(
          from: source, UInt64(from)..<UInt64(from + length), to: file, at: UInt64(to))
        #expect(copied == UInt64(length))
        let bytes = Array(model[from..<from + length])
        change(file) { (model, run) in run.replace(&model, to, bytes) }
        return "copy \(source.inode) \(from)+\(length) to \(file.inode) \(to)"
      case 8:
        let new = below(limit)
        try files.truncate(file, to: UInt64(new))
        change(file) { (model, _) in
          if new < model.count {
            model.removeLast(model.count - new)
          } else {
            model += [UInt8](repeating: 0, count: new - model.count)
          }
        }
        return "truncate \(file.inode) \(new)"
      default: return try changeRange(of: file, offset, count, block)
      }
    }

    /// Punches, inserts or removes a range of a file, or makes it durable.
    private mutating func changeRange(
      of file: FileID, _ offset: Int, _ count: Int, _ block: Int
    ) throws -> String {
      let (size, aligned) = (models[file]?.count ?? 0, offset / block * block)
      switch below(3) {
      case 0:
        try files.change(file, UInt64(offset)..<UInt64(offset + count), .punch)
        change(file) { (model, _) in
          let range = (offset..<offset + count).clamped(to: 0..<model.count)
          model.replaceSubrange(range, with: repeatElement(0, count: range.count))
        }
        return "punch \(file.inode) \(offset)+\(count)"
      case 1:
        let length = (1 + below(8)) * block
        let isInsert = below(2) == 0
        guard isInsert ? aligned < size : aligned + length < size else { return "nothing" }
        try files.change(
          file, UInt64(aligned)..<UInt64(aligned + length), isInsert ? .insert : .collapse)
        change(file) { (model, _) in
          if isInsert {
            model.insert(contentsOf: repeatElement(0, count: length), at: aligned)
          } else {
            model.removeSubrange(aligned..<aligned + length)
          }
        }
        return "\(isInsert ? "insert" : "collapse") \(file.inode) \(aligned)+\(length)"
      default:
        try files.fsync(file)
        return "fsync \(file.inode)"
      }
    }

    /// Files that are not what they should be.
    func differences() throws -> [String] {
      try models.compactMap { (file, model) -> String? in
        var bytes = [UInt8](repeating: 0xee, count: model.count + 1)
        var span = bytes.mutableRawBytes
        let count = try files.read(file, from: 0, into: &span)
        guard count == model.count else { return "\(file.inode): \(count), not \(model.count)" }
        if bytes.prefix(count).elementsEqual(model) { return nil }
        let first = zip(bytes, model).enumerated().first { $1.0 != $1.1 }?.offset
        return first.map { "\(file.inode): differs at \($0) of \(count)" }
      }
    }
  }

  private func keyCount(_ btree: BTreeID, _ files: FileSystem) throws -> Int {
    try files.engine.run("test_count") { (transaction) throws(TransactionError) in
      var count = 0
      var walk = KeyWalk(btree, from: .min)
      while try transaction.next(&walk) != nil { count += 1 }
      return count
    }
  }

  @Test(arguments: ContentVolume.all.filter { $0.testDescription != "nocow" }, [UInt64(1), 2])
  func copiesAreWhatAModelSaysAndNothingIsLeftOfThem(setting: FreshVolume, seed: UInt64) throws {
    let devices = try setting.format()
    var files = FileSystem(try setting.engine(on: devices, seed: seed).engine)
    var run = Run(files: files, models: [:], random: SplitMix64(seed: seed))
    for number in 0..<4 { run.models[try files.makeFile("file \(number)")] = [] }
    var shared = 0
    for round in 0..<(runsLongTests ? 30 : 2) {
      var done: [String] = []
      for _ in 0..<60 {
        done.append(try run.step())
        if runsLongTests || done.count % 12 == 0 {
          let differences = try run.differences()
          try #require(differences == [], "seed \(seed), round \(round): \(done)")
        }
      }
      shared = max(shared, try keyCount(.reflink, files))
      try files.close()
      try setting.expectSound(devices, "seed \(seed), round \(round): \(done)")
      files = FileSystem(try setting.engine(on: devices, seed: seed + UInt64(round)).engine)
      run = Run(files: files, models: run.models, random: run.random)
      let differences = try run.differences()
      try #require(differences == [], "opened again, seed \(seed), round \(round): \(done)")
    }
    #expect(shared > 3)
    for number in 0..<4 { try files.unlink(Array("file \(number)".utf8), in: files.root) }
    #expect(try keyCount(.reflink, files) == 0)
    #expect(try keyCount(.extents, files) == 0)
    try files.close()
    try setting.expectSound(devices, "nothing is left, seed \(seed)")
  }

  @Test func aCopyTakesNoRoom() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let (a, b) = (try files.makeFile("a"), try files.makeFile("b"))
    let bytes = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 / 4099) }
    try files.write(a, bytes.rawBytes, at: 0)
    try files.sync()
    let used = files.engine.usage.used
    #expect(try files.copyRange(from: a, 0..<1 << 21, to: b, at: 4096) == 1 << 20)
    #expect(files.engine.usage.used == used)
    let status = try files.attributes(of: b)
    #expect(status.inode.size == 1 << 20 + 4096 && status.inode.sectors == 2048)
    expectCode(.invalid) { () throws(VolumeError) in
      _ = try files.copyRange(from: a, 0..<8192, to: a, at: 4096)
    }
    #expect(try files.copyRange(from: a, 1 << 20..<1 << 21, to: b, at: 0) == 0)
    try files.close()
    try expectSound(disk.device)
  }

  /// Who copies and who takes snapshots do not wait for each other for ever.
  @Test func copiesWhileSnapshotsAreTaken() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open(withThreads: true)
    let ids = try ["a", "b"].map { try files.makeFile($0) }
    let bytes = [UInt8](repeating: 7, count: 64 << 10)
    for id in ids { try files.write(id, bytes.rawBytes, at: 0) }
    let root = files.root
    onThreads(3) { index in
      do throws(VolumeError) {
        for step in 0..<(index == 2 ? 50 : 1000) {
          if index == 2 {
            _ = try files.createSnapshot(of: 1, as: Array("snap\(step)".utf8), in: root)
            continue
          }
          _ = try files.copyRange(from: ids[index], 0..<8192, to: ids[1 - index], at: 16384)
        }
      } catch {
        Issue.record("\(error)")
      }
    }
    try files.close()
    try expectSound(disk.device)
  }

  /// Two threads copy between the same two files in both directions, and neither waits for ever.
  @Test func copiesInBothDirectionsAtOnce() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open(withThreads: true)
    let ids = try ["a", "b"].map { try files.makeFile($0) }
    let bytes = [UInt8](repeating: 7, count: 64 << 10)
    for id in ids { try files.write(id, bytes.rawBytes, at: 0) }
    onThreads(2) { index in
      do throws(VolumeError) {
        for step in 0..<100 {
          let offset = UInt64(step % 4) << 12
          _ = try files.copyRange(
            from: ids[index], offset..<offset + 8192, to: ids[1 - index], at: offset + 16384)
        }
      } catch {
        Issue.record("\(error)")
      }
    }
    try files.close()
    try expectSound(disk.device)
    try disk.read { (volume) throws in
      for id in ids {
        let found = try volume.allBytes(of: id)
        #expect(found == bytes)
      }
    }
  }
}
