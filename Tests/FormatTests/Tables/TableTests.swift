// SPDX-License-Identifier: GPL-2.0
// The tables of persistent numbers against a list extracted from the driver's headers.

import BcachefsFormat
import Foundation
import Testing

/// Lines `LIST NUMBER NAME [MORE...]` of Golden/tables.txt.
struct GoldenTables {
  let rows: [String: [[String]]]

  init() throws {
    let url = try #require(
      Bundle.module.url(forResource: "Golden/tables", withExtension: "txt"),
      "Golden/tables.txt is not among the test's resources")
    var rows: [String: [[String]]] = [:]
    for line in try String(contentsOf: url, encoding: .utf8).split(separator: "\n") {
      let fields = line.split(separator: " ").map(String.init)
      rows[fields[0], default: []].append(Array(fields.dropFirst()))
    }
    self.rows = rows
  }

  /// The list as `number: name`.
  func names(of list: String) throws -> [Int: String] {
    let rows = try #require(rows[list], "no list \(list)")
    return try Dictionary(
      uniqueKeysWithValues: rows.map { (try #require(Int($0[0])), $0[1]) })
  }
}

struct TableTests {
  private func expect<T: PersistentNumber>(_ type: T.Type, equals list: String) throws {
    let golden = try GoldenTables().names(of: list)
    let ours = Dictionary(
      uniqueKeysWithValues: T.all.map { (Int(clamping: $0.rawValue), $0.description) })
    #expect(ours == golden, "\(list)")
    for (number, name) in golden {
      #expect(T(named: name)?.rawValue == T.RawValue(number))
    }
  }

  @Test func numbersAndNamesAreThoseOfTheDriver() throws {
    try expect(SuperblockSectionType.self, equals: "BCH_SB_FIELDS")
    try expect(SuperblockFeature.self, equals: "BCH_SB_FEATURES")
    try expect(SuperblockCompatFeature.self, equals: "BCH_SB_COMPAT")
    try expect(VersionUpgradePolicy.self, equals: "BCH_VERSION_UPGRADE_OPTS")
    try expect(ErrorAction.self, equals: "BCH_ERROR_ACTIONS")
    try expect(FixErrorsAnswer.self, equals: "BCH_FIX_ERRORS_OPTS")
    try expect(StringHashType.self, equals: "BCH_STR_HASH_TYPES")
    try expect(StringHashOption.self, equals: "BCH_STR_HASH_OPTS")
    try expect(ChecksumOption.self, equals: "BCH_CSUM_OPTS")
    try expect(CompressionType.self, equals: "BCH_COMPRESSION_TYPES")
    try expect(CompressionKind.self, equals: "BCH_COMPRESSION_OPTS")
    try expect(DataType.self, equals: "BCH_DATA_TYPES")
    try expect(DiskAccountingType.self, equals: "BCH_DISK_ACCOUNTING_TYPES")
    try expect(FilesystemUsageType.self, equals: "BCH_FS_USAGE_TYPES")
    try expect(MemberState.self, equals: "BCH_MEMBER_STATES")
    try expect(MemberErrorType.self, equals: "BCH_MEMBER_ERROR_TYPES")
    try expect(IOPSMeasurement.self, equals: "BCH_IOPS_MEASUREMENTS")
    try expect(InodeFlag.self, equals: "BCH_INODE_FLAGS")
    try expect(InodeOption.self, equals: "BCH_INODE_OPTS")
    try expect(PersistentCounter.self, equals: "BCH_PERSISTENT_COUNTERS")
    try expect(JSetEntryType.self, equals: "BCH_JSET_ENTRY_TYPES")
  }

  @Test func unknownNumbersSurviveAndSayWhatTheyAre() {
    let type = DataType(rawValue: 77)
    #expect(type.rawValue == 77)
    #expect(!type.isKnown)
    #expect("\(type)" == "(unknown data_type 77)")
    #expect("\(SuperblockSectionType(rawValue: .max))" == "(unknown sb_field 4294967295)")
  }

  @Test func namesOfNewerFormatsPrintButAreNotAccepted() {
    #expect("\(SuperblockFeature(rawValue: 20))" == "casefolding")
    #expect(!SuperblockFeature(rawValue: 20).isKnown)
    #expect(SuperblockFeature(named: "casefolding") == nil)
  }

  @Test func masksKeepUnknownBits() {
    var mask = PersistentMask<SuperblockFeature>(rawValue: 1 << 63 | 1 << 20 | 1 << 2)
    #expect("\(mask)" == "zstd,casefolding,(unknown feature 63)")
    #expect(mask.unknown.rawValue == 0x8000_0000_0010_0000)
    mask.insert(.lz4)
    mask.remove(.zstd)
    #expect(mask.rawValue == 0x8000_0000_0010_0001)
  }

  @Test func featureMasksAreThoseOfTheHeader() {
    #expect(SuperblockFeature.always.rawValue == 0x6_3200)
    #expect(SuperblockFeature.newVolume.rawValue == 0x7_ba80)
  }

  @Test func compressionOptionsParseAndPrint() {
    #expect(CompressionOption(parsing: "zstd:15")?.rawValue == 0xf3)
    #expect(CompressionOption(parsing: "lz4")?.rawValue == 1)
    #expect(CompressionOption(parsing: "none:0")?.rawValue == 0)
    for bad in ["none:1", "zstd:16", "zstd:", "zstd:x", "", "lzo", ":3", "zstd:1:2"] {
      #expect(CompressionOption(parsing: bad) == nil, "\(bad)")
    }
    for raw in UInt8.min...UInt8.max where CompressionOption(rawValue: raw).isValid {
      let option = CompressionOption(rawValue: raw)
      #expect(CompressionOption(parsing: option.description) == option)
    }
    #expect("\(CompressionOption(rawValue: 0x73))" == "zstd:7")
    #expect("\(CompressionOption(rawValue: 0x50))" == "none")
    #expect(!CompressionOption(rawValue: 0x07).isValid)
  }

  @Test func checksumOptionsMapToTheirTypes() {
    #expect(ChecksumOption.crc32c.dataChecksumType == 5)
    #expect(ChecksumOption.crc32c.metadataChecksumType == 1)
    #expect(ChecksumOption.crc64.metadataChecksumType == 2)
    #expect(ChecksumOption.xxhash.metadataChecksumType == 7)
    #expect(ChecksumOption(rawValue: 9).dataChecksumType == nil)
  }
}
