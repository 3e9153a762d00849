// SPDX-License-Identifier: GPL-2.0
// Mounts for reading and writing: what was done there is there afterwards, whoever looks.

internal import Foundation
internal import TestSupport
internal import Testing

@Suite(.enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"), .serialized)
struct ChangingMountTests {
  /// A way to format, by the command's options, and how many devices it takes.
  struct Setting: CustomTestStringConvertible {
    let testDescription: String
    var options: [String] = []
    var deviceCount = 1
    var passphrase: String?

    static let all = [
      Setting(testDescription: "plain"),
      Setting(testDescription: "lz4", options: ["--compression=lz4"]),
      Setting(
        testDescription: "gzip, blocks of 4 KiB",
        options: ["--compression=gzip", "--block_size=4k"]
      ),
      Setting(
        testDescription: "zstd, xxhash", options: ["--compression=zstd", "--data_checksum=xxhash"]),
      Setting(testDescription: "no checksums", options: ["--data_checksum=none"]),
      Setting(testDescription: "crc64", options: ["--data_checksum=crc64"]),
      Setting(testDescription: "nocow", options: ["--nocow"]),
      Setting(
        testDescription: "encrypted", options: ["--encrypted"], passphrase: "correct horse"),
      Setting(testDescription: "two replicas", options: ["--replicas=2"], deviceCount: 2),
    ]

    /// Formats images of a size in a folder.
    func format(in folder: String, size: String = "256M") throws -> [String] {
      let images = (0..<deviceCount).map { "\(folder)/device\($0)" }
      for image in images { try runProgramOrThrow("truncate", ["-s", size, image]) }
      var words = ["format"] + options
      if let passphrase {
        try writeFile("\(folder)/format-passphrase", Array(passphrase.utf8))
        words.append("--passphrase_file=\(folder)/format-passphrase")
      }
      try runProgramOrThrow(builtProgram("bcachefs"), words + images)
      return images
    }

    func mount(_ images: [String], isChanged: Bool) throws -> MountedVolume {
      try MountedVolume(images, isChanged: isChanged, passphrase: passphrase)
    }
  }

  private static let tree = "\(repositoryRoot)/Tests/KernelTests/guest/mktree.py"

  private func fill(_ mount: borrowing MountedVolume) throws {
    let result = try runProgram(
      "timeout", ["-k", "5", "100", "python3", Self.tree, "\(mount.path)/tree"],
      timeoutSeconds: 120)
    try #require(result.status == 0, "\(result.standardError)")
  }

  @Test(arguments: Setting.all)
  func aTreeIsTheSameAfterARemountAndForTheDriver(setting: Setting) throws {
    try withTemporaryFolder { folder in
      let images = try setting.format(in: folder)
      let mount = try setting.mount(images, isChanged: true)
      try fill(mount)
      let manifest = try mount.manifest()
      try mount.end()
      try setting.expect(manifest, images)
    }
  }

  @Test(arguments: [Setting.all[0], Setting.all[1]])
  func whatFsyncReturnedForSurvivesTheServersEnd(setting: Setting) throws {
    try withTemporaryFolder { folder in
      let images = try setting.format(in: folder)
      let mount = try setting.mount(images, isChanged: true)
      try fill(mount)
      let result = try mount.python(
        """
        import os, stat
        for top, folders, files in os.walk(os.environ['MOUNT']):
          for path in [top] + [os.path.join(top, name) for name in files]:
            if stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFREG, stat.S_IFDIR):
              file = os.open(path, os.O_RDONLY)
              os.fsync(file)
              os.close(file)
        """)
      try #require(result.status == 0, "\(result.standardError)")
      let manifest = try mount.manifest()
      // Nobody waited for this.
      _ = try mount.shell("echo lost > later; mv tree/sizes/* . 2>/dev/null; sleep 0.1")
      let synced = try mount.shell(
        "rm -f later; mv [0-9]* tree/sizes/ 2>/dev/null; sync -f .; true")
      #expect(synced.status == 0)
      try mount.kill()
      let again = try setting.mount(images, isChanged: true)
      #expect(try again.manifest().count >= manifest.count)
      try again.end()
    }
  }

  @Test func aFileWithoutANameLivesAsLongAsItIsOpen() throws {
    try withTemporaryFolder { folder in
      let setting = Setting.all[0]
      let images = try setting.format(in: folder)
      let mount = try setting.mount(images, isChanged: true)
      let result = try mount.python(
        """
        import os
        os.chdir(os.environ['MOUNT'])
        file = os.open('gone', os.O_RDWR | os.O_CREAT, 0o600)
        os.write(file, b'x' * 100000)
        os.unlink('gone')
        assert os.fstat(file).st_nlink == 0
        os.pwrite(file, b'y' * 5000, 70000)
        os.fsync(file)
        data = os.pread(file, 200000, 0)
        assert data == b'x' * 70000 + b'y' * 5000 + b'x' * 25000, len(data)
        assert os.listdir('.') == ['lost+found']
        """)
      #expect(result.status == 0, "\(result.standardError)")
      let manifest = try mount.manifest()
      try mount.end()
      try setting.expect(manifest, images)
    }
  }

  /// What the file had before did not go: the kernel, which had it in its cache, did not show it,
  /// but the volume had it after the next mount.
  @Test func openingWithTruncationCutsAFileOff() throws {
    try withTemporaryFolder { folder in
      let images = try Setting.all[0].format(in: folder)
      let mount = try Setting.all[0].mount(images, isChanged: true)
      let result = try mount.shell(
        """
        for name in short long new; do echo what was there before >$name; done
        seq 100000 >long
        sync -f .
        echo less >short
        echo less >long
        : >new
        : >new
        """)
      #expect(result.status == 0, "\(result.standardError)")
      try mount.end()
      let again = try Setting.all[0].mount(images, isChanged: false)
      #expect(
        try again.shell("cat short long new; stat -c %s *").text
          == "less\nless\n5\n0\n0\n5\n")
      try again.end()
    }
  }

  /// The kernel keeps what is written for a while, and asks where holes are.
  @Test func holesAreWhereNothingWasWritten() throws {
    try withTemporaryFolder { folder in
      let images = try Setting.all[0].format(in: folder)
      let mount = try Setting.all[0].mount(images, isChanged: true)
      let result = try mount.python(
        """
        import ctypes, os
        os.chdir(os.environ['MOUNT'])
        file = os.open('sparse', os.O_RDWR | os.O_CREAT)
        os.pwrite(file, b'x' * 5000, 1 << 20)
        print(os.lseek(file, 0, os.SEEK_DATA), os.lseek(file, (1 << 20) + 1, os.SEEK_HOLE),
          os.lseek(file, 0, os.SEEK_HOLE))
        c = ctypes.CDLL(None, use_errno=True)
        def fallocate(mode, start, length):
          assert c.fallocate(file, mode, ctypes.c_long(start), ctypes.c_long(length)) == 0
        fallocate(3, (1 << 20) + 512, 3584)
        fallocate(0, 8 << 20, 1 << 20)
        print(os.fstat(file).st_size, os.lseek(file, 0, os.SEEK_DATA))
        data = os.pread(file, 8192, (1 << 20) - 4096)
        print(data.count(b'x'), data.rstrip(b'\\0').count(0))
        """)
      #expect(result.status == 0, "\(result.standardError)")
      #expect(result.text == "1048576 1053576 0\n9437184 1048576\n512 4096\n")
      try mount.end()
    }
  }

  /// umount does not wait until the volume is closed; who mounts it next does.
  @Test func aVolumeCanBeMountedAgainAtOnce() throws {
    try withTemporaryFolder { folder in
      let images = try Setting.all[0].format(in: folder)
      for round in 0..<5 {
        let mount = try Setting.all[0].mount(images, isChanged: true)
        let result = try mount.shell(
          "dd if=/dev/zero of=large.\(round) bs=1M count=30 2>/dev/null; ls large.* | wc -l")
        #expect(result.text == "\(round + 1)\n", "\(result.standardError)")
        try runProgramOrThrow("umount", [mount.path], timeoutSeconds: 60)
      }
    }
  }

  /// Space is told of when it is asked for, and nothing leaks.
  @Test func aFullVolumeIsEmptiedAndFilledAgain() throws {
    try withTemporaryFolder { folder in
      let setting = Setting.all[0]
      let images = try setting.format(in: folder)
      let mount = try setting.mount(images, isChanged: true)
      let result = try mount.shell(
        """
        free() { stat -f -c %a .; }
        before=$(free)
        for round in $(seq \(runsLongTests ? 20 : 3)); do
          timeout 60 dd if=/dev/urandom of=big bs=1M 2>&1 | grep -q 'No space left' || exit 1
          i=0; while head -c 5000 /dev/zero > small.$i 2>/dev/null && [ $i -lt 2000 ]; do
            i=$((i+1)); done
          cp big other 2>/dev/null && exit 2
          rm -f big other small.*; sync -f .
        done
        ls
        sleep 2
        after=$(free)
        [ $after -gt $((before * 95 / 100)) ] || echo "$before before, $after after"
        """, timeoutSeconds: runsLongTests ? 2000 : 200)
      #expect(result.status == 0, "\(result.text)\(result.standardError)")
      #expect(result.text == "lost+found\n")
      let manifest = try mount.manifest()
      try mount.end()
      try setting.expect(manifest, images)
    }
  }
}
