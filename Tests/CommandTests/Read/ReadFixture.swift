// SPDX-License-Identifier: GPL-2.0
// Volumes that the real driver wrote, and what it showed of them, for the commands that read.

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
}
