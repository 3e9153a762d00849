// SPDX-License-Identifier: GPL-2.0
// Packed keys: how a btree node stores key headers in one or two words instead of five.
//
// How it works
//   1. A node has one format: for each of six fields a width in bits and an offset that is
//      subtracted before storing.
//   2. A packed key is `keyU64s` little-endian words read as one big integer whose top bits are the
//      inode, then offset, snapshot, size, version.hi, version.lo; its lowest 24 bits are the
//      header (u64s, format, type). Comparing packed keys as integers compares positions.
//   3. A key whose fields do not fit stays unpacked (format 1) among packed ones.
// Invariants
//   (1) offset + 2^bits - 1 never exceeds the field's unpacked range (validated).
//   (2) keyU64s == ceil((24 + sum of bits) / 64) (validated), so at most 6.
// Source: `struct bkey_format`; bkey.c (bch2_bkey_pack_key, bch2_bkey_format_done).

/// How a node packs key headers (`struct bkey_format`, 56 bytes).
@frozen
public struct BKeyFormat: Sendable, Equatable {
  /// Words of a packed key header.
  public var keyU64s: UInt8
  public var bitsPerField: InlineArray<6, UInt8>
  public var fieldOffset: InlineArray<6, UInt64>

  /// The fields in packing order (`enum bch_bkey_fields`).
  @frozen public enum Field: Int, CaseIterable, Sendable {
    case inode, offset, snapshot, size, versionHi, versionLo
  }

  /// Unpacked width of each field, in bits.
  @inlinable public static func unpackedBits(_ field: Int) -> Int {
    switch field {
    case 0, 1, 5: 64
    default: 32
    }
  }

  /// `BKEY_NR_FIELDS`
  @inlinable public static var fieldCount: Int { 6 }
  /// `KEY_PACKED_BITS_START`
  @inlinable public static var headerBits: Int { 24 }

  @usableFromInline
  init(keyU64s: UInt8, bitsPerField: InlineArray<6, UInt8>, fieldOffset: InlineArray<6, UInt64>) {
    self.keyU64s = keyU64s
    self.bitsPerField = bitsPerField
    self.fieldOffset = fieldOffset
  }

  /// The format of unpacked keys (`BKEY_FORMAT_CURRENT`): every field at full width.
  public static let current = BKeyFormat(
    keyU64s: 5, bitsPerField: [64, 64, 32, 32, 32, 64], fieldOffset: .init(repeating: 0))

  public static func == (a: BKeyFormat, b: BKeyFormat) -> Bool {
    for i in 0..<fieldCount
    where a.bitsPerField[i] != b.bitsPerField[i] || a.fieldOffset[i] != b.fieldOffset[i] {
      return false
    }
    return a.keyU64s == b.keyU64s
  }
}

// MARK: - On disk

extension BKeyFormat {
  /// Where `struct bkey_format` keeps its fields.
  @frozen public enum Layout {
    @inlinable public static var keyU64s: LEField<UInt8> { .init(0) }
    @inlinable public static var fieldCount: LEField<UInt8> { .init(1) }
    @inlinable public static var bitsPerField: Int { 2 }
    @inlinable public static var fieldOffset: Int { 8 }
    @inlinable public static var byteCount: Int { 56 }
  }

  /// Decodes and validates the 56 bytes at `byteOffset` (`bch2_bkey_format_invalid`).
  ///
  /// - Throws: `.truncated`, `.invalid` (number of fields), `.tooLarge` (a field beyond its
  ///   unpacked range), `.inconsistent` (key_u64s).
  public init(decoding bytes: RawSpan, at byteOffset: Int = 0) throws(FormatError) {
    guard byteOffset >= 0, bytes.byteCount - byteOffset >= Layout.byteCount else {
      throw FormatError(.truncated, "bkey_format", expected: UInt64(Layout.byteCount))
    }
    let fields = bytes[LEField<UInt8>(byteOffset + 1)]
    guard Int(fields) == BKeyFormat.fieldCount else {
      throw FormatError(
        .invalid, "bkey_format", "nr_fields", found: UInt64(fields),
        fsckError: .btree_node_bad_format)
    }
    self.init(
      keyU64s: bytes[LEField<UInt8>(byteOffset)], bitsPerField: .init(repeating: 0),
      fieldOffset: .init(repeating: 0))
    for i in 0..<BKeyFormat.fieldCount {
      bitsPerField[i] = bytes[LEField<UInt8>(byteOffset + Layout.bitsPerField + i)]
      fieldOffset[i] = bytes[LEField<UInt64>(byteOffset + Layout.fieldOffset + i * 8)]
    }
    try validate()
  }

