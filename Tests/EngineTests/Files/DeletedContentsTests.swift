// SPDX-License-Identifier: GPL-2.0
// A file is deleted while somebody reads or writes it who does not hold it, and another one gets
// its number: neither sees or changes what the other has.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct DeletedContentsTests {
  @Test(arguments: [4096, 100_000])
  func aFileWithTheNumberOfADeletedOneIsEmpty(byteCount: Int) throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let old = try files.makeFile("old")
    let bytes = [UInt8](repeating: 1, count: byteCount)
    try files.write(old, bytes.rawBytes, at: 0)
    let contents = try files.contents.open(old)
    try files.unlink(Array("old".utf8), in: files.root)
    let new = try files.makeFile("new")
    #expect(new == old)
    #expect(try files.attributes(of: new).byteCount == 0)
    // Whoever has the old one finds that it is gone, however he writes.
    expectCode(.notFound) { () throws(VolumeError) in
      try contents.write(bytes.rawBytes, at: 0)
    }
    expectCode(.notFound) { () throws(VolumeError) in try contents.truncate(to: 9) }
    var target = bytes
    expectCode(.notFound) { () throws(VolumeError) in
      var span = target.mutableRawBytes
      return try contents.read(from: 0, into: &span)
    }
    let small = [UInt8](repeating: 2, count: 10)
    try files.write(new, small.rawBytes, at: 0)
    files.contents.close(old)
    #expect(try files.contents(of: new) == small)
    try files.close()
    let again = try disk.open()
    #expect(try again.contents(of: new) == small)
    try again.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }

  /// Some write and read a number, others make the file anew that has it.
  @Test func threadsThatDoNotHoldAFileHarmNoOther() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let id = try files.makeFile("0")
    let isDone = Atomic<Bool>(false)
    let rounds = runsLongTests ? 2000 : 150
    onThreads(4) { thread in
      guard thread > 0 else {
        defer { isDone.store(true, ordering: .relaxed) }
        do throws(VolumeError) {
          for round in 1...rounds {
            try files.unlink(Array("\(round - 1)".utf8), in: files.root)
            let new = try files.create(
              Array("\(round)".utf8), in: files.root, FileCreation(.regular, permissions: 0o644))
            guard new.id == id else { continue }
            if round % 2 == 0 { try files.writeOut(id) }
          }
        } catch {
          Issue.record("\(error)")
        }
        return
      }
      let bytes = [UInt8](repeating: UInt8(thread), count: thread == 3 ? 100_000 : 1000)
      while !isDone.load(ordering: .relaxed) {
        do throws(VolumeError) {
          try files.write(id, bytes.rawBytes, at: UInt64(thread - 1) * 3000)
          var found = [UInt8](repeating: 9, count: 3000)
          var span = found.mutableRawBytes
          let count = try files.read(id, from: UInt64(thread - 1) * 3000, into: &span)
          let isKnown = found.prefix(count).allSatisfy { $0 == 0 || $0 == UInt8(thread) }
          #expect(isKnown)
        } catch {
          if error.code != .notFound { Issue.record("\(error)") }
        }
      }
    }
    try files.sync()
    #expect(files.contents.dirtyByteCount == 0)
    #expect(files.engine.usage.promisedSectors == 0)
    try files.close()
    try disk.volume.expectSound([disk.device], "closed", ofFiles: true)
  }
}
