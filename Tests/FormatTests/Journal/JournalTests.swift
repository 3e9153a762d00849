// SPDX-License-Identifier: GPL-2.0
// Journal entries: one that the driver wrote (Golden/journal-entry.bin, its text in
// journal-entry.txt by another decoder), those of the whole corpus where BCACHEFS_TEST_CORPUS names
// it, and hostile ones.

import BcachefsFormat
import Foundation
import TestSupport
import Testing

struct JournalTests {
  private func golden(_ name: String, _ suffix: String) throws -> Data {
    try Data(
      contentsOf: #require(Bundle.module.url(forResource: "Golden/\(name)", withExtension: suffix)))
  }

  /// Decodes all entries of a jset and encodes them again.
  private func roundTrip(_ bytes: [UInt8]) throws -> (entries: [JSetEntry], bytes: [UInt8]) {
    let view = try unsafe JSetView(validating: bytes.span.bytes)
    var iterator = view.entries
    var builder = JSetBuilder()
    var entries: [JSetEntry] = []
    while try iterator.advance() {
      let entry = try JSetEntry(decoding: iterator.current)
      entries.append(entry)
      try builder.append(entry)
    }
    return (entries, try builder.finish(view.header, blockByteCount: 1))
  }

  @Test func anEntryOfTheDriverDecodesToItsTextAndEncodesToItsBytes() throws {
    let bytes = [UInt8](try golden("journal-entry", "bin"))
    let header = try unsafe JSetHeader(decoding: bytes.span.bytes)
    try header.validateEarly(magic: header.magic, bytesLeft: bytes.count)
    let (entries, encoded) = try roundTrip(bytes)
    #expect(encoded == Array(bytes[..<header.byteCount]))
    let text = entries.map(\.description).joined(separator: "\n") + "\n"
    #expect(text == String(decoding: try golden("journal-entry", "txt"), as: UTF8.self))
    #expect(header.sectorCount(blockSectors: 1) * 512 == bytes.count)
  }

  @Test func keysAreWalkedWithTheirValues() throws {
    let bytes = [UInt8](try golden("journal-entry", "bin"))
    let view = try unsafe JSetView(validating: bytes.span.bytes)
    var entries = view.entries
    var roots = 0
    while try entries.advance() {
      guard entries.current.type == .btreeRoot else { continue }
      roots += 1
      var keys = entries.current.keys
      let key = try #require(try keys.next())
      #expect(key.type == .btreePtrV2)
      #expect(keys.value.byteCount == key.valueByteCount)
      #expect(try keys.next() == nil)
      #expect(keys.value.byteCount == 0)
    }
    #expect(roots > 0)
  }

  /// One entry of every kind with a layout of its own, bytes written by hand.
  @Test(arguments: [
    (
      JSetEntry(.blacklist, .blacklist(seq: 7)), "0100000003000000" + "0700000000000000",
      "blacklist: seq=7"
    ),
    (
      JSetEntry(.blacklistV2, .blacklistRange(start: 5, end: 9)),
      "0200000004000000" + "0500000000000000" + "0900000000000000",
      "blacklist_v2: start=5 end=9"
    ),
    (
      JSetEntry(.usage, btree: .init(rawValue: 2), .usage(258)),
      "0100020005000000" + "0201000000000000", "usage: type=key_version v=258"
    ),
    (
      JSetEntry(
        .dataUsage, .dataUsage(type: .user, required: 1, devices: [0, 3], sectors: 512)),
      "0200000006000000" + "0002000000000000" + "0402010003000000",
      "data_usage: user: 1/2 [0 3]=512"
    ),
    (
      JSetEntry(.clock, .clock(rw: 1, unused: 0, time: 64)),
      "0200000007000000" + "0100000000000000" + "4000000000000000", "clock: write=64"
    ),
    (
      JSetEntry(
        .devUsage,
        .deviceUsage(
          device: 1, bucketsEC: 0, bucketsUnavailable: 0,
          types: [.init(buckets: 2, sectors: 3, fragmented: 4)])),
      "0600000008000000" + "0100000000000000" + "0000000000000000" + "0000000000000000"
        + "0200000000000000" + "0300000000000000" + "0400000000000000",
      "dev_usage: dev=1\n  free: buckets=2 sectors=3 fragmented=4"
    ),
    (
      JSetEntry(.log, .log(Array("bcachefs".utf8) + Array("!".utf8))),
      "0200000009000000" + "6263616368656673" + "2100000000000000", "log: bcachefs!"
    ),
    (
      JSetEntry(.datetime, .datetime(seconds: 1)), "010000000c000000" + "0100000000000000",
      "datetime: 1"
    ),
    (
      JSetEntry(.prioPtrs, .opaque, tail: [1, 2, 3, 4, 5, 6, 7, 8]),
      "0100000002000000" + "0102030405060708", "prio_ptrs: "
    ),
    (
      JSetEntry(
        .init(rawValue: 200), level: 3, .opaque, pad: 0x030201,
        tail: .init(repeating: 0, count: 8)),
      "01000003c8010203" + "0000000000000000", "(unknown jset_entry_type 200)"
    ),
  ])
  func everyKindOfEntryHasItsBytes(entry: JSetEntry, hex: String, text: String) throws {
    let expected = stride(from: 0, to: hex.count, by: 2).map { offset in
      let start = hex.index(hex.startIndex, offsetBy: offset)
      return UInt8(hex[start..<hex.index(start, offsetBy: 2)], radix: 16) ?? 0
    }
    #expect(try entry.encoded() == expected)
    #expect(entry.description == text)
    var iterator = unsafe JSetEntryIterator(expected.span.bytes)
    #expect(try iterator.advance())
    #expect(try JSetEntry(decoding: iterator.current) == entry)
    #expect(try !iterator.advance())
  }

  @Test func paddingThatIsNotZeroSurvives() throws {
    var bytes = try JSetEntry(.clock, .clock(rw: 0, unused: 0xab_cdef, time: 1)).encoded()
    bytes[7] = 9
    bytes += [5, 0, 0, 0, 0, 0, 0, 0]
    bytes[0] = 3
    bytes[4] = JSetEntryType.usage.rawValue
    var iterator = unsafe JSetEntryIterator(bytes.span.bytes)
    _ = try iterator.advance()
    #expect(try JSetEntry(decoding: iterator.current).encoded() == bytes)
  }

  private func error(of bytes: [UInt8]) -> FsckErrorID? {
    var iterator = unsafe JSetEntryIterator(bytes.span.bytes)
    do {
      while try iterator.advance() { try iterator.current.validate() }
      return nil
    } catch { return error.fsckError }
  }

  private func entry(_ type: JSetEntryType, _ payload: [UInt8]) -> [UInt8] {
    [UInt8(payload.count / 8), 0, 0, 0, type.rawValue, 0, 0, 0] + payload
  }

  @Test func findingsCarryUpstreamsNumbers() {
    let zeros = { (count: Int) in [UInt8](repeating: 0, count: count * 8) }
    #expect(error(of: entry(.blacklist, zeros(2))) == .journal_entry_blacklist_bad_size)
    #expect(error(of: entry(.blacklistV2, zeros(1))) == .journal_entry_blacklist_v2_bad_size)
    #expect(
      error(of: entry(.blacklistV2, [1] + zeros(2).dropLast()))
        == .journal_entry_blacklist_v2_start_past_end)
    #expect(error(of: entry(.usage, [])) == .journal_entry_usage_bad_size)
    #expect(error(of: entry(.dataUsage, zeros(1))) == .journal_entry_data_usage_bad_size)
    #expect(error(of: entry(.dataUsage, zeros(2))) == .journal_entry_data_usage_bad_size)
    #expect(
      error(of: entry(.dataUsage, zeros(1) + [4, 200, 1, 0, 0, 0, 0, 0]))
        == .journal_entry_data_usage_bad_size)
    #expect(error(of: entry(.clock, zeros(1))) == .journal_entry_clock_bad_size)
    #expect(
      error(of: entry(.clock, [2] + zeros(2).dropLast())) == .journal_entry_clock_bad_rw)
    #expect(error(of: entry(.devUsage, zeros(2))) == .journal_entry_dev_usage_bad_size)
    #expect(
      error(of: entry(.devUsage, [0, 0, 0, 0, 1, 0, 0, 0] + zeros(2)))
        == .journal_entry_dev_usage_bad_pad)
    #expect(error(of: entry(.btreeRoot, [])) == .journal_entry_btree_root_bad_size)
    #expect(error(of: entry(.btreeKeys, zeros(1))) == .journal_entry_bkey_u64s_0)
    #expect(
      error(of: entry(.btreeKeys, [9, 1] + zeros(1).dropLast(2))) == .journal_entry_bkey_past_end)
    #expect(
      error(of: entry(.overwrite, [5, 0] + zeros(5).dropLast(2)))
        == .journal_entry_bkey_bad_format)
    #expect(error(of: entry(.btreeKeys, [1, 1, 0, 0, 0, 0, 0, 0])) == .bkey_u64s_too_small)
    #expect(error(of: entry(.log, zeros(1)).dropLast()) == .journal_entry_past_jset_end)
    #expect(error(of: entry(.init(rawValue: 99), zeros(3))) == nil)
  }

  @Test func headersOfOthersAndImpossibleSizesAreRefused() throws {
    let magic = JSetHeader.magic(uuidLo: 0x1122_3344_5566_7788)
    var header = JSetHeader(magic: magic, seq: 9, lastSeq: 8)
    #expect(throws: Never.self) { try header.validateEarly(magic: magic, bytesLeft: 56) }
    #expect(throws: FormatError.self) { try header.validateEarly(magic: magic ^ 1, bytesLeft: 512) }
    #expect(throws: FormatError.self) { try header.validateEarly(magic: magic, bytesLeft: 55) }
    header.u64s = .max
    #expect(throws: FormatError.self) {
      try header.validateEarly(magic: magic, bytesLeft: .max)
    }
    header.u64s = 0
    header.lastSeq = 10
    #expect(throws: FormatError.self) { try header.validate() }
    header.flags = 1 << 5
    #expect(throws: Never.self) { try header.validate() }
    header.flags = 9
    header.lastSeq = 0
    #expect(throws: FormatError.self) { try header.validate() }
    header.version = 2 << 10
    #expect(throws: FormatError.self) { try header.validateEarly(magic: magic, bytesLeft: 512) }
  }

  @Test func mutatedEntriesNeverTrap() throws {
    let bytes = [UInt8](try golden("journal-entry", "bin"))
    let seed = UInt64.random(in: 0 ... .max)
    var state = seed
    func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state >> 33
    }
    var decoded = 0
    for _ in 0..<3000 {
      var mutated = bytes
      for _ in 0...next() % 4 { mutated[Int(next()) % mutated.count] = UInt8(next() & 255) }
      let view: JSetView
      do { view = try unsafe JSetView(validating: mutated.span.bytes) } catch { continue }
      var entries = view.entries
      do {
        while try entries.advance() {
          do {
            let entry = try JSetEntry(decoding: entries.current)
            _ = entry.textBytes()
            let bytes = entries.current.bytes
            let encoded = try entry.encoded()
            #expect(encoded.count == bytes.byteCount, "seed \(seed)")
            decoded += 1
          } catch { continue }
        }
      } catch { continue }
    }
    #expect(decoded > 0, "seed \(seed)")
  }
}

