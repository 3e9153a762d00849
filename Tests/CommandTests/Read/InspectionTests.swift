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
  @Test(arguments: (SampleVolume.fixtures + SampleVolume.newest).filter { $0.passphrase == nil })
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

  /// What the map says of a file's places is where its bytes are.
  @Test func mapOfAFileLeadsToItsBytes() throws {
    try ReadFixture.with(try SampleVolume.fixture("plain")) { fixture in
      let path = "tree/sizes/random-8192"
      let stat = try jsonObject(
        try fixture.run("stat", ["--extents", "--json", fixture.volume, path]))
      let contents = try fixture.run("cat", [fixture.volume, path]).standardOutput
      let image = try readFile(try #require(fixture.images.first))
      var found: [UInt8] = []
      for extent in try #require(stat["extents"] as? [[String: Any]]) {
        let copies = try #require(extent["copies"] as? [[String: Any]])
        let copy = try #require(copies.first)
        #expect(copy["compression"] as? String == "none" && copy["device"] as? Int == 0)
        let sector = try #require(copy["sector"] as? Int)
        let start = try #require(extent["start"] as? Int)
        let end = try #require(extent["end"] as? Int)
        found += image[sector * 512..<sector * 512 + end - start]
      }
      #expect(found.starts(with: contents) && contents.count == 8192)
      let text = try fixture.run("stat", ["--extents", fixture.volume, path]).text
      #expect(text.contains("\nExtent: bytes 0-8191 data\n        device 0 ("))
    }
  }

  /// Of 1.39: the bucket that a backpointer is shown in holds what it says.
  @Test(arguments: SampleVolume.newest.filter { $0.name == "newest-plain" })
  func newerBackpointersLieInBucketsOfTheirType(sample: SampleVolume) throws {
    try ReadFixture.with(sample) { fixture in
      var types: [Substring: Substring] = [:]
      let alloc = try fixture.run("list", ["-b", "alloc", fixture.volume]).text
      for line in alloc.split(separator: "u64s ") {
        let words = line.split(whereSeparator: { $0 == " " || $0 == "\n" })
        guard let type = words.firstIndex(of: "data_type"), words.count > type + 1 else { continue }
        types[words[3]] = words[type + 1]
      }
      let lines = try fixture.run("list", ["-b", "backpointers", fixture.volume]).text
      var count = 0
      for line in lines.split(separator: "\n") {
        let words = line.split(separator: " ")
        let place = try #require(words.first { $0.hasPrefix("bucket=") }).dropFirst(7)
        let bucket = place.split(separator: ":").prefix(2).joined(separator: ":") + ":0"
        let type = try #require(words.first { $0.hasPrefix("data_type=") }).dropFirst(10)
        #expect(types[bucket[...]] == type, "\(line)")
        count += 1
      }
      #expect(count > 50)
    }
  }

  @Test(.enabled(if: SampleVolume.newest.contains { $0.name == "newest-casefold" }))
  func casefoldedNamesAreFoundInAnySpelling() throws {
    let sample = try #require(SampleVolume.newest.first { $0.name == "newest-casefold" })
    try ReadFixture.with(sample) { fixture in
      #expect(try fixture.run("cat", [fixture.volume, "TREE/names/PLAIN"]).text == "plain")
      let stat = try fixture.run(
        "stat", [fixture.volume, "tree/NAMES/\u{dc}N\u{cf}C\u{d8}D\u{c9}"])
      #expect(stat.status == 0 && stat.text.contains("Size: 11 "))
      // Decomposed, and with a character that is ignored.
      let other = try fixture.run(
        "stat", [fixture.volume, "tree/names/u\u{308}ni\u{308}c\u{f8}\u{ad}d\u{e9}"])
      #expect(other.status == 0)
      let listed = try fixture.run("ls", ["-a", fixture.volume, "Tree/Names"]).text
      #expect(listed.contains("plain\n"))
      let got = try fixture.run(
        "get", [fixture.volume, "TREE/LINKS/ORIGIN", "\(fixture.folder)/o"])
      #expect(got.status == 0)
      #expect(try readFile("\(fixture.folder)/o") == Array("three names\n".utf8))
      #expect(try fixture.run("stat", [fixture.volume, "tree/names/plainer"]).status == 66)
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