  private func validate() throws(FormatError) {
    var bits = BKeyFormat.headerBits
    for i in 0..<BKeyFormat.fieldCount {
      let width = Int(bitsPerField[i])
      let unpacked = BKeyFormat.unpackedBits(i)
      let unpackedMax = unpacked == 64 ? UInt64.max : (1 << UInt64(unpacked)) - 1
      let packedMax = width >= 64 ? UInt64.max : (1 << UInt64(width)) - 1
      let (top, overflow) = packedMax.addingReportingOverflow(fieldOffset[i])
      guard width <= unpacked, !overflow, top <= unpackedMax else {
        throw FormatError(
          .tooLarge, "bkey_format", "bits_per_field", found: UInt64(width),
          expected: UInt64(unpacked), fsckError: .btree_node_bad_format)
      }
      bits += width
    }
    guard Int(keyU64s) == (bits + 63) / 64 else {
      throw FormatError(
        .inconsistent, "bkey_format", "key_u64s", found: UInt64(keyU64s),
        expected: UInt64((bits + 63) / 64), fsckError: .btree_node_bad_format)
    }
  }

  /// Encodes 56 bytes at `byteOffset`.
  public func encode(into bytes: inout MutableRawSpan, at byteOffset: Int = 0) {
    bytes[LEField<UInt8>(byteOffset)] = keyU64s
    bytes[LEField<UInt8>(byteOffset + 1)] = UInt8(BKeyFormat.fieldCount)
    for i in 0..<BKeyFormat.fieldCount {
      bytes[LEField<UInt8>(byteOffset + Layout.bitsPerField + i)] = bitsPerField[i]
      bytes[LEField<UInt64>(byteOffset + Layout.fieldOffset + i * 8)] = fieldOffset[i]
    }
  }
}

extension BKeyFormat: CustomStringConvertible {
  /// `u64s 2 fields 8:4096, 8:0, 0:4294967295, ...` (`bch2_bkey_format_to_text`).
  public var description: String {
    var text = "u64s \(keyU64s) fields "
    for i in 0..<BKeyFormat.fieldCount {
      if i > 0 { text += ", " }
      text += "\(bitsPerField[i]):\(fieldOffset[i])"
    }
    return text
  }
}

// MARK: - Choosing a format

/// Collects the range of every field over the keys of a node (`struct bkey_format_state`), then
/// gives the narrowest format that holds them all.
@frozen
public struct BKeyFormatRange: Sendable {
  @usableFromInline var min: InlineArray<6, UInt64>
  @usableFromInline var max: InlineArray<6, UInt64>

  public init() {
    min = .init(repeating: .max)
    max = .init(repeating: 0)
    min[BKeyFormat.Field.size.rawValue] = 0
  }

  @inlinable mutating func add(_ field: Int, _ value: UInt64) {
    if value < min[field] { min[field] = value }
    if value > max[field] { max[field] = value }
  }

  /// Includes a position: the node's own bounds must be packable too.
  @inlinable public mutating func add(_ position: BPos) {
    add(0, position.inode)
    add(1, position.offset)
    add(2, UInt64(position.snapshot))
  }

  /// Includes a key's fields.
  @inlinable public mutating func add(_ key: BKey) {
    add(key.position)
    add(3, UInt64(key.size))
    add(4, UInt64(key.version.hi))
    add(5, key.version.lo)
  }

  /// The narrowest format for all that was added (`bch2_bkey_format_done`): extent sizes get four
  /// spare bits for later merging, and spare bits of the last word round fields up to whole bytes.
  public func format() -> BKeyFormat {
    var result = BKeyFormat(
      keyU64s: 0, bitsPerField: .init(repeating: 0), fieldOffset: .init(repeating: 0))
    var bits = BKeyFormat.headerBits
    for i in 0..<BKeyFormat.fieldCount {
      let low = Swift.min(min[i], max[i])
      result.setField(i, bits: 64 - (max[i] - low).leadingZeroBitCount, offset: low)
      bits += Int(result.bitsPerField[i])
    }
    let size = BKeyFormat.Field.size.rawValue
    if result.bitsPerField[size] > 0 {
      let spare = Swift.min(4, 32 - result.bitsPerField[size])
      result.bitsPerField[size] += spare
      bits += Int(spare)
    }
    result.keyU64s = UInt8((bits + 63) / 64)
    var spare = Int(result.keyU64s) * 64 - bits
    for i in 0..<BKeyFormat.fieldCount {
      let width = Int(result.bitsPerField[i])
      let rounding = (width + 7) / 8 * 8 - width
      guard rounding <= spare else { continue }
      result.setField(i, bits: width + rounding, offset: result.fieldOffset[i])
      spare -= rounding
    }
    return result
  }
}

