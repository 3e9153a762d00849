// SPDX-License-Identifier: GPL-2.0
// `import`: archives of ours and of others unpack to the same tree, and hostile ones to nothing.

internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@Suite struct ImportTests {
  @Test(
    .enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"),
    arguments: ChangeFixture.Kind.allCases)
  func exportAndImportGiveTheSameTree(kind: ChangeFixture.Kind) throws {
    try ChangeFixture.with(.plain, mebibytes: 320) { first in
      let source = try SourceTree.make(at: "\(first.folder)/tree", seed: 5)
      let expected = comparableManifest(try source.manifest(), withSockets: false)
      try first.succeed("put", "VOLUME", "tree/.", "/")
      let second = try ChangeFixture.make(
        kind, in: first.folder, named: "second", mebibytes: 320)
      let unlocking = second.unlocking.joined(separator: " ")
      let result = try shell(
        """
        set -o pipefail
        $BCACHEFS export \(first.volume) 2>/dev/null |
          $BCACHEFS import \(unlocking) \(second.volume)
        """, folder: first.folder)
      #expect(result.status == 0, "\(result.standardError)")
      let seen = comparableManifest(try second.manifestByDriver(), withSockets: false)
      #expect(differences(expected, seen) == [])
    }
  }

  @Test(
    .enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"),
    arguments: [
      "--format=pax --xattrs --xattrs-include='*' --acls --sparse",
      "--format=pax --xattrs --xattrs-include='*' --acls --sparse --sparse-version=0.1",
      "--format=pax --xattrs --xattrs-include='*' --acls --sparse --sparse-version=0.0",
      "--format=gnu --sparse", "--format=ustar", "--format=v7",
    ])
  func archivesOfGNUTarUnpackAsTarUnpacksThem(options: String) throws {
    try ChangeFixture.with { fixture in
      let isSmall = options.contains("ustar") || options.contains("v7")
      let source =
        try isSmall
        ? SourceTree.make(
          at: "\(fixture.folder)/tree",
          script: """
            mkdir -p a/b; seq 1000 >a/b/f; ln a/b/f a/g; ln -s b/f a/l; chmod 4750 a/g; : >empty
            touch -d 1980-01-02 a/b/f; mkdir -p "$(printf 'x%.0s' {1..60})"
            """)
        : SourceTree.make(at: "\(fixture.folder)/tree", seed: 7)
      try runProgramOrThrow(
        "bash",
        ["-c", "tar -c \(options) --numeric-owner -f a.tar -C tree . 2>/dev/null; true"],
        folder: fixture.folder)
      try withRoomyFolder { folder in
        try runProgramOrThrow(
          "bash",
          [
            "-c",
            """
            tar -x -p --same-owner --xattrs --xattrs-include='*' --acls --numeric-owner \
              -f a.tar -C \(folder)
            """,
          ], folder: fixture.folder)
        let expected = comparableManifest(try manifest(of: folder), withSockets: false)
        let archive = try readFile("\(fixture.folder)/a.tar")
        try fixture.succeed("import", "VOLUME", "below", input: archive)
        let seen = comparableManifest(
          try fixture.manifestByDriver(subfolder: "below"), withSockets: false)
        #expect(differences(expected, seen) == [])
        _ = source
      }
    }
  }

  @Test func laterMembersReplaceEarlierOnes() throws {
    try ChangeFixture.with { fixture in
      let result = try shell(
        """
        mkdir t; echo one >t/f; echo link >t/l; tar -cf a.tar t; echo two >t/f; rm t/l; mkdir t/l
        echo in >t/l/x; tar -rf a.tar t; $BCACHEFS import \(fixture.volume) <a.tar
        """, folder: fixture.folder)
      #expect(result.status == 0, "\(result.standardError)")
      #expect(try fixture.run("cat", "VOLUME", "t/f", "t/l/x").text == "two\nin\n")
      try fixture.expectSound()
    }
  }

  // MARK: - Archives that lie

  /// What a header says, and what import says of it.
  struct Lie: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let said: String
    /// A program that writes the archive to standard output.
    let script: String

    init(_ what: String, says said: String, _ script: String) {
      testDescription = what
      self.said = said
      self.script = script
    }
  }

  private static let python = """
    import sys, struct
    def h(name, size=0, kind=b"0", link=b"", sizes=None):
      b = bytearray(512)
      b[0:len(name)] = name; b[100:107] = b"0000644"
      b[108:115] = b"0000000"; b[116:123] = b"0000000"
      f = sizes if sizes is not None else b"%011o" % size
      b[124:124+len(f)] = f; b[136:147] = b"00000000000"; b[156:157] = kind
      b[157:157+len(link)] = link; b[257:265] = b"ustar\\x0000"
      b[148:156] = b" " * 8; b[148:155] = b"%06o\\0" % sum(b)
      return bytes(b)
    def pad(x): return x + bytes(-len(x) % 512)
    def record(k, v):
      n = len(k) + len(v) + 3
      while len(str(n)) + len(k) + len(v) + 3 != n: n = len(str(n)) + len(k) + len(v) + 3
      return b"%d %s=%s\\n" % (n, k, v)
    def pax(*r):
      body = b"".join(record(k, v) for k, v in r)
      return h(b"pax", len(body), b"x") + pad(body)
    end = bytes(1024)
    out = sys.stdout.buffer
    good = h(b"good", 5) + pad(b"hello")

    """

  static let lies: [Lie] = [
    Lie("nothing", says: "truncated", ""),
    Lie("no end", says: "no end mark", "out.write(good)"),
    Lie("half a header", says: "truncated", "out.write(good + h(b'x')[:300])"),
    Lie("half of the contents", says: "truncated", "out.write(good + h(b'x', 9999) + bytes(700))"),
    Lie("a bad sum", says: "checksum", "out.write(good + h(b'x').replace(b'x', b'y', 1) + end)"),
    Lie("noise", says: "checksum", "out.write(bytes(range(1, 256)) * 4 + end)"),
    Lie("parents", says: "\"..\"", "out.write(good + h(b'a/../../x') + end)"),
    Lie("an absolute name", says: "absolute", "out.write(good + h(b'/etc/x') + end)"),
    Lie(
      "a name of records that leads out", says: "\"..\"",
      "out.write(good + pax((b'path', b'../x')) + h(b'x') + end)"),
    Lie(
      "a link that leads out", says: "out of the archive",
      "out.write(good + h(b'x', 0, b'1', b'../../etc/passwd') + end)"),
    Lie(
      "an absolute link", says: "out of the archive",
      "out.write(good + h(b'x', 0, b'1', b'/good') + end)"),
    Lie(
      "a link to nothing", says: "not before it", "out.write(h(b'x', 0, b'1', b'good') + end)"),
    Lie(
      "a way through a symbolic link", says: "no directory",
      "out.write(h(b'd', 0, b'2', b'../..') + h(b'd/x', 0) + end)"),
    Lie(
      "a link through a symbolic link", says: "not before it",
      "out.write(good + h(b'd', 0, b'2', b'.') + h(b'x', 0, b'1', b'd/good') + end)"),
    Lie(
      "a huge size", says: "truncated",
      "out.write(good + h(b'x', sizes=b'\\x80\\0\\0\\0\\x7f' + b'\\xff' * 7) + bytes(99999))"
    ),
    Lie(
      "a negative size", says: "size",
      "out.write(good + h(b'x', sizes=b'\\xff' * 12) + end)"),
    Lie(
      "a size beyond all", says: "size",
      "out.write(good + h(b'x', sizes=b'\\x80' + b'\\xff' * 11) + end)"),
    Lie("a size of letters", says: "size", "out.write(good + h(b'x', sizes=b'size') + end)"),
    Lie(
      "a size of records", says: "makes no sense",
      "out.write(pax((b'size', b'99999999999999999999')) + h(b'x') + end)"),
    Lie("huge records", says: "records", "out.write(h(b'p', 1 << 32, b'x') + bytes(9999))"),
    Lie(
      "records without an end", says: "malformed",
      "out.write(h(b'p', 12, b'x') + pad(b'99 path=abcd') + h(b'x') + end)"),
    Lie(
      "records of length 0", says: "malformed",
      "out.write(h(b'p', 12, b'x') + pad(b'0 path=abcd\\n') + h(b'x') + end)"),
    Lie("records of nothing", says: "behind the records", "out.write(pax((b'path', b'x')) + end)"),
    Lie(
      "a time of letters", says: "makes no sense",
      "out.write(pax((b'mtime', b'now')) + h(b'x') + end)"),
    Lie(
      "a map beyond the end", says: "map",
      """
      out.write(pax((b'GNU.sparse.realsize', b'100'), (b'GNU.sparse.map', b'0,5,200,5'))
        + h(b'x', 10) + pad(b'0123456789') + end)
      """),
    Lie(
      "a map that goes back", says: "map",
      """
      out.write(pax((b'GNU.sparse.realsize', b'100'), (b'GNU.sparse.map', b'50,5,0,5'))
        + h(b'x', 10) + pad(b'0123456789') + end)
      """),
    Lie(
      "a map of ranges that overflow", says: "map",
      """
      out.write(pax((b'GNU.sparse.major', b'1'), (b'GNU.sparse.realsize', b'100'))
        + h(b'x', 1024) + pad(b'1\\n18446744073709551615\\n18446744073709551615\\n') + end)
      """),
    Lie(
      "a map of many ranges", says: "map",
      """
      out.write(pax((b'GNU.sparse.major', b'1'), (b'GNU.sparse.realsize', b'100'))
        + h(b'x', 1024) + pad(b'9999999999999\\n0\\n') + end)
      """),
    Lie(
      "a size behind a file as large as can be", says: "size",
      """
      most = b'9223372036854775807'
      out.write(pax((b'GNU.sparse.realsize', most), (b'GNU.sparse.map', b'0,5,' + most + b',0'))
        + h(b'x', 5) + pad(b'01234') + h(b'y', sizes=b'\\xff' * 12) + end)
      """),
    Lie(
      "a type that nobody knows", says: "unknown type", "out.write(good + h(b'x', 0, b'M') + end)"),
    Lie("an empty target", says: "x: ", "out.write(good + h(b'x', 0, b'2', b'') + end)"),
    Lie(
      "a name that is too long", says: "too long",
      "out.write(pax((b'path', b'n' * 300)) + h(b'x') + end)"),
    Lie(
      "a name with a zero", says: "cannot be", "out.write(pax((b'path', b'a\\0b')) + h(b'x') + end)"
    ),
    Lie(
      "an ACL that is none", says: "ACL",
      "out.write(pax((b'SCHILY.acl.access', b'user::rwx,who:are:you')) + h(b'x') + end)"),
    Lie(
      "an attribute that is too large", says: "attribute",
      "out.write(pax((b'SCHILY.xattr.user.x', b'v' * 70000)) + h(b'x') + end)"),
    Lie(
      "thousands of attributes", says: "attributes",
      """
      many = [(b'SCHILY.xattr.user.%d' % i, b'v') for i in range(5000)]
      out.write(pax(*many) + h(b'x') + end)
      """),
  ]

  @Test func archivesThatLieChangeNothing() throws {
    try ChangeFixture.with { fixture in
      try fixture.succeed("put", "VOLUME", "-", "before", input: [1, 2, 3])
      for lie in Self.lies {
        try writeFile("\(fixture.folder)/lie.py", Array((Self.python + lie.script + "\n").utf8))
        let archive = try runProgramOrThrow("python3", ["lie.py"], folder: fixture.folder)
        let result = try fixture.run("import", "VOLUME", input: archive.standardOutput)
        #expect((64...78).contains(result.status), "\(lie): \(result.status)")
        #expect(result.standardError.contains(lie.said), "\(lie): \(result.standardError)")
        #expect(try fixture.names(in: "/") == ["before"], "\(lie)")
      }
      try fixture.expectSound()
      if KernelGuest.isAvailable { #expect(try fixture.manifestByDriver().count == 1) }
    }
  }

  /// Bits of a good archive are changed, or its end is cut off: an error or a tree, never a trap.
  @Test func damagedArchivesNeverTrap() throws {
    try ChangeFixture.with { fixture in
      let source = try SourceTree.make(at: "\(fixture.folder)/tree", seed: 2, scale: .tiny)
      let good = try runProgramOrThrow(
        "tar", ["-c", "--format=pax", "--xattrs", "--acls", "--sparse", "-C", source.path, "."]
      ).standardOutput
      let seed = UInt64.random(in: 1 ... .max)
      var noise = SplitMix64(seed: seed)
      for round in 0..<12 {
        var archive = good
        if round % 3 == 0 {
          archive.removeLast(Int(noise.next() % UInt64(archive.count)))
        } else {
          for _ in 0..<8 {
            let place = Int(noise.next() % UInt64(archive.count))
            archive[place] ^= UInt8(1 << (noise.next() % 8))
          }
        }
        let result = try fixture.run("import", "VOLUME", "r\(round)", input: archive)
        #expect(result.status < 79, "seed \(seed), round \(round): \(result.standardError)")
      }
      try fixture.expectSound()
    }
  }
}