// MARK: - Corpus

extension JournalTests {
  @Test(.enabled(if: !SampleVolume.corpus.isEmpty, "\(SampleVolume.corpusMissing)"))
  func everyJournalEntryOfTheCorpusEncodesToItsBytes() throws {
    var total = 0
    var types: Set<JSetEntryType> = []
    for volume in SampleVolume.corpus {
      try withTemporaryFolder { folder in
        for image in try volume.unpack(into: folder) {
          let data = try Data(contentsOf: URL(fileURLWithPath: image), options: .alwaysMapped)
          for range in journalEntries(in: data) {
            let bytes = [UInt8](data[range])
            let (entries, encoded) = try roundTrip(bytes)
            #expect(encoded == bytes, "\(volume) at \(range.lowerBound)")
            types.formUnion(entries.map(\.type))
            total += 1
          }
        }
      }
    }
    #expect(total > 0)
    #expect(types.isSuperset(of: [.btreeKeys, .btreeRoot, .usage, .clock, .log, .datetime]))
  }

  /// Where plain journal entries of the volume's own stand, at most eight.
  private func journalEntries(in data: Data) -> [Range<Int>] {
    unsafe data.withUnsafeBytes { raw in
      let bytes = unsafe RawSpan(_unsafeBytes: raw)
      guard bytes.byteCount > 8192 else { return [] }
      let magic = JSetHeader.magic(uuidLo: bytes[LEField<UInt64>(4096 + 40)])
      var found: [Range<Int>] = []
      for offset in stride(from: 8192, to: bytes.byteCount - 512, by: 512) where found.count < 8 {
        guard bytes[LEField<UInt64>(offset + 16)] == magic,
          let header = try? JSetHeader(decoding: bytes.extracting(offset..<offset + 512)),
          (try? header.validateEarly(magic: magic, bytesLeft: bytes.byteCount - offset)) != nil,
          header.checksumType != 3, header.checksumType != 4
        else { continue }
        found.append(offset..<offset + header.byteCount)
      }
      return found
    }
  }
}
