// SPDX-License-Identifier: GPL-2.0
// The example program reads what the driver wrote.

internal import TestSupport
internal import Testing

@Suite struct ExampleTests {
  private func run(_ fixture: ReadFixture, _ path: String) throws -> ProgramResult {
    try runProgram(builtProgram("ReadVolume"), [fixture.volume, path])
  }

  @Test func exampleListsAndReadsAndMaps() throws {
    try ReadFixture.with(try SampleVolume.fixture("snapshots")) { fixture in
      let names = try run(fixture, "").text.split(separator: "\n").map(String.init)
      #expect(names.contains { $0.hasPrefix("tree ") })
      #expect(names.contains("subvolume 1 at /"))
      #expect(names.contains("subvolume 2 at /subvolume"))
      #expect(names.contains { $0.hasPrefix("snapshot 4294967295, parent 0") })
      // A clone of random bytes: shared, checksummed, on device 0.
      let file = try run(fixture, "clone").text
      #expect(file.contains("bytes read in pieces: 8192\n"))
      #expect(file.contains("bytes 0..<8192: data\n  device 0, sector "))
      #expect(file.contains(", crc32c\n"))
    }
  }

  @Test func exampleSaysWhatToDoAboutErrors() throws {
    try ReadFixture.with(try SampleVolume.fixture("encrypted")) { fixture in
      let result = try run(fixture, "")
      #expect(result.status == 1)
      #expect(result.text.contains("name a file with the passphrase"))
    }
  }
}