extension BKeyFormat {
  /// Sets a field so that its largest packed value still fits the unpacked field.
  fileprivate mutating func setField(_ field: Int, bits wanted: Int, offset: UInt64) {
    let unpacked = BKeyFormat.unpackedBits(field)
    let unpackedMax = unpacked == 64 ? UInt64.max : (1 << UInt64(unpacked)) - 1
    let bits = Swift.min(wanted, unpacked)
    bitsPerField[field] = UInt8(bits)
    fieldOffset[field] =
      bits == unpacked ? 0 : Swift.min(offset, unpackedMax - ((1 << UInt64(bits)) - 1))
  }
}

// MARK: - Packing

extension BKeyFormat {
  /// Packs a key header into `keyU64s` words at `byteOffset`; false, with the bytes undefined, if
  /// a field does not fit. The value belongs right behind.
  ///
  /// - Precondition: `bytes` has `keyU64s * 8` bytes at `byteOffset`.
  @inlinable
  public func pack(_ key: BKey, into bytes: inout MutableRawSpan, at byteOffset: Int) -> Bool {
    var word = Int(keyU64s) &- 1
    var accumulator: UInt64 = 0
    var room = 64
    for i in 0..<BKeyFormat.fieldCount {
      let value: UInt64 =
        switch i {
        case 0: key.position.inode
        case 1: key.position.offset
        case 2: UInt64(key.position.snapshot)
        case 3: UInt64(key.size)
        case 4: UInt64(key.version.hi)
        default: key.version.lo
        }
      var bits = Int(bitsPerField[i])
      guard value >= fieldOffset[i] else { return false }
      let stored = value &- fieldOffset[i]
      guard 64 &- stored.leadingZeroBitCount <= bits else { return false }
      guard bits > 0 else { continue }
      if bits > room {
        bits &-= room
        if room > 0 { accumulator |= stored >> UInt64(bits) }
        bytes[LEField<UInt64>(byteOffset &+ word &* 8)] = accumulator
        word &-= 1
        accumulator = 0
        room = 64
      }
      room &-= bits
      accumulator |= stored << UInt64(room)
    }
    bytes[LEField<UInt64>(byteOffset &+ word &* 8)] = accumulator
    while word > 0 {
      word &-= 1
      bytes[LEField<UInt64>(byteOffset &+ word &* 8)] = 0
    }
    bytes[LEField<UInt8>(byteOffset)] = UInt8(
      truncatingIfNeeded: Int(keyU64s) &+ key.valueU64s)
    bytes[LEField<UInt8>(byteOffset &+ 1)] =
      BKey.packedFormat | (key.needsWhiteout ? 0x80 : 0)
    bytes[LEField<UInt8>(byteOffset &+ 2)] = key.type.rawValue
    return true
  }

  /// Unpacks the header of a packed key at `byteOffset`.
  ///
  /// - Precondition: the key lies within `bytes` and `u64s` was checked against `keyU64s`
  ///   (`PackedKeyIterator` does both).
  @inlinable
  public func unpack(_ bytes: RawSpan, at byteOffset: Int) -> BKey {
    var word = Int(keyU64s) &- 1
    var current = bytes[LEField<UInt64>(byteOffset &+ word &* 8)]
    var left = 64
    var values = InlineArray<6, UInt64>(repeating: 0)
    for i in 0..<BKeyFormat.fieldCount {
      var bits = Int(bitsPerField[i])
      var value: UInt64 = 0
      if bits > left {
        value = left == 0 ? 0 : current >> UInt64(64 &- left)
        bits &-= left
        word &-= 1
        current = bytes[LEField<UInt64>(byteOffset &+ word &* 8)]
        left = 64
      }
      if bits > 0 {
        value = (bits == 64 ? 0 : value << UInt64(bits)) | (current >> UInt64(64 &- bits))
        current = bits == 64 ? 0 : current << UInt64(bits)
        left &-= bits
      }
      values[i] = value &+ fieldOffset[i]
    }
    let u64s = Int(bytes[LEField<UInt8>(byteOffset)])
    var key = BKey(
      type: BKeyType(rawValue: bytes[LEField<UInt8>(byteOffset &+ 2)]),
      position: BPos(values[0], values[1], UInt32(truncatingIfNeeded: values[2])),
      size: UInt32(truncatingIfNeeded: values[3]),
      version: BVersion(hi: UInt32(truncatingIfNeeded: values[4]), lo: values[5]),
      valueU64s: u64s &- Int(keyU64s))
    key.needsWhiteout = bytes[LEField<UInt8>(byteOffset &+ 1)] & 0x80 != 0
    return key
  }
}
