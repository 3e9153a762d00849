// SPDX-License-Identifier: GPL-2.0
// What `get` and `export` bring out is what the driver showed, and damage is named.

internal import Foundation
internal import TestSupport
internal import Testing

@Suite struct CopyTests {
  @Test(.enabled(if: isRoot), arguments: SampleVolume.all)
  func getGivesWhatTheDriverShowed(sample: SampleVolume) throws {
    try ReadFixture.with(sample) { fixture in
      try withRoomyFolder { target in
        let before = try fixture.images.map { try readFile($0) }
        let result = try fixture.run("get", [fixture.volume, "/", "\(target)/out"])
        #expect(result.status == 0, "\(result.standardError)")
        let seen = try manifest(of: "\(target)/out")
        let expected = try sample.manifest()
        #expect(
          comparableManifest(seen, withSockets: true)
            == comparableManifest(expected, withSockets: true))
        let after = try fixture.images.map { try readFile($0) }
        #expect(after == before)
      }
    }
  }

  @Test(.enabled(if: isRoot), arguments: SampleVolume.all)
  func tarUnpacksWhatTheDriverShowed(sample: SampleVolume) throws {
    try ReadFixture.with(sample) { fixture in
      try withRoomyFolder { target in
        let unlocking = fixture.unlocking.joined(separator: " ")
        let result = try shell(
          """
          set -o pipefail
          $BCACHEFS export \(unlocking) \(fixture.volume) |
            tar -x -p --xattrs --xattrs-include='*' --acls --numeric-owner -C \(target)
          """, folder: fixture.folder)
        #expect(result.status == 0, "\(result.standardError)")
        let seen = try manifest(of: target)
        let expected = try sample.manifest()
        #expect(
          comparableManifest(seen, withSockets: false)
            == comparableManifest(expected, withSockets: false))
      }
    }
  }

  @Test func secondRunLeavesWhatIsComplete() throws {
    try ReadFixture.with(try SampleVolume.fixture("unchecked")) { fixture in
      let arguments = ["--json", fixture.volume, "/", "\(fixture.folder)/out"]
      let first = try jsonObject(try fixture.run("get", arguments))
      #expect(first["skipped"] as? Int == 0)
      let second = try jsonObject(try fixture.run("get", arguments))
      let skipped = try #require(second["skipped"] as? Int)
      #expect(skipped > 10)
      let third = try jsonObject(try fixture.run("get", ["--no-resume"] + arguments))
      #expect(third["skipped"] as? Int == 0)
    }
  }

  @Test func linksOfTheDestinationAreNotFollowed() throws {
    try ReadFixture.with(try SampleVolume.fixture("plain")) { fixture in
      let names = try fixture.run("ls", [fixture.volume]).text.split(separator: "\n")
      let directory = try #require(names.first { $0 != "lost+found" })
      try runProgramOrThrow(
        "bash", ["-c", "mkdir outside out; ln -s ../outside out/\(directory)"],
        folder: fixture.folder)
      let result = try fixture.run("get", [fixture.volume, "/", "\(fixture.folder)/out"])
      #expect(result.status != 0)
      let outside = try allNames(in: "\(fixture.folder)/outside")
      #expect(outside.isEmpty)
    }
  }

  /// Of every checksummed extent one byte is changed: all is named, none of it comes out as good.
  @Test func damageIsNamedAndTheRestComesOut() throws {
    try ReadFixture.with(try SampleVolume.fixture("plain")) { fixture in
      let good = "\(fixture.folder)/good"
      let bad = "\(fixture.folder)/bad"
      _ = try fixture.run("get", [fixture.volume, "/", good])
      let image = try #require(fixture.images.first)
      // The first pointer of each extent: "ptr: DEVICE:BUCKET:SECTOR gen N".
      let keys = try fixture.run("list", ["-b", "extents", "-k", "extent", fixture.volume]).text
      let bucketSize = try bucketByteCount(fixture)
      let bucketBytes = try #require(bucketSize)
      let handle = try #require(FileHandle(forUpdatingAtPath: image))
      var changed = 0
      for line in keys.split(separator: "\n") where line.contains("csum crc32c") {
        let fields = line.split(separator: " ")
        let place = try #require(fields.firstIndex(of: "ptr:").map { fields[$0 + 1] })
        let numbers = place.split(separator: ":").compactMap { UInt64($0) }
        guard numbers.count == 3 else { continue }
        let offset = numbers[1] * bucketBytes + numbers[2] * 512
        try handle.seek(toOffset: offset)
        let byte = try #require(try handle.read(upToCount: 1)?.first)
        try handle.seek(toOffset: offset)
        try handle.write(contentsOf: [byte ^ 0x10])
        changed += 1
      }
      try handle.close()
      #expect(changed > 3)
      let result = try fixture.run("get", [fixture.volume, "/", bad])
      #expect(result.status == 65)
      let differing = try runProgram(
        "diff", ["-rq", "--no-dereference", good, bad], folder: fixture.folder
      )
      .text.split(separator: "\n").filter { $0.hasPrefix("Files ") }
      #expect(!differing.isEmpty)
      for line in differing {
        let name = try #require(line.split(separator: " ").dropFirst().first)
        let path = name.dropFirst(good.count + 1)
        #expect(result.standardError.contains("\(path): bytes "), "\(path)")
      }
      let archive = try shell(
        "$BCACHEFS export \(fixture.volume) >a.tar; echo $?; tar -tf a.tar | wc -l",
        folder: fixture.folder)
      #expect(archive.text.hasPrefix("65\n"))
    }
  }

  private func bucketByteCount(_ fixture: ReadFixture) throws -> UInt64? {
    let usage = try jsonObject(try bcachefs("fs", "usage", "--json", fixture.volume))
    let devices = try #require(usage["devices"] as? [[String: Any]])
    return (devices.first?["bucket_bytes"] as? Int).map { UInt64($0) }
  }
}
