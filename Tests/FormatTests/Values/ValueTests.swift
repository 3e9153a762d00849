// SPDX-License-Identifier: GPL-2.0
// What the kernel's volumes do not show: limits, old encodings, and positions.

import BcachefsFormat
import BcachefsSupport
import Testing

struct VarintTests {
  /// Values with their bytes, worked out by hand from the definition.
  static let vectors: [(UInt64, [UInt8])] = [
    (0, [0x00]), (1, [0x02]), (127, [0xfe]), (128, [0x01, 0x02]), (300, [0xb1, 0x04]),
    (16383, [0xfd, 0xff]), (16384, [0x03, 0x00, 0x02]),
    (1 << 56 - 1, [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    (1 << 56, [0xff, 0, 0, 0, 0, 0, 0, 0, 1]), (.max, [UInt8](repeating: 0xff, count: 9)),
  ]

  @Test func integersHaveTheirKnownBytes() {
    for (value, expected) in VarintTests.vectors {
      var bytes = [UInt8](repeating: 0, count: 9)
      var at = 0
      bytes.withMutableRaw { Varint.encode(value, into: &$0, at: &at) }
      #expect(Array(bytes.prefix(at)) == expected)
      #expect(Varint.byteCount(value) == expected.count)
      var end = 0
      #expect(Varint.decode(expected.raw, at: &end) == value)
      #expect(end == expected.count)
    }
  }

  @Test func anIntegerCutOffIsNotRead() {
    for (_, expected) in VarintTests.vectors {
      var at = 0
      #expect(Varint.decode(Array(expected.dropLast()).raw, at: &at) == nil)
      #expect(at == 0)
    }
  }
}

struct ExtentCrcTests {
  @Test(
    arguments: [
      (128, 0, 5, ExtentCrc.Kind.crc32), (129, 0, 5, .crc64), (128, 1, 5, .crc64),
      (128, 0, 6, .crc64), (128, 0, 3, .crc64), (512, 1023, 3, .crc64), (513, 0, 5, .crc128),
      (8, 1024, 3, .crc128), (8, 0, 4, .crc128), (8192, 8191, 4, .crc128), (8193, 0, 0, nil),
      (8, 8192, 3, nil), (8, 0, 8, nil),
    ] as [(UInt32, UInt16, UInt8, ExtentCrc.Kind?)])
  func theNarrowestKindIsChosen(
    _ size: UInt32, _ nonce: UInt16, _ type: UInt8, _ kind: ExtentCrc.Kind?
  ) {
    let crc = ExtentCrc(
      compressedSize: size, uncompressedSize: size, liveSize: size, nonce: nonce,
      checksumType: type)
    #expect(crc.smallestKind == kind)
  }

  @Test(arguments: ExtentCrc.Kind.allCases)
  func everyFieldComesBackAtItsLimits(_ kind: ExtentCrc.Kind) throws {
    let crc = ExtentCrc(
      compressedSize: kind.maxSizeSectors - 1, uncompressedSize: kind.maxSizeSectors, liveSize: 7,
      offset: UInt16(kind.maxSizeSectors - 1), nonce: kind.maxNonce, checksumType: 7,
      compressionType: 5,
      checksum: Checksum128(
        lo: kind == .crc32 ? 0xffff_fff1 : .max - 3,
        hi: kind == .crc32 ? 0 : kind == .crc64 ? 0xfffe : .max - 9))
    var value = [UInt8](repeating: 0, count: 32)
    var writer = ExtentWriter()
    try value.withMutableRaw {
      try writer.append(crc, kind: kind, to: &$0)
      try writer.append(ExtentPtr(device: 9, offset: 1 << 43, generation: 200), to: &$0)
    }
    let entries = ExtentEntries(value.raw.extracting(0..<writer.byteOffset), keySize: 7)
    var iterator = entries.entries
    #expect(iterator.next() == .crc(crc, kind))
    #expect(iterator.next() == .ptr(ExtentPtr(device: 9, offset: 1 << 43, generation: 200)))
    #expect(iterator.next() == nil)
  }

  /// flags (1.25), reconcile and reconcile_bp (1.33) have one word each.
  @Test func entriesOfNewerVersionsAreSteppedOver() {
    var value = [UInt8](repeating: 0, count: 40)
    value[0] = 1 << 6 | 1 << 7
    value[8] = 1 << 7
    value[17] = 1
    value[24] = 1
    value[31] = 9
    value[32] = 1
    let entries = ExtentEntries(value.raw, keySize: 8)
    #expect(entries.flags.isPoisoned)
    var iterator = entries.entries
    #expect(iterator.next() == .flags(ExtentFlags(word: 0xc0)))
    #expect(iterator.next() == .reconcile(0x80))
    #expect(iterator.next() == .reconcileBackpointer(0x100))
    var pointers = entries.pointers
    #expect(pointers.next()?.ptr.generation == 9)
    #expect(pointers.next()?.ptr.generation == 0)
    #expect(pointers.next() == nil)
  }

  @Test func anUnknownEntryEndsTheWalk() {
    var value = [UInt8](repeating: 0, count: 24)
    value[0] = 1
    value[9] = 1 << 1
    value[16] = 1
    let entries = ExtentEntries(value.raw, keySize: 8)
    var iterator = entries.entries
    #expect(iterator.next() == .ptr(ExtentPtr(word: 1)))
    #expect(iterator.next() == .invalid(word: 512))
    #expect(iterator.next() == nil)
    var cut = ExtentEntries([8, 0, 0, 0, 0, 0, 0, 0].raw, keySize: 8).entries
    #expect(cut.next() == .invalid(word: 8))
  }

  @Test func writingBeyondTheValueIsAnError() {
    var value = [UInt8](repeating: 0, count: 8)
    #expect(throws: FormatError.self) {
      var writer = ExtentWriter()
      try value.withMutableRaw {
        try writer.append(ExtentPtr(word: 1), to: &$0)
        try writer.append(ExtentPtr(word: 1), to: &$0)
      }
    }
  }
}

/// Device numbers: the driver's `dev_t`, and user space's where it can be nothing else.
struct DeviceNumberTests {
  @Test(
    arguments: [
      // The driver's: major << 20 | minor.
      (7 << 20 | 3, 7, 3), (1 << 20 | 0xf_ffff, 1, 0xf_ffff), (4095 << 20, 4095, 0),
      (0, 0, 0), (255, 0, 255),
      // What stat(2) gives for 7:3, 8:255, 259:0.
      (0x703, 7, 3), (0x8ff, 8, 255), (0x10300, 259, 0), (0xf_ffff, 4095, 255),
      // 8:256 and 259:300 in user space's encoding are devices of the driver's, too.
      (0x10_0800, 1, 0x800), (0x11_032c, 1, 0x1_032c),
    ] as [(UInt32, UInt32, UInt32)])
  func numberIsUserSpacesOnlyWhereTheDriverHasNoSuchDevice(
    raw: UInt32, major: UInt32, minor: UInt32
  ) {
    var inode = Inode()
    inode.device = raw
    #expect(inode.deviceMajor == major && inode.deviceMinor == minor)
  }

