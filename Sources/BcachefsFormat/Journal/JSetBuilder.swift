// SPDX-License-Identifier: GPL-2.0
// Composing a journal entry, or the entries of the superblock's clean section, into bytes.
//
// How it works
//   Entries are appended to a list. `list` is what the clean section takes; `finish` puts a header
//   before it and pads to the block size. Checksum and encryption come after, over the ranges that
//   `JSetHeader` names.
// Invariants
//   (1) `list` is always a whole number of u64s and decodes to the entries appended.

/// Builds a list of `struct jset_entry`.
public struct JSetBuilder: Sendable {
  /// The entries so far.
  public private(set) var list: [UInt8] = []

  public init() {}

  /// The entries so far, in u64s.
  public var u64s: Int { list.count / 8 }

  /// - Throws: `.tooLarge` when the entry does not fit its size field.
  public mutating func append(_ entry: JSetEntry) throws(FormatError) {
    list += try entry.encoded()
  }

  /// Appends one entry with one key and its value.
  ///
  /// - Parameter value: a whole number of u64s, as many as `key.u64s` says.
  /// - Throws: `.inconsistent` where the value's length is another than the key's.
  public mutating func appendKey(
    _ type: JSetEntryType, btree: BTreeID, level: UInt8, _ key: BKey, value: RawSpan
  ) throws(FormatError) {
    guard value.byteCount == key.valueByteCount else {
      throw FormatError(
        .inconsistent, "jset_entry", "key u64s", found: UInt64(value.byteCount),
        expected: UInt64(clamping: key.valueByteCount))
    }
    var bytes = [UInt8](repeating: 0, count: BKey.Layout.byteCount)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    key.encode(into: &raw)
    for offset in 0..<value.byteCount { bytes.append(value[LEField<UInt8>(offset)]) }
    try append(JSetEntry(type, btree: btree, level: level, .keys(bytes)))
  }

  /// The whole journal entry, zeros behind it up to a multiple of the block size.
  ///
  /// - Parameters:
  ///   - header: its `u64s` is set here; its checksum is written as it is.
  ///   - blockByteCount: the volume's block size, at least 1.
  /// - Throws: `.tooLarge` above `JSetHeader.byteCountMax`.
  public func finish(
    _ header: JSetHeader, blockByteCount: Int
  ) throws(FormatError) -> [UInt8] {
    var header = header
    header.u64s = UInt32(clamping: u64s)
    guard header.byteCount <= JSetHeader.byteCountMax else {
      throw FormatError(
        .tooLarge, "jset", "u64s", found: UInt64(header.byteCount),
        expected: UInt64(JSetHeader.byteCountMax))
    }
    let block = max(1, blockByteCount)
    let padded = (header.byteCount + block - 1) / block * block
    var bytes = [UInt8](repeating: 0, count: JSetHeader.Layout.byteCount)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    header.encode(into: &raw)
    bytes += list
    bytes += [UInt8](repeating: 0, count: padded - header.byteCount)
    return bytes
  }
}
