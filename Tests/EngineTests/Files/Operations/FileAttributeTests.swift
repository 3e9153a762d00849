// SPDX-License-Identifier: GPL-2.0
// Attributes of files: times, ACLs, options, what is held open, and the limits of names.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import FileModel
internal import Glibc
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct FileAttributeTests {
  private func name(_ text: String) -> [UInt8] { Array(text.utf8) }

  /// A list in Linux's form.
  private func acl(_ entries: (tag: UInt16, permissions: UInt16, id: UInt32)...) -> [UInt8] {
    var bytes: [UInt8] = [2, 0, 0, 0]
    for entry in entries {
      for word in [entry.tag, entry.permissions] {
        bytes += [UInt8(truncatingIfNeeded: word), UInt8(word >> 8)]
      }
      bytes += (0..<4).map { UInt8(truncatingIfNeeded: entry.id >> UInt32($0 * 8)) }
    }
    return bytes
  }

  private static let access = Array("system.posix_acl_access".utf8)
  private static let byDefault = Array("system.posix_acl_default".utf8)

  @Test func timesAreThoseThatWereSetAndOtherwiseNow() throws {
    let files = try OpenFileSystem().open()
    let file = try files.makeFile("file")
    let made = try files.attributes(of: file)
    var change = AttributeChange()
    change.accessTime = -1_500_000_000_123_456_789
    change.modificationTime = 4_102_444_800_999_999_999
    let changed = try files.change(file, change)
    #expect(changed.accessTime == change.accessTime)
    #expect(changed.modificationTime == change.modificationTime)
    #expect(changed.birthTime == made.birthTime)
    #expect(changed.changeTime >= made.changeTime)
    change = AttributeChange()
    change.changeTime = 5
    #expect(try files.change(file, change).changeTime == 5)
    try files.close()
  }

  /// Whoever backs up files by the time of their last change finds each change.
  @Test func theChangeTimeDoesNotGoBackToWhenContentsWereWritten() throws {
    let files = try OpenFileSystem().open()
    let file = try files.makeFile("file")
    try files.write(file, name("contents").rawBytes, at: 0)
    let written = try files.attributes(of: file)
    var change = AttributeChange()
    change.permissions = 0o600
    change.changeTime = written.changeTime + 1_000_000_000
    _ = try files.change(file, change)
    #expect(try files.attributes(of: file).changeTime == change.changeTime)
    try files.fsync(file)
    let kept = try files.attributes(of: file)
    #expect(kept.changeTime == change.changeTime)
    #expect(kept.modificationTime == written.modificationTime)
    try files.close()
  }

  @Test func aLaterWriteOfManyBlocksHasTheLaterTime() throws {
    let files = try OpenFileSystem().open()
    let file = try files.makeFile("file")
    try files.write(file, [UInt8](repeating: 1, count: 100).rawBytes, at: 0)
    let first = try files.attributes(of: file).modificationTime
    usleep(30_000)
    let large = [UInt8](repeating: 2, count: 512 << 10)
    try files.write(file, large.rawBytes, at: 1 << 20)
    let second = try files.attributes(of: file).modificationTime
    #expect(second > first)
    try files.fsync(file)
    #expect(try files.attributes(of: file).modificationTime == second)
    try files.close()
  }

  /// Who looks while contents are written sees the file as it was, or as it is: not shorter.
  @Test func aFileThatIsWrittenMeanwhileHasItsSizeAllTheTime() throws {
    let files = try OpenFileSystem().open(withThreads: true)
    let root = files.root
    let isDone = Atomic<Bool>(false)
    let wrong = Atomic<Int>(0)
    var last = try files.makeFile("file")
    for round in 0..<300 {
      try files.unlink(name("file"), in: root)
      last = try files.makeFile("file")
      try files.write(last, [UInt8](repeating: UInt8(round % 200), count: 3000).rawBytes, at: 0)
      isDone.store(false, ordering: .releasing)
      let file = last
      onThreads(2) { thread in
        do throws(VolumeError) {
          if thread == 0 {
            try files.writeOut(file)
            return isDone.store(true, ordering: .releasing)
          }
          while !isDone.load(ordering: .acquiring) {
            let seen = try files.lookup(name("file"), in: root).inode
            if seen.size != 3000 || seen.sectors == 0 { wrong.add(1, ordering: .relaxed) }
          }
        } catch {
          Issue.record(error)
        }
      }
    }
    #expect(wrong.load(ordering: .relaxed) == 0)
    try files.close()
  }

  /// What the background writes meanwhile has an older one.
  @Test func aModificationTimeThatWasSetStays() throws {
    let files = try OpenFileSystem().open(withThreads: true)
    let file = try files.makeFile("file")
    var lost = 0
    for round in 0..<200 {
      try files.write(file, [UInt8](repeating: UInt8(round % 250), count: 5000).rawBytes, at: 0)
      let wanted = Int64(1_000_000_000 + round)
      onThreads(2) { thread in
        do throws(VolumeError) {
          if thread == 0 { return try files.fsync(file) }
          var change = AttributeChange()
          change.modificationTime = wanted
          _ = try files.change(file, change)
        } catch {
          Issue.record(error)
        }
      }
      if try files.attributes(of: file).modificationTime != wanted { lost += 1 }
    }
    #expect(lost == 0)
    try files.close()
  }

  @Test func anACLAndTheModeSayTheSame() throws {
    let files = try OpenFileSystem().open()
    let file = try files.makeFile("file")
    let list = acl((1, 7, .max), (2, 4, 1000), (4, 5, .max), (16, 6, .max), (32, 1, .max))
    try files.setXattr(Self.access, of: file, to: list)
    #expect(try files.attributes(of: file).mode == 0o100761)
    #expect(try files.xattr(Self.access, of: file) == list)
    var change = AttributeChange()
    change.permissions = 0o640
    _ = try files.change(file, change)
    let followed = acl((1, 6, .max), (2, 4, 1000), (4, 5, .max), (16, 4, .max), (32, 0, .max))
    #expect(try files.xattr(Self.access, of: file) == followed)
    // One that a mode can say is not kept.
    try files.setXattr(Self.access, of: file, to: acl((1, 4, .max), (4, 2, .max), (32, 1, .max)))
    #expect(try files.attributes(of: file).mode == 0o100421)
    expectCode(.noAttribute) { () throws(VolumeError) in try files.xattr(Self.access, of: file) }
    #expect(try files.xattrNames(of: file) == [])
    try files.close()
  }

  @Test func listsThatAreNoneAreRefused() throws {
    let files = try OpenFileSystem().open()
    let file = try files.makeFile("file")
    let bad = [
      [1, 2, 3], acl((1, 7, .max)), acl((1, 8, .max), (4, 5, .max), (32, 1, .max)),
      acl((1, 7, .max), (2, 4, 1), (4, 5, .max), (32, 1, .max)),
      acl((4, 5, .max), (1, 7, .max), (32, 1, .max)),
      acl((1, 7, .max), (3, 4, 1), (4, 5, .max), (32, 1, .max)),
    ]
    for list in bad {
      expectCode(.invalid) { () throws(VolumeError) in
        try files.setXattr(Self.access, of: file, to: list)
      }
    }
    let good = acl((1, 7, .max), (4, 5, .max), (32, 1, .max))
    expectCode(.accessDenied) { () throws(VolumeError) in
      try files.setXattr(Self.byDefault, of: file, to: good)
    }
    try files.close()
  }

  @Test func aDefaultACLGoesOnToWhatIsMade() throws {
    let files = try OpenFileSystem().open()
    let top = try files.makeDirectory("top")
    let list = acl((1, 7, .max), (2, 6, 1000), (4, 5, .max), (16, 7, .max), (32, 0, .max))
    try files.setXattr(Self.byDefault, of: top, to: list)
    var creation = FileCreation(.regular, permissions: 0o664)
    creation.umask = 0o777
    let file = try files.create(name("file"), in: top, creation)
    #expect(file.mode == 0o100660)
    let own = acl((1, 6, .max), (2, 6, 1000), (4, 5, .max), (16, 6, .max), (32, 0, .max))
    #expect(try files.xattr(Self.access, of: file.id) == own)
    let below = try files.create(
      name("below"), in: top, FileCreation(.directory, permissions: 0o755))
    #expect(try files.xattr(Self.byDefault, of: below.id) == list)
    #expect(below.mode == 0o040750)
    let link = try files.makeLink(name("link"), to: name("file"), in: top)
    #expect(link.mode == 0o120777)
    // Elsewhere the umask counts.
    creation.umask = 0o027
    #expect(try files.create(name("file"), in: files.root, creation).mode == 0o100640)
    try files.close()
  }

  @Test func optionsAreThoseOfTheDirectoryUntilTheyAreSet() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let top = try files.makeDirectory("top")
    let before = try files.makeFile("before", in: top)
    let (own, shown) = (name("bcachefs.data_replicas"), name("bcachefs_effective.data_replicas"))
    try files.setXattr(own, of: top, to: name("2"))
    let file = try files.makeFile("file", in: top)
    #expect(try files.xattrNames(of: file) == [shown])
    #expect(try files.xattr(shown, of: file) == name("2"))
    expectCode(.noAttribute) { () throws(VolumeError) in try files.xattr(own, of: file) }
    #expect(try files.xattrNames(of: before) == [])
    #expect(try files.inheritOptions(name("before"), in: top).isChanged)
    #expect(try !files.inheritOptions(name("before"), in: top).isChanged)
    #expect(try files.xattr(shown, of: before) == name("2"))
    try files.setXattr(own, of: file, to: name("3"))
    #expect(try files.xattrNames(of: file) == [own, shown])
    try files.removeXattr(own, of: file)
    #expect(try files.xattr(shown, of: file) == name("2"))
    for (option, value) in [("data_replicas", "many"), ("none_such", "1"), ("compression", "zip")] {
      expectCode(.invalid) { () throws(VolumeError) in
        try files.setXattr(name("bcachefs.\(option)"), of: file, to: name(value))
      }
    }
    try files.setXattr(name("bcachefs.background_compression"), of: file, to: name("zstd"))
    #expect(files.engine.store.superblock.featureMask.contains(.zstd))
    try files.close()
    try expectSound(disk.device)
    try disk.read { volume in
      let names = try volume.xattrs(file).map { String(decoding: $0.name, as: UTF8.self) }
      #expect(names.first == "bcachefs.background_compression")
    }
  }

  @Test func attributesHaveLimits() throws {
    let files = try OpenFileSystem().open()
    let file = try files.makeFile("file")
    let longest = [UInt8](repeating: 7, count: 1900)
    try files.setXattr(name("user.long"), of: file, to: longest)
    #expect(try files.xattr(name("user.long"), of: file) == longest)
    expectCode(.tooLarge) { () throws(VolumeError) in
      try files.setXattr(name("user.longer"), of: file, to: longest + longest)
    }
    expectCode(.unsupported) { () throws(VolumeError) in
      try files.setXattr(name("system.other"), of: file, to: [])
    }
    try files.setXattr(name("user.empty"), of: file, to: [])
    #expect(try files.xattr(name("user.empty"), of: file) == [])
    // What applies follows from what is set: as the driver does, this is ignored.
    try files.setXattr(name("bcachefs_effective.compression"), of: file, to: name("lz4"))
    #expect(Set(try files.xattrNames(of: file)) == [name("user.long"), name("user.empty")])
    try files.close()
  }

  @Test func namesHaveLimits() throws {
    let files = try OpenFileSystem().open()
    let root = files.root
    let creation = FileCreation(.regular, permissions: 0o600)
    let longest = [UInt8](repeating: 0xff, count: 255)
    let file = try files.create(longest, in: root, creation)
    #expect(try files.lookup(longest, in: root).id == file.id)
    expectCode(.nameTooLong) { () throws(VolumeError) in
      try files.create(longest + [1], in: root, creation)
    }
    for bad in [[], name("."), name(".."), name("a/b"), [97, 0]] {
      expectCode(.invalid) { () throws(VolumeError) in
        try files.create(bad, in: root, creation)
      }
    }
    expectCode(.notADirectory) { () throws(VolumeError) in
      try files.create(name("a"), in: file.id, creation)
    }
    for target in [[], [0]] as [[UInt8]] {
      expectCode(.invalid) { () throws(VolumeError) in
        try files.makeLink(name("link"), to: target, in: root)
      }
    }
    let tooLong = [UInt8](repeating: 97, count: 4096)
    expectCode(.nameTooLong) { () throws(VolumeError) in
      try files.makeLink(name("link"), to: tooLong, in: root)
    }
    try files.close()
  }

  /// A directory that somebody has open and that is removed takes no names any more.
  @Test func aDirectoryThatIsRemovedTakesNoNames() throws {
    let files = try OpenFileSystem().open()
    let top = try files.makeDirectory("top")
    try files.hold(top)
    try files.removeDirectory(name("top"), in: files.root)
    #expect(try files.attributes(of: top).linkCount == 0)
    let creation = FileCreation(.regular, permissions: 0o600)
    expectCode(.notFound) { () throws(VolumeError) in
      try files.create(name("a"), in: top, creation)
    }
    expectCode(.notFound) { () throws(VolumeError) in try files.createUnnamed(in: top, creation) }
    #expect(try files.entries(of: top).isEmpty)
    try files.letGo(top)
    expectCode(.notFound) { () throws(VolumeError) in try files.attributes(of: top) }
    let isLeft = try files.hasDeletedInodes()
    #expect(!isLeft)
    try files.close()
  }

  /// Of newer formats: names would have to be put where their folded forms hash to.
  @Test func casefoldedDirectoriesAreRefusedByName() throws {
    let files = try OpenFileSystem().open()
    let top = try files.makeDirectory("top")
    var inode = try files.attributes(of: top).inode
    // A field that is not zero, so that those before it are stored.
    inode.nocow = 1
    var value = [UInt8](repeating: 0, count: Inode.maxEncodedU64s * 8)
    var span = value.mutableRawBytes
    inode.encode(into: &span)
    let end = value.lastIndex { $0 != 0 }.map { $0 + 1 } ?? 0
    // Depth, 32-bit numbers, and that it is casefolded.
    for (index, field) in [UInt8(1), 1, 2].enumerated() { value[end + index] = field << 1 }
    value[19] = 27
    value.removeSubrange(((end + 3 + 7) / 8 * 8)...)
    try files.engine.run("test_casefold") { [value] (transaction) throws(TransactionError) in
      transaction.update(
        .inodes,
        BKey(type: .inodeV3, position: BPos(0, top.inode, .max), valueU64s: value.count / 8),
        value.rawBytes)
      try transaction.commit()
    }
    let creation = FileCreation(.regular, permissions: 0o600)
    for attempt in 0..<3 {
      expectCode(.unsupported) { () throws(VolumeError) in
        switch attempt {
        case 0: _ = try files.create(name("a"), in: top, creation)
        case 1: _ = try files.lookup(name("a"), in: top)
        default: _ = try files.entries(of: top)
        }
      }
    }
    // What is not among its names may change.
    _ = try files.change(top, AttributeChange())
    #expect(try files.attributes(of: top).inode.casefold == 2)
    try files.removeDirectory(name("top"), in: files.root)
    try files.close()
  }

  @Test func whatWasSyncedIsThereAfterACrash() throws {
    let disk = try OpenFileSystem(recorded: true)
    let files = try disk.open()
    let (a, b) = (try files.makeFile("a"), try files.makeFile("b"))
    try files.fsync(a)
    let moment = disk.device.operationCount
    try files.rename(name("b"), in: files.root, to: name("c"), in: files.root)
    try disk.letGo(files)
    let image = try #require(disk.device.crashImage(beforeOperation: moment, .none))
    let again = try OpenFileSystem(on: image).open()
    #expect(try again.lookup(name("a"), in: again.root).id == a)
    // Both are in one journal entry, or b comes after it.
    if let found = try? again.lookup(name("b"), in: again.root) { #expect(found.id == b) }
    try OpenFileSystem(on: image).letGo(again)
  }

  @Test func aFileThatWasOpenWhenPowerFailedGoesWhenTheVolumeIsOpened() throws {
    let disk = try OpenFileSystem(recorded: true)
    let files = try disk.open()
    let file = try files.makeFile("file")
    try files.setXattr(name("user.a"), of: file, to: [1])
    try files.hold(file)
    try files.unlink(name("file"), in: files.root)
    let unnamed = try files.createUnnamed(
      in: files.root, FileCreation(.regular, permissions: 0o600)
    ).id
    try files.sync()
    #expect(try files.attributes(of: file).linkCount == 0)
    try disk.letGo(files)
    let again = try disk.open()
    #expect(again.engine.deadInodeCount.load(ordering: .relaxed) == 2)
    for id in [file, unnamed] {
      expectCode(.notFound) { () throws(VolumeError) in try again.attributes(of: id) }
    }
    try again.close()
    try expectSound(disk.device)
  }

  @Test func aListGoesOnWhereItWasWhateverChangesMeanwhile() throws {
    let files = try OpenFileSystem().open()
    let top = try files.makeDirectory("top")
    for number in 0..<300 { _ = try files.makeFile("stays \(number)", in: top) }
    for number in 0..<300 { _ = try files.makeFile("goes \(number)", in: top) }
    var seen: [String] = []
    var offset: UInt64 = 0
    var round = 0
    while true {
      let some = try files.entries(of: top, from: offset, limit: 10)
      guard let last = some.last else { break }
      seen += some.map(\.text)
      offset = last.nextOffset
      for number in 0..<5 where round * 5 + number < 300 {
        try files.unlink(name("goes \(round * 5 + number)"), in: top)
      }
      _ = try files.makeFile("comes \(round)", in: top)
      round += 1
    }
    let staying = seen.filter { $0.hasPrefix("stays") }
    #expect(staying.count == 300 && Set(staying).count == 300)
    #expect(Set(seen).count == seen.count)
    try files.close()
  }

  @Test func aDirectoryOfManyNamesIsWhole() throws {
    let disk = try OpenFileSystem { $0.sizes = [256 << 20] }
    let files = try disk.open()
    let top = try files.makeDirectory("top")
    let count = 20_000
    for number in 0..<count { _ = try files.makeFile("name \(number)", in: top) }
    for number in stride(from: 0, to: count, by: 3) {
      try files.unlink(name("name \(number)"), in: top)
    }
    #expect(files.usage.inodeCount == UInt64(count - (count + 2) / 3 + 3))
    try files.close()
    try expectSound(disk.device)
    try disk.read { volume in
      let top = try volume.lookup(name("top"), in: volume.root)
      let names = Set(try volume.entries(of: top).map(\.text))
      let expected = Set((0..<count).filter { $0 % 3 != 0 }.map { "name \($0)" })
      #expect(names == expected)
    }
  }

  /// What takes names away still works, and makes room again.
  @Test func aFullVolumeGivesItsNamesBack() throws {
    let disk = try OpenFileSystem {
      $0.sizes = [16 << 20]
      $0.build.bucketBytes = 16 << 10
    }
    let files = try disk.open()
    var names: [[UInt8]] = []
    let value = [UInt8](repeating: 1, count: 1500)
    while names.count < 1 << 16 {
      let name = [UInt8](repeating: 0x61, count: 200) + Array("\(names.count)".utf8)
      do throws(VolumeError) {
        let file = try files.create(
          name, in: files.root, FileCreation(.regular, permissions: 0o600))
        names.append(name)
        try files.setXattr(Array("user.a".utf8), of: file.id, to: value)
      } catch {
        #expect(error.code == .noSpace)
        break
      }
    }
    #expect(names.count > 500 && names.count < 1 << 16)
    expectCode(.noSpace) { () throws(VolumeError) in
      try files.create([0x62], in: files.root, FileCreation(.regular, permissions: 0o600))
    }
    for (number, name) in names.enumerated() {
      if number % 2 == 0 {
        try files.rename(name, in: files.root, to: name + [0x62], in: files.root)
        try files.unlink(name + [0x62], in: files.root)
      } else {
        try files.unlink(name, in: files.root)
      }
    }
    _ = try files.makeFile("again")
    try files.close()
    try expectSound(disk.device)
    try disk.read { volume in
      let violations = try TreeInvariants.violations(in: volume)
      #expect(violations == [])
    }
  }

  private func generation(_ number: UInt64, _ files: FileSystem) throws -> UInt32 {
    try files.engine.run("test_inode") { (transaction) throws(TransactionError) in
      try transaction.inode(number, .max, .read).generation
    }
  }

  @Test(arguments: [true, false], [true, false])
  func inodeNumbersAreInTheirRange(is32Bit: Bool, isSharded: Bool) throws {
    let disk = try OpenFileSystem {
      $0.build.options[.inodes32bit] = is32Bit ? 1 : 0
      $0.build.options[.shardInodeNumbers] = isSharded ? 1 : 0
    }
    var files = try disk.open()
    let first = try (0..<20).map { try files.makeFile("a \($0)").inode }
    let limit: UInt64 = is32Bit ? 1 << 31 : 1 << 63
    #expect(first.allSatisfy { number in number > 4096 && number < limit })
    #expect(first == first.sorted())
    // What has a number again is told from what had it before by its generation.
    var generations = try Set(first.map { try generation($0, files) })
    #expect(generations.count == 20)
    for number in 0..<20 { try files.unlink(name("a \(number)"), in: files.root) }
    try files.close()
    files = try disk.open(seed: 2)
    let second = try (0..<20).map { try files.makeFile("b \($0)").inode }
    #expect(Set(second) == Set(first))
    for number in second { try generations.insert(generation(number, files)) }
    #expect(generations.count == 40)
    try files.close()
  }
}
