// SPDX-License-Identifier: GPL-2.0
// Walking the entries of a journal entry, or of the superblock's clean section, in place.
//
// Invariants
//   (1) A `JSetEntryView` covers exactly its entry: 8 bytes of header and 8 * u64s of payload.
//   (2) An iterator moves forward by at least 8 bytes at each step, whatever the bytes, and never
//       looks past its end; after an entry or key that overruns it stops for good.
// Source: `struct jset_entry`, bcachefs_format.h; journal_io.c.

/// A whole journal entry, decrypted, in place (`struct jset`).
public struct JSetView: ~Escapable {
  public let header: JSetHeader
  private let payload: RawSpan

  /// - Parameter bytes: the entry, decrypted; more may follow it.
  /// - Throws: `.truncated`, and what `JSetHeader.validate` throws. Entries are not looked at.
  @_lifetime(copy bytes)
  public init(validating bytes: RawSpan) throws(FormatError) {
    let header = try JSetHeader(decoding: bytes)
    guard bytes.byteCount >= header.byteCount else {
      throw FormatError(
        .truncated, "jset", "u64s", found: UInt64(bytes.byteCount),
        expected: UInt64(header.byteCount))
    }
    try header.validate()
    self.header = header
    payload = bytes.extracting(JSetHeader.Layout.byteCount..<header.byteCount)
  }

  /// The entries within, first to last.
  public var entries: JSetEntryIterator {
    @_lifetime(copy self)
    get { JSetEntryIterator(payload) }
  }
}

/// Iterates over a list of `struct jset_entry`: `while try iterator.advance() { iterator.current
/// }`.
public struct JSetEntryIterator: ~Escapable {
  private let bytes: RawSpan
  private var start = 0
  private var end = 0

  /// - Parameter bytes: exactly the list.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) { self.bytes = bytes }

  /// Where `current` starts in the list. Bytes.
  public var offset: Int { start }

  /// Moves to the first or next entry; false at the end.
  ///
  /// - Throws: `.truncated` when an entry runs over the end: nothing follows it.
  @_lifetime(self: copy self)
  public mutating func advance() throws(FormatError) -> Bool {
    let left = bytes.byteCount - end
    guard left > 0 else { return false }
    start = end
    var needed = JSetEntryView.Layout.byteCount
    if left >= needed {
      needed += Int(bytes[LEField<UInt16>(start)]) * 8
    }
    guard left >= needed else {
      end = bytes.byteCount
      throw FormatError(
        .truncated, "jset_entry", found: UInt64(left), expected: UInt64(needed),
        fsckError: .journal_entry_past_jset_end)
    }
    end = start + needed
    return true
  }

  /// The entry that `advance` moved to.
  ///
  /// - Precondition: the last call of `advance` returned true.
  public var current: JSetEntryView {
    @_lifetime(copy self)
    get { JSetEntryView(bytes.extracting(start..<end)) }
  }
}

/// One entry in place (`struct jset_entry`).
public struct JSetEntryView: ~Escapable {
  /// Where `struct jset_entry` keeps its fields, and its kinds theirs.
  @frozen public enum Layout {
    /// The payload, in u64s.
    @inlinable public static var u64s: LEField<UInt16> { .init(0) }
    /// The btree; for type `usage` the kind of usage.
    @inlinable public static var btreeID: LEField<UInt8> { .init(2) }
    @inlinable public static var level: LEField<UInt8> { .init(3) }
    @inlinable public static var type: LEField<UInt8> { .init(4) }
    /// Three bytes.
    @inlinable public static var pad: Int { 5 }
    @inlinable public static var byteCount: Int { 8 }

