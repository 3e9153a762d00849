// SPDX-License-Identifier: GPL-2.0
// image create: repeatable, and nothing half done whatever happens meanwhile.

internal import TestSupport
internal import Testing

@Suite struct ImageCreateTests {
  private static let fixed = [
    "SOURCE_DATE_EPOCH": "1700000000"
  ]
  private static let uuid = "--uuid=5eed5eed-0000-4000-8000-000000000001"

  @Test(arguments: [["--compression=lz4"], ["--replicas=2"], ["--encrypted"], []])
  func sameInputGivesTheSameBytesWhateverTheWorkers(options: [String]) throws {
    try withTree { folder in
      var options = options
      var input: [UInt8] = []
      if options.contains("--encrypted") {
        try writeFile("\(folder)/key", Array(0..<32))
        options.append("--master_key_file=\(folder)/key")
        input = Array("secret\n".utf8)
      }
      var images: [[String]] = []
      for workers in [1, 2, 7] {
        let names = options.contains("--replicas=2") ? ["a", "b"] : ["a"]
        let paths = names.map { "\(folder)/\($0)\(workers).img" }
        try runProgramOrThrow(
          builtProgram("bcachefs"),
          ["image", "create", "--source=\(folder)/tree", "--workers=\(workers)", Self.uuid]
            + options + paths, environment: Self.fixed, input: input)
        images.append(try paths.map(digest))
      }
      #expect(images[0] == images[1])
      #expect(images[0] == images[2])
    }
  }

  @Test func withoutAKeyFileAnEncryptedBuildSaysThatItIsNotRepeatable() throws {
    try withTree { folder in
      let result = try bcachefs(
        "image", "create", "--source=tree", "--encrypted", "--no_passphrase", Self.uuid, "v.img",
        environment: Self.fixed, folder: folder)
      #expect(result.status == 0)
      #expect(result.standardError.contains("--master_key_file"))
    }
  }

  @Test func resultSaysWhatWasDone() throws {
    try withTree { folder in
      let text = try bcachefs("image", "create", "--source=tree", "v.img", folder: folder)
      #expect(text.status == 0)
      #expect(text.standardError == "")
      #expect(text.text.contains("bcachefs show-super v.img"))
      let quiet = try bcachefs(
        "image", "create", "--source=tree", "-q", "w.img", folder: folder)
      #expect(quiet.text + quiet.standardError == "")
      let json = try jsonObject(
        bcachefs("image", "create", "--source=tree", "--json", "x.img", folder: folder))
      // 40 and 4 files, of which two are one, 4 directories, a link, and lost+found
      #expect(json["inodes"] as? Int == 49)
      #expect((json["devices"] as? [[String: Any]])?.count == 1)
    }
  }

  @Test func sizeIsThatOfEveryFile() throws {
    try withTree { folder in
      let json = try jsonObject(
        bcachefs(
          "image", "create", "--source=tree", "--size=64M", "--json", "a.img", "--fs_size=96M",
          "b.img", folder: folder))
      let sizes = (json["devices"] as? [[String: Any]])?.map { $0["bytes"] as? Int }
      #expect(sizes == [64 << 20, 96 << 20])
      let small = try bcachefs(
        "image", "create", "--source=tree", "--size=1M", "c.img", folder: folder)
      #expect(small.status == 78)
      #expect(!fileExists("\(folder)/c.img"))
    }
  }

  @Test func tooSmallASizeLeavesNothing() throws {
    try withTree { folder in
      try runProgramOrThrow(
        "bash", ["-c", "head -c 40000000 /dev/urandom >tree/large"], folder: folder)
      let result = try bcachefs(
        "image", "create", "--source=tree", "--size=32M", "v.img", folder: folder)
      #expect(result.status == 73)
      #expect(result.standardError.contains("too small"))
      #expect(try allNames(in: folder) == ["tree"])
    }
  }

  @Test func fileThatExistsIsReplacedOnlyWhenForced() throws {
    try withTree { folder in
      try writeFile("\(folder)/v.img", Array("precious".utf8))
      let refused = try bcachefs("image", "create", "--source=tree", "v.img", folder: folder)
      #expect(refused.status == 73)
      #expect(refused.standardError.contains("--force"))
      #expect(try readFile("\(folder)/v.img") == Array("precious".utf8))
      // one of several that cannot be made: none is
      let several = try bcachefs(
        "image", "create", "--source=tree", "u.img", "v.img", folder: folder)
      #expect(several.status == 73)
      #expect(try allNames(in: folder) == ["tree", "v.img"])
      let forced = try bcachefs("image", "create", "--source=tree", "-f", "v.img", folder: folder)
      #expect(forced.status == 0)
      #expect(try bcachefs("show-super", "v.img", folder: folder).status == 0)
      #expect(try allNames(in: folder) == ["tree", "v.img"])
    }
  }

