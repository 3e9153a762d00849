// SPDX-License-Identifier: GPL-2.0

import CLinuxShims
import Testing

@testable import BcachefsIO

#if canImport(Glibc)
import Glibc
#endif

private let isRoot = geteuid() == 0

@Test func namesOfAnyBytesAreListedInTheirOrder() throws {
  let fixture = try HostFixture()
  let names: [[UInt8]] = [
    [1], bytes("12345678"), bytes("1234567890"), bytes("1234567891"), bytes("A"), bytes("a"),
    bytes("a.b"), bytes("ab"), [0x7A, 0x0A], bytes("\u{e4}"), [0xFF], [0xFF, 0xFE],
    [UInt8](repeating: 0xFF, count: 255),
  ]
  for name in names.reversed() {
    let path = (bytes(fixture.path + "/") + name + [0]).map { CChar(bitPattern: $0) }
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT, 0o600)
    try HostFixture.check(descriptor, "open")
    _ = close(descriptor)
  }
  let root = try fixture.root()
  let entries = try root.entries()
  #expect(entries.map(\.name) == names)
  #expect(entries.allSatisfy { $0.stat.isRegularFile && $0.stat.byteCount == 0 })
  let again = try root.names()
  #expect(again.count == names.count)
  for index in again.indices {
    let name = again.name(at: index)
    #expect(name.count == names[index].count && name[0] == names[index][0])
    #expect(try root.stat(of: name) == entries[index].stat)
  }
}

@Test func thousandsOfNamesAreListedOnceEach() throws {
  let fixture = try HostFixture()
  let wanted = (0..<3000).map { "file with a long name, to fill blocks \($0)" }
  for name in wanted { try fixture.write(name, []) }
  let found = try fixture.root().entries().map { String(decoding: $0.name, as: UTF8.self) }
  #expect(found == wanted.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) })
}

@Test func theStateOfAFileIsWhatStatSays() throws {
  let fixture = try HostFixture()
  try fixture.write("f", bytes("hello"))
  let path = "\(fixture.path)/f"
  try HostFixture.check(unsafe chmod(path, 0o4751), "chmod")
  try HostFixture.check(unsafe link(path, "\(fixture.path)/g"), "link")
  if isRoot { try HostFixture.check(unsafe chown(path, 12345, 3_000_000_000), "chown") }
  try HostFixture.check(unsafe chmod(path, 0o4751), "chmod")
  let times = [
    timespec(tv_sec: -5, tv_nsec: 1), timespec(tv_sec: 1_700_000_000, tv_nsec: 999_999_999),
  ]
  try HostFixture.check(unsafe utimensat(AT_FDCWD, path, times, 0), "utimensat")
  let stat = try fixture.root().stat(of: bytes("f"))
  var expected = Glibc.stat()
  try HostFixture.check(unsafe lstat(path, &expected), "lstat")
  #expect(stat.mode == 0o104751)
  #expect(stat.kind == .regularFile)
  #expect(stat.linkCount == 2)
  #expect(stat.byteCount == 5)
  #expect(stat.inode == UInt64(expected.st_ino))
  #expect(stat.blocks512 == UInt64(expected.st_blocks))
  #expect(stat.uid == (isRoot ? 12345 : expected.st_uid))
  #expect(stat.gid == (isRoot ? 3_000_000_000 : expected.st_gid))
  #expect(stat.accessTime == -4_999_999_999)
  #expect(stat.modificationTime == 1_700_000_000_999_999_999)
  #expect(
    stat.changeTime
      == Int64(expected.st_ctim.tv_sec) * 1_000_000_000 + Int64(expected.st_ctim.tv_nsec))
}

@Test func specialFilesHaveTheirKindAndNumbers() throws {
  let fixture = try HostFixture()
  try HostFixture.check(unsafe mkfifo("\(fixture.path)/fifo", 0o600), "mkfifo")
  try HostFixture.check(unsafe mknod("\(fixture.path)/socket", S_IFSOCK | 0o600, 0), "mknod")
  try HostFixture.check(unsafe symlink("nowhere", "\(fixture.path)/link"), "symlink")
  try HostFixture.check(unsafe mkdir("\(fixture.path)/folder", 0o700), "mkdir")
  let root = try fixture.root()
  #expect(try root.stat(of: bytes("fifo")).kind == .fifo)
  #expect(try root.stat(of: bytes("socket")).kind == .socket)
  #expect(try root.stat(of: bytes("folder")).kind == .directory)
  let link = try root.stat(of: bytes("link"))
  #expect(link.kind == .symbolicLink)
  #expect(link.byteCount == 7)
  // Opening a FIFO that nobody writes to does not wait.
  let fifo = try root.file(bytes("fifo"))
  #expect(reason { try contents(of: fifo) } == .notARegularFile)
  #expect(reason { try root.file(bytes("socket")) } == .notARegularFile)
}

@Test(.enabled(if: isRoot, "needs root")) func deviceNodesHaveTheirNumbers() throws {
  let fixture = try HostFixture()
  guard try fixture.run("/bin/mknod", ["\(fixture.path)/c", "c", "259", "70000"]),
    try fixture.run("/bin/mknod", ["\(fixture.path)/b", "b", "7", "3"])
  else {
    try Test.cancel("this filesystem takes no device nodes")
  }
  let root = try fixture.root()
  let character = try root.stat(of: bytes("c"))
  #expect(character.kind == .characterDevice)
  #expect(character.deviceMajor == 259)
  #expect(character.deviceMinor == 70000)
  let block = try root.stat(of: bytes("b"))
  #expect(block.kind == .blockDevice)
  #expect(block.deviceMajor == 7)
  #expect(block.deviceMinor == 3)
}

