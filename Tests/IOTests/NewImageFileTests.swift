// SPDX-License-Identifier: GPL-2.0
// Image files that appear whole or not at all, by unnamed files and by hidden names.

import Foundation
import TestSupport
import Testing

@testable import BcachefsIO

struct NewImageFileTests: ~Copyable {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func make(
    _ name: String = "a.img", hidden: Bool, replacing: Bool = false,
    allocation: NewImageFile.Allocation = .sparse
  ) throws(DeviceError) -> NewImageFile {
    try NewImageFile(
      path: folder.file(name), byteCount: 1 << 20, allocation: allocation, replacing: replacing,
      direct: false, hidden: hidden)
  }

  @Test(arguments: [false, true])
  func theFinalNameAppearsOnlyWhenPublished(hidden: Bool) throws {
    let new = try make(hidden: hidden)
    try new.device.put(pattern(4096), at: 4096)
    #expect(try folder.names().contains("a.img") == false)
    #expect(try folder.names().isEmpty == !hidden)
    let device = try new.publish()
    #expect(try folder.names() == ["a.img"])
    #expect(try device.bytes(4096, at: 4096) == pattern(4096))
    #expect(
      failure { () throws(DeviceError) in
        _ = try BlockDevice.open(path: device.name, mode: .exclusiveReadWrite)
      } != nil)
    try device.close()
    let again = try BlockDevice.open(path: folder.file("a.img"), mode: .exclusiveReadWrite)
    #expect(try again.bytes(4096, at: 4096) == pattern(4096))
    #expect(again.byteCount == 1 << 20)
  }

  @Test(arguments: [false, true])
  func nothingStaysOfAnUnpublishedFile(hidden: Bool) throws {
    do {
      let new = try make(hidden: hidden)
      try new.device.put(pattern(4096), at: 0)
    }
    #expect(try folder.names() == [])
  }

  @Test(arguments: [false, true])
  func anExistingNameIsKeptUnlessReplacingIsAskedFor(hidden: Bool) throws {
    let path = folder.file("a.img")
    try Data([1, 2, 3]).write(to: URL(fileURLWithPath: path))
    #expect(failure { () throws(DeviceError) in _ = try make(hidden: hidden) } == .alreadyExists)
    let new = try make(hidden: hidden, replacing: true)
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data([1, 2, 3]))
    try new.publish().close()
    #expect(try folder.names() == ["a.img"])
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)).count == 1 << 20)
  }

  @Test(arguments: [false, true])
  func aNameThatAppearsMeanwhileIsNotReplaced(hidden: Bool) throws {
    let new = try make(hidden: hidden)
    let path = folder.file("a.img")
    try Data([1, 2, 3]).write(to: URL(fileURLWithPath: path))
    do throws(DeviceError) {
      _ = try new.publish()
      Issue.record("an existing file was replaced")
    } catch {
      #expect(error.reason == .alreadyExists)
    }
    #expect(try folder.names() == ["a.img"])
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data([1, 2, 3]))
  }

  @Test func aSymbolicLinkIsFollowedToTheFileItReplaces() throws {
    try Data([1]).write(to: URL(fileURLWithPath: folder.file("real")))
    try FileManager.default.createSymbolicLink(
      atPath: folder.file("a.img"), withDestinationPath: "real")
    try make(hidden: false, replacing: true).publish().close()
    #expect(
      try FileManager.default.destinationOfSymbolicLink(atPath: folder.file("a.img")) == "real")
    #expect(try Data(contentsOf: URL(fileURLWithPath: folder.file("real"))).count == 1 << 20)
  }

  @Test func directoriesAndBadSizesAreRefused() throws {
    #expect(
      failure { () throws(DeviceError) in
        _ = try NewImageFile(path: folder.path, byteCount: 4096, replacing: true)
      } == .notADevice)
    #expect(
      failure { () throws(DeviceError) in
        _ = try NewImageFile(path: folder.file("x"), byteCount: 0)
      } == .invalidSize)
    #expect(
      failure { () throws(DeviceError) in
        _ = try NewImageFile(path: folder.file("none/x"), byteCount: 4096)
      } == .system(ENOENT))
    #expect(try folder.names() == [])
  }

  @Test func preallocationReservesEveryBlock() throws {
    let device = try make(hidden: false, allocation: .preallocated).publish()
    var status = stat()
    try #require(unsafe stat(device.name, &status) == 0)
    #expect(Int(status.st_blocks) * 512 >= 1 << 20)
  }

  @Test(arguments: [false, true])
  func aTerminatedProcessLeavesNothingBehind(hidden: Bool) async throws {
    let path = folder.file("a.img")
    await #expect(processExitsWith: .signal(SIGTERM)) {
      [path = path as String, hidden = hidden as Bool] in
      // Whoever starts the child may leave the signal ignored or blocked.
      signal(SIGTERM, SIG_DFL)
      var every = sigset_t()
      unsafe sigfillset(&every)
      unsafe pthread_sigmask(SIG_UNBLOCK, &every, nil)
      let new = try NewImageFile(
        path: path, byteCount: 1 << 20, allocation: .sparse, replacing: false, direct: false,
        hidden: hidden)
      try new.device.put(pattern(4096), at: 0)
      raise(SIGTERM)
      try new.publish().close()
    }
    #expect(try folder.names() == [])
  }
}
