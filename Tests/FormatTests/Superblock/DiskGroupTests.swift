// SPDX-License-Identifier: GPL-2.0
// Labels of devices as a tree of names.

import BcachefsFormat
import Testing

struct DiskGroupTests {
  @Test func pathsAreMadeOnceAndFoundAgain() throws {
    var groups = DiskGroupsSection()
    #expect(try groups.findOrCreate(path: "ssd.fast") == 1)
    #expect(try groups.findOrCreate(path: "ssd.slow") == 2)
    #expect(try groups.findOrCreate(path: "hdd") == 3)
    #expect(try groups.findOrCreate(path: "ssd") == 0)
    #expect(groups.groups.count == 4)
    #expect(groups.path(of: 2) == "ssd.slow")
    #expect(groups.index(ofPath: "ssd.fast") == 1)
    #expect(groups.index(ofPath: "fast") == nil)
    #expect(groups.index(ofPath: "ssd.") == 0)
    #expect(groups.index(ofPath: "") == nil)
    #expect(groups.closure(of: 0) == [0, 1, 2])
    #expect(groups.closure(of: 3) == [3])
  }

  @Test func deletedGroupsAreNotFoundAndUsedAgain() throws {
    var groups = DiskGroupsSection()
    _ = try groups.findOrCreate(path: "a.b")
    groups.groups[0].isDeleted = true
    #expect(groups.path(of: 1) == nil)
    #expect(groups.index(ofPath: "a") == nil)
    #expect(try groups.findOrCreate(path: "c") == 0)
    #expect(groups.path(of: 1) == "c.b")
  }

  @Test func circlesOfParentsEnd() {
    var groups = DiskGroupsSection()
    for name in ["a", "b"] {
      guard let label = try? DiskLabel(name) else { continue }
      groups.groups.append(DiskGroup(label: label, parent: nil))
    }
    groups.groups[0].parent = 1
    groups.groups[1].parent = 0
    #expect(groups.path(of: 0) == nil)
    #expect(groups.closure(of: 0) == [0, 1])
  }

  @Test func longOrEmptyNamesAreRefused() {
    var groups = DiskGroupsSection()
    let long = String(repeating: "x", count: 33)
    #expect(throws: FormatError.self) { try groups.findOrCreate(path: long) }
    #expect(throws: FormatError.self) { try groups.findOrCreate(path: "a..b") }
    #expect(throws: FormatError.self) { try groups.findOrCreate(path: "") }
    #expect((try? groups.findOrCreate(path: String(long.dropLast()))) != nil)
  }

  @Test func groupIsLabelThenFlags() throws {
    let group = DiskGroup(label: try DiskLabel("ssd"), parent: 2)
    let bytes = DiskGroupsSection(groups: [group]).encode()
    #expect(bytes.count == 56)
    #expect(Array(bytes[8..<12]) == [0x73, 0x73, 0x64, 0])
    // Data allowed in bits 1 to 5, parent 3 from bit 6 on.
    #expect(Array(bytes[40..<44]) == [0xfe, 0, 0, 0])
  }
}
