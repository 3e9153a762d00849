// SPDX-License-Identifier: GPL-2.0
// Packed keys beside a model that packs bit by bit; formats chosen for sets of keys.
//
// How it works
//   The model writes the fields into a string of bits, inode first, right behind each other, and
//   cuts it into words from the highest on: what the format's definition says, without cleverness.
// Invariants
//   (1) pack succeeds if and only if every field lies within offset ... offset + 2^bits - 1.
//   (2) Packed keys of one format, as big integers, have the order of their fields.
//   (3) BKeyFormatRange.format() decodes as valid, and packs every key that was added.

internal import BcachefsFormat
internal import BcachefsSupport

/// Random formats and keys.
enum RandomKeys {
  static func unpackedMax(_ field: Int) -> UInt64 {
    BKeyFormat.unpackedBits(field) == 64 ? .max : UInt64(UInt32.max)
  }

  /// The 56 bytes of a valid format.
  static func formatBytes(_ random: inout Xoshiro256) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: BKeyFormat.Layout.byteCount)
    var total = BKeyFormat.headerBits
    for field in 0..<BKeyFormat.fieldCount {
      let unpacked = BKeyFormat.unpackedBits(field)
      let bits = random.oneIn(4) ? unpacked : random.below(unpacked + 1)
      let packedMax = bits == 64 ? UInt64.max : ((1 << UInt64(bits)) as UInt64) - 1
      let offset = random.oneIn(3) ? 0 : random.upTo(unpackedMax(field) - packedMax)
      bytes[BKeyFormat.Layout.bitsPerField + field] = UInt8(bits)
      bytes.put(offset, at: BKeyFormat.Layout.fieldOffset + field * 8)
      total += bits
    }
    bytes[0] = UInt8((total + 63) / 64)
    bytes[1] = UInt8(BKeyFormat.fieldCount)
    return bytes
  }

  static func format(_ random: inout Xoshiro256) throws(FuzzFailure) -> BKeyFormat {
    let bytes = formatBytes(&random)
    return try mustWork("a valid key format") { () throws(FormatError) in
      try BKeyFormat(decoding: bytes.rawBytes)
    }
  }

  /// A key within a format's ranges.
  static func key(in format: BKeyFormat, _ random: inout Xoshiro256) -> BKey {
    var values = InlineArray<6, UInt64>(repeating: 0)
    for field in 0..<6 {
      let bits = Int(format.bitsPerField[field])
      let packedMax = bits == 64 ? UInt64.max : ((1 << UInt64(bits)) as UInt64) - 1
      values[field] = format.fieldOffset[field] + random.upTo(packedMax)
    }
    return key(values, &random)
  }

  static func key(_ values: InlineArray<6, UInt64>, _ random: inout Xoshiro256) -> BKey {
    var key = BKey(
      type: BKeyType(rawValue: random.byte()),
      position: BPos(values[0], values[1], UInt32(truncatingIfNeeded: values[2])),
      size: UInt32(truncatingIfNeeded: values[3]),
      version: BVersion(hi: UInt32(truncatingIfNeeded: values[4]), lo: values[5]),
      valueU64s: random.below(32))
    key.needsWhiteout = random.oneIn(4)
    return key
  }

  /// Any key.
  static func anyKey(_ random: inout Xoshiro256) -> BKey {
    var values = InlineArray<6, UInt64>(repeating: 0)
    for field in 0..<6 { values[field] = random.interesting() }
    return key(values, &random)
  }

  static func values(_ key: BKey) -> InlineArray<6, UInt64> {
    [
      key.position.inode, key.position.offset, UInt64(key.position.snapshot), UInt64(key.size),
      UInt64(key.version.hi), key.version.lo,
    ]
  }
}

