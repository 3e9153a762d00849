// SPDX-License-Identifier: GPL-2.0
// Volumes built from directories at the edge of what there is, before the real driver.

internal import BcachefsFormat
internal import TestSupport
internal import Testing

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct ImageTreeTests {
  /// A source, made by a script in its directory.
  struct Source: Sendable, CustomTestStringConvertible {
    let name: String
    let script: String
    /// Variants of volumes that it is to go into.
    var variants = [ImageVariant("defaults")]
    /// Whether Linux changes the volume too. Not where there is nothing to change.
    var isChanged = false

    var testDescription: String { name }
  }

  private static let smallNodes = ImageVariant("small nodes and blocks").with {
    $0.options = ["btree_node_size=16k", "block_size=512"]
  }

  private static let python = "exec python3 - <<'END'\nimport os, random\nr = random.Random(6)\n"

  static let sources: [Source] = [
    Source(name: "nothing", script: "true"),
    Source(
      name: "two hundred levels",
      script: "for i in {1..200}; do echo $i >f; mkdir d; cd d; done", isChanged: true),
    Source(
      name: "three thousand names in one directory",
      script: "mkdir wide; cd wide; for i in {1..3000}; do echo $i >name-$i; done",
      variants: [smallNodes], isChanged: true),
    // Interior nodes fill up. Linux itself cannot change large attributes in nodes so small.
    Source(
      name: "three thousand names in nodes of 4 KiB",
      script: "for i in {1..3000}; do echo $i >name-$i; done",
      variants: [
        ImageVariant(option: "btree_node_size=4k"),
        ImageVariant("16 devices").with {
          $0.devices = Array(repeating: .init(), count: 16)
          $0.options = ["btree_node_size=4k"]
        },
      ]),
    Source(
      name: "two thousand links to one file",
      script: python + """
        open("first", "w").write("many names")
        for i in range(2000): os.link("first", f"name-{i}")
        END
        """),
    Source(
      name: "files around the size of a bucket",
      script: python + """
        for kib in (128, 256, 512):
          for change in (-512, -1, 0, 1, 512):
            open(f"{kib}{change:+}", "wb").write(r.randbytes((kib << 10) + change))
        END
        """,
      variants: [
        ImageVariant(bucketKiB: 128),
        ImageVariant("encrypted, 128 KiB").with {
          $0.devices = [.init(bucketBytes: 128 << 10)]
          $0.passphrase = "correct horse"
        },
        ImageVariant("not checksummed, two replicas").with {
          $0.devices = [.init(bucketBytes: 128 << 10), .init(bucketBytes: 256 << 10)]
          $0.options = ["data_checksum=none", "data_replicas=2", "metadata_replicas=2"]
        },
      ]),
    Source(
      name: "holes",
      script: python + """
        with open("three-gib", "wb") as f:
          for offset in range(0, 3 << 30, 97 << 20):
            f.seek(offset + offset // 7 % 9000)
            f.write(r.randbytes(20000))
          f.truncate(3 << 30)
        with open("only-a-hole", "wb") as f: f.truncate(3 << 30)
        with open("small-hole", "wb") as f: f.truncate(700)
        with open("data-at-the-end", "wb") as f:
          f.seek((3 << 30) - 100)
          f.write(b"x" * 100)
        END
        """,
      variants: [ImageVariant("defaults"), ImageVariant(option: "compression=lz4")]),
    Source(
      name: "attributes as large as they may be",
      script: python + """
        for n in (0, 1, 100, 1000, 1900, 1995):
          open(f"f{n}", "w")
          os.setxattr(f"f{n}", "user.v", r.randbytes(n))
        open("long", "w")
        os.setxattr("long", b"user." + b"n" * 250, r.randbytes(1500))
        os.setxattr(".", "user.v", r.randbytes(1995))
        END
        """,
      variants: [smallNodes]),
  ]

  @Test(arguments: sources)
  func edgeIsSound(source: Source) throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", script: source.script)
      for variant in source.variants {
        try expectSound(variant, tree, changing: source.isChanged)
      }
    }
  }

  @Test func sourcesOwnLostAndFoundIsKept() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree",
        script: "mkdir -m 750 -p lost+found; echo kept >lost+found/file; echo other >file")
      let images = try ImageVariant("defaults").build(tree, in: folder)
      let outcome = try KernelGuest.check(images: images, subfolder: "lost+found")
      #expect(outcome.complaints == [])
      #expect(outcome.manifest == (try SourceTree("\(tree.path)/lost+found").manifest()))
      let mode = try show(images, "stat -c %a /mnt/a/lost+found; cat /mnt/a/file")
      #expect(mode == ["750", "other"])
    }
  }

  /// Not a bucket is free in it, or few are.
  @Test func volumeThatIsJustLargeEnoughIsSound() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", seed: 4)
      var variant = ImageVariant("just large enough")
      variant.devices = [.init(bucketBytes: 64 << 10)]
      for buckets in 64... {
        variant.sizeBytes = UInt64(buckets) << 16
        guard (try? variant.build(tree, in: folder)) == nil else { break }
        try runProgramOrThrow("rm", ["-f", "\(folder)/volume.0.img"])
      }
      let outcome = try KernelGuest.check(images: ["\(folder)/volume.0.img"])
      #expect(outcome.complaints == [])
      #expect(manifestDifference(expected: try tree.manifest(), seen: outcome.manifest) == [])
    }
  }

  @Test func lostAndFoundThatIsAFileIsKept() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree", script: "echo no directory >lost+found")
      let images = try ImageVariant("defaults").build(tree, in: folder)
      #expect(
        try show(images, "ls -A /mnt/a; cat /mnt/a/lost+found") == [
          "lost+found", "no directory",
        ])
    }
  }

  @Test func lostAndFoundIsMadeAsTheDriverMakesIt() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", script: "mkdir a b; echo c >c")
      let images = try ImageVariant("defaults").build(tree, in: folder)
      let lines = try show(
        images, "stat -c '%F %a %u %g %h' /mnt/a/lost+found; stat -c %h /mnt/a")
      #expect(lines == ["directory 700 0 0 2", "5"])
    }
  }

  @Test func rootKeepsModeOwnerTimesAttributesAndLists() throws {
    let look = """
      stat -c '%a %u %g %.9Y' "$ROOT"
      getfattr --absolute-names -d -m - -e hex "$ROOT" | grep = | sort
      """
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree",
        script: """
          echo child >child
          setfattr -n user.on-root -v value .
          list=0200000001000700ffffffff02000400e803000004000500ffffffff
          list+=10000700ffffffff20000000ffffffff
          setfattr -n system.posix_acl_default -v "0x$list" .
          [ "$(id -u)" != 0 ] || chown 1234:5678 .
          chmod 3751 .
          touch -d '2001-09-09 01:46:40.000000007 UTC' .
          """)
      let images = try ImageVariant("defaults").build(tree, in: folder)
      let expected = try runProgramOrThrow(
        "bash", ["-euc", look], environment: ["ROOT": tree.path])
      let seen = try show(images, "ROOT=/mnt/a\n\(look)")
      #expect(seen == expected.text.split(separator: "\n").map(String.init))
      #expect(seen.first?.hasSuffix(" 1000000000.000000007") == true, "\(seen)")
      #expect(seen.count == 3)
    }
  }

  /// What a script prints of the mounted volume, after a check without complaints.
  private func show(_ images: [String], _ script: String) throws -> [String] {
    let outcome = try KernelGuest.run(
      job: """
        set -eu
        mount -t bcachefs -o ro,fsck,errors=continue "$JOB_DEVICES" /mnt/a
        \(script)
        """, images: images)
    #expect(outcome.complaints == [])
    return outcome.manifest
  }

  // MARK: - In the long run

  static let large: [Source] = [
    Source(
      name: "thirty thousand names in one directory",
      script: "mkdir wide; cd wide; seq 30000 | split -l 1 -a 5 - name-",
      variants: [ImageVariant("defaults"), smallNodes], isChanged: true),
    Source(
      name: "sixty thousand links to one file",
      script: python + """
        open("first", "w").write("many names")
        for i in range(60000): os.link("first", f"name-{i}")
        END
        """),
    Source(
      name: "ten thousand holes",
      script: python + """
        with open("file", "wb") as f:
          for i in range(10000):
            f.seek(i * 1000003)
            f.write(b"data")
        END
        """),
  ]

  @Test(.enabled(if: runsLongTests, "\(longTestsMissing)"), arguments: large)
  func largeEdgeIsSound(source: Source) throws {
    try edgeIsSound(source: source)
  }
}
