// SPDX-License-Identifier: GPL-2.0
// Entries of the journal as values: decoded with validation, encoded to the same bytes.
//
// How it works
//   1. `JSetEntryView.validate` applies the rules of the entry's type.
//   2. `JSetEntry(decoding:)` takes an entry apart. What its type has no name for (padding, bytes
//      after what is defined, everything of unknown types) is kept in `pad`, `unused` and `tail`.
//   3. `encode` puts it together again.
// Invariants
//   (1) Decoding what `encode` made gives the value again, and encoding what was decoded the bytes.
//   (2) `tail` is empty when the bytes it would hold are the zeros that encoding pads with.
// Source: journal_io.c, `journal_entry_*_validate`.

/// One entry of a journal entry or of the superblock's clean section (`struct jset_entry`).
public struct JSetEntry: Hashable, Sendable {
  /// What one data type uses on a device (`struct jset_entry_dev_usage_type`).
  public struct TypeUsage: Hashable, Sendable {
    public var buckets: UInt64
    public var sectors: UInt64
    /// Sectors in partly used buckets that hold nothing.
    public var fragmented: UInt64

    public init(buckets: UInt64, sectors: UInt64, fragmented: UInt64) {
      self.buckets = buckets
      self.sectors = sectors
      self.fragmented = fragmented
    }
  }

  /// What an entry says.
  public enum Payload: Hashable, Sendable {
    /// Unpacked keys with their values, one after the other.
    case keys([UInt8])
    /// A journal sequence number not to be used.
    case blacklist(seq: UInt64)
    /// From `start` to `end`, both included.
    case blacklistRange(start: UInt64, end: UInt64)
    /// What is counted stands in `JSetEntry.usageType`.
    case usage(UInt64)
    case dataUsage(type: DataType, required: UInt8, devices: [UInt8], sectors: UInt64)
    /// `rw` is 0 for the clock of reads, 1 for that of writes. The low 56 bits of `unused` are
    /// kept.
    case clock(rw: UInt8, unused: UInt64, time: UInt64)
    /// Usage by data type, in the order of `DataType`.
    case deviceUsage(
      device: UInt32, bucketsEC: UInt64, bucketsUnavailable: UInt64, types: [TypeUsage])
    /// Text without its padding.
    case log([UInt8])
    /// Seconds since 1970.
    case datetime(seconds: Int64)
    /// Obsolete or unknown: everything is in `tail`.
    case opaque
  }

  public var type: JSetEntryType
  /// For `usage` the kind of usage, see `usageType`.
  public var btree: BTreeID
  public var level: UInt8
  /// Three bytes that mean nothing; the low 24 bits.
  public var pad: UInt32
  public var payload: Payload
  /// Bytes after what the payload says.
  public var tail: [UInt8]

  public init(
    _ type: JSetEntryType, btree: BTreeID = .init(rawValue: 0), level: UInt8 = 0,
    _ payload: Payload, pad: UInt32 = 0, tail: [UInt8] = []
  ) {
    self.type = type
    self.btree = btree
    self.level = level
    self.pad = pad
    self.payload = payload
    self.tail = tail
  }

  /// What an entry of type `usage` counts.
  public var usageType: FilesystemUsageType { FilesystemUsageType(rawValue: btree.rawValue) }
}

// MARK: - Validation

extension JSetEntryView {
  private typealias L = Layout

  /// Checks sizes and contents by the rules of the entry's type; unknown types pass. Keys are
  /// checked for size and format, their values are not looked at.
  ///
  /// - Throws: `.tooSmall`, `.invalid`, `.inconsistent`, `.reservedNotZero`, and what
  ///   `JSetKeyIterator.next` throws.
  public func validate() throws(FormatError) {
    switch type {
    case .btreeRoot: try validateRoot()
    case .btreeKeys, .overwrite, .writeBufferKeys: try validateKeys()
    case .blacklist:
      guard u64s == 1 else { throw badSize(.journal_entry_blacklist_bad_size, 16) }
    case .blacklistV2:
      guard u64s == 2 else { throw badSize(.journal_entry_blacklist_v2_bad_size, 24) }
      let (start, end) = (bytes[L.value], bytes[L.blacklistEnd])
      guard start <= end else {
        throw FormatError(
          .inconsistent, "jset_entry_blacklist_v2", "start", found: start, expected: end,
          fsckError: .journal_entry_blacklist_v2_start_past_end)
      }
    case .usage: try require(16, .journal_entry_usage_bad_size)
    case .dataUsage: try validateDataUsage()
    case .clock:
      guard bytes.byteCount == L.clockByteCount else {
        throw badSize(.journal_entry_clock_bad_size, L.clockByteCount)
      }
      let rw = bytes[L.clockRW]
      guard rw <= 1 else {
        throw FormatError(
          .invalid, "jset_entry_clock", "rw", found: UInt64(rw),
          fsckError: .journal_entry_clock_bad_rw)
      }
    case .devUsage:
      try require(L.deviceUsageByteCount, .journal_entry_dev_usage_bad_size)
      let pad = bytes[L.devicePad]
      guard pad == 0 else {
        throw FormatError(
          .reservedNotZero, "jset_entry_dev_usage", "pad", found: UInt64(pad),
          fsckError: .journal_entry_dev_usage_bad_pad)
      }
    case .datetime: try require(16, .journal_entry_dev_usage_bad_size)
    default: break
    }
  }

