// SPDX-License-Identifier: GPL-2.0
// Command lines: what is understood, what is refused, and how that is said.

internal import BcachefsFormat
internal import TestSupport
internal import Testing

@Suite struct ArgumentTests {
  @Test(arguments: [
    (["--block_size=4k"], "block_size:\u{20}*4.00 KiB"),
    (["--block_size", "4k"], "block_size:\u{20}*4.00 KiB"),
    (["--block-size=512"], "block_size:\u{20}*512 B"),
    (["--noacl"], "acl:\u{20}*0"),
    (["--no_acl"], "acl:\u{20}*0"),
    (["--acl=0"], "acl:\u{20}*0"),
    (["--noacl", "--acl"], "acl:\u{20}*1"),
    (["--usrquota=yes"], "usrquota:\u{20}*1"),
    (["--replicas=2"], "metadata_replicas:\u{20}*2"),
    (["--replicas", "2"], "data_replicas:\u{20}*2"),
    (["--compression=zstd:7"], "compression:\u{20}*zstd:7"),
    (["--str_hash", "crc64"], "str_hash:\u{20}*crc32c .crc64. siphash"),
    (["-L", "a name"], "Label:\u{20}*a name"),
    (["-La"], "Label:\u{20}*a"),
    (["--fs_label=b"], "Label:\u{20}*b"),
    (["-U00112233-4455-6677-8899-aabbccddeeff"], "External UUID:\u{20}*00112233-4455-6677-8899"),
    (["-fv", "--gc_reserve_bytes=1M"], "gc_reserve_bytes:\u{20}*1.00 MiB"),
    (["--label=ssd.a"], "Label:\u{20}*a"),
    (["--discard"], "Discard:\u{20}*1"),
    (["--durability=2"], "Durability:\u{20}*2"),
    (["--data_allowed=journal,user"], "Data allowed:\u{20}*journal,user"),
    (["--bucket=256k"], "Bucket size:\u{20}*256 KiB"),
    (["--bucket_size=64k"], "Bucket size:\u{20}*64.0 KiB"),
    (["--fs_size=32M"], "Size:\u{20}*32.0 MiB"),
  ])
  func optionOfFormatIsInTheSuperblock(words: [String], pattern: String) throws {
    try withTemporaryFolder { folder in
      try makeImage("\(folder)/v.img", mebibytes: 64)
      let format = try runProgram(
        builtProgram("bcachefs"), ["format"] + words + ["\(folder)/v.img"],
        environment: ["TZ": "UTC"])
      #expect(format.status == 0, "\(format.standardError)")
      let expression = try Regex("(?m)^ *\(pattern)")
      #expect(try expression.firstMatch(in: format.text) != nil, "\(format.text)")
      let shown = try bcachefs("show-super", "\(folder)/v.img")
      #expect(try expression.firstMatch(in: shown.text) != nil, "\(shown.text)")
    }
  }

  @Test(arguments: [
    (["fromat"], "did you mean format?"),
    (["show_super"], "did you mean show-super?"),
    (["image"], "image create"),
    (["format"], "name a device"),
    (["format", "--blok_size=4k", "x"], "did you mean --block_size?"),
    (["format", "--block_size"], "needs a value"),
    (["format", "--block_size=3k", "x"], "not a power of two"),
    (["format", "--block_size=many", "x"], "not a number"),
    (["format", "--compression=bzip2", "x"], "zstd"),
    (["format", "--errors=ignore", "x"], "continue, fix_safe, panic, ro"),
    (["format", "--replicas=4", "x"], "at most 3"),
    (["format", "--encrypted=1", "x"], "takes no value"),
    (["format", "--no_acl=1", "x"], "takes no value"),
    (["format", "--degraded", "x"], "no such option"),
    (["format", "--uuid=1234", "x"], "no UUID"),
    (["format", "--version=1.7", "x"], "writes version 1.13"),
    (["format", "x", "--label=late"], "applies to devices that follow"),
    (["format", "x", "x"], "named twice"),
    (["format", "--no_passphrase", "x"], "with --encrypted only"),
    (["format", "-z", "x"], "no such option"),
    (["image", "create", "x.img"], "--source"),
    (["image", "create", "--source=/", "--workers=0", "x.img"], "1 to 256"),
    (["image", "create", "--source=/", "--size=10X", "x.img"], "not a size"),
    (["show-super"], "name a device"),
    (["show-super", "a", "b"], "one device"),
    (["show-super", "-f", "memb", "a"], "no section"),
    (["completions", "tcsh"], "bash, zsh and fish"),
    ([], "which command?"),
  ])
  func wrongCommandLineIsRefusedWithAWord(words: [String], message: String) throws {
    try withTemporaryFolder { folder in
      let result = try runProgram(builtProgram("bcachefs"), words, folder: folder)
      #expect(result.status == 64)
      #expect(result.standardError.contains(message), "\(result.standardError)")
      #expect(result.text == "")
      #expect(try allNames(in: folder) == [])
    }
  }

