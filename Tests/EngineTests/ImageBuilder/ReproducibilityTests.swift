// SPDX-License-Identifier: GPL-2.0
// The same input gives the same bytes, whoever worked on it, and other input gives others.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

struct ReproducibilityTests {
  private func images(_ source: String, _ setting: BuildSetting) throws -> [[UInt64]] {
    let devices = try setting.makeDevices()
    _ = try setting.build(source, on: devices)
    return try devices.map(digests)
  }

  static let settings = [
    BuildSetting(options: [.compression: 1], byteCount: 16 << 20),
    BuildSetting(options: [.dataReplicas: 2], deviceCount: 3, byteCount: 16 << 20),
    BuildSetting(
      byteCount: 16 << 20, encryption: .withoutPassphrase,
      masterKey: EncryptionKey(copying: [UInt8](repeating: 3, count: 32).rawBytes)),
  ]

  @Test(arguments: settings.indices)
  func numberOfWorkersDoesNotShow(index: Int) throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", seed: 8, scale: .small, files: 300)
      var setting = Self.settings[index]
      setting.workers = 1
      let first = try images(tree.path, setting)
      for workers in [2, 5] {
        setting.workers = workers
        #expect(try images(tree.path, setting) == first, "\(workers) workers")
      }
    }
  }

  @Test func copyOfTheSourceGivesTheSameBytes() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", seed: 8, scale: .tiny)
      // Other inode numbers, other change times, another order in the directories.
      try runProgramOrThrow("cp", ["-a", tree.path, "\(folder)/copy"])
      let setting = BuildSetting(byteCount: 16 << 20)
      #expect(try images(tree.path, setting) == images("\(folder)/copy", setting))
    }
  }

  @Test func oneByteMoreShows() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", script: "echo a >file")
      let setting = BuildSetting(byteCount: 16 << 20)
      let before = try images(tree.path, setting)
      try writeFile("\(tree.path)/file", Array("ab\n".utf8))
      #expect(try images(tree.path, setting) != before)
    }
  }
}
