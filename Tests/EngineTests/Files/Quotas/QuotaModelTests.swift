// SPDX-License-Identifier: GPL-2.0
// Random operations: what is kept of everybody's use is what a count of all inodes gives, and what
// the files come to that a dictionary knows of.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

/// A filesystem with files of several owners, of each of which the run knows.
private struct QuotaRun {
  let files: FileSystem
  let top: FileID
  var random: SplitMix64
  /// By name: those that have one.
  var named: [String: FileID] = [:]
  /// Held, without a name.
  var held: [FileID] = []
  var directories: [FileID]
  var snapshots = 0
  var number = 0
  var refusals = 0

  init(_ files: FileSystem, _ name: String, seed: UInt64) throws {
    self.files = files
    top = try files.makeDirectory(name)
    random = SplitMix64(seed: seed)
    directories = [top]
  }

  private mutating func below(_ limit: Int) -> Int {
    Int(truncatingIfNeeded: random.next() % UInt64(limit))
  }

  private mutating func anyName() -> String? {
    named.isEmpty ? nil : named.keys.sorted()[below(named.count)]
  }

  private mutating func anyFile() -> FileID? { anyName().flatMap { named[$0] } }

  private mutating func anyRange() -> Range<UInt64> {
    let start = UInt64(below(600_000))
    return start..<start + 1 + UInt64(below(200_000))
  }

  private mutating func rule() -> QuotaRule { below(3) == 0 ? .exempt : .enforced }

  /// What quotas refuse has happened to nobody.
  private mutating func tried(_ body: () throws(VolumeError) -> Void) throws {
    do throws(VolumeError) { try body() } catch {
      guard error.code == .quotaExceeded || error.code == .invalid else { throw error }
      refusals += 1
    }
  }

  mutating func step() throws {
    let rule = rule()
    switch below(22) {
    case 0..<5: try create(rule)
    case 5..<10: try write(rule)
    case 10: if let file = anyFile() { try files.truncate(file, to: UInt64(below(500_000))) }
    case 11: try remove()
    case 12, 13: try chown(rule)
    case 14: try changeRange(rule)
    case 15: try copy(rule)
    case 16: try setProject(rule)
    case 17: if let file = anyFile() { try files.fsync(file) }
    case 18: try letGo()
    case 19: try rename(rule)
    case 20 where snapshots < 6: try snapshot()
    default: try link(rule)
    }
  }

  private mutating func create(_ rule: QuotaRule) throws {
    number += 1
    let (name, uid, gid) = ("f\(number)", UInt32(below(4)), UInt32(below(3)))
    let (files, top) = (files, top)
    var made: FileID?
    try tried { () throws(VolumeError) in
      made = try files.makeOwnedFile(name, in: top, uid: uid, gid: gid, quotas: rule)
    }
    named[name] = made
  }

  private mutating func link(_ rule: QuotaRule) throws {
    number += 1
    let (name, count, top) = ("l\(number)", 1 + below(3000), top)
    var creation = FileCreation(.symbolicLink, permissions: 0o777)
    (creation.uid, creation.gid) = (UInt32(below(4)), 1)
    var made: FileID?
    try tried { [files, creation] () throws(VolumeError) in
      made = try files.makeLink(
        Array(name.utf8), to: [UInt8](repeating: 0x61, count: count), in: top, creation,
        quotas: rule
      ).id
    }
    if let made { try files.unlink(Array(name.utf8), in: top); held.removeAll { $0 == made } }
  }

  private mutating func write(_ rule: QuotaRule) throws {
    guard let file = anyFile() else { return }
    let range = anyRange()
    let bytes = [UInt8](repeating: UInt8(below(256)), count: range.count)
    try tried { [files] () throws(VolumeError) in
      try files.write(file, bytes.rawBytes, at: range.lowerBound, quotas: rule)
    }
  }

  private mutating func remove() throws {
    guard let name = anyName(), let file = named[name] else { return }
    if below(3) == 0 {
      try files.hold(file)
      held.append(file)
    }
    try files.unlink(Array(name.utf8), in: top)
    named[name] = nil
  }

  private mutating func letGo() throws {
    guard let file = held.popLast() else { return }
    try files.letGo(file)
  }

  private mutating func chown(_ rule: QuotaRule) throws {
    guard let file = anyFile() else { return }
    var change = AttributeChange()
    if below(2) == 0 { change.uid = UInt32(below(4)) }
    if below(2) == 0 { change.gid = UInt32(below(3)) }
    try tried { [files, change] () throws(VolumeError) in
      _ = try files.change(file, change, quotas: rule)
    }
  }

  private mutating func setProject(_ rule: QuotaRule) throws {
    let file = below(8) == 0 ? top : anyFile() ?? top
    let value: String? = below(4) == 0 ? nil : "\(below(2))"
    try tried { [files] () throws(VolumeError) in
      try files.setOptions([("project", value)], of: file, quotas: rule)
    }
  }

