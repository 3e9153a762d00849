// SPDX-License-Identifier: GPL-2.0
// The four encodings of an inode: v1 with either kind of integer, v2, v3. Only v3 is written.
//
// How it works
//   A fixed head, then fields in a fixed order as variable-length integers, times as two each (the
//   upper one always zero so far). Trailing fields that are zero are left out: the head counts the
//   fields that are there. A field that is missing is zero. The last word is filled up with zeroes.
//
//   | offset | v1           | v2           | v3           |
//   | ------ | ------------ | ------------ | ------------ |
//   | 0      | hash seed 8  | journal seq 8| journal seq 8|
//   | 8      | flags 4      | hash seed 8  | hash seed 8  |
//   | 12     | mode 2       |              |              |
//   | 14     | fields       |              |              |
//   | 16     |              | flags 8      | flags 8      |
//   | 24     |              | mode 2       | sectors 8    |
//   | 26     |              | fields       |              |
//   | 32     |              |              | size 8       |
//   | 40     |              |              | version 8    |
//   | 48     |              |              | fields       |
//
//   Flags, bits: 0-19 flags; 20-23 name hash; 24-30 number of fields; v1: 31 the new integers;
//   v3: 31-35 word at which fields start, 36-51 mode.
//
// Invariants
//   (1) What the kernel encoded in v3, decoded and encoded again, is the same bytes.
//   (2) Fields of newer versions come back behind the known ones.
// Source: bcachefs inode.c (bch2_inode_unpack, bch2_inode_pack).

extension Inode {
  /// Where `struct bch_inode_v3` keeps its fields.
  public enum Layout {
    @inlinable public static var journalSeq: LEField<UInt64> { .init(0) }
    @inlinable public static var hashSeed: LEField<UInt64> { .init(8) }
    @inlinable public static var flags: LEField<UInt64> { .init(16) }
    @inlinable public static var sectors: LEField<UInt64> { .init(24) }
    @inlinable public static var size: LEField<UInt64> { .init(32) }
    @inlinable public static var version: LEField<UInt64> { .init(40) }
    @inlinable public static var fields: Int { 48 }

    static var fieldCount: LEBits<UInt64> { .init(flags, 24..<31) }
    static var fieldsStart: LEBits<UInt64> { .init(flags, 31..<36) }
    static var mode: LEBits<UInt64> { .init(flags, 36..<52) }
    /// Words before the fields (`INODEv3_FIELDS_START_CUR`).
    static var fieldsStartU64s: UInt64 { 6 }
  }

  /// The most words that `encode` writes.
  public static var maxEncodedU64s: Int {
    (Layout.fields + InodeField.countV3 * Varint.maxByteCount + 4 + 64 + 7) / 8
  }

  /// Decodes any of the four encodings, as the key's type says (`bch2_inode_unpack`).
  ///
  /// - Throws: `.truncated`, `.invalid` (`inode_unpack_error`: fields beyond the value's end or
  ///   wider than they may be), `.unsupported` (not an inode; over 64 bytes of unknown fields).
  public init(key: BKey, value: RawSpan) throws(FormatError) {
    self.init()
    number = key.position.offset
    snapshot = key.position.snapshot
    switch key.type {
    case .inodeV3: try decodeV3(value)
    case .inodeV2: try decodeV2(value)
    case .inode: try decodeV1(value)
    default:
      throw FormatError(.unsupported, "bch_inode", "type", found: UInt64(key.type.rawValue))
    }
  }

  private mutating func decodeV3(_ value: RawSpan) throws(FormatError) {
    guard value.byteCount >= Layout.fields else {
      throw .tooSmall("bch_inode_v3", value.byteCount, Layout.fields)
    }
    journalSeq = value[Layout.journalSeq]
    hashSeed = value[Layout.hashSeed]
    rawFlags = UInt32(truncatingIfNeeded: value[Layout.flags])
    sectors = value[Layout.sectors]
    size = value[Layout.size]
    version = value[Layout.version]
    mode = UInt16(truncatingIfNeeded: value[Layout.mode])
    let start = value[Layout.fieldsStart]
    guard start >= Layout.fieldsStartU64s, start <= UInt64(value.byteCount / 8) else {
      throw FormatError(
        .invalid, "bch_inode_v3", "fields_start", found: start, expected: Layout.fieldsStartU64s,
        fsckError: .inode_v3_fields_start_bad)
    }
    let end = try decodeFields(
      value, at: Int(start) &* 8, count: Int(value[Layout.fieldCount]), InodeField.v3)
    let known = InodeField.countV3
    if Int(value[Layout.fieldCount]) > known {
      try keepUnknown(value, from: end, count: Int(value[Layout.fieldCount]) &- known)
    }
  }

  private mutating func decodeV2(_ value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 32 else { throw .tooSmall("bch_inode_v2", value.byteCount, 32) }
    journalSeq = value[LEField<UInt64>(0)]
    hashSeed = value[LEField<UInt64>(8)]
    rawFlags = UInt32(truncatingIfNeeded: value[LEField<UInt64>(16)])
    mode = value[LEField<UInt16>(24)]
    _ = try decodeFields(value, at: 26, count: Int(rawFlags >> 24 & 127), InodeField.v2)
  }

