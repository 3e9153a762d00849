// SPDX-License-Identifier: GPL-2.0
// Limits in a mount: who exceeds one is told when he writes, and may go on when he has made room.

internal import TestSupport
internal import Testing

@Suite(
  .enabled(if: FUSESupport.isAvailable && FUSESupport.isRoot, "other users need a mount of root's"),
  .serialized)
struct QuotaMountTests {
  private static let script = "\(repositoryRoot)/Tests/KernelTests/guest/quota.py"

  private func withVolume(_ body: (String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      let image = "\(folder)/image"
      try runProgramOrThrow("truncate", ["-s", "256M", image])
      try runProgramOrThrow(builtProgram("bcachefs"), ["format", "--quiet", image])
      try runProgramOrThrow(
        builtProgram("bcachefs"),
        [
          "quota", "set", "-u", "1000", "--space_soft=50k", "--space_hard=200k",
          "--inodes_hard=3", image,
        ])
      try body(image)
    }
  }

  /// As many files of 160 sectors as fit.
  private func fill(
    _ mount: borrowing MountedVolume, _ folder: String, user: Int = 1000
  ) throws -> String {
    let result = try mount.shell(
      "mkdir -m 777 -p \(folder) && python3 \(Self.script) fill \(folder) \(user) 160")
    #expect(result.status == 0, "\(result.standardError)")
    return result.text
  }

  @Test func usersAreRefusedAtTheWriteAndMayGoOnWithLess() throws {
    try withVolume { image in
      let mount = try MountedVolume([image], isChanged: true, options: "usrquota")
      // 160, 160 and 80 are the 400 that there are.
      #expect(try fill(mount, "a") == "3 80 EDQUOT\n")
      let seen = try mount.shell("sync a/f2; stat -c '%u %b' a/f0 a/f1 a/f2")
      #expect(seen.text == "1000 160\n1000 160\n1000 80\n")
      // Root is not limited.
      let root = try mount.shell(
        """
        set -e
        head -c 300000 /dev/zero >a/root; chown 1000 a/root; sync a/root; stat -c '%u %b' a/root
        head -c 50000 /dev/zero >>a/f2; sync a/f2; stat -c '%b' a/f2
        rm a/root; truncate -s 40960 a/f2
        """)
      #expect(root.text == "1000 592\n184\n", "\(root.text)")
      // What is made room for is there again.
      #expect(try fill(mount, "b") == "0 0 EDQUOT\n", "three inodes are there")
      #expect(try mount.shell("rm a/f0").status == 0)
      let more = try fill(mount, "c")
      #expect(more == "1 160 EDQUOT\n", "\(more)")
      try mount.end()
      let report = try runProgramOrThrow(
        builtProgram("bcachefs"), ["quota", "report", "-u", image])
      let row = report.text.split(separator: "\n").first { $0.hasPrefix("1000") }
      #expect(
        row?.split(separator: " ").map(String.init)
          == ["1000", "+-", "204800", "51200", "204800", "3", "0", "3"])
      let check = try runProgram(builtProgram("bcachefs"), ["fsck", "-n", image])
      #expect(check.status == 0, "\(check.text)")
    }
  }

  @Test func withoutTheOptionNobodyIsLimited() throws {
    try withVolume { image in
      let mount = try MountedVolume([image], isChanged: true)
      let result = try mount.shell(
        """
        mkdir -m 777 a
        setpriv --reuid=1000 --regid=1000 --clear-groups bash -c \
          'for i in 1 2 3 4 5; do head -c 100000 /dev/zero >a/$i || exit 1; done'
        """)
      #expect(result.status == 0, "\(result.standardError)")
      try mount.end()
    }
  }
}
