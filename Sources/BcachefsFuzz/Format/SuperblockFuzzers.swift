// SPDX-License-Identifier: GPL-2.0
// Superblocks, their layout and their sections: what decodes must encode to the same bytes, and
// nothing may trap on the way.
//
// How it works
//   1. A superblock that the driver wrote is changed: any bytes, or a section's size or type, or a
//      section grown or cut. Mostly its checksum is then put right, so that the decoder goes on.
//   2. What decodes is validated, printed, turned into JSON and encoded.
// Invariants
//   (1) encode(decode(x)) == x for every x that decodes and whose checksum is right.
//   (2) What passes validate(forWrite:) passes it again after a round trip.

internal import BcachefsFormat
internal import BcachefsSupport

/// The places of a superblock's sections.
enum SectionWalk {
  /// Byte ranges, as far as sizes make sense.
  static func ranges(_ bytes: [UInt8]) -> [Range<Int>] {
    var ranges: [Range<Int>] = []
    var offset = Superblock.Layout.byteCount
    while offset + SectionHeader.byteCount <= bytes.count {
      let words = bytes.rawBytes.loadLittleEndian(at: offset, as: UInt32.self)
      let end = offset + Int(words) * 8
      guard words > 0, end <= bytes.count else { break }
      ranges.append(offset..<end)
      offset = end
    }
    return ranges
  }
}

/// Whole superblocks.
final class SuperblockFuzzer: Fuzzer {
  private let corpus: [[UInt8]]

  init(_ corpus: Corpus) { self.corpus = corpus.superblocks }

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    var bytes = random.pick(corpus)
    mutate(&bytes, &random)
    let isSealed = !random.oneIn(8)
    if isSealed { Self.seal(&bytes) }
    let verifies = isSealed || random.oneIn(2)
    let decoded = mayFail { () throws(FormatError) in
      try Superblock(decoding: bytes.rawBytes, verifyingChecksum: verifies)
    }
    guard let superblock = decoded else { return }
    try Self.examine(superblock, printing: random.oneIn(8))
    let encoded = mayFail { () throws(FormatError) in try superblock.encode() }
    guard let encoded else {
      try check(!verifies, "a superblock with a right checksum cannot be encoded")
      return
    }
    guard verifies else { return }
    let original = Array(bytes.prefix(encoded.count))
    try check(encoded == original, "encoded superblock: \(difference(encoded, original))")
  }

  private func mutate(_ bytes: inout [UInt8], _ random: inout Xoshiro256) {
    let sections = SectionWalk.ranges(bytes)
    switch random.below(6) {
    case 0: Mutator.change(&bytes, in: 0..<Superblock.Layout.byteCount, most: 4, &random)
    case 1: Mutator.change(&bytes, in: 0..<bytes.count, most: 8, &random)
    case 2:
      // A section's size and type.
      let section = random.pick(sections)
      Mutator.change(&bytes, in: section.lowerBound..<section.lowerBound + 8, most: 2, &random)
    case 3:
      // A section grown or cut, and the sizes made to fit.
      let section = random.pick(sections)
      var contents = Array(bytes[section])
      Mutator.changeLength(&contents, unit: 8, &random)
      contents.put(UInt32(truncatingIfNeeded: contents.count / 8), at: 0)
      bytes.replaceSubrange(section, with: contents)
      let words = UInt32(truncatingIfNeeded: (bytes.count - Superblock.Layout.byteCount) / 8)
      bytes.put(words, at: Superblock.Layout.u64s.offset)
    case 4:
      Mutator.change(&bytes, in: random.pick(sections), most: 6, &random)
    default:
      Mutator.change(&bytes, in: 112..<240, most: 2, &random)
      Mutator.change(&bytes, in: random.pick(sections), most: 3, &random)
    }
  }

  /// Puts the checksum right, if the header lets one say what it covers.
  static func seal(_ bytes: inout [UInt8]) {
    let byteCount = mayFail { () throws(FormatError) in
      try Superblock.byteCount(ofHeader: bytes.rawBytes)
    }
    guard let byteCount, byteCount <= bytes.count else { return }
    let word = bytes.rawBytes.loadLittleEndian(
      at: Superblock.Layout.flags.offset, as: UInt64.self)
    let type = ChecksumType(
      rawValue: UInt8(truncatingIfNeeded: Superblock.Layout.checksumType.get(word)))
    let checksum = mayFail { () throws(ChecksumError) in
      try type.checksum(bytes.rawBytes.extracting(16..<byteCount))
    }
    guard let checksum else { return }
    bytes.put(checksum.lo, at: 0)
    bytes.put(checksum.hi, at: 8)
  }

  /// Everything that looks at a decoded superblock.
  static func examine(_ superblock: Superblock, printing: Bool) throws(FuzzFailure) {
    let isReadable: ()? = mayFail { () throws(FormatError) in try superblock.validate() }
    let isWritable: ()? = mayFail { () throws(FormatError) in
      try superblock.validate(forWrite: true)
    }
    _ = mayFail { () throws(FormatError) in try superblock.checkSupported() }
    try check(
      isWritable == nil || isReadable != nil, "valid for writing, and not valid for reading")
    _ = superblock.aliveDeviceCount
    _ = superblock.dataTypes(onDevice: superblock.deviceIndex)
    _ = superblock.member(at: Int(superblock.deviceIndex))
    _ = superblock.compressionOption | superblock.backgroundCompressionOption
    for target in [0, 1, 64, 255, 256, 257, 260, 4095] as [UInt16] {
      _ = superblock.targetText(DiskTarget(rawValue: target))
    }
    _ = superblock.target(named: "ssd")
    if isWritable != nil {
      let again = try mustWork("round trip of a valid superblock") { () throws(FormatError) in
        let bytes = try superblock.encode()
        return try Superblock(decoding: bytes.rawBytes)
      }
      let isStillWritable: ()? = mayFail { () throws(FormatError) in
        try again.validate(forWrite: true)
      }
      try check(isStillWritable != nil, "no longer valid for writing after a round trip")
    }
    guard printing else { return }
    try checkText(
      superblock.text(style: SuperblockTextStyle(sections: .all, layout: true)), "superblock text")
    try checkText(superblock.json().text(), "superblock JSON")
  }
}

