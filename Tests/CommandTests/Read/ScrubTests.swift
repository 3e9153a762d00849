// SPDX-License-Identifier: GPL-2.0
// A scrub of what the driver wrote finds nothing and checks all that the driver counted; of what
// was damaged since it finds exactly that, and names the files that cannot be read any more.

internal import Foundation
internal import TestSupport
internal import Testing

@Suite struct ScrubTests {
  @Test(arguments: SampleVolume.fixtures + SampleVolume.corpus)
  func cleanVolumesAreGoodAndAllThatTheDriverCountedIsChecked(sample: SampleVolume) throws {
    try ReadFixture.with(sample) { fixture in
      let result = try fixture.run("scrub", ["--json", fixture.volume])
      #expect(result.status == 0, "\(result.standardError)")
      let scrub = try jsonObject(result)
      #expect((scrub["findings"] as? [Any])?.isEmpty == true)
      #expect(scrub["finished"] as? Bool == true)
      let usage = try usage(fixture)
      let devices = try #require(scrub["devices"] as? [[String: Any]])
      for device in try #require(usage["devices"] as? [[String: Any]]) {
        var counted: [String: Int] = [:]
        for data in try #require(device["data"] as? [[String: Any]]) {
          counted[(data["type"] as? String) ?? ""] = data["bytes"] as? Int
        }
        let seen = try #require(devices.first { $0["index"] as? Int == device["index"] as? Int })
        #expect(seen["btree_bytes"] as? Int == counted["btree"])
        // The driver counts data by what its bucket is.
        let user = ["user", "stripe", "unstriped"].reduce(0) { $0 + (counted[$1] ?? 0) }
        #expect(seen["user_bytes"] as? Int == user)
        #expect(seen["parity_bytes"] as? Int == counted["parity"])
      }
    }
  }

  @Test(arguments: SampleVolume.newest)
  func volumesOfTheNewestFormatAreGood(sample: SampleVolume) throws {
    try ReadFixture.with(sample) { fixture in
      let result = try fixture.run("scrub", ["--json", fixture.volume])
      #expect(result.status == 0, "\(result.standardError)")
      let checked = try #require(try jsonObject(result)["checked_bytes"] as? Int)
      #expect(checked > 1 << 20)
    }
  }

  /// One byte of each extent of a volume without second copies is changed.
  @Test(arguments: ["plain", "compressed", "snapshots", "encrypted"])
  func lostExtentsAreNamedByTheFilesThatHaveThem(name: String) throws {
    try ReadFixture.with(try SampleVolume.fixture(name)) { fixture in
      let places = try extentPlaces(fixture)
      let image = try #require(fixture.images.first)
      for place in places { try flip(image, at: place.offset) }
      try #require(places.count > 0)

      let result = try fixture.run("scrub", ["--json", fixture.volume])
      #expect(result.status == 65)
      let scrub = try jsonObject(result)
      let findings = try #require(scrub["findings"] as? [[String: Any]])
      #expect(findings.allSatisfy { $0["outcome"] as? String == "lost" })
      var found: Set<Int> = []
      var named: Set<String> = []
      for finding in findings {
        for copy in try #require(finding["copies"] as? [[String: Any]]) {
          let start = try #require(copy["offset"] as? Int)
          let end = try start + #require(copy["bytes"] as? Int)
          for place in places where start..<end ~= Int(place.offset) {
            found.insert(Int(place.offset))
          }
        }
        for file in try #require(finding["files"] as? [[String: Any]]) {
          named.insert(try #require(file["path"] as? String))
        }
      }
      #expect(found == Set(places.map { Int($0.offset) }))

      // What a copy says of the same volume: "PATH: bytes FIRST-LAST of SIZE are lost".
      let copy = try fixture.run("get", [fixture.volume, "/", "\(fixture.folder)/out"])
      let paths = copy.standardError.split(separator: "\n").compactMap { line -> String? in
        guard let end = line.range(of: ": bytes "), let start = line.range(of: "get: ") else {
          return nil
        }
        return "/" + line[start.upperBound..<end.lowerBound]
      }
      #expect(!paths.isEmpty)
      #expect(named.isSuperset(of: paths), "\(Set(paths).subtracting(named))")
      let text = try fixture.run("scrub", [fixture.volume])
      #expect(text.text.contains("lost: extent") || name == "snapshots")
      #expect(text.standardError.contains("\(findings.count) lost, 0 repairable"))
    }
  }

  @Test func aBadCopyWithAGoodOneBesideIsRepairable() throws {
    try ReadFixture.with(try SampleVolume.fixture("replicas")) { fixture in
      let place = try #require(try extentPlaces(fixture).first { $0.device == 1 })
      try flip(fixture.images[1], at: place.offset)
      let result = try fixture.run("scrub", ["--json", fixture.volume])
      #expect(result.status == 65)
      let findings = try #require(try jsonObject(result)["findings"] as? [[String: Any]])
      #expect(findings.count == 1)
      let finding = try #require(findings.first)
      #expect(finding["kind"] as? String == "extent")
      #expect(finding["outcome"] as? String == "repairable")
      let copies = try #require(finding["copies"] as? [[String: Any]])
      #expect(copies.count == 1 && copies[0]["device"] as? Int == 1)
      #expect(copies[0]["offset"] as? Int == Int(place.offset))
      #expect((finding["files"] as? [Any])?.count == 1)

      // The other device alone is good, and so is its metadata.
      let other = try fixture.run("scrub", ["--device=0", fixture.volume])
      #expect(other.status == 0, "\(other.standardError)")
      let metadata = try fixture.run("scrub", ["-m", fixture.volume])
      #expect(metadata.status == 0, "\(metadata.standardError)")
      let named = try fixture.run("scrub", ["--device", fixture.images[1], fixture.volume])
      #expect(named.status == 65)
    }
  }

  @Test(arguments: ["replicas", "plain"])
  func badNodesSayWhatTheyCovered(name: String) throws {
    try ReadFixture.with(try SampleVolume.fixture(name)) { fixture in
      let bucketBytes = try bucketByteCount(fixture)
      let text = try fixture.run("list", ["-m", "nodes", "-b", "xattrs", fixture.volume]).text
      let place = try #require(pointers(in: text, bucketBytes: bucketBytes).first)
      try flip(fixture.images[place.device], at: place.offset + 40)
      let result = try fixture.run("scrub", ["--json", "--metadata", fixture.volume])
      #expect(result.status == 65)
      let findings = try #require(try jsonObject(result)["findings"] as? [[String: Any]])
      #expect(findings.count == 1)
      let finding = try #require(findings.first)
      #expect(finding["kind"] as? String == "node")
      #expect(finding["btree"] as? String == "xattrs")
      #expect(finding["level"] as? Int == 0)
      #expect(finding["outcome"] as? String == (name == "replicas" ? "repairable" : "lost"))
      #expect(finding["start"] as? String == "POS_MIN")
      #expect(finding["end"] as? String == "SPOS_MAX")
    }
  }

  /// Nothing reads parity but a scrub, and who rebuilds.
  @Test func badParityIsFound() throws {
    try ReadFixture.with(try SampleVolume.fixture("stripes")) { fixture in
      let bucketBytes = try bucketByteCount(fixture)
      let text = try fixture.run("list", ["-b", "stripes", fixture.volume]).text
      // Two data blocks, then P and Q.
      let parity = try #require(pointers(in: text, bucketBytes: bucketBytes).dropFirst(3).first)
      try flip(fixture.images[parity.device], at: parity.offset + 5000)
      let result = try fixture.run("scrub", ["--json", fixture.volume])
      #expect(result.status == 65)
      let findings = try #require(try jsonObject(result)["findings"] as? [[String: Any]])
      #expect(findings.count == 1)
      #expect(findings.first?["kind"] as? String == "stripe")
      #expect(findings.first?["outcome"] as? String == "repairable")
    }
  }

  @Test func whatIsOnMissingDevicesIsNoDamageWhileOthersHaveIt() throws {
    try ReadFixture.with(try SampleVolume.fixture("stripes")) { fixture in
      let rest = fixture.images.dropFirst(2).joined(separator: ":")
      let result = try fixture.run("scrub", ["--json", "--degraded", rest])
      #expect(result.status == 0, "\(result.standardError)")
      let devices = try #require(try jsonObject(result)["devices"] as? [[String: Any]])
      let missing = devices.compactMap { $0["missing_copies"] as? Int }
      #expect(missing.count == 4 && missing[0] > 0 && missing[3] == 0)
    }
  }

  @Test func noiseOnADeviceIsRepairableAndNothingElse() throws {
    try ReadFixture.with(try SampleVolume.fixture("replicas")) { fixture in
      for seed in UInt64(1)...3 {
        let path = "\(fixture.folder)/noisy"
        try Noise.copy(fixture.images[1], to: path, seed: seed, places: 1000)
        let volume = "\(fixture.images[0]):\(path)"
        let result = try fixture.run("scrub", ["--json", "--degraded", volume])
        #expect(result.status == 65, "seed \(seed)")
        let scrub = try jsonObject(result)
        #expect(scrub["lost"] as? Int == 0, "seed \(seed)")
        #expect((scrub["repairable"] as? Int) ?? 0 > 0, "seed \(seed)")
      }
    }
  }

  @Test func aFinishedStateBeginsAnewAndAnotherVolumesIsRefused() throws {
    try ReadFixture.with(try SampleVolume.fixture("unchecked")) { fixture in
      let resume = "--resume=\(fixture.folder)/state"
      for _ in 0..<2 {
        let result = try fixture.run("scrub", ["--json", resume, fixture.volume])
        #expect(result.status == 0, "\(result.standardError)")
        let scrub = try jsonObject(result)
        #expect(scrub["checked_bytes"] as? Int == scrub["total_bytes"] as? Int)
      }
      try ReadFixture.with(try SampleVolume.fixture("plain")) { other in
        let result = try other.run("scrub", [resume, other.volume])
        #expect(result.status == 65 || result.status == 78)
        #expect(result.standardError.contains("another volume"))
      }
      try writeFile("\(fixture.folder)/state", Array("bcachefs-scrub\t1\nvolume\n".utf8))
      let broken = try fixture.run("scrub", [resume, fixture.volume])
      #expect(broken.status == 65)
      #expect(broken.standardError.contains("line 2"))
    }
  }

  // MARK: - Places

  private struct Place {
    let device: Int
    /// In bytes.
    let offset: UInt64
  }

  /// The places in "ptr: DEVICE:BUCKET:SECTOR gen N".
  private func pointers(in text: String, bucketBytes: UInt64) -> [Place] {
    let fields = text.split(whereSeparator: \.isWhitespace)
    return fields.indices.dropLast().compactMap { index in
      guard fields[index] == "ptr:" else { return nil }
      let numbers = fields[index + 1].split(separator: ":").compactMap { UInt64($0) }
      guard numbers.count == 3 else { return nil }
      return Place(device: Int(numbers[0]), offset: numbers[1] * bucketBytes + numbers[2] * 512)
    }
  }

  /// Where checksummed extents start, each place once.
  private func extentPlaces(_ fixture: ReadFixture) throws -> [Place] {
    let bucketBytes = try bucketByteCount(fixture)
    var places: [UInt64: Place] = [:]
    for (btree, type) in [("extents", "extent"), ("reflink", "reflink_v")] {
      let text = try fixture.run("list", ["-b", btree, "-k", type, fixture.volume]).text
      for line in text.split(separator: "\n") where !line.contains("csum none") {
        for place in pointers(in: String(line), bucketBytes: bucketBytes) {
          places[place.offset * 16 + UInt64(place.device)] = place
        }
      }
    }
    return places.values.sorted { $0.offset < $1.offset }
  }

  private func bucketByteCount(_ fixture: ReadFixture) throws -> UInt64 {
    let usage = try usage(fixture)
    let devices = try #require(usage["devices"] as? [[String: Any]])
    return UInt64(try #require(devices.first?["bucket_bytes"] as? Int))
  }

  private func usage(_ fixture: ReadFixture) throws -> [String: Any] {
    let result = try runProgram(
      builtProgram("bcachefs"),
      ["fs", "usage"] + fixture.unlocking + ["--json", fixture.volume], folder: fixture.folder)
    return try jsonObject(result)
  }

  private func flip(_ path: String, at offset: UInt64) throws {
    let handle = try #require(FileHandle(forUpdatingAtPath: path))
    defer { try? handle.close() }
    try handle.seek(toOffset: offset)
    let byte = try #require(try handle.read(upToCount: 1)?.first)
    try handle.seek(toOffset: offset)
    try handle.write(contentsOf: [byte ^ 0x20])
  }
}
