// SPDX-License-Identifier: GPL-2.0

import BcachefsIO
import CLinuxShims
import Testing

#if canImport(Glibc)
import Glibc
#endif

@Test func contentsAreReadFromAnywhere() throws {
  let fixture = try HostFixture()
  let data = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
  try fixture.write("f", data)
  let file = try fixture.root().file(bytes("f"))
  file.adviseSequential()
  #expect(try contents(of: file, blockByteCount: 999) == data)
  var block = [UInt8](repeating: 7, count: 100)
  #expect(try read(file, &block, at: 9_950) == 50)
  #expect(Array(block[..<50]) == Array(data[9_950...]))
  #expect(try read(file, &block, at: 10_000) == 0)
  #expect(try read(file, &block, at: UInt64(Int64.max) - 100) == 0)
  #expect(
    reason { try read(file, &block, at: UInt64.max) }
      == .outOfBounds(byteCount: UInt64(Int64.max)))
}

@Test func dataAndHolesAreFound() throws {
  let fixture = try HostFixture()
  let unit = 1 << 20
  try fixture.write("sparse", [UInt8](repeating: 1, count: 4096), at: unit)
  try fixture.write("sparse", [UInt8](repeating: 2, count: 100), at: 3 * unit)
  try HostFixture.check(unsafe truncate("\(fixture.path)/sparse", off_t(5 * unit)), "truncate")
  let file = try fixture.root().file(bytes("sparse"))
  let stat = try file.stat()
  #expect(stat.mayHaveHoles)
  let first = try #require(try file.dataRange(from: 0))
  if first == 0..<UInt64(5 * unit) { try Test.cancel("this filesystem knows no holes") }
  #expect(first == UInt64(unit)..<UInt64(unit + 4096))
  #expect(try file.dataRange(from: first.lowerBound + 5) == first.lowerBound + 5..<first.upperBound)
  let second = try #require(try file.dataRange(from: first.upperBound))
  #expect(second == UInt64(3 * unit)..<UInt64(3 * unit + 4096))
  #expect(try file.dataRange(from: second.upperBound) == nil)
  #expect(try file.nextHole(from: 0) == 0)
  #expect(try file.nextHole(from: UInt64(unit)) == first.upperBound)
  #expect(try file.nextHole(from: UInt64(5 * unit)) == nil)
  #expect(try file.nextData(from: UInt64.max) == nil)
}

@Test func aWholeFileIsOneRangeOfData() throws {
  let fixture = try HostFixture()
  try fixture.write("f", [UInt8](repeating: 1, count: 5000))
  let file = try fixture.root().file(bytes("f"))
  #expect(try file.dataRange(from: 0) == 0..<5000)
  #expect(try file.dataRange(from: 5000) == nil)
}

@Test func aFileThatChangedIsTold() throws {
  let fixture = try HostFixture()
  try fixture.write("f", bytes("one"))
  let root = try fixture.root()
  let before = try root.stat(of: bytes("f"))
  let file = try root.file(bytes("f"))
  try file.verifyUnchanged(since: before)
  usleep(20_000)
  try fixture.write("f", bytes("longer"))
  #expect(try contents(of: file) == bytes("longer"))
  #expect(
    reason { try file.verifyUnchanged(since: before) }
      == .changedWhileReading([.size, .modificationTime, .changeTime]))
}

@Test func aFileThatTookTheNameOfAnotherIsTold() throws {
  let fixture = try HostFixture()
  try fixture.write("f", bytes("one"))
  try fixture.write("other", bytes("two"))
  let root = try fixture.root()
  let before = try root.stat(of: bytes("f"))
  let directoryBefore = try root.stat()
  usleep(20_000)
  try HostFixture.check(unsafe rename("\(fixture.path)/other", "\(fixture.path)/f"), "rename")
  let file = try root.file(bytes("f"))
  guard case .changedWhileReading(let changes) = reason({ try file.verifyUnchanged(since: before) })
  else {
    Issue.record("the change went unnoticed")
    return
  }
  #expect(changes.contains(.identity))
  #expect(!changes.contains(.size))
  #expect(reason { try root.stat(of: bytes("other")) } == .vanished)
  #expect(
    reason { try root.verifyUnchanged(since: directoryBefore) }
      == .changedWhileReading([.modificationTime, .changeTime]))
}

@Test func readingADirectoryAsAFileIsRefused() throws {
  let fixture = try HostFixture()
  try HostFixture.check(unsafe mkdir("\(fixture.path)/d", 0o755), "mkdir")
  let file = try fixture.root().file(bytes("d"))
  #expect(reason { try contents(of: file) } == .notARegularFile)
}

@Test func readingLeavesTheAccessTimeAlone() throws {
  let fixture = try HostFixture()
  try fixture.write("f", bytes("one"))
  let root = try fixture.root()
  let times = [timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 2000, tv_nsec: 0)]
  try HostFixture.check(unsafe utimensat(AT_FDCWD, "\(fixture.path)/f", times, 0), "utimensat")
  #expect(try contents(of: root.file(bytes("f"))) == bytes("one"))
  #expect(try root.stat(of: bytes("f")).accessTime == 1_000_000_000_000)
}

// MARK: - Extended attributes

