// SPDX-License-Identifier: GPL-2.0
// bcachefs fsck -n as a stranger would use it: exit codes of fsck(8), words, JSON, and not a byte
// written.

internal import Foundation
internal import TestSupport
internal import Testing

struct FsckTests {
  @Test func soundVolumesHaveNoErrorsAndStayAsTheyAre() throws {
    try withTemporaryFolder { folder in
      for sample in SampleVolume.fixtures where sample.passphrase == nil {
        let images = try sample.unpack(into: folder)
        let before = try images.map { try readFile($0) }
        let names = images.joined(separator: ":")
        let result = try bcachefs("fsck", "-n", "--file_counters", names)
        #expect(result.status == 0, "\(sample): \(result)")
        #expect(result.text == "no errors found\n", "\(sample)")
        #expect(try images.map { try readFile($0) } == before, "\(sample)")
      }
    }
  }

  @Test func devicesMayBeOperandsOfTheirOwn() throws {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture("replicas").unpack(into: folder)
      #expect(try bcachefs("fsck", "-n", images[0], images[1], "--memory=1M").status == 0)
      #expect(try bcachefs("fsck", "-n", images[0]).status == 8)
    }
  }

  /// A node of the volume is overwritten: everything that it held is missed.
  @Test func aLostNodeIsNamedWithWhatItTakesAlong() throws {
    try withTemporaryFolder { folder in
      let image = try SampleVolume.fixture("plain").unpack(into: folder)[0]
      try overwriteNode(of: "backpointers", in: image)
      let result = try bcachefs("fsck", "-n", "-r", image)
      #expect(result.status == 4)
      #expect(result.text.contains("error reading btree root backpointers l=0: "))
      #expect(result.text.contains("missing backpointer for btree=extents"))
      #expect(result.text.contains("Ratelimiting new instances of previous error"))
      let object = try jsonObject(try bcachefs("fsck", "-n", "--json", image))
      let counts = try #require(object["counts"] as? [String: Int])
      #expect(counts["btree_root_read_error"] == 1)
      #expect(counts.values.reduce(0, +) == object["errors"] as? Int)
      let findings = try #require(object["findings"] as? [[String: Any]])
      #expect(findings.first?["pass"] as? String == "check_topology")
    }
  }

  /// The counters of the volume are lost: they are worked out all the same.
  @Test func lostCountersDoNotEndTheCheck() throws {
    try withTemporaryFolder { folder in
      let image = try SampleVolume.fixture("plain").unpack(into: folder)[0]
      try overwriteNode(of: "accounting", in: image)
      let object = try jsonObject(try bcachefs("fsck", "-n", "--json", image))
      let counts = try #require(object["counts"] as? [String: Int])
      #expect(counts["btree_root_read_error"] == 1)
      #expect(counts["accounting_mismatch"] ?? 0 > 3)
    }
  }

  /// The names of the volume are lost: files say where they were.
  @Test func filesWithoutNamesAreNamed() throws {
    try withTemporaryFolder { folder in
      let image = try SampleVolume.fixture("plain").unpack(into: folder)[0]
      try overwriteNode(of: "dirents", in: image)
      let object = try jsonObject(try bcachefs("fsck", "-n", "--json", image))
      let counts = try #require(object["counts"] as? [String: Int])
      #expect(counts["inode_points_to_missing_dirent"] ?? 0 > 50)
      #expect(counts["inode_unreachable"] == counts["inode_points_to_missing_dirent"])
      let findings = try #require(object["findings"] as? [[String: Any]])
      let passes = Set(findings.compactMap { $0["pass"] as? String })
      #expect(
        passes.isSuperset(of: ["check_topology", "check_inodes", "check_unreachable_inodes"]))
      let text = try bcachefs("fsck", "-n", image).text
      #expect(text.contains("inode points to missing dirent\ninum: 4099:4294967295 "))
      #expect(text.contains("not fixing (inode_unreachable)"))
    }
  }

  @Test func helpNamesThePasses() throws {
    let help = try bcachefs("fsck", "--help").text.split(whereSeparator: \.isWhitespace)
    for pass in ["check_topology,", "check_extents,", "check_nlinks,", "delete_dead_inodes."] {
      #expect(help.contains { $0 == pass }, "\(pass)")
    }
  }

  @Test func progressIsSilentInAPipe() throws {
    try withTemporaryFolder { folder in
      let image = try SampleVolume.fixture("plain").unpack(into: folder)[0]
      let result = try bcachefs("fsck", "-n", image)
      #expect(result.standardError.isEmpty)
      let verbose = try bcachefs("fsck", "-n", "-v", image)
      #expect(verbose.standardError.contains("bcachefs fsck: check_dirents...\n"))
      #expect(!verbose.standardError.contains("\r"))
    }
  }

  private static let script = "/usr/bin/script"

  @Test(.enabled(if: fileExists(script), "no script(1), which makes a terminal"))
  func aTerminalIsToldWhichPassIsUnderWay() throws {
    try withTemporaryFolder { folder in
      let image = try SampleVolume.fixture("plain").unpack(into: folder)[0]
      let command = "'\(builtProgram("bcachefs"))' fsck -n '\(image)'"
      let result = try runProgram(Self.script, ["-qec", command, "/dev/null"])
      #expect(result.text.contains("%  check_topology"), "\(result)")
      #expect(result.text.contains("\rno errors found"), "\(result)")
    }
  }

  private func overwriteNode(of btree: String, in image: String) throws {
    let nodes = try bcachefs("list", "-b", btree, "-m", "nodes", image).text
    let place = try #require(nodes.firstMatch(of: /ptr: 0:(\d+):(\d+) gen/), "\(nodes)")
    let bucketSectors = try bucketSectors(image)
    let sector = try #require(UInt64(place.1)) * bucketSectors + (try #require(UInt64(place.2)))
    let handle = try FileHandle(forUpdating: URL(filePath: image))
    try handle.seek(toOffset: sector * 512)
    try handle.write(contentsOf: Data(repeating: 0xa5, count: 4096))
    try handle.close()
  }

  private func bucketSectors(_ image: String) throws -> UInt64 {
    let text = try bcachefs("show-super", image).text
    let size = try #require(text.firstMatch(of: /Bucket size: +(\d+) KiB/))
    return try #require(UInt64(size.1)) * 2
  }

  @Test func repairIsRefusedBeforeAnythingIsOpened() throws {
    for arguments in [["/nowhere"], ["-n", "-y", "/nowhere"], ["-p", "/nowhere"]] {
      let result = try runProgram(builtProgram("bcachefs"), ["fsck"] + arguments)
      #expect(result.status == 16)
      #expect(result.standardError.contains("this program cannot repair yet"))
    }
  }
}
