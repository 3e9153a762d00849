// SPDX-License-Identifier: GPL-2.0
// Renames: what the model says of them is in FileModelTests; here is what it knows nothing of.

internal import BcachefsFormat
internal import BcachefsSupport
internal import FileModel
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct RenameTests {
  private func name(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test func aDirectoryWithOptionsOfItsOwnStaysInPlace() throws {
    let files = try OpenFileSystem().open()
    let (a, b) = (try files.makeDirectory("a"), try files.makeDirectory("b"))
    let below = try files.makeDirectory("below", in: a)
    let file = try files.makeFile("file", in: a)
    try files.setXattr(name("bcachefs.compression"), of: b, to: name("lz4"))
    expectCode(.crossSubvolume) { () throws(VolumeError) in
      try files.rename(name("below"), in: a, to: name("below"), in: b)
    }
    // A file takes the options of its new directory, and cannot have names in both.
    expectCode(.crossSubvolume) { () throws(VolumeError) in
      try files.link(file, as: name("file"), in: b)
    }
    try files.rename(name("file"), in: a, to: name("file"), in: b)
    let option = name("bcachefs_effective.compression")
    #expect(try files.xattr(option, of: file) == name("lz4"))
    expectCode(.noAttribute) { () throws(VolumeError) in
      try files.xattr(name("bcachefs.compression"), of: file)
    }
    // Where the same is set on the directory itself there is nothing that would change.
    try files.setXattr(name("bcachefs.compression"), of: below, to: name("lz4"))
    try files.rename(name("below"), in: a, to: name("below"), in: b)
    #expect(try files.parent(of: below) == b)
    try files.close()
  }

  @Test func whatIsImmutableKeepsItsNames() throws {
    let files = try OpenFileSystem().open()
    let file = try files.makeFile("file")
    let directory = try files.makeDirectory("directory")
    var change = AttributeChange()
    change.flags = [.immutable]
    _ = try files.change(file, change)
    change.flags = [.append]
    _ = try files.change(directory, change)
    let root = files.root
    let inside = try files.makeFile("inside", in: directory)
    expectCode(.notPermitted) { () throws(VolumeError) in
      try files.rename(name("file"), in: root, to: name("other"), in: root)
    }
    expectCode(.notPermitted) { () throws(VolumeError) in
      try files.unlink(name("file"), in: root)
    }
    expectCode(.notPermitted) { () throws(VolumeError) in
      try files.link(file, as: name("other"), in: root)
    }
    expectCode(.notPermitted) { () throws(VolumeError) in
      try files.unlink(name("inside"), in: directory)
    }
    _ = try files.link(inside, as: name("more"), in: directory)
    change.flags = []
    _ = try files.change(file, change)
    try files.unlink(name("file"), in: root)
    try files.close()
  }

  @Test func aNameThatIsReplacedIsNeverMissing() throws {
    let files = try OpenFileSystem().open(withThreads: true)
    _ = try files.makeFile("target")
    let isDone = Atomic<Bool>(false)
    let missing = Atomic<Int>(0)
    let root = files.root
    onThreads(2) { thread in
      for round in 0..<(thread == 0 ? 2000 : .max) {
        do throws(VolumeError) {
          if thread == 0 {
            let other = name("other \(round)")
            _ = try files.create(other, in: root, FileCreation(.regular, permissions: 0o600))
            try files.rename(other, in: root, to: name("target"), in: root)
          } else {
            if isDone.load(ordering: .acquiring) { return }
            _ = try files.lookup(name("target"), in: root)
          }
        } catch {
          missing.add(1, ordering: .relaxed)
        }
      }
      isDone.store(true, ordering: .releasing)
    }
    #expect(missing.load(ordering: .acquiring) == 0)
    try files.close()
  }

  /// Two moves that would make a circle together: one of them sees the other.
  @Test func directoriesThatMoveBelowEachOtherMakeNoCircle() throws {
    let files = try OpenFileSystem().open(withThreads: true)
    let ends = (try files.makeDirectory("a"), try files.makeDirectory("b"))
    let root = files.root
    for _ in 0..<200 {
      let refused = Atomic<Int>(0)
      onThreads(2) { thread in
        let (moved, below) = thread == 0 ? ("a", ends.1) : ("b", ends.0)
        do throws(VolumeError) {
          try files.rename(name(moved), in: root, to: name(moved), in: below)
        } catch {
          if error.code == .loop { refused.add(1, ordering: .relaxed) }
        }
      }
      #expect(refused.load(ordering: .acquiring) == 1)
      let names = try files.entries(of: root).map(\.text)
      let outer = names.contains("a") ? ("a", ends.0) : ("b", ends.1)
      let inner = outer.0 == "a" ? "b" : "a"
      try files.rename(name(inner), in: outer.1, to: name(inner), in: root)
    }
    try files.close()
  }
}
