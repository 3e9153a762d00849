// SPDX-License-Identifier: GPL-2.0
// Values of keys: every type, from bytes that the driver wrote and bytes that nobody did.
//
// How it works
//   A value of the corpus (or random bytes) is changed, sometimes given another type, cut or
//   lengthened; then everything that reads values runs: validation in every btree, text, iteration,
//   decoding and encoding where a type has both.
// Invariants
//   (1) Text of any value ends and holds no NUL.
//   (2) An inode of any version, encoded as v3 and decoded, says the same.

internal import BcachefsFormat
internal import BcachefsSupport

/// A volume for rules and texts that depend on one.
let sampleContext: BKeyContext = {
  let device = BKeyContext.Device(
    bucketSizeSectors: 256, firstBucket: 1, bucketCount: 1024, durability: 1, isFailed: false)
  let failed = BKeyContext.Device(
    bucketSizeSectors: 1024, firstBucket: 8, bucketCount: 100, durability: 0, isFailed: true)
  return BKeyContext(
    devices: [device, nil, failed], btreeNodeSectors: 256, maxEncodedExtentSectors: 128,
    targetNames: [1: "sda", 257: "ssd"])
}()

/// Keys by type, mutated.
struct MutatedKeys {
  private let byType: [[CorpusKey]]

  init(_ corpus: Corpus) {
    var byType = [[CorpusKey]](repeating: [], count: Int(BKeyType.count))
    for key in corpus.keys {
      let type = Int(key.header[BKey.Layout.type.offset])
      if type < byType.count { byType[type].append(key) }
    }
    self.byType = byType
  }

  /// A key of a type and its value, changed; the value is whole words but for one in 32.
  func next(_ type: Int, _ random: inout Xoshiro256) -> (key: BKey, value: [UInt8]) {
    var value: [UInt8]
    var key: BKey
    if !byType[type].isEmpty, !random.oneIn(8) {
      let sample = random.pick(byType[type])
      value = sample.value
      key = BKey(uncheckedUnpacked: sample.header.rawBytes, at: 0)
      if !value.isEmpty, !random.oneIn(8) {
        Mutator.change(&value, in: 0..<value.count, most: 5, &random)
      }
    } else {
      value = random.bytes(8 * random.below(random.oneIn(16) ? 251 : 16))
      if random.oneIn(2) { for at in value.indices where !random.oneIn(4) { value[at] = 0 } }
      key = RandomKeys.anyKey(&random)
      key.type = BKeyType(rawValue: UInt8(type))
      if random.oneIn(2) { key.position.inode = 0 }
      if random.oneIn(2) { key.position.snapshot = 0 }
      if random.oneIn(2) { key.size = UInt32(random.below(300)) }
    }
    if random.oneIn(6) { Mutator.changeLength(&value, unit: 8, &random) }
    if value.count > BKey.maxValueU64s * 8 { value.removeLast(value.count - BKey.maxValueU64s * 8) }
    if random.oneIn(8) { key.position.offset = random.interesting() }
    if random.oneIn(8) { key.position.inode = random.interesting() }
    if random.oneIn(8) { key.position.snapshot = UInt32(truncatingIfNeeded: random.interesting()) }
    if random.oneIn(8) { key.size = UInt32(truncatingIfNeeded: random.interesting()) }
    key.u64s = UInt8(BKey.headerU64s + value.count / 8)
    if random.oneIn(32), !value.isEmpty { value.removeLast(1 + random.below(min(7, value.count))) }
    return (key, value)
  }
}

/// All key types.
final class ValueFuzzer: Fuzzer {
  private let keys: MutatedKeys
  private let flags: [BKeyValidation] = [[], .write, .commit, .lruChecked, [.write, .commit]]

