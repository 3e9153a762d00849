// SPDX-License-Identifier: GPL-2.0
// Limits: who is refused what, and when.
//
// Invariants under test: what is refused changes nothing; what is freed may be used again; a write
// that was taken is not refused later.

internal import BcachefsFormat
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct QuotaLimitTests {
  @Test func aHardLimitOfInodesRefusesCreation() throws {
    let files = try QuotaVolume.make().open()
    try files.setQuota(.usr, of: 1000) { $0.inodeHardLimit = 2 }
    _ = try files.makeOwnedFile("a")
    _ = try files.makeOwnedFile("b")
    expectCode(.quotaExceeded) { () throws(VolumeError) in
      do throws(VolumeError) { _ = try files.makeOwnedFile("c") } catch {
        #expect("\(error)" == "user 1000 would exceed the hard limit")
        throw error
      }
    }
    expectCode(.notFound) { () throws(VolumeError) in
      try files.lookup(Array("c".utf8), in: files.root)
    }
    _ = try files.makeOwnedFile("d", uid: 1001)
    _ = try files.makeOwnedFile("e", quotas: .exempt)
    #expect(files.use(.usr, 1000).inodes == 3)
    for name in ["a", "b"] { try files.unlink(Array(name.utf8), in: files.root) }
    _ = try files.makeOwnedFile("f")
    let tables = try files.useTables()
    #expect(tables.kept == tables.counted)
    try files.close()
  }

  /// Small writes stay in memory, large ones go out at once: both are refused when they are made.
  @Test(arguments: [8, 256])
  func aHardLimitOfSpaceRefusesTheWriteItself(sectors: Int) throws {
    let files = try QuotaVolume.make().open()
    try files.setQuota(.grp, of: 100) { $0.spaceHardLimit = UInt64(3 * sectors) }
    let file = try files.makeOwnedFile("a")
    for number in 0..<3 { try files.write(file, sectors: sectors, atSector: number * sectors) }
    expectCode(.quotaExceeded) { () throws(VolumeError) in
      try files.write(file, sectors: sectors, atSector: 3 * sectors)
    }
    // What is there may be overwritten, before it is on devices and after.
    try files.write(file, sectors: sectors, atSector: sectors)
    try files.fsync(file)
    try files.write(file, sectors: sectors, atSector: 2 * sectors)
    try files.fsync(file)
    #expect(files.use(.grp, 100).sectors == UInt64(3 * sectors))
    #expect(try files.attributes(of: file).byteCount == UInt64(3 * sectors * 512))
    try files.write(file, sectors: sectors, atSector: 3 * sectors, quotas: .exempt)
    try files.truncate(file, to: 0)
    #expect(files.use(.grp, 100).sectors == 0)
    try files.write(file, sectors: sectors)
    let tables = try files.useTables()
    #expect(tables.kept == tables.counted)
    try files.close()
  }

  @Test func roomThatIsAllocatedCountsAndIsRefused() throws {
    let files = try QuotaVolume.make().open()
    try files.setQuota(.usr, of: 1000) { $0.spaceHardLimit = 1000 }
    let file = try files.makeOwnedFile("a")
    try files.change(file, 0..<800 * 512, .allocate, quotas: .enforced)
    #expect(files.use(.usr, 1000).sectors == 800)
    expectCode(.quotaExceeded) { () throws(VolumeError) in
      try files.change(file, 0..<1200 * 512, .allocate, quotas: .enforced)
    }
    // It is promised to this file.
    try files.write(file, sectors: 800)
    try files.change(file, 0..<400 * 512, .punch)
    #expect(files.use(.usr, 1000).sectors == 400)
    let tables = try files.useTables()
    #expect(tables.kept == tables.counted)
    try files.close()
  }

  @Test func copiesOfRangesCountInFull() throws {
    let files = try QuotaVolume.make().open()
    let (source, copy) = (try files.makeOwnedFile("a", uid: 0), try files.makeOwnedFile("b"))
    try files.write(source, sectors: 64)
    try files.setQuota(.usr, of: 1000) { $0.spaceHardLimit = 100 }
    let range = UInt64(0)..<64 * 512
    _ = try files.copyRange(from: source, range, to: copy, at: 0, quotas: .enforced)
    #expect(files.use(.usr, 1000).sectors == 64)
    expectCode(.quotaExceeded) { () throws(VolumeError) in
      try files.copyRange(from: source, range, to: copy, at: 64 * 512, quotas: .enforced)
    }
    #expect(files.use(.usr, 1000).sectors == 64)
    let tables = try files.useTables()
    #expect(tables.kept == tables.counted)
    try files.close()
  }

  // MARK: - Owners

  @Test func aNewOwnerHasToHaveRoom() throws {
    let files = try QuotaVolume.make().open()
    try files.setQuota(.usr, of: 1001) { $0.spaceHardLimit = 50 }
    try files.setQuota(.grp, of: 101) { $0.inodeHardLimit = 1 }
    let file = try files.makeOwnedFile("a")
    try files.write(file, sectors: 64)
    var change = AttributeChange()
    change.uid = 1001
    expectCode(.quotaExceeded) { [change] () throws(VolumeError) in
      try files.change(file, change, quotas: .enforced)
    }
    #expect(files.use(.usr, 1000).sectors == 64 && files.use(.usr, 1001).sectors == 0)
    #expect(try files.attributes(of: file).inode.uid == 1000)
    _ = try files.change(file, change, quotas: .exempt)
    #expect(files.use(.usr, 1000) == (0, 0) && files.use(.usr, 1001) == (64, 1))
    change = AttributeChange()
    change.gid = 101
    _ = try files.change(file, change, quotas: .enforced)
    let other = try files.makeOwnedFile("b")
    expectCode(.quotaExceeded) { [change] () throws(VolumeError) in
      try files.change(other, change, quotas: .enforced)
    }
    let tables = try files.useTables()
    #expect(tables.kept == tables.counted)
    try files.close()
  }

  @Test func aProjectCountsWhatIsPutIntoIt() throws {
    let files = try QuotaVolume.make().open()
    let directory = try files.makeDirectory("project")
    try files.setOptions([("project", "1")], of: directory)
    try files.setQuota(.prj, of: 1) { $0.inodeHardLimit = 3 }
    let file = try files.makeOwnedFile("a", in: directory)
    try files.write(file, sectors: 8)
    try files.fsync(file)
    #expect(files.use(.prj, 1) == (8, 2))
    let outside = try files.makeOwnedFile("b")
    try files.setOptions([("project", "1")], of: outside, quotas: .enforced)
    let another = try files.makeOwnedFile("c")
    expectCode(.quotaExceeded) { () throws(VolumeError) in
      try files.setOptions([("project", "1")], of: another, quotas: .enforced)
    }
    expectCode(.quotaExceeded) { () throws(VolumeError) in
      try files.rename(
        Array("c".utf8), in: files.root, to: Array("c".utf8), in: directory, quotas: .enforced)
    }
    let tables = try files.useTables()
    #expect(tables.kept == tables.counted)
    try files.close()
  }

  /// What is promised to a file follows its owner.
  @Test func whatIsNotWrittenYetGoesToTheNewOwner() throws {
    let files = try QuotaVolume.make().open()
    let file = try files.makeOwnedFile("a")
    try files.write(file, sectors: 8)
    #expect(files.use(.usr, 1000).sectors == 8)
    var change = AttributeChange()
    change.uid = 1001
    _ = try files.change(file, change)
    #expect(files.use(.usr, 1000) == (0, 0) && files.use(.usr, 1001) == (8, 1))
    try files.write(file, sectors: 8, atSector: 8)
    try files.unlink(Array("a".utf8), in: files.root)
    #expect(files.use(.usr, 1001) == (0, 0))
    let tables = try files.useTables()
    #expect(tables.kept == tables.counted)
    try files.close()
  }

  @Test func aFileWithoutANameCountsUntilItIsLetGo() throws {
    let files = try QuotaVolume.make().open()
    let file = try files.makeOwnedFile("a")
    try files.write(file, sectors: 8)
    try files.hold(file)
    try files.unlink(Array("a".utf8), in: files.root)
    #expect(files.use(.usr, 1000) == (8, 1))
    try files.letGo(file)
    #expect(files.use(.usr, 1000) == (0, 0))
    try files.close()
  }

  // MARK: - Grace

  @Test func aSoftLimitHoldsWhenItsGracePeriodIsOver() throws {
    let clock = SetClock()
    let files = try QuotaVolume.make().open(clocks: clock.clocks)
    try files.setQuota(.usr, of: 1000) { ($0.spaceSoftLimit, $0.inodeSoftLimit) = (100, 1) }
    try files.setQuotaGrace(.usr, space: 60, inodes: 3600)
    let file = try files.makeOwnedFile("a")
    try files.write(file, sectors: 100)
    clock.advance(bySeconds: 1000)
    try files.write(file, sectors: 8, atSector: 100)
    clock.advance(bySeconds: 59)
    try files.write(file, sectors: 8, atSector: 108)
    clock.advance(bySeconds: 1)
    expectCode(.quotaExceeded) { () throws(VolumeError) in
      try files.write(file, sectors: 8, atSector: 116)
    }
    try files.write(file, sectors: 8, atSector: 116, quotas: .exempt)
    // Inodes have a period of their own.
    _ = try files.makeOwnedFile("b")
    clock.advance(bySeconds: 3600)
    expectCode(.quotaExceeded) { () throws(VolumeError) in try files.makeOwnedFile("c") }
    // Who is below the limit again begins anew.
    try files.truncate(file, to: 50 * 512)
    try files.write(file, sectors: 80, atSector: 50)
    clock.advance(bySeconds: 60)
    expectCode(.quotaExceeded) { () throws(VolumeError) in
      try files.write(file, sectors: 8, atSector: 130)
    }
    try files.close()
  }

  /// A file written by whom nothing limits begins no period for the owner.
  @Test func rootMayGoOverTheLimit() throws {
    let clock = SetClock()
    let files = try QuotaVolume.make().open(clocks: clock.clocks)
    try files.setQuota(.usr, of: 1000) { ($0.spaceHardLimit, $0.spaceSoftLimit) = (100, 50) }
    let file = try files.makeOwnedFile("a")
    try files.write(file, sectors: 200, quotas: .exempt)
    try files.fsync(file)
    #expect(files.use(.usr, 1000).sectors == 200)
    #expect(try files.quotaRoom(of: files.attributes(of: file)) == 0)
    try files.write(file, sectors: 200)
    expectCode(.quotaExceeded) { () throws(VolumeError) in
      try files.write(file, sectors: 1, atSector: 200)
    }
    try files.close()
  }

  // MARK: - On disk

  @Test func limitsAndGraceSurvive() throws {
    let disk = try QuotaVolume.make()
    let first = try disk.open()
    try first.setQuota(.usr, of: 1000) { ($0.spaceHardLimit, $0.inodeSoftLimit) = (8, 5) }
    try first.setQuota(.prj, of: 0) { $0.spaceSoftLimit = 9 }
    try first.setQuota(.grp, of: 5) { $0.spaceSoftLimit = 9 }
    try first.setQuota(.grp, of: 5) { $0.spaceSoftLimit = 0 }
    try first.setQuotaGrace(.grp, space: 77, inodes: nil)
    let file = try first.makeOwnedFile("a")
    try first.write(file, sectors: 8)
    try first.sync()
    // As after a crash.
    try disk.letGo(first)
    let again = try disk.open(seed: 2)
    expectCode(.quotaExceeded) { () throws(VolumeError) in
      try again.write(file, sectors: 1, atSector: 8)
    }
    let (user, group) = (again.quotaReports()[0], again.quotaReports()[1])
    #expect(
      user.entries.last
        == QuotaEntry(
          id: 1000, usedSectors: 8, usedInodes: 1,
          limits: Quota(spaceHardLimit: 8, inodeSoftLimit: 5)))
    #expect(group.grace.space.timeLimit == 77 && group.grace.inodes.timeLimit == 604_800)
    #expect(!group.entries.contains { $0.id == 5 })
    try again.close()
    try disk.read { volume in
      let (read, findings) = (
        UseTable(try volume.quotaReports()), try volume.findings(ofFiles: true)
      )
      #expect(read == UseTable(again.quotaReports()))
      #expect(findings == [])
    }
  }

  @Test func withoutQuotasNothingIsCountedOrRefused() throws {
    let files = try OpenFileSystem().open()
    try files.setQuota(.usr, of: 1000) { ($0.spaceHardLimit, $0.inodeHardLimit) = (1, 1) }
    for name in ["a", "b"] { try files.write(files.makeOwnedFile(name), sectors: 8) }
    #expect(!files.hasQuotas && files.quotaReports().isEmpty)
    try files.close()
  }
}