  @Test func numbersAreStoredAsTheDriverDoes() {
    var inode = Inode()
    inode.setDevice(major: 259, minor: 300)
    #expect(inode.device == 259 << 20 | 300)
    #expect(inode.deviceMajor == 259 && inode.deviceMinor == 300)
  }
}

struct OldEncodingTests {
  private func key(_ type: BKeyType, _ value: [UInt8]) -> BKey {
    BKey(type: type, position: BPos(0, 5000, 7), valueU64s: value.count / 8)
  }

  @Test func inodesOfTheFirstEncodingAreRead() throws {
    // Seed, flags: siphash_old, 9 fields, old integers; mode 0100644.
    var value: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8, 0x04, 0, 0x20, 9, 0xa4, 0x81]
    value += [0x41, 0x2c]  // atime 300: two bytes
    value += [0x85]  // ctime 5: one byte
    value += [0x21, 0x00, 0x00]  // mtime 65536: three bytes
    value += [0x80]  // otime 0
    value += [0x08, 1, 2, 3, 4, 5]  // size: six bytes
    value += [0x10, 0xff, 0xff, 0xff]  // sectors: four bytes
    value += [0x83, 0x84, 0x80]  // uid 3, gid 4, nlink 0
    while value.count % 8 != 0 { value.append(0) }
    let inode = try Inode(key: key(.inode, value), value: value.raw)
    #expect(inode.number == 5000 && inode.snapshot == 7)
    #expect(inode.hashSeed == 0x0807_0605_0403_0201)
    #expect(inode.flags == .append)
    #expect(inode.stringHash == 2 && inode.mode == 0o100644)
    #expect(inode.atime == 300 && inode.ctime == 5 && inode.mtime == 65536 && inode.otime == 0)
    #expect(inode.size == 0x01_0203_0405 && inode.sectors == 0xff_ffff)
    #expect(inode.uid == 3 && inode.gid == 4 && inode.nlink == 0)
  }

