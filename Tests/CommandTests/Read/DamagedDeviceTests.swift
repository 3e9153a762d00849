// SPDX-License-Identifier: GPL-2.0
// Volumes with several devices lose one, or have one full of noise: everything still comes out.
//
// Noise is written at a thousand places of a device, of random length, the first superblock among
// them; a failure names the seed.

internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@Suite struct DamagedDeviceTests {
  /// What has at least two copies of everything.
  static let redundant = (SampleVolume.fixtures + SampleVolume.corpus).filter {
    ["replicas", "ec", "stripes"].contains($0.name)
  }

  private func expectAll(
    _ fixture: ReadFixture, _ images: [String], options: [String], _ comment: Comment
  ) throws {
    try withRoomyFolder { target in
      let volume = images.joined(separator: ":")
      let result = try fixture.run("get", options + [volume, "/", "\(target)/out"])
      #expect(result.status == 0, "\(comment): \(result.standardError)")
      #expect(!result.standardError.isEmpty, comment)
      let seen = try manifest(of: "\(target)/out")
      let expected = try fixture.sample.manifest()
      #expect(
        comparableManifest(seen, withSockets: true)
          == comparableManifest(expected, withSockets: true), comment)
    }
  }

  @Test(.enabled(if: isRoot), arguments: redundant)
  func everythingComesOutWithoutAnyOneDevice(sample: SampleVolume) throws {
    try ReadFixture.with(sample) { fixture in
      for missing in fixture.images.indices {
        var rest = fixture.images
        rest.remove(at: missing)
        try expectAll(fixture, rest, options: ["--degraded"], "without device \(missing)")
      }
    }
  }

  @Test(.enabled(if: isRoot))
  func everythingComesOutOfPAndQWithoutAnyTwoDevices() throws {
    try ReadFixture.with(try SampleVolume.fixture("stripes")) { fixture in
      for first in fixture.images.indices {
        for second in fixture.images.indices where first < second {
          let rest = fixture.images.indices.filter { $0 != first && $0 != second }
          try expectAll(
            fixture, rest.map { fixture.images[$0] }, options: ["--degraded"],
            "without devices \(first) and \(second)")
        }
      }
    }
  }

  @Test(.enabled(if: isRoot), arguments: redundant)
  func everythingComesOutWithNoiseOnAnyOneDevice(sample: SampleVolume) throws {
    try ReadFixture.with(sample) { fixture in
      for seed in UInt64(1)...2 {
        for noisy in fixture.images.indices {
          let path = "\(fixture.folder)/noisy"
          try Noise.copy(
            fixture.images[noisy], to: path, seed: seed * 16 + UInt64(noisy), places: 1000)
          var images = fixture.images
          images[noisy] = path
          try expectAll(
            fixture, images, options: ["--degraded"], "seed \(seed), device \(noisy)")
        }
      }
    }
  }

  @Test(.enabled(if: isRoot))
  func aMemberWhoseSuperblocksAreLostCountsAsMissing() throws {
    try ReadFixture.with(try SampleVolume.fixture("replicas")) { fixture in
      let path = "\(fixture.folder)/lost"
      try Noise.copy(fixture.images[1], to: path, seed: 7, places: 0)
      try Noise.overwriteAll(path, seed: 7)
      let images = [fixture.images[0], path]
      let refusal = try fixture.run("ls", [images.joined(separator: ":")])
      #expect(refusal.status == 65)
      #expect(refusal.standardError.contains("open the volume with the option degraded"))
      try expectAll(fixture, images, options: ["--degraded"], "all of device 1 is noise")
    }
  }
}