/// Packing and unpacking.
final class KeyFormatFuzzer: Fuzzer {
  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let format = try RandomKeys.format(&random)
    for _ in 0..<4 {
      let key =
        random.oneIn(4) ? RandomKeys.anyKey(&random) : RandomKeys.key(in: format, &random)
      try packOne(key, format)
    }
    try compare(
      RandomKeys.key(in: format, &random), RandomKeys.key(in: format, &random), format, &random)
  }

  private func packOne(_ key: BKey, _ format: BKeyFormat) throws(FuzzFailure) {
    var scratch = InlineArray<48, UInt8>(repeating: 0)
    var span = scratch.mutableRawBytes
    let isPacked = format.pack(key, into: &span, at: 0)
    let expected = Self.model(key, format)
    try check(
      isPacked == (expected != nil), "pack says \(isPacked) for \(key) in \(format)")
    guard let expected else { return }
    let words = (0..<Int(format.keyU64s)).map {
      scratch.rawBytes.loadLittleEndian(at: $0 * 8, as: UInt64.self)
    }
    try check(words == expected, "\(key) in \(format) packs to \(words), not \(expected)")
    let unpacked = format.unpack(scratch.rawBytes, at: 0)
    try check(unpacked == key, "\(key) in \(format) unpacks to \(unpacked)")
  }

  /// The words of the packed key, lowest first; nil for a key that does not fit.
  private static func model(_ key: BKey, _ format: BKeyFormat) -> [UInt64]? {
    let values = RandomKeys.values(key)
    let count = Int(format.keyU64s)
    var words = [UInt64](repeating: 0, count: count)
    // The next bit, counted from the highest of the highest word.
    var place = 0
    for field in 0..<6 {
      let bits = Int(format.bitsPerField[field])
      guard values[field] >= format.fieldOffset[field] else { return nil }
      let stored = values[field] - format.fieldOffset[field]
      guard bits == 64 || stored >> UInt64(bits) == 0 else { return nil }
      for bit in (0..<bits).reversed() {
        if stored >> UInt64(bit) & 1 == 1 {
          words[count - 1 - place / 64] |= 1 << UInt64(63 - place % 64)
        }
        place += 1
      }
    }
    words[0] |= UInt64(count + key.valueU64s)
    words[0] |= (key.needsWhiteout ? 0x80 : 0) << 8
    words[0] |= UInt64(key.type.rawValue) << 16
    return words
  }

  private func compare(
    _ first: BKey, _ second: BKey, _ format: BKeyFormat, _ random: inout Xoshiro256
  ) throws(FuzzFailure) {
    var second = second
    // Neighbours find more than strangers.
    if random.oneIn(2) { second.position.inode = first.position.inode }
    if random.oneIn(2) { second.position.offset = first.position.offset }
    var scratch = InlineArray<48, UInt8>(repeating: 0)
    var other = InlineArray<48, UInt8>(repeating: 0)
    var span = scratch.mutableRawBytes
    var otherSpan = other.mutableRawBytes
    let bothPack =
      format.pack(first, into: &span, at: 0) && format.pack(second, into: &otherSpan, at: 0)
    try check(bothPack, "keys in range of \(format) do not pack")
    var isBelow = false
    for word in (0..<Int(format.keyU64s)).reversed() {
      var left = scratch.rawBytes.loadLittleEndian(at: word * 8, as: UInt64.self)
      var right = other.rawBytes.loadLittleEndian(at: word * 8, as: UInt64.self)
      if word == 0 {
        left >>= UInt64(BKeyFormat.headerBits)
        right >>= UInt64(BKeyFormat.headerBits)
      }
      if left != right {
        isBelow = left < right
        break
      }
    }
    let (left, right) = (RandomKeys.values(first), RandomKeys.values(second))
    var expected = false
    for field in 0..<6 where left[field] != right[field] {
      expected = left[field] < right[field]
      break
    }
    try check(isBelow == expected, "order of \(first) and \(second) in \(format)")
    let positionsBelow = first.position < second.position
    try check(!positionsBelow || isBelow, "positions of \(first) and \(second) in \(format)")
  }
}

/// Formats for sets of keys.
final class KeyRangeFuzzer: Fuzzer {
  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    var range = BKeyFormatRange()
    var keys: [BKey] = []
    let base = RandomKeys.anyKey(&random)
    let isNarrow = random.oneIn(2)
    for _ in 0..<random.below(20) {
      var key = isNarrow ? base : RandomKeys.anyKey(&random)
      key.position.offset &+= random.anyWidth() >> UInt64(random.below(64))
      key.version.lo &+= UInt64(random.below(1000))
      keys.append(key)
      range.add(key)
    }
    var positions: [BPos] = []
    for _ in 0..<random.below(3) {
      let position = BPos(
        random.interesting(), random.interesting(), UInt32(truncatingIfNeeded: random.interesting())
      )
      positions.append(position)
      range.add(position)
    }
    let format = range.format()
    var bytes = [UInt8](repeating: 0, count: BKeyFormat.Layout.byteCount)
    var span = bytes.mutableRawBytes
    format.encode(into: &span)
    let decoded = try mustWork("format \(format) for \(keys) and \(positions)") {
      () throws(FormatError) in try BKeyFormat(decoding: bytes.rawBytes)
    }
    try check(decoded == format, "\(format) decodes as \(decoded)")
    var scratch = InlineArray<48, UInt8>(repeating: 0)
    for key in keys {
      var span = scratch.mutableRawBytes
      try check(
        format.pack(key, into: &span, at: 0), "\(key) was added and does not pack in \(format)")
      let unpacked = format.unpack(scratch.rawBytes, at: 0)
      try check(unpacked == key, "\(key) in \(format) unpacks to \(unpacked)")
    }
    guard let version = keys.first?.version else { return }
    for position in positions {
      let key = BKey(type: .deleted, position: position, version: version)
      var span = scratch.mutableRawBytes
      try check(
        format.pack(key, into: &span, at: 0), "\(position) was added and does not pack in \(format)"
      )
    }
  }
}