  @Test func inodesOfTheFirstEncodingWithNewIntegersAreRead() throws {
    var value: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x80 | 6, 0xed, 0x41]
    value += [0x02, 0, 0x04, 0, 0x06, 0, 0x08, 0, 0xb1, 0x04, 0x10]
    while value.count % 8 != 0 { value.append(0) }
    let inode = try Inode(key: key(.inode, value), value: value.raw)
    #expect(inode.atime == 1 && inode.ctime == 2 && inode.mtime == 3 && inode.otime == 4)
    #expect(inode.size == 300 && inode.sectors == 8 && inode.isDirectory)
    #expect(inode.stringHash == 1)
  }

  @Test func inodesOfTheSecondEncodingAreRead() throws {
    var value = [UInt8](repeating: 0, count: 26)
    value[0] = 77
    value[8] = 9
    value[18] = 0x30
    value[19] = 7
    value[24] = 0xa4
    value[25] = 0x81
    value += [0x02, 0, 0x04, 0, 0x06, 0, 0x08, 0, 0xb1, 0x04, 0x10, 0xfe]
    while value.count % 8 != 0 { value.append(0) }
    let inode = try Inode(key: key(.inodeV2, value), value: value.raw)
    #expect(inode.journalSeq == 77 && inode.hashSeed == 9 && inode.stringHash == 3)
    #expect(inode.size == 300 && inode.sectors == 8 && inode.uid == 127 && inode.gid == 0)
  }

  @Test func bucketStatesOfOldVersionsAreRead() throws {
    let v1: [UInt8] = [0b0001_1111, 9, 0x34, 0x12, 0x78, 0x56, 4, 16, 0, 8, 0, 0, 0, 0, 0, 0]
    let first = try AllocV4(key: key(.alloc, v1), value: v1.raw)
    #expect(first.generation == 9 && first.readTime == 0x1234 && first.writeTime == 0x5678)
    #expect(first.dataType == 4 && first.dirtySectors == 16 && first.cachedSectors == 8)
    let v2: [UInt8] = [5, 3, 2, 4, 0x02, 0x04, 0xb1, 0x04, 0x10, 0x12, 0, 0, 0, 0, 0, 0]
    let second = try AllocV4(key: key(.allocV2, v2), value: v2.raw)
    #expect(second.generation == 3 && second.oldestGeneration == 2 && second.dataType == 4)
    #expect(second.readTime == 1 && second.writeTime == 2 && second.dirtySectors == 300)
    #expect(second.cachedSectors == 8 && second.stripe == 9 && second.stripeRedundancy == 0)
    let v3: [UInt8] = [
      42, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 3, 2, 9, 0x02, 0x04, 0, 0, 0, 0, 0, 0,
    ]
    let third = try AllocV4(key: key(.allocV3, v3), value: v3.raw)
    #expect(third.journalSeq == 42 && third.needsDiscard && !third.needsGenerationIncrement)
    #expect(third.dataType == 9 && third.writeTime == 2 && third.backpointersStart == 8)
  }

  @Test func theFirstFormOfAllocV4IsUpgraded() throws {
    var value = [UInt8](repeating: 0, count: 48 + 32)
    value[9] = 1  // one backpointer right behind six words
    value[8] = 6 << 2
    value[14] = 4
    value[16] = 8
    for at in 48..<80 { value[at] = 0xff }
    let alloc = try AllocV4(decoding: value.raw)
    #expect(alloc.stripeSectors == 0 && alloc.obsoleteFragmentationLRU == 0)
    #expect(alloc.backpointersStart == 8 && alloc.backpointerCount == 0)
    try AllocV4.validate(value.raw)
    try expect(.alloc_v4_val_size_bad) { try AllocV4.validate(Array(value.prefix(72)).raw) }
  }
}

