// SPDX-License-Identifier: GPL-2.0
// Journals that the driver wrote: what upstream's list_journal says of them, and damage to them.
//
// Invariants under test: entries, range and roots are those that upstream finds; whatever the
// bytes, reading ends, and nothing is replayed that was not written.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct UncleanVolumeTests {
  /// Opens the fixture's devices in memory.
  private func withFixture<Result>(
    _ name: String, _ body: ([SimulatedDevice]) throws -> Result
  ) throws -> Result {
    try withTemporaryFolder { folder in
      let paths = try SampleVolume.fixture(name).unpack(into: folder)
      let devices = try paths.map {
        try SimulatedDevice(copying: try BlockDevice.open(path: $0, mode: .readOnly))
      }
      return try body(devices)
    }
  }

  private func opened(_ devices: [SimulatedDevice]) throws -> VolumeMedia {
    try media(of: devices.map { try BlockDevice.open(simulated: $0, mode: .readOnly) })
  }

  @Test func theUncleanFixtureIsReplayedAsUpstreamDoes() throws {
    try withFixture("unclean") { devices in
      let contents = try JournalReader.read(
        try opened(devices), options: .init(keepsEntries: true))
      #expect(!contents.isFromCleanSection)
      // list_journal: "replaying entries 10-13", and where each stands.
      #expect(contents.replayed == 10..<14)
      let replayed = contents.entries.filter { $0.fate == .replayed }
      #expect(replayed.map(\.sequence) == [10, 11, 12, 13])
      #expect(replayed.map { $0.places[0].sector } == [4712, 4864, 4992, 5120])
      #expect(replayed.map { $0.places[0].offsetSectors } == [104, 0, 128, 0])
      #expect(replayed.map { $0.places[0].index } == [1, 2, 2, 3])
      #expect(replayed.map(\.header.isFlush) == [false, false, false, true])
      #expect(contents.told.isEmpty)
      #expect(contents.overlay.count == 715)
      #expect(contents.roots.count { $0 != nil } == 11)
      #expect(contents.roots.allSatisfy { $0 == nil || $0?.key?.type == .btreePtrV2 })
    }
  }

  @Test func everyKeyOfTheOverlayIsInOrder() throws {
    try withFixture("unclean") { devices in
      let overlay = try JournalReader.read(try opened(devices)).overlay
      for index in 1..<overlay.count {
        let (low, high) = (overlay.rows[index - 1], overlay.rows[index])
        let isSame = low.btree == high.btree && low.level == high.level
        if isSame && low.position == high.position {
          #expect(overlay.key(at: index).type == .accounting)
          #expect(overlay.key(at: index - 1).version < overlay.key(at: index).version)
        } else {
          #expect(
            (low.btree, low.level) < (high.btree, high.level)
              || isSame && low.position < high.position)
        }
        #expect(overlay.lowerBound(high.btree, high.level, high.position) <= index)
      }
    }
  }

  @Test func aCleanFixtureHasItsRootsFromTheCleanSection() throws {
    for name in ["plain", "replicas"] {
      try withFixture(name) { devices in
        let contents = try JournalReader.read(
          try opened(devices), options: .init(readsEvenIfClean: true, keepsEntries: true))
        #expect(contents.isFromCleanSection && contents.overlay.count == 0)
        #expect(contents.root(of: .inodes)?.key?.type == .btreePtrV2)
        #expect(contents.root(of: .dirents)?.key?.position == .max)
        #expect(contents.told.isEmpty)
        #expect(!contents.entries.isEmpty)
        #expect(
          contents.entries.allSatisfy { $0.places.allSatisfy { $0.isChecksumGood } })
        #expect(contents.newestSequence == contents.entries.last?.sequence)
      }
    }
  }

  @Test func aTornLastEntryLeavesTheOneBefore() throws {
    try withFixture("unclean") { devices in
      let all = try JournalReader.read(
        try opened(devices), options: .init(keepsEntries: true))
      let last = try #require(all.entries.last)
      let half = last.places[0].sector * 512 + UInt64(last.header.byteCount / 2 & ~4095)
      let zeros = [UInt8](repeating: 0, count: last.header.byteCount / 2)
      try devices[0].overwrite(zeros, at: half)
      let torn = try JournalReader.read(
        try opened(devices), options: .init(keepsEntries: true))
      #expect(torn.fates[last.sequence] == .torn)
      let flushed = all.entries.dropLast().filter(\.header.isFlush)
      #expect(torn.replayed.upperBound == flushed.last.map { $0.sequence + 1 })
    }
  }

  @Test func mutatedJournalsNeverTrap() throws {
    try withFixture("unclean") { devices in
      let media = try opened(devices)
      let whole = try JournalReader.read(media, options: .init(keepsEntries: true))
      for seed in UInt64(0)..<60 {
        var generator = SplitMix64(seed: seed)
        let copy = devices[0].copy(seed: seed)
        for _ in 0..<Int.random(in: 1...20, using: &generator) {
          guard let entry = whole.entries.randomElement(using: &generator) else { break }
          let inHeader = Bool.random(using: &generator)
          let reach = inHeader ? 56 : entry.header.byteCount
          let offset = UInt64.random(in: 0..<UInt64(reach), using: &generator)
          let byte = UInt8.random(in: 0...255, using: &generator)
          try copy.overwrite([byte], at: entry.places[0].sector * 512 + offset)
        }
        let mutated = VolumeMedia(
          superblock: media.superblock,
          devices: [try BlockDevice.open(simulated: copy, mode: .readOnly)], key: nil,
          options: VolumeOptions(), warnings: [])
        // What is replayed was written by the driver, whatever else is lost.
        do throws(VolumeError) {
          let contents = try JournalReader.read(mutated)
          for entry in contents.entries where entry.fate == .replayed {
            #expect(
              whole.entries.contains { $0.header == entry.header }, "seed \(seed)")
          }
        } catch {
          #expect(error.code == .allCopiesBad, "seed \(seed)")
        }
      }
    }
  }

  @Test func mutatedContentsUnderGoodChecksumsNeverTrap() throws {
    let volume = try JournalOnlyVolume()
    let base = try volume.encode(1) { builder in
      for offset in UInt64(0)..<8 { try builder.appendCookie(at: offset, offset) }
      try builder.appendRoot(.inodes, level: 1, nodeSeq: 3)
      try builder.append(JSetEntry(.clock, .clock(rw: 1, unused: 0, time: 77)))
      try builder.append(JSetEntry(.blacklistV2, .blacklistRange(start: 100, end: 102)))
    }
    for seed in UInt64(0)..<2000 {
      var generator = SplitMix64(seed: seed)
      var bytes = base
      for _ in 0..<Int.random(in: 1...6, using: &generator) {
        let offset = Int.random(in: 44..<bytes.count, using: &generator)
        bytes[offset] = UInt8.random(in: 0...255, using: &generator)
      }
      let header = try JSetHeader(decoding: bytes.rawBytes)
      let sum = try ChecksumType.crc32cNonzero.checksum(
        bytes.rawBytes.extracting(header.checksummedRange))
      bytes.put(sum.lo, at: 0)
      try volume.write(bytes, on: 0, at: volume.offset(ofJournalSector: 0))
      do {
        let contents = try volume.read()
        for index in 0..<contents.overlay.count {
          let entry = contents.overlay.entry(at: index)
          #expect(entry.valueRange.upperBound <= contents.overlay.memory.byteCount)
          _ = BKeyValue.text(key: entry.key, value: contents.overlay.value(at: index))
        }
      } catch let error as VolumeError {
        #expect(error.code == .allCopiesBad, "seed \(seed): \(error)")
      }
    }
  }

  @Test(
    .enabled(if: !SampleVolume.corpus.isEmpty, "\(SampleVolume.corpusMissing)"),
    arguments: (SampleVolume.corpus + SampleVolume.newest).filter { !$0.name.contains("encrypted") }
  )
  func theJournalOfEveryVolumeOfTheCorpusIsRead(_ volume: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let media = try media(ofImages: try volume.unpack(into: folder))
      let contents = try JournalReader.read(
        media, options: .init(readsEvenIfClean: true, keepsEntries: true))
      #expect(contents.told.isEmpty)
      #expect(contents.isFromCleanSection == (volume.name != "unclean"))
      #expect(contents.root(of: .inodes)?.key?.type == .btreePtrV2)
      if volume.name == "unclean" {
        #expect(contents.replayed == 22..<28)
        #expect(contents.overlay.count == 1813)
      } else {
        #expect(contents.entries.last?.fate == .replayed)
      }
    }
  }

  /// Two mirrored devices, copied one after the other while the driver writes to them: the second
  /// has entries that the first has not. Mounting the copies, the driver says what it replays.
  @Test(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
  func aMirrorCopiedWhileMountedIsReplayedAsTheDriverDoes() throws {
    try withTemporaryFolder { folder in
      let paths = try SampleVolume.fixture("replicas").unpack(into: folder)
      let copies = paths.map { "\($0).copy" }
      let job = """
        mount -t bcachefs /dev/ubda:/dev/ubdb /mnt/a || exit 1
        for i in $(seq 1 200); do echo "file $i" >/mnt/a/new.$i; done
        sync
        for i in $(seq 1 100); do mv /mnt/a/new.$i /mnt/a/moved.$i; done
        sleep 1.2
        for i in $(seq 101 150); do mv /mnt/a/new.$i /mnt/a/moved.$i; done
        cp \(paths[0]) \(copies[0])
        for i in $(seq 1 40); do mv /mnt/a/moved.$i /mnt/a/again.$i; done
        sync
        cp \(paths[1]) \(copies[1])
        umount /mnt/a
        """
      let made = try KernelGuest.run(job: job, images: paths)
      try #require(made.status == 0, "\(made.log)")
      let contents = try JournalReader.read(try media(ofImages: copies))
      #expect(contents.told.isEmpty)
      #expect(contents.overlay.count > 100)
      let newest = try #require(contents.entries.last { $0.fate == .replayed })
      #expect(newest.places.map(\.device) == [1])
      #expect(contents.entries.contains { $0.fate == .replayed && $0.places.count == 2 })

      let mounted = try KernelGuest.run(
        job: "mount -t bcachefs /dev/ubda:/dev/ubdb /mnt/a && umount /mnt/a", images: copies)
      let said = mounted.log.lines.compactMap { line -> Substring? in
        line.firstRange(of: "journal read done, replaying entries ").map { line[$0.upperBound...] }
      }
      let replayed = contents.replayed
      #expect(said == ["\(replayed.lowerBound)-\(replayed.upperBound - 1)"])
    }
  }
}