  init(_ corpus: Corpus) { keys = MutatedKeys(corpus) }

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let (found, value) = keys.next(random.below(Int(BKeyType.count)), &random)
    var key = found
    if random.oneIn(8) { key.type = BKeyType(rawValue: UInt8(random.below(40))) }
    let context = random.oneIn(2) ? sampleContext : .none
    try Self.examine(key, value.rawBytes, context, random.pick(flags), printing: random.oneIn(4))
    // The header survives the disk.
    var header = [UInt8](repeating: 0, count: BKey.Layout.byteCount)
    var span = header.mutableRawBytes
    key.encode(into: &span)
    let again = mayFail { () throws(FormatError) in try BKey(decoding: header.rawBytes) }
    try check(again == key, "\(key) decodes as \(String(describing: again))")
  }

  /// Everything that looks at any value.
  static func examine(
    _ key: BKey, _ value: RawSpan, _ context: BKeyContext, _ flags: BKeyValidation, printing: Bool
  ) throws(FuzzFailure) {
    let isValid: ()? = mayFail { () throws(FormatError) in
      try BKeyValue.validateValue(key: key, value: value, context: context, flags: flags)
    }
    for number in 0..<(BTreeID.count + 2) {
      let btree = BTreeID(rawValue: number)
      _ = mayFail { () throws(FormatError) in
        try BKeyValue.validateKey(key, btree: btree, level: 0, flags: flags)
      }
      _ = mayFail { () throws(FormatError) in
        try BKeyValue.validateKey(key, btree: btree, level: 1, flags: flags)
      }
    }
    guard printing || isValid != nil else { return }
    let text = BKeyValue.text(key: key, value: value, context: context)
    try check(!text.isEmpty, "no text for \(key)")
    if isValid != nil {
      try check(!text.utf8.contains(0), "NUL in the text of \(key): \(text.debugDescription)")
    }
  }
}

/// Lists of extent entries.
final class ExtentFuzzer: Fuzzer {
  private static let types: [BKeyType] = [.extent, .btreePtr, .btreePtrV2, .reflinkV, .stripe]
  private let keys: MutatedKeys

  init(_ corpus: Corpus) { keys = MutatedKeys(corpus) }

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    if random.oneIn(3) { return try crcModel(&random) }
    let (key, value) = keys.next(Int(random.pick(Self.types).rawValue), &random)
    let bytes = value.rawBytes
    let range = mayFail { () throws(FormatError) in
      try ExtentEntries.range(of: key, value: bytes)
    }
    guard let range else { return }
    let entries = ExtentEntries(bytes.extracting(range), keySize: key.size)
    try rewrite(entries)
    var pointers = entries.pointers
    var count = 0
    while pointers.next() != nil { count += 1 }
    try check(count * 8 <= range.count, "\(count) pointers in \(range.count) bytes")
  }

  /// Entries, written again, are the same words but for the unused bit of crc32 entries.
  private func rewrite(_ entries: borrowing ExtentEntries) throws(FuzzFailure) {
    var again = [UInt8](repeating: 0, count: entries.bytes.byteCount)
    var writer = ExtentWriter()
    var iterator = entries.entries
    var end = 0
    while let entry = iterator.next() {
      if case .invalid = entry { break }
      var span = again.mutableRawBytes
      do throws(FormatError) { try writer.append(entry, to: &span) } catch {
        throw FuzzFailure("\(entry) was read and cannot be written: \(error)")
      }
      end = iterator.byteOffset
      try check(end == writer.byteOffset, "\(entry) is longer when written than when read")
      if case .crc(_, .crc32) = entry {
        let at = end - 8
        again[at + 2] |= entries.bytes[LEField<UInt8>(at + 2)] & 0x80
      }
    }
    let original = Array(entries.bytes.copied().prefix(end))
    let written = Array(again.prefix(end))
    try check(written == original, "extent entries: \(difference(written, original))")
  }

  private func crcModel(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let kind = random.pick(ExtentCrc.Kind.allCases)
    let size = UInt64(kind.maxSizeSectors)
    var crc = ExtentCrc(
      compressedSize: 1 + UInt32(random.upTo(size - 1)),
      uncompressedSize: 1 + UInt32(random.upTo(size - 1)),
      liveSize: UInt32(random.below(100)), offset: UInt16(random.upTo(size - 1)),
      nonce: UInt16(random.upTo(UInt64(kind.maxNonce))), checksumType: UInt8(random.below(16)),
      compressionType: UInt8(random.below(16)),
      checksum: Checksum128(lo: random.next(), hi: random.next()))
    crc.checksum = crc.checksum.truncated(toByteCount: kind.checksumBytes)
    try check(crc.fits(kind), "\(crc) does not fit \(kind)")
    let words = crc.words(as: kind)
    var bytes = [UInt8](repeating: 0, count: 24)
    bytes.put(words.0, at: 0)
    bytes.put(words.1, at: 8)
    bytes.put(words.2, at: 16)
    try check(
      words.0.trailingZeroBitCount == Int(kind.rawValue), "type bit of \(kind): \(words.0)")
    let again = ExtentCrc(
      decoding: bytes.rawBytes, at: 0, kind: kind, liveSize: crc.liveSize)
    try check(again == crc, "\(crc) as \(kind) decodes as \(again)")
    if let smallest = crc.smallestKind {
      try check(crc.fits(smallest), "\(crc) does not fit its smallest kind")
    }
  }
}

/// Inodes.
final class InodeFuzzer: Fuzzer {
  private static let types: [BKeyType] = [.inode, .inodeV2, .inodeV3]
  private let keys: MutatedKeys