  private func badSize(_ error: FsckErrorID, _ expected: Int) -> FormatError {
    FormatError(
      .invalid, "jset_entry", "u64s", found: UInt64(bytes.byteCount), expected: UInt64(expected),
      fsckError: error)
  }

  private func require(_ byteCount: Int, _ error: FsckErrorID) throws(FormatError) {
    guard bytes.byteCount >= byteCount else {
      throw FormatError(
        .tooSmall, "jset_entry", "u64s", found: UInt64(bytes.byteCount),
        expected: UInt64(byteCount), fsckError: error)
    }
  }

  private func validateKeys() throws(FormatError) {
    var keys = keys
    while try keys.next() != nil {}
  }

  private func validateRoot() throws(FormatError) {
    guard u64s > 0, u64s == Int(bytes[LEField<UInt8>(L.byteCount)]) else {
      throw FormatError(
        .invalid, "jset_entry", "btree_root u64s", found: UInt64(u64s),
        fsckError: .journal_entry_btree_root_bad_size)
    }
    try validateKeys()
  }

  private func validateDataUsage() throws(FormatError) {
    try require(24, .journal_entry_data_usage_bad_size)
    let devices = bytes[L.replicasDevices]
    let required = bytes[L.replicasRequired]
    try require(L.dataUsageByteCount + Int(devices), .journal_entry_data_usage_bad_size)
    guard devices > 0, required <= 1 || required < devices else {
      throw FormatError(
        .inconsistent, "jset_entry_data_usage", "nr_required", found: UInt64(required),
        expected: UInt64(devices), fsckError: .journal_entry_data_usage_bad_size)
    }
  }
}

// MARK: - Decoding

extension JSetEntry {
  private typealias L = JSetEntryView.Layout

  /// Takes an entry apart.
  ///
  /// - Throws: what `JSetEntryView.validate` throws.
  public init(decoding view: borrowing JSetEntryView) throws(FormatError) {
    try view.validate()
    let bytes = view.bytes
    self.init(
      view.type, btree: view.btree, level: view.level, .opaque,
      pad: UInt32(bytes[LEField<UInt16>(L.pad)]) | UInt32(bytes[LEField<UInt8>(L.pad + 2)]) << 16)
    let end: Int
    (payload, end) = JSetEntry.payload(of: view)
    let rest = JSetEntry.copy(bytes, end..<bytes.byteCount)
    let isPadding = rest.count < 8 && rest.allSatisfy { $0 == 0 }
    tail = isPadding && payload != .opaque ? [] : rest
  }

  /// What a validated entry says, and where in its bytes that ends.
  private static func payload(of view: borrowing JSetEntryView) -> (Payload, Int) {
    let bytes = view.bytes
    switch view.type {
    case .btreeKeys, .btreeRoot, .overwrite, .writeBufferKeys:
      return (.keys(copy(bytes, L.byteCount..<bytes.byteCount)), bytes.byteCount)
    case .blacklist: return (.blacklist(seq: bytes[L.value]), 16)
    case .blacklistV2:
      return (.blacklistRange(start: bytes[L.value], end: bytes[L.blacklistEnd]), 24)
    case .usage: return (.usage(bytes[L.value]), 16)
    case .dataUsage:
      let end = L.dataUsageByteCount + Int(bytes[L.replicasDevices])
      let payload = Payload.dataUsage(
        type: DataType(rawValue: bytes[L.replicasDataType]), required: bytes[L.replicasRequired],
        devices: copy(bytes, L.dataUsageByteCount..<end), sectors: bytes[L.value])
      return (payload, end)
    case .clock:
      let payload = Payload.clock(
        rw: bytes[L.clockRW], unused: bytes[L.value] >> 8, time: bytes[L.clockTime])
      return (payload, L.clockByteCount)
    case .devUsage: return deviceUsage(bytes)
    case .log:
      var text = copy(bytes, L.byteCount..<bytes.byteCount)
      for _ in 0..<min(7, text.count) where text.last == 0 { text.removeLast() }
      return (.log(text), bytes.byteCount)
    case .datetime: return (.datetime(seconds: bytes[L.seconds]), 16)
    default: return (.opaque, L.byteCount)
    }
  }

