// SPDX-License-Identifier: GPL-2.0
// format: what it refuses, what it asks, what it writes.

internal import TestSupport
internal import Testing

@Suite struct FormatTests {
  @Test func deviceThatHoldsAVolumeIsRefusedUnlessForced() throws {
    try withTemporaryFolder { folder in
      try makeImage("\(folder)/v.img", mebibytes: 64)
      try bcachefs("format", "-q", "-L", "mine", "v.img", folder: folder)
      let before = try digest("\(folder)/v.img")
      let refused = try bcachefs("format", "v.img", folder: folder)
      #expect(refused.status == 73)
      #expect(refused.standardError.contains("v.img is not empty: bcachefs"))
      #expect(refused.standardError.contains("\"mine\""))
      #expect(refused.text == "")
      #expect(try digest("\(folder)/v.img") == before)
      #expect(try bcachefs("format", "-f", "-q", "v.img", folder: folder).status == 0)
      #expect(try digest("\(folder)/v.img") != before)
    }
  }

  private static let canMakeExt4 = (try? runProgram("mke2fs", ["-V"]).status) == 0

  @Test(.enabled(if: canMakeExt4, "no mke2fs")) func ext4IsNamedAndItsMarksAreErased() throws {
    try withTemporaryFolder { folder in
      try makeImage("\(folder)/v.img", mebibytes: 64)
      try runProgramOrThrow(
        "mke2fs", ["-q", "-F", "-t", "ext4", "-L", "old", "v.img"], folder: folder)
      let refused = try bcachefs("format", "v.img", folder: folder)
      #expect(refused.status == 73)
      #expect(refused.standardError.contains("ext4"))
      #expect(refused.standardError.contains("\"old\""))
      #expect(try bcachefs("format", "-fq", "v.img", folder: folder).status == 0)
      let found = try runProgram("blkid", ["-p", "v.img"], folder: folder)
      #expect(!found.text.contains("ext4"))
    }
  }

  private static let canPartition = (try? runProgram("sfdisk", ["--version"]).status) == 0

  @Test(.enabled(if: canPartition, "no sfdisk"), arguments: ["gpt", "dos"])
  func partitionTableIsNamedAndErased(label: String) throws {
    try withTemporaryFolder { folder in
      try makeImage("\(folder)/v.img", mebibytes: 64)
      try runProgramOrThrow(
        "sfdisk", ["-q", "v.img"], input: Array("label: \(label)\n,,L\n".utf8), folder: folder)
      let refused = try bcachefs("format", "v.img", folder: folder)
      #expect(refused.status == 73)
      #expect(refused.standardError.contains("\(label) partition table"))
      #expect(try bcachefs("format", "-fq", "v.img", folder: folder).status == 0)
      let found = try runProgram("blkid", ["-p", "v.img"], folder: folder)
      #expect(!found.text.contains("PTTYPE"), "\(found.text)")
    }
  }

  @Test func deviceInUseIsRefused() throws {
    try withTemporaryFolder { folder in
      try makeImage("\(folder)/v.img", mebibytes: 64)
      // util-linux's flock takes another kind of lock: python asks for the one that counts
      let result = try shell(
        """
        exec 3<>v.img
        python3 -c 'import fcntl; fcntl.lockf(3, fcntl.LOCK_EX); import subprocess, os, sys
        sys.exit(subprocess.call([os.environ["BCACHEFS"], "format", "v.img"]))'
        """, folder: folder)
      #expect(result.status == 75, "\(result.standardError)")
      #expect(result.standardError.contains("v.img"))
    }
  }

  @Test(arguments: [
    (["missing.img"], 66, "No such file"),
    (["/dev/null"], 66, "neither a regular file nor a block device"),
    (["--fs_size=1G", "v.img"], 78, "less than --fs_size"),
    (["--bucket=1M", "--fs_size=32M", "v.img"], 78, "too few"),
    (["--btree_node_size=256k", "--bucket=128k", "v.img"], 78, "btree node"),
    (["--foreground_target=ssd", "v.img"], 78, "\"ssd\""),
    (["--encrypted", "--passphrase_file=missing", "v.img"], 66, "missing"),
    (["--encrypted", "v.img"], 66, "no passphrase"),
    (["--source=missing", "v.img"], 66, "missing"),
    (["--superblock_size=32M", "v.img"], 78, "no room"),
  ])
  func refusalLeavesTheDeviceAsItWas(words: [String], status: Int, message: String) throws {
    try withTemporaryFolder { folder in
      try makeImage("\(folder)/v.img", mebibytes: 64)
      let before = try digest("\(folder)/v.img")
      let result = try runProgram(builtProgram("bcachefs"), ["format"] + words, folder: folder)
      #expect(result.status == Int32(status), "\(result.standardError)")
      #expect(result.standardError.contains(message), "\(result.standardError)")
      #expect(try digest("\(folder)/v.img") == before)
    }
  }