  init(_ corpus: Corpus) { keys = MutatedKeys(corpus) }

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    if random.oneIn(4) { return try roundTrip(randomInode(&random)) }
    let type = random.oneIn(2) ? BKeyType.inodeV3 : random.pick(Self.types)
    var (key, value) = keys.next(Int(type.rawValue), &random)
    key.type = type
    if random.oneIn(2), value.count >= 24 { makePlausible(type, &value, &random) }
    _ = mayFail { () throws(FormatError) in try Inode.validate(key: key, value: value.rawBytes) }
    let decoded = mayFail { () throws(FormatError) in
      try Inode(key: key, value: value.rawBytes)
    }
    guard var inode = decoded else { return }
    _ = inode.description
    try roundTrip(inode)
    inode.linkCount = inode.linkCount
    _ = inode.direntType
  }

  /// Puts in a count of fields that a value of this length may have.
  private func makePlausible(
    _ type: BKeyType, _ value: inout [UInt8], _ random: inout Xoshiro256
  ) {
    let at = type == .inode ? 8 : 16
    value[at + 3] = value[at + 3] & 0x80 | UInt8(random.below(26))
    guard type == .inodeV3, value.count >= 48 else { return }
    var flags = value.rawBytes.loadLittleEndian(at: 16, as: UInt64.self)
    flags = flags & ~(31 << 31) | 6 << 31
    value.put(flags, at: 16)
  }

  private func roundTrip(_ inode: Inode) throws(FuzzFailure) {
    let words = inode.encodedU64s
    try check(words <= Inode.maxEncodedU64s, "an inode of \(words) words")
    var scratch = [UInt8](repeating: 0, count: words * 8)
    var span = scratch.mutableRawBytes
    inode.encode(into: &span)
    let bytes = scratch
    let key = BKey(
      type: .inodeV3, position: Positions.inode(inode.number, snapshot: inode.snapshot),
      valueU64s: words)
    let again = try mustWork("decoding an encoded inode") { () throws(FormatError) in
      try Inode(key: key, value: bytes.rawBytes)
    }
    var (left, right) = (inode, again)
    // The upper bits of the flags belong to the encoding.
    left.rawFlags &= 0xff_ffff
    right.rawFlags &= 0xff_ffff
    try check(left == right, "inode \(left) decodes as \(right)")
    var second = scratch.mutableRawBytes
    again.encode(into: &second)
    try check(scratch == bytes, "inode encoded again: \(difference(scratch, bytes))")
  }

  private func randomInode(_ random: inout Xoshiro256) -> Inode {
    var inode = Inode()
    func narrow<Value: FixedWidthInteger>(_ random: inout Xoshiro256) -> Value {
      random.oneIn(3) ? 0 : Value(truncatingIfNeeded: random.interesting())
    }
    inode.number = narrow(&random)
    inode.snapshot = narrow(&random)
    inode.journalSeq = narrow(&random)
    inode.hashSeed = narrow(&random)
    inode.size = narrow(&random)
    inode.sectors = narrow(&random)
    inode.version = narrow(&random)
    inode.rawFlags = narrow(&random)
    inode.mode = narrow(&random)
    inode.atime = narrow(&random)
    inode.ctime = narrow(&random)
    inode.mtime = narrow(&random)
    inode.otime = narrow(&random)
    inode.uid = narrow(&random)
    inode.gid = narrow(&random)
    inode.nlink = narrow(&random)
    inode.generation = narrow(&random)
    inode.device = narrow(&random)
    inode.dataChecksum = narrow(&random)
    inode.compression = narrow(&random)
    inode.project = narrow(&random)
    inode.backgroundCompression = narrow(&random)
    inode.dataReplicas = narrow(&random)
    inode.promoteTarget = narrow(&random)
    inode.foregroundTarget = narrow(&random)
    inode.backgroundTarget = narrow(&random)
    inode.erasureCode = narrow(&random)
    inode.fieldsSet = narrow(&random)
    inode.directory = narrow(&random)
    inode.directoryOffset = narrow(&random)
    inode.subvolume = narrow(&random)
    inode.parentSubvolume = narrow(&random)
    inode.nocow = narrow(&random)
    return inode
  }
}