/// Walks over bsets.
final class BSetFuzzer: Fuzzer {
  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let format = try RandomKeys.format(&random)
    var keys: [(key: BKey, isPacked: Bool, offset: Int)] = []
    var bytes: [UInt8] = []
    for _ in 0..<random.below(24) {
      let key =
        random.oneIn(4) ? RandomKeys.anyKey(&random) : RandomKeys.key(in: format, &random)
      let start = bytes.count
      bytes += [UInt8](repeating: 0, count: Int(format.keyU64s) * 8)
      var span = bytes.mutableRawBytes
      let isPacked = format.pack(key, into: &span, at: start)
      if !isPacked {
        bytes.removeLast(bytes.count - start)
        bytes += [UInt8](repeating: 0, count: BKey.Layout.byteCount)
        var span = bytes.mutableRawBytes
        key.encode(into: &span, at: start)
      }
      bytes += random.bytes(key.valueByteCount)
      keys.append((key, isPacked, start))
    }
    var iterator = PackedKeyIterator(keys: bytes.rawBytes, format: format)
    for expected in keys {
      let found: PackedKeyIterator.Entry?
      do throws(FormatError) { found = try iterator.nextEntry() } catch {
        throw FuzzFailure("a right bset in \(format): \(error)")
      }
      try check(
        found?.key == expected.key && found?.isPacked == expected.isPacked
          && found?.byteOffset == expected.offset,
        "walk finds \(String(describing: found)), not \(expected) in \(format)")
    }
    try walk(bytes.rawBytes, format, isWhole: true)
    if bytes.isEmpty { return }
    for _ in 0..<4 {
      Mutator.change(&bytes, in: 0..<bytes.count, most: 4, &random)
      if random.oneIn(4) { Mutator.changeLength(&bytes, unit: random.oneIn(4) ? 1 : 8, &random) }
      try walk(bytes.rawBytes, format, isWhole: false)
      if bytes.isEmpty { return }
    }
  }

  private func walk(_ bytes: RawSpan, _ format: BKeyFormat, isWhole: Bool) throws(FuzzFailure) {
    var iterator = PackedKeyIterator(keys: bytes, format: format)
    var end = 0
    do throws(FormatError) {
      while let entry = try iterator.nextEntry() {
        if entry.byteOffset != end || entry.valueByteOffset < end
          || entry.valueByteOffset + entry.key.valueByteCount > bytes.byteCount
          || iterator.nextByteOffset <= end
        {
          throw FormatError(.inconsistent, "fuzz", "entry", found: UInt64(entry.byteOffset))
        }
        end = iterator.nextByteOffset
      }
      if end != bytes.byteCount { throw FormatError(.inconsistent, "fuzz", "end") }
    } catch {
      try check("\(error.structure)" != "fuzz" && !isWhole, "walk over a bset: \(error)")
    }
  }
}

/// Headers of nodes.
final class NodeHeaderFuzzer: Fuzzer {
  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    var bytes = random.bytes(BTreeNodeHeader.Layout.keys)
    bytes.replaceSubrange(
      BTreeNodeHeader.Layout.format..<BTreeNodeHeader.Layout.format + 56,
      with: RandomKeys.formatBytes(&random))
    for at in 32..<72 where !random.oneIn(4) { bytes[at] = at < 52 ? 0 : 0xff }
    bytes[24] &= 0x3f
    if random.oneIn(2) { Mutator.change(&bytes, in: 16..<bytes.count, most: 4, &random) }
    if random.oneIn(16) { Mutator.changeLength(&bytes, unit: 1, &random) }
    _ = mayFail { () throws(FormatError) in
      try BKeyFormat(decoding: bytes.rawBytes, at: BTreeNodeHeader.Layout.format)
    }
    let decoded = mayFail { () throws(FormatError) in
      try BTreeNodeHeader(decoding: bytes.rawBytes)
    }
    guard let header = decoded else { return }
    _ = header.format.description
    _ = header.bset.isBigEndian || header.bset.hasSeparateWhiteouts
    var encoded = [UInt8](repeating: 0, count: BTreeNodeHeader.Layout.keys)
    var span = encoded.mutableRawBytes
    header.encode(into: &span)
    // The checksum is not encoded, the old pointer field is zeroed.
    var expected = Array(bytes.prefix(BTreeNodeHeader.Layout.keys))
    for at in Array(0..<16) + Array(72..<80) { expected[at] = 0 }
    try check(encoded == expected, "encoded node header: \(difference(encoded, expected))")
    var changed = header
    changed.btree = header.btree
    changed.level = header.level
    changed.bset.offsetSectors = header.bset.offsetSectors
    changed.bset.checksumType = header.bset.checksumType
    try check(changed.level == header.level, "level of a node header")
    try check(changed.bset == header.bset, "fields of a bset header")
  }
}
