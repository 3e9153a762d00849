// SPDX-License-Identifier: GPL-2.0
// Limits of key values, and how values are read from bytes that may be too few.

internal import BcachefsSupport

/// Limits that key values obey, and questions about the numbers in them.
enum ValueTables {
  /// `BCH_REPLICAS_MAX`
  static let maxReplicas = 4
  /// `BCH_BKEY_PTRS_MAX`
  static let maxPointers = 16
  /// `BTREE_MAX_DEPTH`
  static let maxDepth: UInt8 = 4

  /// Bytes of a checksum, nil for an unknown type.
  static func checksumBytes(_ type: UInt8) -> Int? {
    let type = ChecksumType(rawValue: type)
    return type.isKnown ? type.fieldBytes : nil
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
  /// The bytes up to a NUL, as the kernel prints them: not necessarily UTF-8.
  var textBytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(byteCount)
    for at in 0..<byteCount {
      let byte = self[LEField<UInt8>(at)]
      if byte == 0 { break }
      bytes.append(byte)
    }
    return bytes
  }

  /// The first `limit` bytes as hexadecimal digits.
  func hexText(limit: Int) -> String {
    var text = ""
    for at in 0..<Swift.min(byteCount, limit) {
      text += CollectionOfOne(self[LEField<UInt8>(at)]).hexadecimal
    }
    return text
  }
}