/// Positions.
final class PositionFuzzer: Fuzzer {
  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let position = BPos(
      random.interesting(), random.interesting(), UInt32(truncatingIfNeeded: random.interesting()))
    try order(position)
    try buckets(&random)
    try accounting(position, &random)
    try varint(&random)
  }

  private func order(_ position: BPos) throws(FuzzFailure) {
    if let next = position.successor {
      try check(position < next && next.predecessor == position, "successor of \(position)")
    } else {
      try check(position == .max, "no successor of \(position)")
    }
    if let previous = position.predecessor {
      try check(
        previous < position && previous.successor == position, "predecessor of \(position)")
    } else {
      try check(position == .min, "no predecessor of \(position)")
    }
    var bytes = [UInt8](repeating: 0, count: BPos.Layout.byteCount)
    var span = bytes.mutableRawBytes
    position.encode(into: &span)
    try check(BPos(decoding: bytes.rawBytes) == position, "\(position) on disk")
    _ = position.description
    _ = Positions.lruText(position)
    _ = Positions.bucket(ofBackpointer: position, bucketSizeSectors: position.snapshot)
    _ = Positions.bucketGens(bucket: position)
    _ = Positions.freespace(bucket: position, generationLag: UInt8(position.snapshot & 0xff))
  }

  private func buckets(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let bucket = Positions.bucket(device: random.byte(), bucket: random.upTo(1 << 32))
    try check(
      Positions.bucket(ofWord: Positions.word(ofBucket: bucket)) == bucket, "word of \(bucket)")
    let lag = random.byte()
    let free = Positions.freespace(bucket: bucket, generationLag: lag)
    try check(
      Positions.bucket(ofFreespace: free) == bucket
        && Positions.generationBits(ofFreespace: free) == UInt64(lag >> 4),
      "freespace position of \(bucket)")
    let gens = Positions.bucketGens(bucket: bucket)
    let first = Positions.firstBucket(ofGens: gens.position)
    try check(
      first.map { BPos($0.inode, $0.offset + UInt64(gens.index), $0.snapshot) } == bucket,
      "bucket_gens position of \(bucket)")
    let sectors = UInt32(1 + random.below(65535))
    let offset = random.upTo(UInt64(sectors) << Positions.compressRatioShift - 1)
    let pointer = Positions.backpointer(
      bucket: bucket, bucketSizeSectors: sectors, bucketOffset: offset)
    if bucket.offset <= (UInt64.max >> 10) / UInt64(sectors) - 1 {
      try check(
        Positions.bucket(ofBackpointer: pointer, bucketSizeSectors: sectors) == bucket,
        "backpointer of \(bucket), \(sectors) sectors, offset \(offset)")
    }
    let id = UInt16(truncatingIfNeeded: random.next())
    let time = random.upTo(AllocV4.maxTime)
    let lru = Positions.lru(id: id, bucketWord: Positions.word(ofBucket: bucket), time: time)
    try check(
      Positions.lruID(lru) == id && Positions.lruTime(lru) == time
        && Positions.bucket(ofWord: lru.offset) == bucket, "LRU position of \(bucket)")
  }

  private func accounting(_ any: BPos, _ random: inout Xoshiro256) throws(FuzzFailure) {
    let kinds: [AccountingKey] = [
      .nrInodes, .persistentReserved(replicas: random.byte()),
      .replicas(
        AccountingReplicas(
          dataType: random.byte(), required: random.byte(),
          devices: random.bytes(random.below(20)))),
      .deviceDataType(device: random.byte(), dataType: random.byte()),
      .compression(type: random.byte()),
      .snapshot(id: UInt32(truncatingIfNeeded: random.interesting())),
      .btree(id: UInt32(truncatingIfNeeded: random.interesting())), .rebalanceWork,
      .inode(number: random.interesting()),
    ]
    let key = random.pick(kinds)
    let decoded = AccountingKey(key.position)
    try check(decoded == key, "\(key) decodes as \(String(describing: decoded))")
    _ = key.description
    var position = any
    if random.oneIn(2) { position.snapshot = position.snapshot & ~0xff | UInt32(random.below(10)) }
    if let found = AccountingKey(position) {
      try check(AccountingKey(found.position) == found, "\(found) from \(position)")
    }
    _ = mayFail { () throws(FormatError) in
      try Accounting.validate(key: BKey(type: .accounting, position: position))
    }
  }

  private func varint(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let value = random.interesting()
    var bytes = [UInt8](repeating: 0, count: 16)
    var span = bytes.mutableRawBytes
    var end = 0
    Varint.encode(value, into: &span, at: &end)
    try check(end == Varint.byteCount(value) && end <= Varint.maxByteCount, "length of \(value)")
    var at = 0
    let tight = bytes.rawBytes.extracting(0..<end)
    try check(Varint.decode(tight, at: &at) == value && at == end, "varint \(value)")
    at = 0
    let short = bytes.rawBytes.extracting(0..<end - 1)
    try check(Varint.decode(short, at: &at) == nil && at == 0, "varint \(value), cut off")
  }
}
