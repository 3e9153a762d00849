// SPDX-License-Identifier: GPL-2.0
// Volumes that the real driver wrote, and what it showed of them, for the commands that read.

internal import Foundation
internal import TestSupport
internal import Testing

/// A sample volume, unpacked: its name for the command, and how to unlock it.
struct ReadFixture {
  let sample: SampleVolume
  let images: [String]
  let folder: String

  var volume: String { images.joined(separator: ":") }

  /// Options that open it.
  var unlocking: [String] {
    sample.passphrase == nil ? [] : ["--passphrase_file", "\(folder)/passphrase"]
  }

  static func with<Result>(
    _ sample: SampleVolume, _ body: (ReadFixture) throws -> Result
  ) throws -> Result {
    try withTemporaryFolder { folder in
      let fixture = ReadFixture(
        sample: sample, images: try sample.unpack(into: folder), folder: folder)
      if let passphrase = sample.passphrase {
        try writeFile("\(folder)/passphrase", Array(passphrase.utf8))
      }
      return try body(fixture)
    }
  }

  func run(_ command: String, _ arguments: [String]) throws -> ProgramResult {
    try runProgram(
      builtProgram("bcachefs"), [command] + unlocking + arguments, environment: ["TZ": "UTC"],
      folder: folder)
  }

  /// The manifest's lines of a directory, by the script that listed the mounted volume.
  static func manifest(of directory: String) throws -> [String] {
    try runProgramOrThrow(
      "python3", ["\(repositoryRoot)/Tests/KernelTests/guest/manifest.py", directory]
    ).text.split(separator: "\n").map(String.init)
  }

  /// Without what a copy cannot have: links of directories count subvolumes on other filesystems,
  /// and an archive has no sockets.
  static func comparable(_ lines: [String], withSockets: Bool) -> [String] {
    lines.compactMap { line in
      var fields = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      if fields[1] == "s" && !withSockets { return nil }
      if fields[1] == "d" { fields[3] = "-" }
      return fields.joined(separator: "\t")
    }.sorted()
  }
}

/// Whether owners, device nodes and trusted attributes can be made here.
let isRoot = geteuid() == 0

/// A folder in memory, where all extended attributes have room.
func withRoomyFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
  let folder = "/dev/shm/bcachefs-\(UUID().uuidString)"
  try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(atPath: folder) }
  return try body(folder)
}
