// SPDX-License-Identifier: GPL-2.0
// What key values need to know of the format's small enumerations, and how values are read from
// bytes that may be too few.

/// Facts about the enumerations that stand in key values.
@frozen
@usableFromInline enum ValueTables {
  /// `BCH_COMPRESSION_TYPE_incompressible`
  @inlinable static var incompressible: UInt8 { 5 }
  /// `BCH_COMPRESSION_TYPE_NR`
  @inlinable static var compressionTypeCount: UInt8 { 6 }
  /// `BCH_CSUM_NR`
  @inlinable static var checksumTypeCount: UInt8 { 8 }
  /// `BCH_CSUM_OPT_NR`
  @inlinable static var checksumOptionCount: UInt8 { 4 }
  /// `BCH_COMPRESSION_OPT_NR`
  @inlinable static var compressionOptionCount: UInt8 { 4 }
  /// `BCH_STR_HASH_NR`
  @inlinable static var stringHashCount: UInt8 { 4 }
  /// `BCH_REPLICAS_MAX`
  @inlinable static var maxReplicas: Int { 4 }
  /// `BCH_BKEY_PTRS_MAX`
  @inlinable static var maxPointers: Int { 16 }
  /// `BTREE_MAX_DEPTH`
  @inlinable static var maxDepth: UInt8 { 4 }

  /// Bytes of a checksum (`bch_crc_bytes`), nil for an unknown type.
  @inlinable static func checksumBytes(_ type: UInt8) -> Int? {
    switch type {
    case 0: 0
    case 1, 5: 4
    case 2, 6, 7: 8
    case 3: 10
    case 4: 16
    default: nil
    }
  }

  /// `bch2_csum_type_is_encryption`
  static func isEncryption(checksumType: UInt8) -> Bool { checksumType == 3 || checksumType == 4 }

  /// `bch2_compression_opt_valid`
  static func isValid(compressionOption: UInt8) -> Bool {
    let type = compressionOption & 15
    return type < compressionOptionCount && !(type == 0 && compressionOption >> 4 != 0)
  }
}

// MARK: - Names

extension ValueTables {
  private static let dataTypes: [StaticString] = [
    "free", "sb", "journal", "btree", "user", "cached", "parity", "stripe", "need_gc_gens",
    "need_discard", "unstriped",
  ]
  private static let checksumTypes: [StaticString] = [
    "none", "crc32c_nonzero", "crc64_nonzero", "chacha20_poly1305_80", "chacha20_poly1305_128",
    "crc32c", "crc64", "xxhash",
  ]
  private static let compressionTypes: [StaticString] = [
    "none", "lz4_old", "gzip", "lz4", "zstd", "incompressible",
  ]
  private static let compressionOptions: [StaticString] = ["none", "lz4", "gzip", "zstd"]
  private static let stringHashes: [StaticString] = ["crc32c", "crc64", "siphash_old", "siphash"]

  private static func name(_ names: [StaticString], _ kind: StaticString, _ index: UInt8) -> String
  {
    Int(index) < names.count ? "\(names[Int(index)])" : "(unknown \(kind) \(index))"
  }

  static func dataTypeName(_ type: UInt8) -> String { name(dataTypes, "data_type", type) }
  static func checksumTypeName(_ type: UInt8) -> String { name(checksumTypes, "csum_type", type) }
  static func compressionTypeName(_ type: UInt8) -> String {
    name(compressionTypes, "compression_type", type)
  }
  static func stringHashName(_ type: UInt8) -> String { name(stringHashes, "str_hash_type", type) }

  /// `bch2_compression_opt_to_text`: an invalid option prints as none.
  static func compressionOptionName(_ option: UInt8) -> String {
    guard isValid(compressionOption: option) else { return "\(compressionOptions[0])" }
    let level = option >> 4
    let text = "\(compressionOptions[Int(option & 15)])"
    return level == 0 ? text : "\(text):\(level)"
  }
}

// MARK: - Bytes

extension RawSpan {
  /// The field, or zero where the value ends before it: older values are shorter.
  @inlinable func orZero<V>(_ field: LEField<V>) -> V {
    field.offset >= 0 && field.end <= byteCount ? self[field] : 0
  }
}

extension MutableRawSpan {
  /// Writes the field unless the value ends before it.
  @inlinable @_lifetime(self: copy self)
  mutating func setIfPresent<V>(_ field: LEField<V>, _ newValue: V) {
    if field.end <= byteCount { self[field] = newValue }
  }
}

extension FormatError {
  /// A value too small for its type (`bkey_val_size_too_small`).
  static func tooSmall(_ structure: StaticString, _ found: Int, _ needed: Int) -> FormatError {
    FormatError(
      .truncated, structure, found: UInt64(clamping: found), expected: UInt64(clamping: needed),
      fsckError: .bkey_val_size_too_small)
  }
}

extension RawSpan {
  /// The bytes as text, up to a NUL; what is not UTF-8 is replaced.
  var text: String {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(byteCount)
    for at in 0..<byteCount {
      let byte = self[LEField<UInt8>(at)]
      if byte == 0 { break }
      bytes.append(byte)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The first `limit` bytes as hexadecimal digits.
  func hexText(limit: Int) -> String {
    var text = ""
    for at in 0..<Swift.min(byteCount, limit) { text += hexByte(self[LEField<UInt8>(at)]) }
    return text
  }
}

func hexByte(_ byte: UInt8) -> String {
  (byte < 16 ? "0" : "") + String(byte, radix: 16)
}

extension MutableRawSpan {
  /// Copies all of `source` to `byteOffset`.
  ///
  /// - Precondition: there is room.
  @inlinable @_lifetime(self: copy self)
  mutating func copy(_ source: RawSpan, to byteOffset: Int) {
    var at = 0
    while at &+ 8 <= source.byteCount {
      self[LEField<UInt64>(byteOffset &+ at)] = source[LEField<UInt64>(at)]
      at &+= 8
    }
    while at < source.byteCount {
      self[LEField<UInt8>(byteOffset &+ at)] = source[LEField<UInt8>(at)]
      at &+= 1
    }
  }
}