  @Test func optionsApplyToTheDevicesThatFollow() throws {
    try withTemporaryFolder { folder in
      for name in ["a", "b", "c"] { try makeImage("\(folder)/\(name)", mebibytes: 64) }
      let json = try jsonObject(
        bcachefs(
          "format", "--json", "--label=fast", "--discard", "--fs_size=48M", "a", "--label=slow",
          "--nodiscard", "b", "c", "--foreground_target=fast", "--promote_target=a",
          folder: folder))
      let sections = try #require(json["sections"] as? [[String: Any]])
      let members = try #require(
        sections.first { $0["type"] as? String == "members_v2" }?["members"] as? [[String: Any]])
      #expect(members.map { $0["nbuckets"] as? Int } == [384, 512, 512])
      let options = try #require(json["options"] as? [String: Any])
      #expect(options["foreground_target"] as? String == "fast")
      #expect((options["promote_target"] as? String)?.hasPrefix("Device ") == true)
      let text = try bcachefs("show-super", "b", folder: folder).text
      #expect(text.contains("Device index:                              1"))
      #expect(
        text.split(separator: "\n").filter { $0.hasPrefix("  Discard:") }.map { $0.last }
          == ["1", "0", "0"])
      #expect(
        text.split(separator: "\n").filter { $0.hasPrefix("  Label:") }.map {
          $0.split(separator: " ")[1]
        }
          == ["fast", "slow", "slow"])
    }
  }

  @Test func sourceFillsADeviceThatIsThere() throws {
    try withTree { folder in
      try makeImage("\(folder)/v.img", mebibytes: 64)
      let json = try jsonObject(
        bcachefs("format", "--source=tree", "--json", "v.img", folder: folder))
      #expect(json["inodes"] as? Int == 49)
      #expect(try bcachefs("show-super", "v.img", folder: folder).text.contains("Clean: "))
    }
  }

  @Test func fixedTimeAndUUIDMakeFormattingRepeatable() throws {
    try withTemporaryFolder { folder in
      for name in ["a", "b"] {
        try makeImage("\(folder)/\(name)", mebibytes: 64)
        try bcachefs(
          "format", "-q", "-U", "5eed5eed-0000-4000-8000-000000000001", name,
          environment: ["SOURCE_DATE_EPOCH": "1"], folder: folder)
      }
      #expect(try digest("\(folder)/a") == digest("\(folder)/b"))
    }
  }

  // MARK: - On a terminal

  /// Runs format on a pseudo terminal and types an answer at each prompt.
  private func converse(
    _ arguments: [String], answers: [String], folder: String
  ) throws -> ProgramResult {
    let script = """
      import os, pty, sys
      pid, fd = pty.fork()
      end = 3 + int(sys.argv[2])
      if pid == 0: os.execv(sys.argv[1], sys.argv[1:2] + sys.argv[3:end])
      answers = sys.argv[end:]
      seen = b""
      while True:
          try: part = os.read(fd, 1000)
          except OSError: break
          if not part: break
          sys.stdout.buffer.write(part); seen += part
          if answers and seen.rstrip(b" ").endswith((b":", b"(y,n)")):
              os.write(fd, answers.pop(0).encode() + b"\\n"); seen = b""
      sys.stdout.flush()
      sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
      """
    let words = ["format", "-q"] + arguments
    return try runProgram(
      "python3", ["-c", script, builtProgram("bcachefs"), "\(words.count)"] + words + answers,
      folder: folder)
  }

  @Test func passphraseIsAskedForTwiceAndNotShown() throws {
    try withTemporaryFolder { folder in
      try makeImage("\(folder)/v.img", mebibytes: 64)
      let good = try converse(
        ["--encrypted", "v.img"], answers: ["tell nobody", "tell nobody"], folder: folder)
      #expect(good.status == 0, "\(good.text)")
      #expect(good.text.contains("Enter same passphrase again"))
      #expect(!good.text.contains("nobody"))
      let bad = try converse(
        ["--encrypted", "-f", "v.img"], answers: ["one", "two"], folder: folder)
      #expect(bad.status == 65)
      #expect(bad.text.contains("do not match"))
    }
  }

  @Test func overwritingIsAskedForOnATerminal() throws {
    try withTemporaryFolder { folder in
      try makeImage("\(folder)/v.img", mebibytes: 64)
      try bcachefs("format", "-q", "v.img", folder: folder)
      let before = try digest("\(folder)/v.img")
      let no = try converse(["v.img"], answers: ["n"], folder: folder)
      #expect(no.status == 73)
      #expect(no.text.contains("Proceed anyway? (y,n)"))
      #expect(try digest("\(folder)/v.img") == before)
      #expect(try converse(["v.img"], answers: ["y"], folder: folder).status == 0)
      #expect(try digest("\(folder)/v.img") != before)
    }
  }
}
