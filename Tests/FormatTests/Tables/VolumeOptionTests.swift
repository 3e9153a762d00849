// SPDX-License-Identifier: GPL-2.0
// The option table against what a C compiler makes of the driver's opts.h (Golden/options.txt), and
// upstream's rules of reading and printing values.

import BcachefsFormat
import Foundation
import Testing

struct VolumeOptionTests {
  /// NAME FLAGS TYPE MIN MAX PLACES DEFAULT HINT
  private func golden() throws -> [[String]] {
    let url = try #require(Bundle.module.url(forResource: "Golden/options", withExtension: "txt"))
    return try String(contentsOf: url, encoding: .utf8).split(separator: "\n")
      .map { $0.split(separator: " ").map(String.init) }
  }

  @Test func optionsStandInUpstreamsOrder() throws {
    #expect(VolumeOption.allCases.map(\.name) == (try golden()).map { $0[0] })
    for (index, row) in VolumeOption.table.enumerated() {
      #expect(Int(row.option.rawValue) == index)
      #expect(VolumeOption(named: "\(row.name)") == row.option)
    }
  }

  @Test func flagsAndRangesAreUpstreams() throws {
    for line in try golden() {
      let option = try #require(VolumeOption(named: line[0]))
      var flags = option.flags
      if option == .fsSize || option == .bucket { flags.remove(.humanReadable) }
      #expect(flags.rawValue == UInt16(line[1], radix: 16), "\(option)")
      guard case .integer(let minimum, let below) = option.row.kind else {
        #expect((line[2] == "bool") == (option.row.kind.isBool), "\(option)")
        continue
      }
      #expect(line[2] == "uint")
      #expect(minimum == UInt64(line[3]), "\(option)")
      if option != .durability { #expect(below == UInt64(line[4]), "\(option)") }
    }
  }

  @Test func defaultsAreUpstreamsAndValid() throws {
    let inBytes: Set<VolumeOption> = [.blockSize, .btreeNodeSize]
    for line in try golden() {
      let option = try #require(VolumeOption(named: line[0]))
      let expected = try #require(UInt64(line[6])) * (inBytes.contains(option) ? 512 : 1)
      #expect(option.defaultValue == expected, "\(option)")
      #expect(throws: Never.self) { try option.validate(option.defaultValue) }
    }
  }

  @Test func storedBitsAreUpstreams() throws {
    for line in try golden() {
      let option = try #require(VolumeOption(named: line[0]))
      // All bits that setting the option to "all ones" touches.
      var masks = [Int: UInt64]()
      switch option.row.storage {
      case .nowhere, .member, .blockSize: break
      case .flags(let bits): masks[bits.word] = bits.max << UInt64(bits.lower)
      case .split(let low, let high):
        masks[low.word] = low.max << UInt64(low.lower)
        masks[high.word] = high.max << UInt64(high.lower)
      }
      let text = masks.sorted { $0.key < $1.key }
        .map { "flags\($0.key):\(String($0.value, radix: 16))" }.joined(separator: "+")
      let ours = option == .blockSize ? "block_size:ffff" : text.isEmpty ? "none" : text
      #expect(ours == line[5], "\(option)")
    }
  }

  @Test func everyDefaultSurvivesTheSuperblock() {
    var words = SuperblockOptionWords()
    VolumeOptions().store(into: &words)
    let read = VolumeOptions(superblock: words)
    for option in read.definedOptions {
      #expect(read[option] == option.defaultValue, "\(option)")
    }
    #expect(read.defined(.blockSize) == 4096)
    #expect(words.blockSizeSectors == 8)
  }

  @Test func compressionIsSplitOverTwoPlaces() throws {
    var words = SuperblockOptionWords()
    words.set(.compression, to: try VolumeOption.compression.parse("zstd:11"))
    #expect(words.flags[1] == 0x30)
    #expect(words.flags[4] == 0x0b00_0000_0000_0000)
    #expect(VolumeOption.compression.text(try #require(words.value(of: .compression))) == "zstd:11")
    words.set(.backgroundCompression, to: try VolumeOption.compression.parse("lz4:15"))
    #expect(words.flags[2] == 1)
    #expect(words.flags[4] == 0xfb00_0000_0000_0000)
  }

  @Test func extentLimitIsStoredAsLogarithmOfSectors() throws {
    var words = SuperblockOptionWords()
    words.set(.encodedExtentMax, to: 64 << 10)
    #expect(words.flags[1] == 7 << 14)
    #expect(words.value(of: .encodedExtentMax) == 65536)
  }

  @Test func hostileFlagWordsGiveValuesThatValidationRefuses() {
    let words = SuperblockOptionWords(flags: .init(repeating: .max), blockSizeSectors: .max)
    let options = VolumeOptions(superblock: words)
    #expect(throws: OptionError.self) { try options.validate() }
    for option in VolumeOption.allCases { _ = option.text(options[option]) }
    #expect(options[.metadataChecksum] == 15)
    #expect(throws: OptionError("data_replicas", .tooBig(15, maximum: 3))) {
      try VolumeOption.dataReplicas.validate(options[.dataReplicas])
    }
  }

  @Test func memberFlagsHoldDeviceOptions() {
    var flags: UInt64 = 0
    flags = VolumeOption.durability.setting(memberFlags: flags, to: 0)
    #expect(flags == 1 << 28)
    #expect(VolumeOption.durability.value(inMemberFlags: flags) == 0)
    #expect(VolumeOption.durability.value(inMemberFlags: 0) == 1)
    flags = VolumeOption.dataAllowed.setting(memberFlags: 0, to: 0b11100)
    #expect(flags == 0b11100 << 15)
    #expect(VolumeOption.discard.setting(memberFlags: 0, to: 1) == 1 << 14)
    #expect(VolumeOption.acl.value(inMemberFlags: 0) == nil)
  }

