// SPDX-License-Identifier: GPL-2.0
// The small commands: names, attributes, options; each is done or has changed nothing.

internal import Foundation
internal import TestSupport
internal import Testing

@Suite struct ChangeCommandTests {
  @Test(
    .enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"),
    arguments: ChangeFixture.Kind.allCases)
  func driverShowsWhatTheCommandsDid(kind: ChangeFixture.Kind) throws {
    try ChangeFixture.with(kind) { fixture in
      try fixture.succeed("mkdir", "-p", "-m", "2770", "VOLUME", "a/b/c")
      try fixture.succeed("mkdir", "-p", "VOLUME", "a/b/c", "a/d")
      try fixture.succeed("put", "VOLUME", "-", "a/b/file", input: Array("contents\n".utf8))
      try fixture.succeed("ln", "VOLUME", "a/b/file", "a/d")
      try fixture.succeed("ln", "-s", "VOLUME", "../b", "a/d/link")
      try fixture.succeed("ln", "-s", "-f", "-T", "VOLUME", "../b/c", "a/d/link")
      try fixture.succeed("mv", "VOLUME", "a/b/file", "a/d/link/moved")
      try fixture.succeed("chmod", "u=rwX,go-rwx", "VOLUME", "a/b/c/moved")
      try fixture.succeed("chown", "-R", "7:8", "VOLUME", "a/d")
      try fixture.succeed("setfattr", "-n", "user.x", "-v", "0x0102ff", "VOLUME", "a/d")
      try fixture.succeed("setfattr", "-n", "user.y", "-v", "text", "VOLUME", "a/b/c/moved")
      try fixture.succeed("setfattr", "-x", "user.y", "VOLUME", "a/b/c/moved")
      try fixture.succeed("truncate", "-s", "5", "VOLUME", "a/b/c/moved")
      try fixture.succeed("truncate", "-s", "+1k", "VOLUME", "a/d/new")
      try fixture.succeed("set-file-option", "--compression=lz4", "VOLUME", "a/b")
      try fixture.succeed("mkdir", "-p", "VOLUME", "gone/with/all")
      try fixture.succeed("put", "VOLUME", "-", "gone/with/file", input: [1])
      try fixture.succeed("rm", "-r", "VOLUME", "gone")
      try fixture.succeed("rm", "-f", "VOLUME", "gone", "never/there")
      let expected = [
        ("a", "d", "0755", "4", "0:0"), ("a/b", "d", "0755", "3", "0:0"),
        ("a/b/c", "d", "2770", "2", "0:0"), ("a/b/c/moved", "-", "0600", "2", "7:8"),
        ("a/d", "d", "0755", "2", "7:8"), ("a/d/file", "-", "0600", "2", "7:8"),
        ("a/d/link", "l", "0777", "1", "7:8"), ("a/d/new", "-", "0644", "1", "0:0"),
      ].map { [$0.0, $0.1, $0.2, $0.3, $0.4].joined(separator: " ") }
      let lines = try fixture.manifestByDriver().map {
        $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      }
      if isRoot {
        let seen = lines.map { "\($0[0]) \($0[1]) \($0[2]) \($0[3]) \($0[4]):\($0[5])" }
        #expect(differences(expected, seen) == [])
      }
      #expect(lines.first { $0[0] == "a/d/link" }?[9] == "../b/c")
      #expect(lines.first { $0[0] == "a/d" }?[10] == "user.x=0102ff")
      #expect(lines.first { $0[0] == "a/b/c/moved" }?[10] == "-")
      #expect(try fixture.run("cat", "VOLUME", "a/b/c/moved").text == "conte")
      #expect(try fixture.run("stat", "--json", "VOLUME", "a/d/new").text.contains("1024"))
      try fixture.expectSound()
    }
  }