private let hasTools =
  unsafe access("/usr/bin/setfattr", X_OK) == 0 && access("/usr/bin/setfacl", X_OK) == 0

@Test(.enabled(if: hasTools, "needs setfattr and setfacl (packages attr, acl)"))
func attributesAndACLsAreListedInOrder() throws {
  let fixture = try HostFixture()
  try fixture.write("f", [])
  let path = "\(fixture.path)/f"
  guard try fixture.run("/usr/bin/setfattr", ["-n", "user.zebra", "-v", "z", path]) else {
    try Test.cancel("this filesystem keeps no user attributes")
  }
  let large = String(repeating: "v", count: 3000)
  try #require(try fixture.run("/usr/bin/setfattr", ["-n", "user.apple", "-v", large, path]))
  try #require(try fixture.run("/usr/bin/setfattr", ["-n", "user.empty", path]))
  try #require(try fixture.run("/usr/bin/setfacl", ["-m", "u:5:rw", path]))
  let root = try fixture.root()
  let found = try root.xattrs(of: bytes("f")).filter { !$0.name.starts(with: bytes("security.")) }
  #expect(
    found.map { String(decoding: $0.name, as: UTF8.self) }
      == ["system.posix_acl_access", "user.apple", "user.empty", "user.zebra"])
  #expect(found[1].value == bytes(large))
  #expect(found[2].value == [])
  #expect(found[3].value == bytes("z"))
  // Version 2, then the entries: owner rw, user 5 rw, group r, mask rw, others r.
  #expect(
    found[0].value.prefix(20) == [
      2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 5, 0, 0, 0,
    ])
  #expect(found[0].value.count == 4 + 5 * 8)
  let file = try root.file(bytes("f"))
  #expect(try file.xattrs() == root.xattrs(of: bytes("f")))
  // Before Linux 6.13 the way leads through /proc.
  linux_xattrat_avoid(1)
  defer { linux_xattrat_avoid(0) }
  #expect(try file.xattrs() == root.xattrs(of: bytes("f")))
  #expect(reason { try root.xattrs(of: bytes("none")) } == .vanished)
}

@Test(.enabled(if: hasTools, "needs setfattr and setfacl (packages attr, acl)"))
func directoriesAndLinksHaveAttributesOfTheirOwn() throws {
  let fixture = try HostFixture()
  try HostFixture.check(unsafe mkdir("\(fixture.path)/d", 0o755), "mkdir")
  try HostFixture.check(unsafe symlink("d", "\(fixture.path)/link"), "symlink")
  let path = "\(fixture.path)/d"
  guard try fixture.run("/usr/bin/setfattr", ["-n", "user.one", "-v", "1", path]) else {
    try Test.cancel("this filesystem keeps no user attributes")
  }
  try #require(try fixture.run("/usr/bin/setfacl", ["-d", "-m", "g:7:r", path]))
  let root = try fixture.root()
  let names = try root.xattrs(of: bytes("d")).map { String(decoding: $0.name, as: UTF8.self) }
  #expect(names.filter { !$0.hasPrefix("security.") } == ["system.posix_acl_default", "user.one"])
  #expect(try root.directory(bytes("d")).xattrs() == root.xattrs(of: bytes("d")))
  // The link's own attributes are none, whatever its target has.
  var expected: [String] = []
  if geteuid() == 0 {
    let link = "\(fixture.path)/link"
    if try fixture.run("/usr/bin/setfattr", ["-h", "-n", "trusted.l", "-v", "2", link]) {
      expected = ["trusted.l"]
    }
  }
  let ofLink = try root.xattrs(of: bytes("link")).map { String(decoding: $0.name, as: UTF8.self) }
  #expect(ofLink.filter { !$0.hasPrefix("security.") } == expected)
}

// MARK: - Spill files

@Test func whatWasSpilledIsReadBack() throws {
  let fixture = try HostFixture()
  let spill = try SpillFile(near: fixture.path)
  #expect(try fixture.root().names().isEmpty)
  let one = [UInt8](repeating: 1, count: 5000)
  let two = [UInt8](repeating: 2, count: 3)
  #expect(try unsafe spill.append(one.span.bytes) == 0)
  #expect(try unsafe spill.append(two.span.bytes) == 5000)
  #expect(spill.byteCount == 5003)
  var block = [UInt8](repeating: 0, count: 5)
  try read(spill, &block, at: 4998)
  #expect(block == [1, 1, 2, 2, 2])
  #expect(reason { try read(spill, &block, at: 4999) } == .outOfBounds(byteCount: 5003))
  #expect(reason { try read(spill, &block, at: UInt64.max) } == .outOfBounds(byteCount: 5003))
}

@Test func spillingGoesElsewhereWhereItCannotStay() throws {
  let spill = try SpillFile(near: "/proc/self")
  #expect(try unsafe spill.append([1, 2].span.bytes) == 0)
}

private func read(_ file: HostFile, _ block: inout [UInt8], at offset: UInt64) throws -> Int {
  var span = block.mutableSpan
  var raw = unsafe span.mutableBytes
  return try file.read(into: &raw, atByte: offset)
}

private func read(_ spill: SpillFile, _ block: inout [UInt8], at offset: UInt64) throws {
  var span = block.mutableSpan
  var raw = unsafe span.mutableBytes
  try spill.read(into: &raw, atByte: offset)
}