  private mutating func rename(_ rule: QuotaRule) throws {
    guard let old = anyName(), let new = anyName(), old != new else { return }
    let (files, top) = (files, top)
    var isDone = false
    try tried { () throws(VolumeError) in
      try files.rename(
        Array(old.utf8), in: top, to: Array(new.utf8), in: top, quotas: rule)
      isDone = true
    }
    guard isDone else { return }
    named[new] = named[old]
    named[old] = nil
  }

  private mutating func changeRange(_ rule: QuotaRule) throws {
    guard let file = anyFile() else { return }
    var range = anyRange()
    let change: FileSystem.RangeChange =
      [.allocate, .punch, .zero, .collapse, .insert][below(5)]
    if below(2) == 0 {
      let end = range.upperBound / 4096 * 4096
      range = range.lowerBound / 4096 * 4096..<max(end, range.lowerBound / 4096 * 4096 + 4096)
    }
    let keepsSize = below(2) == 0
    try tried { [files, range] () throws(VolumeError) in
      try files.change(file, range, change, keepsSize: keepsSize, quotas: rule)
    }
  }

  private mutating func copy(_ rule: QuotaRule) throws {
    guard let source = anyFile(), let target = anyFile() else { return }
    let range = anyRange()
    let start = range.lowerBound / 4096 * 4096
    let offset = UInt64(below(100)) * 4096
    try tried { [files] () throws(VolumeError) in
      _ = try files.copyRange(
        from: source, start..<range.upperBound, to: target, at: offset, quotas: rule)
    }
  }

  /// A snapshot costs nobody anything, nor does what is written in it.
  private mutating func snapshot() throws {
    snapshots += 1
    let name = "s\(snapshots)"
    let made = try files.createSnapshot(of: 1, as: Array(name.utf8), in: files.root)
    guard let file = anyFile() else { return }
    let inside = FileID(subvolume: made.id.subvolume, inode: file.inode)
    try files.write(inside, sectors: 64, atSector: below(100))
    _ = try files.makeOwnedFile("in snapshot", in: made.id)
    if below(2) == 0 {
      try files.deleteSubvolume(Array(name.utf8), in: files.root)
      try files.cleanSnapshots()
    }
  }

  /// What the files that it knows of come to.
  func table() throws -> UseTable {
    var table = UseTable()
    for file in Array(named.values) + held { table.add(try files.attributes(of: file).inode) }
    table.add(try files.attributes(of: top).inode)
    return table
  }
}

@Suite struct QuotaModelTests {
  private func setLimits(_ files: FileSystem) throws {
    for id in UInt32(1)..<4 {
      try files.setQuota(.usr, of: id) { ($0.spaceHardLimit, $0.inodeHardLimit) = (3000, 9) }
    }
    try files.setQuota(.grp, of: 1) { $0.spaceHardLimit = 2500 }
    try files.setQuota(.prj, of: 1) { ($0.spaceHardLimit, $0.inodeHardLimit) = (2000, 4) }
  }

  @Test(arguments: [UInt64(1), 2, 3, 4])
  func useIsWhatACountOfInodesGives(seed: UInt64) throws {
    // Data is written over in every second run.
    let disk = try QuotaVolume.make(isNocow: seed % 2 == 0)
    let files = try disk.open(seed: seed)
    try setLimits(files)
    let before = try files.useTables().counted
    #expect(before == UseTable(files.quotaReports()))
    var run = try QuotaRun(files, "top", seed: seed)
    let steps = runsLongTests ? 10_000 : 600
    for number in 0..<steps {
      try run.step()
      guard number % 20 == 0 else { continue }
      let (kept, counted) = try files.useTables()
      try #require(kept == counted, "seed \(seed), step \(number)")
    }
    #expect(run.refusals > steps / 50, "seed \(seed): \(run.refusals)")
    for file in run.held { try files.letGo(file) }
    run.held = []
    let (kept, counted) = try files.useTables()
    #expect(kept == counted, "seed \(seed)")
    // What was there before, lost+found and the root directory, is root's.
    var known = try run.table()
    known.add(try files.attributes(of: files.root).inode)
    known.add(try files.lookup(Array("lost+found".utf8), in: files.root).inode)
    #expect(known == kept, "seed \(seed)")
    try files.close()
    try disk.read { volume in
      let (read, findings) = (
        UseTable(try volume.quotaReports()), try volume.findings(ofFiles: true)
      )
      #expect(read == kept, "seed \(seed)")
      #expect(findings == [], "seed \(seed)")
    }
  }