  @Test func helpHasEveryOptionOfTheTable() throws {
    for command in [["format"], ["image", "create"]] {
      let help = try runProgramOrThrow(builtProgram("bcachefs"), command + ["--help"]).text
      for row in VolumeOption.allCases
      where row.flags.contains(.format) || row.flags.contains(.device) {
        #expect(
          help.contains("--\(row.name)") || help.contains("--[no_]\(row.name)"), "\(row.name)")
      }
      let usage = help.split(separator: "\n").prefix { $0 != "Examples:" }
      #expect(usage.allSatisfy { $0.count <= 80 })
    }
    let same = try bcachefs("help", "image", "create").text
    #expect(same == (try bcachefs("image", "create", "-h").text))
    #expect(try bcachefs("--help").text.contains("show-super"))
    #expect(try bcachefs("help").status == 0)
  }

  @Test func versionNamesTheFormat() throws {
    #expect(try bcachefs("version").text.contains("1.13: inode_has_child_snapshots"))
    #expect(try jsonObject(bcachefs("version", "--json"))["format_version"] as? String == "1.13")
    #expect(try bcachefs("--version").text == (try bcachefs("version").text))
  }

  @Test func bashCompletesCommandsOptionsAndValues() throws {
    func complete(_ words: [String]) throws -> Set<String> {
      let list = words.map { "'\($0)'" }.joined(separator: " ")
      let line = words.joined(separator: " ")
      let script = """
        eval "$("$BCACHEFS" completions bash)"
        COMP_WORDS=(\(list)); COMP_CWORD=\(words.count - 1)
        COMP_LINE='\(line)'; COMP_POINT=${#COMP_LINE}
        _bcachefs; printf '%s\\n' "${COMPREPLY[@]}"
        """
      let result = try shell(script, folder: "/")
      #expect(result.standardError == "")
      return Set(result.text.split(separator: "\n").map(String.init))
    }
    #expect(try complete(["bcachefs", "sh"]) == ["show-super"])
    #expect(try complete(["bcachefs", "image", "c"]) == ["create"])
    #expect(try complete(["bcachefs", "format", "--str"]) == ["--str_hash="])
    #expect(try complete(["bcachefs", "format", "--str_hash=c"]) == ["crc32c", "crc64"])
    #expect(try complete(["bcachefs", "completions", "f"]).contains("fish"))
  }

  @Test(arguments: ["bash", "zsh", "fish"])
  func completionsAreAScriptOfTheirShell(name: String) throws {
    let script = try bcachefs("completions", name).text
    #expect(script.contains("--block_size=") || script.contains("-l block_size"))
    guard try runProgram("which", [name]).status == 0 else { return }
    try withTemporaryFolder { folder in
      try writeFile("\(folder)/script", Array(script.utf8))
      let flag = name == "fish" ? "--no-execute" : "-n"
      let result = try runProgram(name, [flag, "\(folder)/script"])
      #expect(result.status == 0, "\(result.standardError)")
    }
  }

  @Test func manualHasEveryCommand() throws {
    let page = try bcachefs("manual").text
    for name in ["format", "image create", "show\\-super", "completions"] {
      #expect(page.contains(".SS \"bcachefs \(name)"))
    }
  }
}