struct PositionTests {
  @Test func positionsOfBucketsPackAsDocumented() {
    let bucket = Positions.bucket(device: 3, bucket: 1000)
    #expect(Positions.word(ofBucket: bucket) == 3 << 48 | 1000)
    #expect(Positions.bucket(ofWord: 3 << 48 | 1000) == bucket)
    let free = Positions.freespace(bucket: bucket, generationLag: 0x5f)
    #expect(free == BPos(3, 5 << 56 | 1000))
    #expect(Positions.bucket(ofFreespace: free) == bucket)
    #expect(Positions.generationBits(ofFreespace: free) == 5)
    let gens = Positions.bucketGens(bucket: bucket)
    #expect(gens.position == BPos(3, 3) && gens.index == 232)
    #expect(Positions.firstBucket(ofGens: BPos(3, 3)) == BPos(3, 768))
    #expect(Positions.firstBucket(ofGens: BPos(3, .max)) == nil)
  }

  @Test func positionsInTheLRUPackAsDocumented() {
    let position = Positions.lru(id: 0xffff, bucketWord: 2 << 48 | 95, time: 12345)
    #expect(position == BPos(0xffff << 48 | 12345, 2 << 48 | 95))
    #expect(Positions.lruID(position) == 0xffff && Positions.lruTime(position) == 12345)
    #expect(Positions.lruText(position) == "65535:12345 -> 2:95")
  }

  @Test func namesNeverHashToDots() {
    #expect(Positions.dirent(directory: 4096, hash: 0, snapshot: 1).offset == 2)
    #expect(Positions.dirent(directory: 4096, hash: 9, snapshot: 1).offset == 9)
  }

  @Test func everyKindOfAccountingKeyComesBack() {
    let keys: [AccountingKey] = [
      .nrInodes, .persistentReserved(replicas: 3),
      .replicas(AccountingReplicas(dataType: 4, required: 1, devices: [5, 1, 200])),
      .deviceDataType(device: 7, dataType: 9), .compression(type: 4), .snapshot(id: 0xfedc_ba98),
      .btree(id: 20), .rebalanceWork, .inode(number: 0xfedc_ba98_7654_3210),
    ]
    for key in keys { #expect(AccountingKey(key.position) == key) }
    // Bytes 2, 4, 3, 1 (kind, data type, count, required) are the snapshot, devices follow.
    #expect(keys[2].position == BPos(0, 1 | 5 << 8 | 200 << 16, 0x0103_0402))
    #expect(keys[2].description == "replicas user: 1/3 [1 5 200]")
    #expect(AccountingKey(BPos(0, 0, 9)) == nil)
    // From 1.15 on in reverse byte order: keys of a volume of 1.39.
    let swapped: [(UInt64, AccountingKey)] = [
      (0, .nrInodes), (216_174_981_137_039_360, .deviceDataType(device: 0, dataType: 2)),
      (432_345_564_210_855_936, .snapshot(id: .max)), (433_471_464_134_410_240, .btree(id: 4)),
      (
        145_242_191_789_293_568,
        .replicas(AccountingReplicas(dataType: 4, required: 1, devices: [0]))
      ),
    ]
    for (inode, key) in swapped {
      #expect(AccountingKey(BPos(inode, 0, 0), isByteSwapped: true) == key)
    }
    #expect(AccountingKey(BPos(0, 0, 2 | 17 << 16)) == nil)
  }
}

/// Runs `body`, which must throw a finding with that number.
func expect(
  _ error: FsckErrorID, sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () throws -> Void
) throws {
  do {
    try body()
    Issue.record("no error, expected \(error)", sourceLocation: sourceLocation)
  } catch let found as FormatError {
    #expect(found.fsckError == error, sourceLocation: sourceLocation)
  }
}
