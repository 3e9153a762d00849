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
      let check = try runProgram(
        builtProgram("bcachefs"), ["fsck", "-n", "--file_counters", image])
      #expect(check.status == 0, "\(check.text)")
    }
  }

  /// Gives files projects, as root and as their owner.
  private static let projects = """
    import errno, fcntl, os, struct, sys
    sys.stdout.reconfigure(line_buffering=True)
    os.chdir(os.environ['MOUNT'])
    GET, SET = 0x801c581f, 0x401c5820
    def get(path):
        file = os.open(path, os.O_RDONLY)
        found = struct.unpack('<IIIII8x', fcntl.ioctl(file, GET, bytes(28)))
        os.close(file)
        return hex(found[0]), found[3]
    def set(path, flags, project):
        file = os.open(path, os.O_RDONLY)
        try:
            fcntl.ioctl(file, SET, struct.pack('<IIIII8x', flags, 0, 0, project, 0))
        except OSError as error:
            print(path, errno.errorcode[error.errno])
        os.close(file)
    os.mkdir('d')
    os.chmod('d', 0o777)
    set('d', 0x200, 42)
    print(get('d'), get('.'))
    open('d/f', 'w').close()
    print(get('d/f'))
    open('other', 'w').close()
    set('other', 0xc0, 7)
    print(get('other'))
    set('other', 0x8000, 7)
    os.chown('other', 1000, 1000)
    os.chown('d/f', 1000, 1000)
    if os.fork() == 0:
        os.setuid(1000)
        set('d', 0, 1)
        set('d/f', 0x10, 42)
        set('d/f', 0, 43)
        print(get('d/f'))
        set('d/f', 0, 42)
        for name in ('g', 'h'):
            try:
                open('d/' + name, 'w').close()
            except OSError as error:
                print(name, errno.errorcode[error.errno])
        os._exit(0)
    os.wait()
    """

  /// Project 42 is a directory's, and of all that is made in it; the driver reads it the same.
  @Test func projectsAreSetAsChattrSetsThem() throws {
    try withVolume { image in
      try runProgramOrThrow(
        builtProgram("bcachefs"), ["quota", "set", "-p", "42", "--inodes_hard=3", image])
      let mount = try MountedVolume([image], isChanged: true, options: "prjquota")
      let result = try mount.python(Self.projects)
      #expect(result.standardError == "")
      #expect(
        result.text == """
          ('0x200', 42) ('0x0', 0)
          ('0x0', 42)
          ('0xc0', 7)
          other ENOTSUP
          d EPERM
          d/f EPERM
          ('0x0', 43)
          h EDQUOT

          """, "\(result.text)")
      try mount.end()
      let report = try runProgramOrThrow(
        builtProgram("bcachefs"), ["quota", "report", "-p", image])
      let rows = report.text.split(separator: "\n").map {
        $0.split(separator: " ").map(String.init)
      }
      #expect(rows.contains { $0.first == "42" && $0[5] == "3" }, "\(report.text)")
      guard KernelGuest.isAvailable else { return }
      let outcome = try KernelGuest.run(
        job: """
          mount -t bcachefs -o prjquota /dev/ubda /mnt/a &&
            python3 "$JOB_GUEST/quota.py" report /mnt/a | grep ^project && umount /mnt/a
          """, images: [image])
      #expect(outcome.complaints == [])
      #expect(outcome.lines.contains { $0.hasPrefix("project 42 0 3 0 0 3 0") })
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