  /// Power fails: what is counted at the next opening follows what is there then.
  @Test(arguments: [UInt64(11), 12])
  func useAfterACrashIsThatOfWhatIsLeft(seed: UInt64) throws {
    let disk = try QuotaVolume.make(recorded: true)
    let files = try disk.open(seed: seed)
    try setLimits(files)
    try files.sync()
    let start = disk.device.operationCount
    var run = try QuotaRun(files, "top", seed: seed)
    for number in 0..<150 {
      try run.step()
      if number % 10 == 0 { try files.sync() }
    }
    try disk.letGo(files)
    var random = SplitMix64(seed: seed &* 31)
    for state in 0..<(runsLongTests ? 200 : 8) {
      let operation = start + random.next() % (disk.device.operationCount - start)
      let comment: Comment = "seed \(seed), state \(state), operation \(operation)"
      let image = try #require(
        disk.device.crashImage(beforeOperation: operation, .random(&random)), comment)
      let left = OpenFileSystem(on: image)
      let again = try left.open(seed: 9)
      #expect(again.quotaReports().map(\.type) == QuotaType.all)
      var second = try QuotaRun(again, "more", seed: seed)
      for _ in 0..<20 { try second.step() }
      let (kept, counted) = try again.useTables()
      #expect(kept == counted, comment)
      try again.close()
    }
  }

  /// Threads that make, write and remove files of the same users: none goes over a limit, and all
  /// that was counted is taken back.
  @Test func threadsNeverGoOverALimit() throws {
    let disk = try QuotaVolume.make()
    let files = try disk.open(withThreads: true)
    try files.setQuota(.usr, of: 1000) { ($0.spaceHardLimit, $0.inodeHardLimit) = (4000, 20) }
    let over = Atomic<Int>(0)
    onThreads(4) { thread in
      var random = SplitMix64(seed: UInt64(thread))
      for round in 0..<60 {
        let name = "t\(thread)-\(round % 8)"
        do throws(VolumeError) {
          let file = try files.makeOwnedFile(name)
          try files.write(file, sectors: Int(1 + random.next() % 600))
          if random.next() % 2 == 0 { try files.fsync(file) }
          try files.unlink(Array(name.utf8), in: files.root)
        } catch {
          guard error.code == .quotaExceeded || error.code == .exists else {
            Issue.record("\(error)")
            return
          }
          try? files.unlink(Array(name.utf8), in: files.root)
        }
        let use = files.use(.usr, 1000)
        if use.sectors > 4000 || use.inodes > 20 { over.add(1, ordering: .relaxed) }
      }
    }
    #expect(over.load(ordering: .relaxed) == 0)
    let (kept, counted) = try files.useTables()
    #expect(kept == counted)
    #expect(files.use(.usr, 1000) == (0, 0))
    try files.close()
  }

  /// A subvolume has a tree of its own, and counts; when it is deleted it counts no more.
  @Test func subvolumesCountAsLongAsTheyAreThere() throws {
    let disk = try QuotaVolume.make()
    let files = try disk.open()
    let before = UseTable(files.quotaReports())
    var creation = FileCreation(.directory, permissions: 0o755)
    (creation.uid, creation.gid) = (1000, 100)
    let made = try files.createSubvolume(
      Array("sub".utf8), in: files.root, creation, quotas: .enforced)
    let file = try files.makeOwnedFile("a", in: made.id)
    try files.write(file, sectors: 8)
    let tables = try files.useTables()
    #expect(tables.kept == tables.counted)
    #expect(files.use(.usr, 1000) == (8, 2))
    try files.deleteSubvolume(Array("sub".utf8), in: files.root)
    try files.cleanSnapshots()
    #expect(UseTable(files.quotaReports()) == before)
    try files.close()
  }

  /// Where a snapshot of it is left, that one is counted from the next opening on.
  @Test func theHeirOfASubvolumeIsCountedWhenTheVolumeIsOpened() throws {
    let disk = try QuotaVolume.make()
    let files = try disk.open()
    var creation = FileCreation(.directory, permissions: 0o755)
    (creation.uid, creation.gid) = (1000, 100)
    let made = try files.createSubvolume(Array("sub".utf8), in: files.root, creation)
    let shared = try files.makeOwnedFile("a", in: made.id)
    try files.write(shared, sectors: 8)
    _ = try files.createSnapshot(of: made.id.subvolume, as: Array("snap".utf8), in: files.root)
    let own = try files.makeOwnedFile("b", in: made.id)
    try files.write(own, sectors: 16)
    #expect(files.use(.usr, 1000) == (24, 3))
    let tables = try files.useTables()
    #expect(tables.kept == tables.counted)
    try files.deleteSubvolume(Array("sub".utf8), in: files.root)
    try files.cleanSnapshots()
    let left = files.use(.usr, 1000)
    #expect(left.sectors <= 8 && left.inodes <= 2, "\(left)")
    try files.close()
    let again = try disk.open(seed: 2)
    #expect(again.use(.usr, 1000) == (8, 2))
    try again.close()
  }
}