  @Test func imageWithinItsSourceDoesNotHoldItself() throws {
    try withTree { folder in
      func inodes() throws -> Int? {
        try jsonObject(
          bcachefs(
            "image", "create", "--source=tree", "--json", "--force", "tree/v.img", folder: folder))[
            "inodes"] as? Int
      }
      let first = try inodes()
      #expect(first != nil)
      #expect(try inodes() == first)
    }
  }

  @Test func missingSourceIsNoInput() throws {
    try withTemporaryFolder { folder in
      let result = try bcachefs("image", "create", "--source=gone", "v.img", folder: folder)
      #expect(result.status == 66)
      #expect(result.standardError.hasPrefix("bcachefs image create: cannot open gone"))
      #expect(try allNames(in: folder) == [])
    }
  }

  @Test func copiesNeedDevices() throws {
    try withTree { folder in
      let result = try bcachefs(
        "image", "create", "--source=tree", "--replicas=2", "v.img", folder: folder)
      #expect(result.status == 78)
      #expect(result.standardError.contains("data_replicas=2"))
      let target = try bcachefs(
        "image", "create", "--source=tree", "--foreground_target=ssd", "v.img", folder: folder)
      #expect(target.status == 78)
      #expect(target.standardError.contains("\"ssd\""))
      #expect(try allNames(in: folder) == ["tree"])
    }
  }

  @Test(arguments: ["TERM", "INT", "KILL"])
  func killedBuildLeavesNothing(signal: String) throws {
    try withTree { folder in
      // zstd at its best takes many seconds for this
      let result = try shell(
        """
        seq 4000000 >tree/large
        exec timeout -s \(signal) 1 python3 -c 'import os, signal
        # threads of tests block signals, and what they start inherits that
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execl(os.environ["BCACHEFS"], "bcachefs", "image", "create", "--source=tree",
                 "--compression=zstd:15", "v.img")'
        """, folder: folder)
      #expect(result.status == (signal == "KILL" ? 137 : 124))
      #expect(try allNames(in: folder) == ["tree"])
    }
  }

  @Test func limitOfFileSizesLeavesNothing() throws {
    try withTree { folder in
      try runProgramOrThrow(
        "bash", ["-c", "head -c 40000000 /dev/urandom >tree/large"], folder: folder)
      let result = try shell(
        "ulimit -f 20000; exec \"$BCACHEFS\" image create --source=tree v.img", folder: folder)
      #expect([73, 74].contains(result.status), "\(result.standardError)")
      #expect(try allNames(in: folder) == ["tree"])
    }
  }

  /// Whether small filesystems can be mounted here.
  private static let canMount =
    (try? runProgram(
      "unshare", ["-m", "bash", "-c", "mount -t tmpfs -o size=1m none /mnt"]
    ).status) == 0

  @Test(.enabled(if: canMount, "no right to mount a tmpfs"))
  func fullDiskLeavesNothing() throws {
    try withTree { folder in
      let result = try runProgram(
        "unshare",
        [
          "-m", "bash", "-c",
          """
          mount -t tmpfs -o size=8m none /mnt || exit 99
          head -c 40000000 /dev/urandom >tree/large
          "$BCACHEFS" image create --source=tree /mnt/v.img
          status=$?
          ls -A /mnt
          exit $status
          """,
        ], environment: ["BCACHEFS": builtProgram("bcachefs")], folder: folder)
      #expect(result.status == 74)
      #expect(result.standardError.contains("No space left on device"))
      #expect(result.text == "")
    }
  }

  @Test func fileThatChangesMeanwhileIsNamed() throws {
    try withTree { folder in
      let result = try shell(
        """
        head -c 100000000 /dev/zero | tr '\\0' x >tree/changing
        # large, so that reading it takes a while; the writer ends by itself in any case
        python3 -c 'import time
        end = time.time() + 20
        with open("tree/changing", "a", buffering=1) as f:
            while time.time() < end: f.write("more\\n")' &
        writer=$!
        sleep 0.3
        "$BCACHEFS" image create --source=tree v.img
        status=$?
        kill -9 $writer
        exit $status
        """, folder: folder)
      #expect(result.status == 75, "\(result.standardError)")
      #expect(result.standardError.contains("tree/changing"))
      #expect(try allNames(in: folder) == ["tree"])
    }
  }
}
