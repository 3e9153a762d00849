// SPDX-License-Identifier: GPL-2.0
// Bucket states as versions before 0.21 wrote them; read, never written.
//
// v1: a bit mask of the fields that are there, the generation, then those fields, little-endian, in
// their own widths. v2 and v3: a count of fields, some bytes, then variable-length integers.
// Source: bcachefs alloc_background.c (bch2_alloc_unpack_v1, _v2, _v3, __bch2_alloc_to_v4).

extension AllocV4 {
  /// Decodes a bucket's state of any version (`bch2_alloc_to_v4`). Zeroes, if the key is of
  /// another type (a bucket without a key was never used).
  ///
  /// - Throws: `.truncated`, `.invalid` (`alloc_v2_unpack_error`).
  public init(key: BKey, value: RawSpan) throws(FormatError) {
    switch key.type {
    case .allocV4: try self.init(decoding: value)
    case .allocV3: try self.init(v3: value)
    case .allocV2: try self.init(v2: value)
    case .alloc: try self.init(v1: value)
    default: self.init()
    }
  }

  /// Bytes of v1's fields: read time, write time, data type, dirty sectors, cached sectors, oldest
  /// generation, stripe, stripe redundancy.
  private static var v1Widths: InlineArray<8, Int> { [2, 2, 1, 2, 2, 1, 4, 1] }

  private init(v1 value: RawSpan) throws(FormatError) {
    self.init()
    guard value.byteCount >= 8 else { throw .tooSmall("bch_alloc", value.byteCount, 8) }
    let mask = value[LEField<UInt8>(0)]
    generation = value[LEField(1)]
    var at = 2
    for field in 0..<8 where mask & 1 << UInt8(field) != 0 {
      let width = AllocV4.v1Widths[field]
      guard at &+ width <= value.byteCount else {
        throw FormatError(
          .truncated, "bch_alloc", found: UInt64(value.byteCount), expected: UInt64(at &+ width),
          fsckError: .alloc_v1_val_size_bad)
      }
      var number: UInt64 = 0
      for byte in 0..<width {
        number |= UInt64(value[LEField<UInt8>(at &+ byte)]) << UInt64(byte &* 8)
      }
      at &+= width
      let small = UInt8(truncatingIfNeeded: number)
      switch field {
      case 0: readTime = number
      case 1: writeTime = number
      case 2: dataType = small
      case 3: dirtySectors = UInt32(truncatingIfNeeded: number)
      case 4: cachedSectors = UInt32(truncatingIfNeeded: number)
      case 5: oldestGeneration = small
      case 6: stripe = UInt32(truncatingIfNeeded: number)
      default: stripeRedundancy = small
      }
    }
  }

  private init(v2 value: RawSpan) throws(FormatError) {
    self.init()
    guard value.byteCount >= 8 else { throw .tooSmall("bch_alloc_v2", value.byteCount, 8) }
    let count = Int(value[LEField<UInt8>(0)])
    generation = value[LEField(1)]
    oldestGeneration = value[LEField(2)]
    dataType = value[LEField(3)]
    try decodeFields(value, at: 4, count: count)
  }

  private init(v3 value: RawSpan) throws(FormatError) {
    self.init()
    guard value.byteCount >= 16 else { throw .tooSmall("bch_alloc_v3", value.byteCount, 16) }
    journalSeq = value[LEField(0)]
    needsDiscard = value[LEField<UInt32>(8)] & 1 != 0
    let count = Int(value[LEField<UInt8>(12)])
    generation = value[LEField(13)]
    oldestGeneration = value[LEField(14)]
    dataType = value[LEField(15)]
    try decodeFields(value, at: 16, count: count)
  }

  /// Read time, write time, dirty sectors, cached sectors, stripe, stripe redundancy; those beyond
  /// `count` are zero, those beyond six unknown and skipped.
  private mutating func decodeFields(
    _ value: RawSpan, at start: Int, count: Int
  ) throws(FormatError) {
    var at = start
    for field in 0..<min(count, 6) {
      guard let number = Varint.decode(value, at: &at) else { throw AllocV4.unpackError(field) }
      switch field {
      case 0: readTime = number
      case 1: writeTime = number
      case 2: dirtySectors = try AllocV4.narrow(number, field)
      case 3: cachedSectors = try AllocV4.narrow(number, field)
      case 4: stripe = try AllocV4.narrow(number, field)
      default: stripeRedundancy = try AllocV4.narrow(number, field)
      }
    }
  }

  private static func narrow<V: FixedWidthInteger>(
    _ number: UInt64, _ field: Int
  ) throws(FormatError) -> V {
    guard let narrow = V(exactly: number) else { throw unpackError(field) }
    return narrow
  }

  private static func unpackError(_ field: Int) -> FormatError {
    FormatError(
      .invalid, "bch_alloc_v2", "fields", found: UInt64(field), fsckError: .alloc_v2_unpack_error)
  }
}