  private static func deviceUsage(_ bytes: RawSpan) -> (Payload, Int) {
    var types: [TypeUsage] = []
    var offset = L.deviceUsageByteCount
    while bytes.byteCount - offset >= L.deviceUsageTypeByteCount {
      types.append(
        TypeUsage(
          buckets: bytes[LEField<UInt64>(offset)], sectors: bytes[LEField<UInt64>(offset + 8)],
          fragmented: bytes[LEField<UInt64>(offset + 16)]))
      offset += L.deviceUsageTypeByteCount
    }
    let payload = Payload.deviceUsage(
      device: bytes[L.device], bucketsEC: bytes[L.bucketsEC],
      bucketsUnavailable: bytes[L.bucketsUnavailable], types: types)
    return (payload, offset)
  }

  private static func copy(_ bytes: RawSpan, _ range: Range<Int>) -> [UInt8] {
    var copy: [UInt8] = []
    copy.reserveCapacity(range.count)
    for offset in range { copy.append(bytes[LEField<UInt8>(offset)]) }
    return copy
  }
}

// MARK: - Encoding

extension JSetEntry {
  /// The bytes of the entry, header and padding included.
  ///
  /// - Throws: `.tooLarge` when the payload is longer than 65,535 u64s.
  public func encoded() throws(FormatError) -> [UInt8] {
    var bytes: [UInt8] = [
      0, 0, btree.rawValue, level, type.rawValue, UInt8(truncatingIfNeeded: pad),
      UInt8(truncatingIfNeeded: pad >> 8), UInt8(truncatingIfNeeded: pad >> 16),
    ]
    encodePayload(into: &bytes)
    bytes += tail
    while bytes.count % 8 != 0 { bytes.append(0) }
    guard let u64s = UInt16(exactly: bytes.count / 8 - 1) else {
      throw FormatError(
        .tooLarge, "jset_entry", "u64s", found: UInt64(bytes.count / 8 - 1),
        expected: UInt64(UInt16.max))
    }
    bytes[0] = UInt8(truncatingIfNeeded: u64s)
    bytes[1] = UInt8(truncatingIfNeeded: u64s >> 8)
    return bytes
  }

  private func encodePayload(into bytes: inout [UInt8]) {
    switch payload {
    case .keys(let keys): bytes += keys
    case .blacklist(let seq): bytes.appendLE(seq)
    case .blacklistRange(let start, let end):
      bytes.appendLE(start)
      bytes.appendLE(end)
    case .usage(let value): bytes.appendLE(value)
    case .dataUsage(let type, let required, let devices, let sectors):
      assert(devices.count <= 255)
      bytes.appendLE(sectors)
      bytes += [type.rawValue, UInt8(truncatingIfNeeded: devices.count), required]
      bytes += devices
    case .clock(let rw, let unused, let time):
      bytes.appendLE(UInt64(rw) | unused << 8)
      bytes.appendLE(time)
    case .deviceUsage(let device, let bucketsEC, let bucketsUnavailable, let types):
      bytes.appendLE(UInt64(device))
      bytes.appendLE(bucketsEC)
      bytes.appendLE(bucketsUnavailable)
      for usage in types {
        bytes.appendLE(usage.buckets)
        bytes.appendLE(usage.sectors)
        bytes.appendLE(usage.fragmented)
      }
    case .log(let text): bytes += text
    case .datetime(let seconds): bytes.appendLE(UInt64(bitPattern: seconds))
    case .opaque: break
    }
  }
}

extension [UInt8] {
  /// Appends the eight bytes of `value`, low byte first.
  mutating func appendLE(_ value: UInt64) {
    for shift in stride(from: UInt64(0), to: 64, by: 8) {
      append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }
}
