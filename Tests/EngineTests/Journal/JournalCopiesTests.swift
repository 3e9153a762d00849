// SPDX-License-Identifier: GPL-2.0
// Journals on several devices: copies, damage to one of them, and members that are gone.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct JournalCopiesTests {
  @Test func identicalCopiesAreOneEntry() throws {
    let volume = try JournalOnlyVolume(devices: 2)
    for sequence in UInt64(1)...3 { try volume.append(sequence, lastSeq: 1, on: [0, 1]) }
    let contents = try volume.read()
    #expect(contents.cookies == [1: 1, 2: 2, 3: 3])
    #expect(contents.entries.map(\.places.count) == [2, 2, 2])
    #expect(contents.entries[1].places.map(\.device) == [0, 1])
    #expect(contents.entries[1].places[1].sector == 20 * 128 + 1)
    #expect(contents.told.isEmpty)
  }

  @Test(arguments: [0, 1]) func theCopyWithAGoodChecksumWins(bad: Int) throws {
    let volume = try JournalOnlyVolume(devices: 2)
    try volume.append(1, on: [0, 1])
    let place = try volume.append(2, lastSeq: 1, on: [0, 1])
    try volume.append(3, lastSeq: 1, on: [0, 1])
    try volume.write([1, 2, 3], on: bad, at: place + 60)
    let contents = try volume.read()
    #expect(contents.cookies == [1: 1, 2: 2, 3: 3])
    #expect(contents.entries[1].places.map(\.isChecksumGood) == [true, false])
    #expect(contents.entries[1].places[1].device == UInt8(bad))
    #expect(contents.told.count == 1)
  }

  @Test func ofContradictingCopiesTheDeviceThatReachesFurtherWins() throws {
    for further in [0, 1] {
      let volume = try JournalOnlyVolume(devices: 2)
      for device in [0, 1] {
        let bytes = try volume.encode(1) { try $0.appendCookie(at: 0, 100 + UInt64(device)) }
        try volume.append(bytes, on: [device])
      }
      try volume.append(2, lastSeq: 1, on: [further])
      let contents = try volume.read()
      #expect(contents.cookies == [0: 100 + UInt64(further), 2: 2])
      #expect(contents.told.count == 1)
      #expect(contents.told.first?.contains("copies differ") == true)
    }
  }

  @Test func entriesSpreadOverDevicesAreReadInOrder() throws {
    let volume = try JournalOnlyVolume(devices: 3)
    for sequence in UInt64(1)...30 {
      try volume.append(sequence, lastSeq: 1, at: sequence % 5, on: [Int(sequence % 3)])
    }
    let contents = try volume.read()
    #expect(contents.entries.map(\.sequence) == Array(1...30))
    #expect(contents.cookies == [0: 30, 1: 26, 2: 27, 3: 28, 4: 29])
    #expect(contents.told.isEmpty)
  }

  @Test func aMissingMemberIsTold() throws {
    let volume = try JournalOnlyVolume(devices: 2)
    for sequence in UInt64(1)...3 { try volume.append(sequence, lastSeq: 1, on: [0, 1]) }
    let contents = try volume.read(missing: [0])
    #expect(contents.cookies == [1: 1, 2: 2, 3: 3])
    #expect(contents.told == ["journal of device 0 not read: the device is missing"])
  }

  @Test func aMemberWithoutASuperblockIsTold() throws {
    let volume = try JournalOnlyVolume(devices: 2)
    for sequence in UInt64(1)...3 { try volume.append(sequence, lastSeq: 1, on: [0, 1]) }
    let media = try volume.media()
    try volume.write([UInt8](repeating: 0xa5, count: 4096), on: 1, at: 4096)
    let contents = try JournalReader.read(media)
    #expect(contents.cookies == [1: 1, 2: 2, 3: 3])
    #expect(contents.told.count == 1)
    #expect(contents.told.first?.hasPrefix("journal of device 1 not read") == true)
  }

  @Test func noiseOnOneOfTwoDevicesLosesNothing() throws {
    var generator = SplitMix64(seed: 7)
    for round in 0..<20 {
      let volume = try JournalOnlyVolume(devices: 2)
      for sequence in UInt64(1)...100 { try volume.append(sequence, lastSeq: 1, on: [0, 1]) }
      let bad = round % 2
      for _ in 0..<200 {
        let sector = Int.random(in: 0..<128, using: &generator)
        let noise = (0..<Int.random(in: 1...64, using: &generator)).map { _ in
          UInt8.random(in: 0...255, using: &generator)
        }
        let place = volume.offset(ofJournalSector: sector)
        try volume.write(
          noise, on: bad, at: place + UInt64.random(in: 0..<448, using: &generator))
      }
      let contents = try volume.read()
      #expect(contents.cookies.count == 100, "round \(round), seed 7")
      #expect(contents.replayed == 1..<101, "round \(round), seed 7")
    }
  }

  @Test func unreadableSectorsAreToldAndTheRestOfTheBucketIsRead() throws {
    let volume = try JournalOnlyVolume(devices: 2)
    for sequence in UInt64(1)...3 { try volume.append(sequence, lastSeq: 1, on: [0, 1]) }
    let media = try volume.media()
    let journal = volume.offset(ofJournalSector: 0)
    volume.devices[0].setFaults([
      SimulatedFaultRule(.readError, bytes: journal..<journal + 1024)
    ])
    let contents = try JournalReader.read(media)
    #expect(contents.cookies == [1: 1, 2: 2, 3: 3])
    #expect(contents.told.first?.hasPrefix("journal bucket 20 of device 0 not read") == true)
  }
}
