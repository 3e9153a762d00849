// SPDX-License-Identifier: GPL-2.0
// Listings agree with what the driver showed, and with each other.

internal import Foundation
internal import TestSupport
internal import Testing

@Suite struct InspectionTests {
  @Test func listingNamesEveryFile() throws {
    let sample = try SampleVolume.fixture("snapshots")
    try ReadFixture.with(sample) { fixture in
      let result = try fixture.run("ls", ["-aR", "--json", fixture.volume])
      let value = try JSONSerialization.jsonObject(with: Data(result.standardOutput))
      let entries = try #require(value as? [[String: Any]])
      let types = Set(try sample.manifest().map { $0.split(separator: "\t")[1] })
      #expect(types.count >= 6)
      let shown = entries.filter { !(($0["name"] as? String) ?? "").hasPrefix("lost+found") }
      let expected = try sample.manifest().count
      #expect(shown.count == expected)
    }
  }

  @Test func subvolumesHaveTheirPaths() throws {
    try ReadFixture.with(try SampleVolume.fixture("snapshots")) { fixture in
      let result = try bcachefs("subvolume", "list", "-s", "--json", fixture.volume)
      let value = try JSONSerialization.jsonObject(with: Data(result.standardOutput))
      let entries = try #require(value as? [[String: Any]])
      let paths = entries.compactMap { $0["path"] as? String }
      #expect(paths.count == entries.count)
      for path in paths {
        let status = try fixture.run("stat", [fixture.volume, path]).status
        #expect(status == 0, "\(path)")
      }
    }
  }

  @Test func keysAreWrittenAsTheKernelWritesThem() throws {
    try ReadFixture.with(try SampleVolume.fixture("plain")) { fixture in
      let text = try fixture.run("list", ["-b", "subvolumes", fixture.volume]).text
      #expect(
        text == "u64s 10 type subvolume 0:1:0 len 0 ver 0: root 4096 snapshot id 4294967295 "
          + "creation_parent 0 fs_parent 0\n")
      let inode = try fixture.run(
        "list", ["-b", "inodes", "-s", "0:4096", "-e", "0:4096:U32_MAX", fixture.volume]
      ).text
      #expect(inode.hasPrefix("u64s 17 type inode_v3 0:4096:U32_MAX len 0 ver 0"))
    }
  }

  /// Buckets of all kinds are all the buckets there are.
  @Test(arguments: SampleVolume.fixtures.filter { $0.passphrase == nil })
  func usageAccountsForEveryBucket(sample: SampleVolume) throws {
    try ReadFixture.with(sample) { fixture in
      let usage = try jsonObject(try bcachefs("fs", "usage", "--json", fixture.volume))
      for device in try #require(usage["devices"] as? [[String: Any]]) {
        let data = try #require(device["data"] as? [[String: Any]])
        let sum = data.reduce(0) { $0 + (($1["buckets"] as? Int) ?? 0) }
        #expect(sum == device["buckets"] as? Int)
      }
    }
  }

  @Test func failuresHaveTheirExitCodes() throws {
    try ReadFixture.with(try SampleVolume.fixture("unchecked")) { fixture in
      let cases: [(command: String, arguments: [String], status: Int32)] = [
        ("ls", [fixture.volume, "nothing"], 66), ("cat", [fixture.volume], 64),
        ("cat", [fixture.volume, "/"], 66), ("ls", ["\(fixture.folder)/none"], 66),
        ("list", ["-b", "extent", fixture.volume], 64),
      ]
      for (command, arguments, expected) in cases {
        let status = try fixture.run(command, arguments).status
        #expect(status == expected, "\(command) \(arguments)")
      }
    }
  }
}