@Test func linksAreReadAndNeverFollowed() throws {
  let fixture = try HostFixture()
  let target = String(repeating: "x/", count: 2000)
  try HostFixture.check(unsafe symlink(target, "\(fixture.path)/long"), "symlink")
  try HostFixture.check(unsafe symlink("/etc", "\(fixture.path)/away"), "symlink")
  let root = try fixture.root()
  #expect(try root.readLink(bytes("long")) == bytes(target))
  #expect(reason { try root.directory(bytes("away")) } == .notADirectory)
  #expect(reason { try root.file(bytes("away")) } == .symbolicLink)
  let tree = try fixture.tree()
  #expect(reason { try tree.directory(at: HostPath("away/ssl")) } == .symbolicLink)
  try fixture.write("plain", [])
  #expect(reason { try root.readLink(bytes("plain")) } == .changedWhileReading(.kind))
}

@Test func pathsLongerThanTheKernelTakesAreOpened() throws {
  let fixture = try HostFixture()
  let name = [UInt8](repeating: UInt8(ascii: "d"), count: 250)
  let text = name.map { CChar(bitPattern: $0) } + [0]
  var descriptor = unsafe open(fixture.path, O_RDONLY | O_DIRECTORY)
  var path = HostPath.root
  for _ in 0..<40 {
    try HostFixture.check(unsafe mkdirat(descriptor, text, 0o755), "mkdirat")
    let next = unsafe openat(descriptor, text, O_RDONLY | O_DIRECTORY)
    _ = close(descriptor)
    descriptor = next
    path = path.appending(name)
  }
  let leaf = unsafe openat(descriptor, "leaf", O_WRONLY | O_CREAT, 0o600)
  _ = unsafe write(leaf, "deep", 4)
  _ = close(leaf)
  _ = close(descriptor)
  #expect(path.bytes.count > 10_000)
  let tree = try fixture.tree()
  let deepest = try tree.directory(at: path)
  #expect(try deepest.names().count == 1)
  #expect(try contents(of: deepest.file(bytes("leaf"))) == bytes("deep"))
  #expect(try deepest.xattrs(of: bytes("leaf")).isEmpty)
  // The same without openat2, and in chunks that end within and at the end of names.
  for byteCount in [0, 249, 250, 251, 501, 502] {
    let same = try tree.directory(at: path, chunkByteCountMax: byteCount)
    #expect(try same.stat() == deepest.stat())
  }
  // The same by hand, from child to child.
  var directory = try tree.directory(at: .root)
  for _ in 0..<40 { directory = try directory.directory(name) }
  #expect(try directory.stat() == deepest.stat())
  #expect(directory.path == path)
}

@Test func whatIsNoNameIsRefused() throws {
  let fixture = try HostFixture()
  let root = try fixture.root()
  for name in ["", ".", "..", "a/b", "/", "a\0b"] {
    #expect(reason { try root.stat(of: bytes(name)) } == .invalidName)
    #expect(reason { try root.file(bytes(name)) } == .invalidName)
    #expect(reason { try root.xattrs(of: bytes(name)) } == .invalidName)
  }
  let tree = try fixture.tree()
  for path in ["..", "a/../..", "/etc", "a//b", "a/", "./a"] {
    #expect(reason { try tree.directory(at: HostPath(path)) } == .invalidName)
  }
  #expect(
    reason { try root.stat(of: [UInt8](repeating: 65, count: 300)) } == .system(ENAMETOOLONG))
}

@Test func errorsSayWhereAndWhatToDo() throws {
  let fixture = try HostFixture()
  let root = try fixture.root()
  do {
    _ = try root.stat(of: [0x61, 0xFF, 0x0A])
    Issue.record("there is no such file")
  } catch {
    #expect(error.reason == .vanished)
    #expect(error.errorNumber == ENOENT)
    #expect(
      error.description
        == "cannot examine \(fixture.path)/a\\xff\\x0a: it is not there; "
        + "check the path, and that nobody changes the tree meanwhile")
  }
  #expect(HostPath("a\\b \u{202e}\u{e4}").description == "a\\\\b \\xe2\\x80\\xae\u{e4}")
  #expect(reason { try HostTree("/proc/version") } == .notADirectory)
  #expect(reason { try HostTree("") } == .invalidName)
}

@Test(.disabled(if: isRoot, "root may read everything"))
func anUnreadableDirectoryIsNamed() throws {
  let fixture = try HostFixture()
  try HostFixture.check(unsafe mkdir("\(fixture.path)/closed", 0), "mkdir")
  let root = try fixture.root()
  #expect(reason { try root.directory(bytes("closed")) } == .system(EACCES))
}

/// Why `body` failed, or nil.
func reason<Value>(_ body: () throws -> Value) -> HostError.Reason? {
  do {
    _ = try body()
    return nil
  } catch {
    return (error as? HostError)?.reason
  }
}
