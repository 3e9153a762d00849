// SPDX-License-Identifier: GPL-2.0
// Keys that contradict each other: operations that meet them end with an error that says so.

internal import BcachefsFormat
internal import BcachefsSupport
internal import FileModel
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct FileDamageTests {
  private func name(_ text: String) -> [UInt8] { Array(text.utf8) }

  private func change(
    _ files: FileSystem, _ id: FileID, _ body: (inout Inode) -> Void
  ) throws {
    var inode = try files.attributes(of: id).inode
    body(&inode)
    try files.engine.run("test_damage") { [inode] (transaction) throws(TransactionError) in
      transaction.put(inode, inode.snapshot)
      try transaction.commit()
    }
  }

  private func put(_ files: FileSystem, _ key: BKey, in btree: BTreeID, _ value: [UInt8]) throws {
    try files.engine.run("test_damage") { (transaction) throws(TransactionError) in
      transaction.update(btree, key, value.rawBytes)
      try transaction.commit()
    }
  }

  @Test func directoriesInACircleAreNoEndlessWayUp() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let a = try files.makeDirectory("a")
    let b = try files.makeDirectory("b", in: a)
    let c = try files.makeDirectory("c")
    try change(files, a) { $0.directory = b.inode }
    expectCode(.limit) { () throws(VolumeError) in
      try files.rename(name("c"), in: files.root, to: name("c"), in: b)
    }
    #expect(try files.parent(of: c) == files.root)
    try disk.letGo(files)
  }

  @Test func namesOfNothingAreNotFound() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let file = try files.makeFile("file")
    try put(
      files, BKey(type: .deleted, position: BPos(0, file.inode, .max)), in: .inodes, [])
    let root = files.root
    expectCode(.notFound) { () throws(VolumeError) in try files.lookup(name("file"), in: root) }
    expectCode(.notFound) { () throws(VolumeError) in try files.unlink(name("file"), in: root) }
    expectCode(.notFound) { () throws(VolumeError) in
      try files.rename(name("file"), in: root, to: name("other"), in: root)
    }
    #expect(try files.entries(of: root).map(\.text).contains("file"))
    try disk.letGo(files)
  }

  @Test func countsThatAreTooSmallAreCorrupt() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let (top, other) = (try files.makeDirectory("top"), try files.makeDirectory("other"))
    let below = try files.makeDirectory("below", in: top)
    let file = try files.makeFile("file", in: top)
    try change(files, top) { $0.nlink = 0 }
    expectCode(.corrupt) { () throws(VolumeError) in
      try files.removeDirectory(name("below"), in: top)
    }
    expectCode(.corrupt) { () throws(VolumeError) in
      try files.rename(name("below"), in: top, to: name("below"), in: other)
    }
    try change(files, file) { $0.flags.insert(.unlinked) }
    expectCode(.corrupt) { () throws(VolumeError) in try files.unlink(name("file"), in: top) }
    try change(files, below) { $0.nlink = .max }
    expectCode(.tooManyLinks) { () throws(VolumeError) in
      try files.create(name("x"), in: below, FileCreation(.directory, permissions: 0o700))
    }
    try disk.letGo(files)
  }

  @Test func listsAndNamesThatAreNoneAreCorrupt() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let file = try files.makeFile("file")
    let inode = try files.attributes(of: file).inode
    let hash = NameHash(inode).xattr(type: Xattr.Kind.aclAccess, [UInt8]().span)
    // A version that no list has.
    try put(
      files, BKey(type: .xattr, position: BPos(file.inode, hash, .max), valueU64s: 1),
      in: .xattrs, [Xattr.Kind.aclAccess, 0, 4, 0, 9, 0, 0, 0])
    var change = AttributeChange()
    change.permissions = 0o600
    expectCode(.corrupt) { () throws(VolumeError) in try files.change(file, change) }
    expectCode(.corrupt) { () throws(VolumeError) in
      try files.xattr(name("system.posix_acl_access"), of: file)
    }
    let root = try files.attributes(of: files.root).inode
    let place = NameHash(root).dirent(name("short").span)
    try put(
      files, BKey(type: .dirent, position: BPos(root.number, place, .max), valueU64s: 1),
      in: .dirents, [UInt8](repeating: 0, count: 8))
    expectCode(.corrupt) { () throws(VolumeError) in
      try files.lookup(name("short"), in: files.root)
    }
    expectCode(.corrupt) { () throws(VolumeError) in try files.entries(of: files.root) }
    try disk.letGo(files)
  }

  /// A number at the end of its range: the next file gets one from the start.
  @Test func numbersGoOnFromTheStartBehindTheLast() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let file = try files.makeFile("file")
    let row = try files.engine.run("test_row") { (transaction) throws(TransactionError) in
      transaction.counterRow
    }
    let range = files.numbers.range(row)
    #expect(range.contains(file.inode))
    files.numbers.note(range.upperBound - 1, row)
    let last = try files.makeFile("last")
    #expect(last.inode == range.upperBound - 1)
    let next = try files.makeFile("next")
    #expect(range.contains(next.inode) && next.inode < last.inode && next != file)
    try files.close()
    try expectSound(disk.device)
  }
}