  private mutating func decodeV1(_ value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 16 else { throw .tooSmall("bch_inode", value.byteCount, 16) }
    hashSeed = value[LEField<UInt64>(0)]
    rawFlags = value[LEField<UInt32>(8)]
    mode = value[LEField<UInt16>(12)]
    let count = Int(rawFlags >> 24 & 127)
    if rawFlags >> 31 != 0 {
      _ = try decodeFields(value, at: 14, count: count, InodeField.v2)
    } else {
      try decodeOldFields(value, at: 14, count: count)
    }
  }

  /// Decodes variable-length integers into fields; returns the offset behind the last known one.
  private mutating func decodeFields(
    _ value: RawSpan, at start: Int, count: Int, _ table: (Int) -> InodeField?
  ) throws(FormatError) -> Int {
    var at = start
    for index in 0..<count {
      guard let field = table(index) else { break }
      guard let low = Varint.decode(value, at: &at) else { throw .inodeUnpack(field, index) }
      if field.hasUpperPart {
        guard Varint.decode(value, at: &at) == 0 else { throw .inodeUnpack(field, index) }
      }
      guard set(field, low) else { throw .inodeUnpack(field, low: low) }
    }
    return at
  }

  /// Decodes the big-endian integers of the oldest inodes: the highest bit set in the first byte
  /// gives the length and is not part of the number.
  private mutating func decodeOldFields(
    _ value: RawSpan, at start: Int, count: Int
  ) throws(FormatError) {
    var at = start
    for index in 0..<count {
      guard let field = InodeField.v2(index) else { break }
      guard at < value.byteCount else { throw .inodeUnpack(field, index) }
      let first = value[LEField<UInt8>(at)]
      guard first != 0 else { throw .inodeUnpack(field, index) }
      let length = Inode.oldByteCounts[first.leadingZeroBitCount]
      guard length <= value.byteCount &- at else { throw .inodeUnpack(field, index) }
      var number = UInt64(first ^ (0x80 >> UInt8(first.leadingZeroBitCount)))
      var overflows = false
      for next in 1..<max(length, 1) {
        overflows = overflows || number >> 56 != 0
        number = number << 8 | UInt64(value[LEField<UInt8>(at &+ next)])
      }
      guard !overflows, set(field, number) else { throw .inodeUnpack(field, low: number) }
      at &+= length
    }
  }

  private static var oldByteCounts: InlineArray<8, Int> { [1, 2, 3, 4, 6, 8, 10, 13] }

  private mutating func keepUnknown(
    _ value: RawSpan, from start: Int, count: Int
  ) throws(FormatError) {
    var end = value.byteCount
    while end > start, value[LEField<UInt8>(end &- 1)] == 0 { end &-= 1 }
    guard end &- start <= 64 else {
      throw FormatError(
        .unsupported, "bch_inode_v3", "fields", found: UInt64(end &- start), expected: 64)
    }
    for index in 0..<max(0, end &- start) {
      unknownFields.bytes[index] = value[LEField<UInt8>(start &+ index)]
    }
    unknownFields.byteCount = UInt8(truncatingIfNeeded: max(0, end &- start))
    unknownFields.fieldCount = UInt8(truncatingIfNeeded: count)
  }
}

extension FormatError {
  fileprivate static func inodeUnpack(
    _ field: InodeField, _ index: Int = 0, low: UInt64? = nil
  ) -> FormatError {
    FormatError(
      .invalid, "bch_inode", field.name, found: low ?? UInt64(clamping: index),
      fsckError: .inode_unpack_error)
  }
}

// MARK: - Encoding

extension Inode {
  /// Number of fields that v3 stores, without unknown ones: up to the last that is not zero.
  private var knownFieldCount: Int {
    if unknownFields.fieldCount > 0 { return InodeField.countV3 }
    var count = InodeField.countV3
    while count > 0, let field = InodeField.v3(count &- 1), self[field] == 0 { count &-= 1 }
    return count
  }

  /// Bytes of the v3 encoding before it is filled up to a word.
  private var encodedByteCount: Int {
    var bytes = Layout.fields
    for index in 0..<knownFieldCount {
      guard let field = InodeField.v3(index) else { break }
      bytes &+= Varint.byteCount(self[field]) &+ (field.hasUpperPart ? 1 : 0)
    }
    return bytes &+ Int(unknownFields.byteCount)
  }

  /// Words of the v3 encoding.
  public var encodedU64s: Int { (encodedByteCount &+ 7) / 8 }

  /// Encodes as inode_v3 (`bch2_inode_pack`); the key's position is the caller's.
  ///
  /// - Precondition: `value` has room for `encodedU64s` words.
  public func encode(into value: inout MutableRawSpan) {
    let known = knownFieldCount
    value[Layout.journalSeq] = journalSeq
    value[Layout.hashSeed] = hashSeed
    value[Layout.flags] = UInt64(rawFlags)
    value[Layout.sectors] = sectors
    value[Layout.size] = size
    value[Layout.version] = version
    value[Layout.mode] = UInt64(mode)
    value[Layout.fieldsStart] = Layout.fieldsStartU64s
    value[Layout.fieldCount] = UInt64(min(known &+ Int(unknownFields.fieldCount), 127))
    var at = Layout.fields
    for index in 0..<known {
      guard let field = InodeField.v3(index) else { break }
      Varint.encode(self[field], into: &value, at: &at)
      if field.hasUpperPart { Varint.encode(0, into: &value, at: &at) }
    }
    for index in 0..<Int(unknownFields.byteCount) {
      value[LEField<UInt8>(at)] = unknownFields.bytes[index]
      at &+= 1
    }
    while at & 7 != 0 {
      value[LEField<UInt8>(at)] = 0
      at &+= 1
    }
  }
}