/// The layout sector.
final class LayoutFuzzer: Fuzzer {
  private let corpus: [[UInt8]]

  init(_ corpus: Corpus) {
    self.corpus = corpus.superblocks.map {
      Array($0[Superblock.Layout.layout..<Superblock.Layout.byteCount])
    }
  }

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    var bytes = random.pick(corpus)
    Mutator.change(&bytes, in: 0..<bytes.count, most: 6, &random)
    if random.oneIn(2) { Mutator.change(&bytes, in: 16..<64, most: 3, &random) }
    if random.oneIn(16) { Mutator.changeLength(&bytes, unit: 1, &random) }
    let decoded = mayFail { () throws(FormatError) in
      try SuperblockLayout(decoding: bytes.rawBytes)
    }
    if let layout = decoded {
      let encoded = layout.encode()
      let original = Array(bytes.prefix(SuperblockLayout.Layout.byteCount))
      try check(encoded == original, "encoded layout: \(difference(encoded, original))")
      _ = layout.maxByteCount
      _ = layout.json.text()
      _ = mayFail { () throws(FormatError) in try layout.validate() }
    }
    try plan(&random)
  }

  /// A layout for a device of any size is valid, and lies on it.
  private func plan(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let deviceSectors = random.anyWidth()
    let bucketSectors = 1 + random.below(1 << 16)
    let blockSectors = (1 << random.below(8)) as Int
    let superblockSectors = (1 << random.below(17)) as Int
    let made = mayFail { () throws(FormatError) in
      try SuperblockLayout(
        deviceSectors: deviceSectors, bucketSizeSectors: UInt64(bucketSectors),
        blockSizeSectors: UInt64(blockSectors), superblockSectors: UInt64(superblockSectors))
    }
    guard let layout = made else { return }
    for sector in layout.copySectors {
      try check(
        sector <= deviceSectors && deviceSectors - sector >= UInt64(superblockSectors),
        "a superblock copy at sector \(sector) of \(deviceSectors)")
    }
  }
}