    /// `blacklist`: the number; `blacklist_v2`: the first; `usage`, `data_usage`: the amount.
    @inlinable public static var value: LEField<UInt64> { .init(8) }
    /// `blacklist_v2`: the last number, `end`.
    @inlinable public static var blacklistEnd: LEField<UInt64> { .init(16) }
    /// `data_usage`: a replicas entry.
    @inlinable public static var replicasDataType: LEField<UInt8> { .init(16) }
    @inlinable public static var replicasDevices: LEField<UInt8> { .init(17) }
    @inlinable public static var replicasRequired: LEField<UInt8> { .init(18) }
    @inlinable public static var dataUsageByteCount: Int { 19 }
    /// `clock`: 0 read, 1 write; seven bytes follow that mean nothing.
    @inlinable public static var clockRW: LEField<UInt8> { .init(8) }
    @inlinable public static var clockTime: LEField<UInt64> { .init(16) }
    @inlinable public static var clockByteCount: Int { 24 }
    /// `dev_usage`
    @inlinable public static var device: LEField<UInt32> { .init(8) }
    @inlinable public static var devicePad: LEField<UInt32> { .init(12) }
    @inlinable public static var bucketsEC: LEField<UInt64> { .init(16) }
    @inlinable public static var bucketsUnavailable: LEField<UInt64> { .init(24) }
    @inlinable public static var deviceUsageByteCount: Int { 32 }
    /// For each data type: buckets, sectors, fragmented.
    @inlinable public static var deviceUsageTypeByteCount: Int { 24 }
    /// `datetime`: seconds since 1970.
    @inlinable public static var seconds: LEField<Int64> { .init(8) }
  }

  /// Header and payload.
  public let bytes: RawSpan

  /// - Precondition: `bytes` is exactly one entry.
  @_lifetime(copy bytes)
  init(_ bytes: RawSpan) {
    assert(bytes.byteCount >= Layout.byteCount)
    self.bytes = bytes
  }

  public var u64s: Int { Int(bytes[Layout.u64s]) }
  public var btree: BTreeID { BTreeID(rawValue: bytes[Layout.btreeID]) }
  public var level: UInt8 { bytes[Layout.level] }
  public var type: JSetEntryType { JSetEntryType(rawValue: bytes[Layout.type]) }

  /// The bytes after the header.
  public var payload: RawSpan {
    @_lifetime(copy self)
    get { bytes.extracting(Layout.byteCount..<bytes.byteCount) }
  }

  /// The keys of an entry whose type has keys (`JSetEntryType.holdsKeys`), else none.
  public var keys: JSetKeyIterator {
    @_lifetime(copy self)
    get {
      JSetKeyIterator(type.holdsKeys ? payload : bytes.extracting(0..<0))
    }
  }
}

/// Iterates over unpacked keys with their values: `while let key = try iterator.next() {
/// iterator.value }`.
public struct JSetKeyIterator: ~Escapable {
  private let bytes: RawSpan
  private var start = 0
  private var end = 0

  /// - Parameter bytes: keys one after the other, nothing else.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) { self.bytes = bytes }

  /// The next key; nil at the end.
  ///
  /// - Throws: a key of size zero or past the end: nothing follows it. A key below the size of its
  ///   header or in another format than the unpacked one: the next call goes on behind it.
  @_lifetime(self: copy self)
  public mutating func next() throws(FormatError) -> BKey? {
    let place = end
    let left = bytes.byteCount - place
    end = bytes.byteCount
    start = end
    guard left > 0 else { return nil }
    let u64s = bytes[LEField<UInt8>(place)]
    guard u64s != 0 else {
      throw FormatError(
        .tooSmall, "jset_entry", "key u64s", expected: UInt64(BKey.headerU64s),
        fsckError: .journal_entry_bkey_u64s_0)
    }
    let byteCount = Int(u64s) * 8
    guard byteCount <= left else {
      throw FormatError(
        .truncated, "jset_entry", "key", found: UInt64(left), expected: UInt64(byteCount),
        fsckError: .journal_entry_bkey_past_end)
    }
    guard Int(u64s) >= BKey.headerU64s else {
      end = place + byteCount
      start = end
      throw FormatError(
        .tooSmall, "jset_entry", "key u64s", found: UInt64(u64s),
        expected: UInt64(BKey.headerU64s), fsckError: .bkey_u64s_too_small)
    }
    let format = bytes[LEField<UInt8>(place + 1)] & 0x7f
    guard format == BKey.currentFormat else {
      end = place + byteCount
      start = end
      throw FormatError(
        .unsupported, "jset_entry", "key format", found: UInt64(format),
        fsckError: .journal_entry_bkey_bad_format)
    }
    let key = try BKey(decoding: bytes.extracting(place..<place + byteCount))
    start = place
    end = place + byteCount
    return key
  }

  /// Where the key that `next` returned last starts in the list. Bytes.
  public var offset: Int { start }

  /// The value of the key that `next` returned last; empty after the end or an error.
  public var value: RawSpan {
    @_lifetime(copy self)
    get {
      let valueStart = start + BKey.Layout.byteCount
      return valueStart <= end ? bytes.extracting(valueStart..<end) : bytes.extracting(0..<0)
    }
  }
}