  @Test func whatCannotBeDoneIsNamedAndChangesNothing() throws {
    try ChangeFixture.with { fixture in
      try fixture.succeed("mkdir", "-p", "VOLUME", "d/e")
      try fixture.succeed("put", "VOLUME", "-", "f", input: [1])
      let refusals: [([String], Int32, String)] = [
        (["mkdir", "VOLUME", "d"], 73, "d: there is something of that name already"),
        (["mkdir", "VOLUME", "x/y"], 66, "no such file"),
        (["mkdir", "-p", "VOLUME", "f/g/h"], 66, "not a directory"),
        (["mkdir", "-p", "VOLUME", "f"], 73, "something of that name"),
        (["rm", "VOLUME", "d"], 66, "d: is a directory"),
        (["rm", "VOLUME", "x"], 66, "x: no such file"),
        (["rm", "-r", "VOLUME", "/"], 64, "not the name of a file"),
        (["mv", "VOLUME", "d", "d/e/x"], 73, "below itself"),
        (["mv", "-n", "-T", "VOLUME", "f", "d"], 73, "something of that name"),
        (["mv", "-T", "VOLUME", "f", "d"], 66, "is a directory"),
        (["ln", "VOLUME", "d", "x"], 73, "a directory has one name"),
        (["ln", "-s", "VOLUME", "x", "f"], 73, "something of that name"),
        (["chmod", "9", "VOLUME", "f"], 64, "no mode"),
        (["chmod", "u~r", "VOLUME", "f"], 64, "no mode"),
        (["chown", "no such user", "VOLUME", "f"], 66, "no user"),
        (["setfattr", "-n", "other.x", "-v", "1", "VOLUME", "f"], 78, "no volume can hold"),
        (["setfattr", "-x", "user.x", "VOLUME", "f"], 64, "no such attribute"),
        (["setfattr", "-n", "user.x", "-v", "0xz", "VOLUME", "f"], 64, "0xz"),
        (["truncate", "-s", "x", "VOLUME", "f"], 64, "not a size"),
        (["truncate", "-s", "1", "VOLUME", "d"], 66, "directory"),
        (["set-file-option", "--compression=bz2", "VOLUME", "f"], 64, "bz2"),
        (["set-fs-option", "--compression=bz2", "VOLUME"], 64, "bz2"),
        (["set-fs-option", "--block_size=4k", "VOLUME"], 64, "no such option"),
        (["set-fs-option", "--durability=2", "VOLUME"], 64, "--dev-idx"),
        (["import", "VOLUME", "f"], 66, "f: not a directory"),
      ]
      for (words, status, said) in refusals {
        let arguments = words.map { $0 == "VOLUME" ? fixture.volume : $0 }
        let result = try runProgram(builtProgram("bcachefs"), arguments, folder: fixture.folder)
        #expect(result.status == status, "\(words): \(result.standardError)")
        #expect(result.standardError.contains(said), "\(words): \(result.standardError)")
      }
      #expect(try fixture.names(in: "/") == ["d", "f"])
      #expect(try fixture.names(in: "d") == ["e"])
      try fixture.expectSound()
    }
  }

  @Test func optionsOfFilesAreSetTogetherPassedOnAndTakenBack() throws {
    try ChangeFixture.with { fixture in
      try fixture.succeed("mkdir", "-p", "VOLUME", "d/e")
      try fixture.succeed("put", "VOLUME", "-", "d/e/f", input: [1])
      let refused = try fixture.run(
        "setattr", "--compression=zstd", "--data_replicas=9", "VOLUME", "d")
      #expect(refused.status == 64)
      #expect(try !fixture.run("stat", "VOLUME", "d").text.contains("compression"))
      try fixture.succeed("setattr", "--compression=zstd:3", "--nocow", "VOLUME", "d")
      let file = try fixture.run("stat", "VOLUME", "d/e/f").text
      #expect(file.contains("compression") && file.contains("nocow"), "\(file)")
      try fixture.succeed("setattr", "--compression=-", "VOLUME", "d")
      #expect(try !fixture.run("stat", "VOLUME", "d/e/f").text.contains("compression"))
      try fixture.succeed("set-file-option", "--remove-all", "VOLUME", "d")
      #expect(try !fixture.run("stat", "VOLUME", "d/e/f").text.contains("nocow"))
      try fixture.expectSound()
    }
  }

  @Test(
    .enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"),
    arguments: ChangeFixture.Kind.allCases)
  func optionsOfTheSuperblockAreThoseThatTheDriverFinds(kind: ChangeFixture.Kind) throws {
    try ChangeFixture.with(kind) { fixture in
      try fixture.succeed("put", "VOLUME", "-", "f", input: [1])
      try fixture.succeed(
        "set-fs-option", "--compression=gzip", "--errors=ro", "--acl=0", "--dev-idx=0",
        "--durability=2", "VOLUME")
      let outcome = try KernelGuest.run(
        job: """
          set -eu
          . "$JOB_GUEST/common.sh"
          unlock_if_encrypted
          mount_volume ro,fsck /mnt/a
          cd /sys/fs/bcachefs/*/
          cat options/{compression,errors,acl} dev-0/durability
          cd /
          umount /mnt/a
          """, images: fixture.images,
        environment: [
          "JOB_PASSPHRASE": kind == .encrypted ? ChangeFixture.passphrase : ""
        ])
      #expect(outcome.complaints == [])
      let lines = outcome.lines
      #expect(lines.count == 4, "\(lines)")
      #expect(lines.first?.contains("gzip") == true, "\(lines)")
      #expect(lines.last == "2", "\(lines)")
    }
  }
}
