// SPDX-License-Identifier: GPL-2.0
// `put`: what is in the volume then is what the host had, in the driver's eyes.

internal import Foundation
internal import TestSupport
internal import Testing

@Suite struct PutTests {
  @Test(
    .enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"),
    arguments: ChangeFixture.Kind.allCases)
  func driverShowsTheTreeThatWasPut(kind: ChangeFixture.Kind) throws {
    try ChangeFixture.with(kind, mebibytes: 320) { fixture in
      let source = try SourceTree.make(at: "\(fixture.folder)/tree", seed: 3)
      let expected = try source.manifest()
      try fixture.succeed("put", "VOLUME", "tree/.", "/")
      #expect(differences(expected, try fixture.manifestByDriver()) == [])
      // Under a new name beside it, hard links and all.
      try fixture.succeed("put", "VOLUME", "tree", "again")
      #expect(
        differences(expected, try fixture.manifestByDriver(subfolder: "again")) == [])
      #expect(try !fixture.names(in: "/").contains { $0.hasPrefix(".bcachefs") })
    }
  }

  @Test(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
  func treeGoesIntoOneThatIsThere() throws {
    try ChangeFixture.with { fixture in
      let first = try SourceTree.make(
        at: "\(fixture.folder)/first/tree",
        script: """
          mkdir -p kept/below both/deep; echo old >both/file; echo stays >both/deep/stays
          echo kept >kept/below/file; ln -s old both/link; echo file >other; chmod 711 both
          """)
      try fixture.succeed("put", "VOLUME", first.path, "/")
      let second = try SourceTree.make(
        at: "\(fixture.folder)/second/tree",
        script: """
          mkdir -p both/deep both/new/er; echo new >both/file; ln -s new both/link
          echo x >both/new/er/x; echo y >both/deep/y; chmod 750 both; touch -d 2001-02-03 both
          echo replaced >other
          """)
      try fixture.succeed("put", "VOLUME", second.path, "/")
      try runProgramOrThrow(
        "bash", ["-c", "cp -a second/tree/. first/tree/"], folder: fixture.folder)
      let seen = try fixture.manifestByDriver(subfolder: "tree")
      #expect(differences(try first.manifest(), seen) == [])
    }
  }

  @Test func fileReplacesAFileAndOnlyAFile() throws {
    try ChangeFixture.with { fixture in
      try fixture.succeed("put", "VOLUME", "-", "file", input: Array("first".utf8))
      try fixture.succeed("put", "VOLUME", "-", "file", input: Array("second, longer".utf8))
      #expect(try fixture.run("cat", "VOLUME", "file").text == "second, longer")
      try writeFile("\(fixture.folder)/file", Array("third".utf8))
      try fixture.succeed("put", "VOLUME", "file", "/")
      #expect(try fixture.run("cat", "VOLUME", "file").text == "third")
      try fixture.succeed("mkdir", "VOLUME", "directory", "directory/file")
      let refused = try fixture.run("put", "VOLUME", "file", "directory")
      #expect(refused.status == 73 || refused.status == 66, "\(refused.standardError)")
      #expect(refused.standardError.contains("directory/file: is a directory"))
      let overFile = try fixture.run("put", "VOLUME", fixture.folder, "file")
      #expect(overFile.status == 73)
      #expect(try fixture.run("cat", "VOLUME", "file").text == "third")
      #expect(try fixture.names(in: "/") == ["directory", "file"])
      try fixture.expectSound()
    }
  }

  @Test func nothingAppearsOfATreeThatFails() throws {
    try ChangeFixture.with(mebibytes: 96) { fixture in
      _ = try SourceTree.make(
        at: "\(fixture.folder)/tree",
        script: "mkdir -p a b; seq 5000 >a/x; head -c 120M /dev/urandom >b/large")
      let result = try fixture.run("put", "VOLUME", "tree", "/")
      #expect(result.status == 73, "\(result.standardError)")
      #expect(result.standardError.contains("tree/b/large: no space"))
      #expect(try fixture.names(in: "/") == [])
      try fixture.expectSound()
      try fixture.succeed("put", "VOLUME", "tree/a", "/")
      #expect(try fixture.names(in: "a") == ["x"])
    }
  }

  @Test func sourcesThatFailAreNamedAndTheOthersArePut() throws {
    try ChangeFixture.with { fixture in
      try writeFile("\(fixture.folder)/one", [1])
      try writeFile("\(fixture.folder)/two", [2])
      let result = try fixture.run("put", "--json", "VOLUME", "one", "missing", "two", "/")
      #expect(result.status == 66)
      #expect(result.standardError.contains("missing"))
      #expect(try fixture.names(in: "/") == ["one", "two"])
      let object = try jsonObject(result)
      #expect(object["done"] as? Int == 2)
      #expect(object["failed"] as? Int == 1)
    }
  }

  @Test func volumeThatIsInUseIsRefusedByName() throws {
    try ChangeFixture.with { fixture in
      let result = try shell(
        """
        mkfifo hold
        $BCACHEFS put \(fixture.volume) - first <hold & exec 3>hold
        for i in $(seq 400); do
          ls -l /proc/$!/fd 2>/dev/null | grep -q 'v.0.img' && break
          sleep 0.05
        done
        # It is opened first, and locked then.
        sleep 0.5
        $BCACHEFS mkdir \(fixture.volume) second 2>said
        cat said; printf x >&3; exec 3>&-; wait
        """, folder: fixture.folder)
      #expect(result.text.contains("v.0.img"), "\(result.text)")
      #expect(result.text.contains("has locked it"), "\(result.text)")
      #expect(try fixture.run("cat", "VOLUME", "first").text == "x")
    }
  }

  /// A directory's default ACL is for what is made in it, not for what is copied.
  @Test(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
  func copiesHaveTheirOwnPermissionsBelowADefaultACL() throws {
    try ChangeFixture.with { fixture in
      // user::rwx,user:7:rwx,group::---,mask::rwx,other::--- in Linux's form
      let list =
        "0x0200000001000700ffffffff020007000700000004000000ffffffff10000700ffffffff"
        + "20000000ffffffff"
      try fixture.succeed("mkdir", "VOLUME", "listed")
      try fixture.succeed(
        "setfattr", "-n", "system.posix_acl_default", "-v", list, "VOLUME", "listed")
      let source = try SourceTree.make(
        at: "\(fixture.folder)/tree",
        script: "mkdir d; echo 1 >d/f; echo 2 >g; chmod 640 g d/f; chmod 755 d; ln -s g l")
      let expected = try source.manifest()
      try fixture.succeed("put", "VOLUME", "tree", "listed")
      try fixture.succeed("put", "VOLUME", "tree/g", "listed/g")
      #expect(
        differences(expected, try fixture.manifestByDriver(subfolder: "listed/tree")) == [])
      let mode = try jsonObject(try fixture.run("stat", "--json", "VOLUME", "listed/g"))
      #expect(mode["mode"] as? String == "0640")
    }
  }

  @Test func interruptionLeavesNothing() throws {
    try ChangeFixture.with { fixture in
      _ = try SourceTree.make(
        at: "\(fixture.folder)/tree",
        script: "for f in {1..1500}; do head -c $((f * 31)) /dev/urandom >f$f; done")
      func put(endedAfter seconds: Double) throws -> ProgramResult {
        try shell(
          "timeout --preserve-status -s INT \(seconds) $BCACHEFS put \(fixture.volume) tree t",
          folder: fixture.folder)
      }
      var (result, seconds) = (try put(endedAfter: 0.6), 0.6)
      // On a busy machine it may not have begun: the signal ends it before it listens to any.
      while result.status == 128 + 2, seconds < 10 {
        seconds *= 2
        result = try put(endedAfter: seconds)
      }
      #expect(result.status == 75 || result.status == 0, "\(result.standardError)")
      #expect(try fixture.names(in: "/") == (result.status == 0 ? ["t"] : []))
      try fixture.expectSound()
    }
  }

  /// SIGKILL at any moment leaves a volume that the driver finds sound, and the tree whole or not
  /// there.
  @Test(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
  func volumeIsSoundAfterAKill() throws {
    try ChangeFixture.with { fixture in
      let source = try SourceTree.make(
        at: "\(fixture.folder)/tree",
        script: """
          for d in {1..20}; do
            mkdir d$d; for f in {1..30}; do head -c $((f * 997)) /dev/urandom >d$d/f$f; done
          done
          """)
      let expected = try source.manifest()
      var random = SystemRandomNumberGenerator()
      for round in 0..<6 {
        let seconds = Double.random(in: 0.05...1.5, using: &random)
        _ = try shell(
          "timeout -s KILL \(seconds) $BCACHEFS put \(fixture.volume) tree t\(round) 2>/dev/null",
          folder: fixture.folder)
        let lines = try fixture.manifestByDriver()
        let seen = lines.filter { $0.hasPrefix("t\(round)/") }.map {
          String($0.dropFirst("t\(round)/".count))
        }
        #expect(seen.isEmpty || differences(expected, seen) == [], "killed after \(seconds) s")
      }
      for name in try fixture.names(in: "/") { try fixture.succeed("rm", "-r", "VOLUME", name) }
      try fixture.succeed("put", "VOLUME", "tree", "/")
      #expect(differences(expected, try fixture.manifestByDriver(subfolder: "tree")) == [])
    }
  }
}