/// Sections alone.
final class SectionFuzzer: Fuzzer {
  private static let kinds: [any SuperblockSectionContents.Type] = [
    JournalBucketsSection.self, MembersV1Section.self, CryptSection.self, ReplicasV0Section.self,
    QuotaSection.self, DiskGroupsSection.self, CleanSection.self, ReplicasSection.self,
    JournalSeqBlacklistSection.self, JournalBucketRangesSection.self, CountersSection.self,
    MembersV2Section.self, ErrorsSection.self, ExtSection.self, DowngradeSection.self,
  ]

  private let superblocks: [Superblock]
  private let samples: [[[UInt8]]]

  init(_ corpus: Corpus) throws(FuzzFailure) {
    var superblocks: [Superblock] = []
    var samples = Self.kinds.map { _ in [] as [[UInt8]] }
    for bytes in corpus.superblocks {
      superblocks.append(
        try mustWork("a superblock of the corpus") { () throws(FormatError) in
          try Superblock(decoding: bytes.rawBytes)
        })
      for range in SectionWalk.ranges(bytes) {
        let type = bytes.rawBytes.loadLittleEndian(
          at: range.lowerBound + SectionHeader.type.offset, as: UInt32.self)
        if let kind = Self.kinds.firstIndex(where: { $0.type.rawValue == type }) {
          samples[kind].append(Array(bytes[range]))
        }
      }
    }
    self.superblocks = superblocks
    self.samples = samples
  }

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let index = random.below(Self.kinds.count)
    let kind = Self.kinds[index]
    var bytes: [UInt8]
    if !samples[index].isEmpty, !random.oneIn(4) {
      bytes = random.pick(samples[index])
      Mutator.change(&bytes, in: 8..<max(bytes.count, 8), most: 6, &random)
    } else {
      bytes = random.bytes(8 * (1 + random.below(40)))
      if random.oneIn(2) {
        for at in 8..<max(bytes.count, 8) where !random.oneIn(4) { bytes[at] = 0 }
      }
    }
    if random.oneIn(4) { Mutator.changeLength(&bytes, unit: 8, &random) }
    if bytes.count < 8 { bytes = [UInt8](repeating: 0, count: 8) }
    bytes.put(UInt32(truncatingIfNeeded: bytes.count / 8), at: 0)
    bytes.put(kind.type.rawValue, at: SectionHeader.type.offset)
    let superblock = random.pick(superblocks)
    let deviceCount = random.oneIn(2) ? Int(superblock.deviceCount) : Int(random.byte())
    try examine(kind, bytes, superblock, deviceCount: deviceCount)
  }

  private func examine<Contents: SuperblockSectionContents>(
    _ kind: Contents.Type, _ bytes: [UInt8], _ superblock: Superblock, deviceCount: Int
  ) throws(FuzzFailure) {
    let decoded = mayFail { () throws(FormatError) in
      try Contents(decoding: bytes.rawBytes, deviceCount: deviceCount)
    }
    guard let section = decoded else { return }
    let encoded = section.encode()
    try check(encoded == bytes, "\(kind): encoded section: \(difference(encoded, bytes))")
    _ = mayFail { () throws(FormatError) in try section.validate(in: superblock, forWrite: true) }
    _ = mayFail { () throws(FormatError) in try section.validate(in: superblock, forWrite: false) }
    var out = TextPrinter()
    section.print(into: &out, in: superblock, style: SuperblockTextStyle(sections: .all))
    try checkText(out.text, "\(kind): text")
    try checkText(section.json.text(indented: false), "\(kind): JSON")
  }
}