  @Test func sizesAreReadWithUnits() {
    let good: [(String, UInt64)] = [
      ("64k", 65536), ("64K", 65536), ("1.5M", 1_572_864), ("16 GiB", 16 << 30), ("3kB", 3000),
      ("512", 512), ("512B", 512), ("0", 0), ("2MiB", 2 << 20), ("18446744073709551615", .max),
      ("0.5k", 512), ("1.72 EiB", 1_983_024_987_923_776_798),
      ("0.999999999999E", 1_152_921_504_605_694_054),
    ]
    for (text, value) in good { #expect(HumanSize.parse(text) == value, "\(text)") }
    for bad in [
      "", "k", "-1", "1x", "1kk", "1.k", "16E", "18446744073709551616", "1KB2", "\u{663}",
    ] {
      #expect(HumanSize.parse(bad) == nil, "\(bad)")
    }
  }

  @Test func sizesArePrintedAsTheKernelDoes() {
    let expected: [(UInt64, String)] = [
      (0, "0 B"), (512, "512 B"), (4096, "4.00 KiB"), (65536, "64.0 KiB"), (262144, "256 KiB"),
      (1 << 20, "1.00 MiB"), (1_572_864, "1.50 MiB"), (1023, "1023 B"), (10 << 30, "10.0 GiB"),
      (1_048_575, "1024 KiB"), (.max, "16.0 EiB"),
    ]
    for (value, text) in expected { #expect(HumanSize.text(value) == text) }
  }

  @Test func valuesAreReadByUpstreamsRules() throws {
    #expect(try VolumeOption.blockSize.parse("4k") == 4096)
    #expect(try VolumeOption.acl.parse(nil) == 1)
    #expect(try VolumeOption.acl.parse("Off") == 0)
    #expect(try VolumeOption.errors.parse("ro") == 3)
    #expect(try VolumeOption.fixErrors.parse(nil) == 1)
    #expect(try VolumeOption.fixErrors.parse("ask") == 3)
    #expect(try VolumeOption.dataAllowed.parse("journal,btree") == 0b1100)
    #expect(try VolumeOption.recoveryPasses.parse("check_topology;alloc_read") == 0b10100)
    #expect(try VolumeOption.foregroundTarget.parse("none") == 0)
    #expect(try VolumeOption.foregroundTarget.parse("ssd") { _ in .label(4) } == 261)
    #expect(try VolumeOption.journalFlushDelay.parse("4294967294") == 4_294_967_294)
  }

  @Test(arguments: [
    (VolumeOption.blockSize, "256", "block_size: 256 is too small, at least 512"),
    (.blockSize, "64k", "block_size: 65536 is too big, at most 65535"),
    (.blockSize, "1536", "block_size: 1536 is not a power of two"),
    (.blockSize, "513", "block_size: 513 is not a multiple of 512"),
    (.blockSize, "much", "block_size: \"much\" is not a number"),
    (.dataReplicas, "4", "data_replicas: 4 is too big, at most 3"),
    (.dataReplicas, "1k", "data_replicas: \"1k\" is not a number"),
    (.acl, "2", "acl: \"2\" is not a truth value (0, 1, yes, no)"),
    (.errors, "fix", "errors: \"fix\" is none of continue, fix_safe, panic, ro"),
    (
      .compression, "zstd:16",
      "compression: \"zstd:16\" is not none, lz4, gzip or zstd, with an optional level :1 to :15"
    ),
    (.promoteTarget, "ssd", "promote_target: \"ssd\" has a meaning only for an open volume"),
    (.durability, "3", "durability: 3 is too big, at most 2"),
  ])
  func badValuesAreRefusedByName(option: VolumeOption, text: String, message: String) {
    let error = #expect(throws: OptionError.self) { try option.parse(text) }
    #expect(error?.description == message)
  }

  @Test func mountOptionsAreReadAsTheKernelDoes() throws {
    var options = VolumeOptions()
    let others = try options.setMountOptions(
      "noacl,,data_replicas=2,quota,noatime,compression=lz4:3,nocow,degraded=1,x=y")
    #expect(others == ["noatime", "x=y"])
    #expect(options.defined(.acl) == 0)
    #expect(options[.dataReplicas] == 2)
    #expect(options.isOn(.usrquota) && options.isOn(.nocow) && options.isOn(.degraded))
    #expect(
      options.mountText() == "data_replicas=2,compression=lz4:3,noacl,usrquota,degraded,nocow")
    #expect(throws: OptionError("block_size", .notAllowed(place: "mount"))) {
      try options.setMountOption("block_size", value: "4k")
    }
  }

  @Test func textOfEveryValidChoiceReadsBack() throws {
    for option in VolumeOption.allCases {
      for (index, name) in option.choices.enumerated() {
        let value = try option.parse(name)
        #expect(option.text(value) == name)
        #expect(value == UInt64(index) || value == 1 << UInt64(index))
      }
    }
    #expect(VolumeOption.errors.fullListText(1) == "continue [fix_safe] panic ro")
    #expect(VolumeOption.dataReplicas.usage == "=#")
    #expect(VolumeOption.strHash.usage == "=(crc32c|crc64|siphash)")
  }

  @Test func inodeOptionsAreThoseOfTheInode() {
    let ours = VolumeOption.allCases.compactMap(\.inodeOption)
    // metadata_target may be set by attribute, but no inode field keeps it.
    #expect(Set(ours) == Set(InodeOption.all))
    #expect(VolumeOption.metadataTarget.inodeOption == nil)
  }
}

extension VolumeOption.Kind {
  fileprivate var isBool: Bool { if case .bool = self { true } else { false } }
}
