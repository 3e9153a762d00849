// SPDX-License-Identifier: GPL-2.0
// Subvolumes that the command makes and deletes in volumes that nobody has mounted.

internal import TestSupport
internal import Testing

@Suite struct SubvolumeCommandTests {
  private func withVolume(_ body: (String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      let image = "\(folder)/volume.img"
      try runProgramOrThrow("truncate", ["-s", "128M", image])
      try runProgramOrThrow(builtProgram("bcachefs"), ["format", "--quiet", image])
      try body(image)
    }
  }

  private func command(_ arguments: String...) throws -> ProgramResult {
    try runProgram(builtProgram("bcachefs"), ["subvolume"] + arguments)
  }

  @Test func aVolumeWithoutAMountIsChanged() throws {
    try withVolume { image in
      #expect(try command("create", image, "sub", "sub/inner").status == 0)
      #expect(try command("snapshot", "-r", image, "sub", "snap").status == 0)
      #expect(try command("snapshot", image, "/", "whole").status == 0)
      let listed = try command("list", "-s", image)
      let lines = listed.text.split(separator: "\n")
      #expect(lines.count == 5, "\(listed.text)")
      #expect(lines.contains { $0.hasPrefix("snap ") && $0.contains(" ro ") })
      let refused = try command("delete", image, "sub")
      #expect(refused.status == 73 && refused.standardError.contains("subvolumes in it"))
      #expect(try command("delete", image, "sub/inner", "sub").status == 0)
      let missing = try command("delete", image, "sub")
      #expect(missing.status == 66)
      let check = try runProgram(
        builtProgram("bcachefs"), ["fsck", "-n", "--file_counters", image])
      #expect(check.status == 0, "\(check.text)")
      #expect(try command("list", "-s", image).text.split(separator: "\n").count == 3)
    }
  }

  @Test func whatIsNoMountOfBcachefsIsRefusedByName() throws {
    try withTemporaryFolder { folder in
      let result = try command("create", "\(folder)/sub")
      #expect(result.status == 64)
      #expect(result.standardError.contains("is not in a bcachefs mount"))
      #expect(try command("delete", "\(folder)/sub").status == 64)
      #expect(try command("snapshot", folder, "\(folder)/sub").status == 64)
      #expect(try command("create").status == 64)
      #expect(try command("create", "/").status == 64)
      #expect(!fileExists("\(folder)/sub"))
    }
  }
}
