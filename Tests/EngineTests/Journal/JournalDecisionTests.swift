// SPDX-License-Identifier: GPL-2.0
// What counts of a journal, on journals made for one case each.
//
// Invariants under test: good entries up to the newest flushed one are replayed, nothing else is;
// whatever is lost is told; the result does not depend on the order of the devices' threads.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct JournalDecisionTests {
  @Test func everyCombinationMatchesExactlyOneRow() {
    for copies in JournalDecision.Copies.allCases {
      for hasBad in [false, true] {
        let rows = JournalDecision.copyRows.filter {
          $0.copies == copies && ($0.hasBad ?? hasBad) == hasBad
        }
        #expect(rows.count == 1, "\(copies) \(hasBad)")
      }
    }
    for place in JournalDecision.Place.allCases {
      for bits in 0..<8 {
        let (good, listed, flush) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0)
        let rows = JournalDecision.fateRows.filter { $0.matches(place, good, listed, flush) }
        #expect(rows.count == 1, "\(place) \(good) \(listed) \(flush)")
      }
    }
  }

  @Test func entriesFromLastSeqToTheNewestFlushAreReplayed() throws {
    let volume = try JournalOnlyVolume()
    for sequence in UInt64(1)...6 {
      try volume.append(sequence, lastSeq: max(3, sequence) - 2, at: 1000 + sequence % 2)
    }
    let contents = try volume.read(options: .init(keepsEntries: true))
    #expect(contents.replayed == 4..<7)
    #expect(
      contents.fates == [
        1: .notNeeded, 2: .notNeeded, 3: .notNeeded, 4: .replayed, 5: .replayed, 6: .replayed,
      ])
    #expect(contents.cookies == [1000: 6, 1001: 5])
    #expect(contents.told.isEmpty)
    #expect(contents.newestSequence == 6)
  }

  @Test func entriesWithoutAFlushCountOnlyWithALaterFlush() throws {
    let volume = try JournalOnlyVolume()
    try volume.append(10)
    try volume.append(11, lastSeq: 0, flush: false)
    try volume.append(12, lastSeq: 10)
    try volume.append(13, lastSeq: 0, flush: false)
    try volume.append(14, lastSeq: 0, flush: false)
    let contents = try volume.read()
    #expect(contents.replayed == 10..<13)
    #expect(contents.cookies == [10: 10, 11: 11, 12: 12])
    #expect(contents.fates[13] == .unflushed)
    #expect(contents.fates[14] == .unflushed)
    #expect(contents.isBlacklisted(13) && contents.isBlacklisted(14) && contents.isBlacklisted(22))
    #expect(!contents.isBlacklisted(12) && !contents.isBlacklisted(24))
  }

  @Test func aTornTailIsIgnored() throws {
    let volume = try JournalOnlyVolume()
    try volume.append(5)
    try volume.append(6, lastSeq: 5)
    var bytes = try volume.encode(7, lastSeq: 5) { builder in
      for offset in UInt64(0)..<60 { try builder.appendCookie(at: offset, 7) }
    }
    // The second half never reached the disk.
    for index in bytes.count / 2..<bytes.count { bytes[index] = 0 }
    try volume.append(bytes)
    let contents = try volume.read()
    #expect(contents.replayed == 5..<7)
    #expect(contents.cookies == [5: 5, 6: 6])
    #expect(contents.fates[7] == .torn)
    #expect(contents.told.isEmpty)
    #expect(contents.isBlacklisted(7))
  }

  @Test func aDamagedEntryWithinIsToldAndNotReplayed() throws {
    let volume = try JournalOnlyVolume()
    try volume.append(5)
    let place = try volume.append(6, lastSeq: 5)
    try volume.append(7, lastSeq: 5)
    try volume.write([0xff], on: 0, at: place + 70)
    let contents = try volume.read()
    #expect(contents.cookies == [5: 5, 7: 7])
    #expect(contents.fates[6] == .damaged)
    #expect(contents.told.count == 1)
    #expect(contents.told.first?.contains("journal entry 6 is lost") == true)
  }

  @Test func missingEntriesAreToldUnlessBlacklisted() throws {
    let volume = try JournalOnlyVolume()
    volume.superblock.setSection(
      .journalSeqBlacklist(
        JournalSeqBlacklistSection(ranges: [JournalSeqRange(start: 8, end: 11)])))
    try volume.append(5)
    try volume.append(7, lastSeq: 5)
    try volume.append(9, lastSeq: 5)
    try volume.append(11, lastSeq: 5)
    let contents = try volume.read()
    #expect(contents.cookies == [5: 5, 7: 7, 11: 11])
    #expect(contents.fates[9] == .blacklisted)
    #expect(
      contents.told == [
        "journal entry 9 is blacklisted; ignored",
        "journal entries 6-6 are missing, replaying 5-11",
      ])
  }

  @Test func aRangeOfSequencesFromTheDiskIsNeverWalked() throws {
    let volume = try JournalOnlyVolume()
    try volume.append(1)
    try volume.append(1 << 62, lastSeq: 1)
    let contents = try volume.read()
    #expect(contents.told.count == 1)
    #expect(contents.cookies == [1: 1, 1 << 62: 1 << 62])
  }

  @Test func aBlacklistedFlushIsNotTheTail() throws {
    let volume = try JournalOnlyVolume()
    volume.superblock.setSection(
      .journalSeqBlacklist(
        JournalSeqBlacklistSection(ranges: [JournalSeqRange(start: 6, end: 20)])))
    try volume.append(5)
    try volume.append(6, lastSeq: 6)
    let contents = try volume.read()
    #expect(contents.replayed == 5..<6)
    #expect(contents.fates[6] == .blacklisted)
  }

  @Test func withoutAnyFlushTheNewestEntryIsUsedAlone() throws {
    let volume = try JournalOnlyVolume()
    try volume.append(3, lastSeq: 0, flush: false)
    try volume.append(4, lastSeq: 0, flush: false)
    let contents = try volume.read()
    #expect(contents.replayed == 4..<5)
    #expect(contents.cookies == [4: 4])
    #expect(contents.told == ["no flushed journal entry found; journal entry 4 alone was used"])
  }

  @Test func anUncleanVolumeWithoutEntriesIsAnErrorUnlessThereIsACleanSection() throws {
    let volume = try JournalOnlyVolume()
    let error = #expect(throws: VolumeError.self) { try volume.read() }
    #expect(error?.code == .allCopiesBad)
    volume.superblock.setSection(.clean(CleanSection(journalSeq: 9, entries: [])))
    let contents = try volume.read()
    #expect(contents.isFromCleanSection)
    #expect(contents.told == ["no journal entries found; the clean section was used"])
  }

  @Test func whatIsLeftFromBeforeABucketWasUsedAgainIsNotRead() throws {
    let volume = try JournalOnlyVolume()
    try volume.append(50, lastSeq: 50)
    // An old entry further on, older than what is before it.
    try volume.append(2, lastSeq: 1)
    let contents = try volume.read(options: .init(keepsEntries: true))
    #expect(contents.fates == [50: .replayed])
  }

  @Test func anEntryWithinADamagedEntryIsNotLookedAt() throws {
    let volume = try JournalOnlyVolume()
    try volume.append(5)
    var bytes = try volume.encode(6, lastSeq: 5) { builder in
      for offset in UInt64(0)..<60 { try builder.appendCookie(at: offset, 6) }
    }
    // What a file's contents could be: a whole entry at a block's start.
    let forged = try volume.encode(7, lastSeq: 7) { try $0.appendCookie(at: 0, 666) }
    bytes.replaceSubrange(1024..<1024 + forged.count, with: forged)
    try volume.append(bytes)
    let contents = try volume.read()
    #expect(contents.fates == [5: .replayed, 6: .torn])
  }

  @Test func encryptedEntriesNeedTheKey() throws {
    let key = EncryptionKey(copying: [UInt8](0..<32).rawBytes)
    let volume = try JournalOnlyVolume(key: key)
    try volume.append(5)
    try volume.append(6, lastSeq: 5)
    #expect(try volume.read().cookies == [5: 5, 6: 6])
    let media = try volume.media()
    let locked = VolumeMedia(
      superblock: media.superblock, devices: media.devices, key: nil, options: VolumeOptions(),
      warnings: [])
    let error = #expect(throws: VolumeError.self) { try JournalReader.read(locked) }
    #expect(error?.code == .locked)
  }

  @Test func aCleanVolumesJournalIsNotReadUnlessAsked() throws {
    let volume = try JournalOnlyVolume(isClean: true)
    volume.superblock.setSection(.clean(CleanSection(journalSeq: 6, entries: [])))
    try volume.append(6)
    let media = try volume.media()
    volume.devices[0].setFaults([SimulatedFaultRule(.readError)])
    let contents = try JournalReader.read(media)
    #expect(contents.isFromCleanSection && contents.entries.isEmpty && contents.told.isEmpty)
    volume.devices[0].setFaults([])
    let all = try JournalReader.read(
      media, options: .init(readsEvenIfClean: true, keepsEntries: true))
    #expect(all.isFromCleanSection && all.overlay.count == 0)
    #expect(all.entries.map(\.sequence) == [6])
    #expect(all.told.isEmpty)
  }

  @Test func entriesOfAnUnknownFormatAreRefused() throws {
    let volume = try JournalOnlyVolume()
    var header = JSetHeader(magic: volume.superblock.jsetMagic, seq: 5, lastSeq: 5, checksumType: 1)
    header.version = 99 << 10
    var bytes = try JSetBuilder().finish(header, blockByteCount: 512)
    let sum = try ChecksumType.crc32cNonzero.checksum(bytes.rawBytes.extracting(16..<56))
    bytes.put(sum.lo, at: 0)
    try volume.append(bytes)
    let error = #expect(throws: VolumeError.self) { try volume.read() }
    #expect(error?.code == .unsupported)
  }
}
