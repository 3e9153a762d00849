// SPDX-License-Identifier: GPL-2.0
// What every bucket is used for (`struct bch_alloc_v4`), at `device:bucket`.
//
// How it works
//   The value has grown: its first form had six words and backpointers right behind them; the
//   number of words before them stands in the flags (0 means 6). Decoding gives today's form: words
//   that were not there are zero, and backpointers, which have long moved to a btree of their own,
//   are forgotten, as upstream forgets them on the next update.
// Invariants
//   (1) A value of today's form comes back as the same bytes.
//   (2) A decoded value says that backpointers start behind it and that there are none, or is of
//       today's form.
// Source: bcachefs alloc_background.c, alloc_background.h.

/// A bucket's state.
@frozen
public struct AllocV4: Hashable, Sendable, BitwiseCopyable {
  /// The journal entry whose flush makes the bucket reusable.
  public var journalSeq: UInt64 = 0
  public var rawFlags: UInt32 = UInt32(AllocV4.encodedU64s) << 2
  /// Of the bucket: pointers of another generation are stale.
  public var generation: UInt8 = 0
  /// The oldest generation that a pointer may still have.
  public var oldestGeneration: UInt8 = 0
  /// `enum bch_data_type`
  public var dataType: UInt8 = 0
  public var stripeRedundancy: UInt8 = 0
  public var dirtySectors: UInt32 = 0
  public var cachedSectors: UInt32 = 0
  /// When it was last read and written, in the volume's I/O clocks.
  public var readTime: UInt64 = 0
  public var writeTime: UInt64 = 0
  /// The stripe it is part of, 0 for none.
  public var stripe: UInt32 = 0
  public var externalBackpointerCount: UInt32 = 0
  /// Not used any more; written as found.
  public var obsoleteFragmentationLRU: UInt64 = 0
  /// Sectors of its data that a stripe protects.
  public var stripeSectors: UInt32 = 0
  public var pad: UInt32 = 0

  /// A free bucket of generation 0.
  @inlinable public init() {}

  /// `BCH_ALLOC_V4_NEED_DISCARD`
  @inlinable public var needsDiscard: Bool {
    get { rawFlags & 1 != 0 }
    set { rawFlags = rawFlags & ~1 | (newValue ? 1 : 0) }
  }
  /// `BCH_ALLOC_V4_NEED_INC_GEN`
  @inlinable public var needsGenerationIncrement: Bool {
    get { rawFlags & 2 != 0 }
    set { rawFlags = rawFlags & ~2 | (newValue ? 2 : 0) }
  }
  /// `BCH_ALLOC_V4_BACKPOINTERS_START`: words before the backpointers.
  @inlinable public var backpointersStart: UInt32 { rawFlags >> 2 & 63 }
  /// `BCH_ALLOC_V4_NR_BACKPOINTERS`
  @inlinable public var backpointerCount: UInt32 { rawFlags >> 8 & 63 }

  /// Where `struct bch_alloc_v4` keeps its fields.
  @frozen public enum Layout {
    @inlinable public static var journalSeq: LEField<UInt64> { .init(0) }
    @inlinable public static var flags: LEField<UInt32> { .init(8) }
    @inlinable public static var generation: LEField<UInt8> { .init(12) }
    @inlinable public static var oldestGeneration: LEField<UInt8> { .init(13) }
    @inlinable public static var dataType: LEField<UInt8> { .init(14) }
    @inlinable public static var stripeRedundancy: LEField<UInt8> { .init(15) }
    @inlinable public static var dirtySectors: LEField<UInt32> { .init(16) }
    @inlinable public static var cachedSectors: LEField<UInt32> { .init(20) }
    @inlinable public static var readTime: LEField<UInt64> { .init(24) }
    @inlinable public static var writeTime: LEField<UInt64> { .init(32) }
    @inlinable public static var stripe: LEField<UInt32> { .init(40) }
    @inlinable public static var externalBackpointers: LEField<UInt32> { .init(44) }
    @inlinable public static var fragmentationLRU: LEField<UInt64> { .init(48) }
    @inlinable public static var stripeSectors: LEField<UInt32> { .init(56) }
    @inlinable public static var pad: LEField<UInt32> { .init(60) }
    /// `BCH_ALLOC_V4_U64s_V0` words
    @inlinable public static var minByteCount: Int { 48 }
    @inlinable public static var byteCount: Int { 64 }
  }

  /// Words of the value (`BCH_ALLOC_V4_U64s`).
  @inlinable public static var encodedU64s: Int { 8 }

  /// Decodes a value of type `alloc_v4` (`bch2_alloc_to_v4`).
  ///
  /// - Throws: `.truncated` below 48 bytes.
  @inlinable public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= Layout.minByteCount else {
      throw FormatError(
        .truncated, "bch_alloc_v4", found: UInt64(value.byteCount),
        expected: UInt64(Layout.minByteCount), fsckError: .bkey_val_size_too_small)
    }
    rawFlags = value[Layout.flags]
    journalSeq = value[Layout.journalSeq]
    generation = value[Layout.generation]
    oldestGeneration = value[Layout.oldestGeneration]
    dataType = value[Layout.dataType]
    stripeRedundancy = value[Layout.stripeRedundancy]
    dirtySectors = value[Layout.dirtySectors]
    cachedSectors = value[Layout.cachedSectors]
    readTime = value[Layout.readTime]
    writeTime = value[Layout.writeTime]
    stripe = value[Layout.stripe]
    externalBackpointerCount = value[Layout.externalBackpointers]
    let words = backpointersStart == 0 ? 6 : backpointersStart
    if words > 6 { obsoleteFragmentationLRU = value.orZero(Layout.fragmentationLRU) }
    if words > 7 {
      stripeSectors = value.orZero(Layout.stripeSectors)
      pad = value.orZero(Layout.pad)
    }
    if words != UInt32(AllocV4.encodedU64s) {
      rawFlags = rawFlags & 3 | UInt32(AllocV4.encodedU64s) << 2
    }
  }

  /// Encodes today's form; bytes behind it stay as they are.
  ///
  /// - Precondition: room for `Layout.byteCount` bytes.
  @inlinable public func encode(into value: inout MutableRawSpan) {
    value[Layout.journalSeq] = journalSeq
    value[Layout.flags] = rawFlags
    value[Layout.generation] = generation
    value[Layout.oldestGeneration] = oldestGeneration
    value[Layout.dataType] = dataType
    value[Layout.stripeRedundancy] = stripeRedundancy
    value[Layout.dirtySectors] = dirtySectors
    value[Layout.cachedSectors] = cachedSectors
    value[Layout.readTime] = readTime
    value[Layout.writeTime] = writeTime
    value[Layout.stripe] = stripe
    value[Layout.externalBackpointers] = externalBackpointerCount
    value[Layout.fragmentationLRU] = obsoleteFragmentationLRU
    value[Layout.stripeSectors] = stripeSectors
    value[Layout.pad] = pad
  }
}

// MARK: - What follows from it

extension AllocV4 {
  /// How far pointers may lag behind (`BUCKET_GC_GEN_MAX`).
  @inlinable public static var maxGenerationLag: UInt8 { 96 }
  /// `LRU_TIME_MAX`
  @inlinable public static var maxTime: UInt64 { 1 << 48 &- 1 }

  /// How far the oldest pointer may lag behind the bucket (`alloc_gc_gen`).
  @inlinable public var generationLag: UInt8 { generation &- oldestGeneration }

  /// Sectors in use other than cached ones (`bch2_bucket_sectors_dirty`), modulo 2^32 as upstream.
  @inlinable public var dirtyTotalSectors: UInt32 { stripeSectors &+ dirtySectors }

  /// What the bucket's type must be, for data of `type` in it (`alloc_data_type`).
  @inlinable public func derivedDataType(_ type: UInt8) -> UInt8 {
    if stripe != 0 { return type == DataType.parity.rawValue ? type : DataType.stripe.rawValue }
    if dirtyTotalSectors != 0 { return type }
    if cachedSectors != 0 { return DataType.cached.rawValue }
    if needsDiscard { return DataType.needDiscard.rawValue }
    if generationLag >= AllocV4.maxGenerationLag { return DataType.needGcGens.rawValue }
    return DataType.free.rawValue
  }

  /// Its time in the LRU of cached buckets, 0 if it is not in it (`alloc_lru_idx_read`).
  @inlinable public var readLRUTime: UInt64 {
    dataType == DataType.cached.rawValue ? readTime & AllocV4.maxTime : 0
  }

  /// Its time in the LRU of fragmented buckets, 0 if it is not in it
  /// (`alloc_lru_idx_fragmentation`): the fuller, the higher.
  @inlinable public func fragmentationLRUTime(bucketSizeSectors: UInt32) -> UInt64 {
    guard bucketSizeSectors > 0 else { return 0 }
    switch dataType {
    case DataType.btree.rawValue, DataType.user.rawValue, DataType.stripe.rawValue: break
    default: return 0
    }
    let dirty = dirtyTotalSectors
    let used = dataType == DataType.cached.rawValue ? cachedSectors : dirty
    guard used != 0, used < bucketSizeSectors else { return 0 }
    return UInt64(min(dirty, bucketSizeSectors)) << 31 / UInt64(bucketSizeSectors)
  }
}

extension DataType {
  /// Whether data of both types may be in one bucket (`bucket_data_type`).
  public func sharesBuckets(with other: DataType) -> Bool { family == other.family }

  private var family: DataType {
    switch self {
    case .cached, .stripe: .user
    default: self
    }
  }
}

// MARK: - Validation

extension AllocV4 {
  /// `bch2_alloc_v4_validate`, on the bytes: the size rules concern the form found.
  public static func validate(
    _ value: RawSpan, flags: BKeyValidation = []
  ) throws(FormatError) {
    let alloc = try AllocV4(decoding: value)
    let found = value[Layout.flags]
    let start = found >> 2 & 63
    let count = found >> 8 & 63
    let needed = (start == 0 ? 6 : start) + count * 4
    guard Int(needed) <= value.byteCount / 8 else {
      throw FormatError(
        .tooSmall, "bch_alloc_v4", "u64s", found: UInt64(value.byteCount / 8),
        expected: UInt64(needed), fsckError: .alloc_v4_val_size_bad)
    }
    guard start != 0 || count == 0 else {
      throw alloc.bad("backpointers_start", UInt64(start), .alloc_v4_backpointers_start_bad)
    }
    try alloc.validate(flags: flags)
  }

  /// The rules for what the fields say.
  public func validate(flags: BKeyValidation = []) throws(FormatError) {
    let expected = derivedDataType(dataType)
    guard dataType == expected else {
      throw FormatError(
        .inconsistent, "bch_alloc_v4", "data_type", found: UInt64(dataType),
        expected: UInt64(expected), fsckError: .alloc_key_data_type_bad)
    }
    for time in [readTime, writeTime] where time > AllocV4.maxTime {
      throw FormatError(
        .tooLarge, "bch_alloc_v4", "io_time", found: time, expected: AllocV4.maxTime,
        fsckError: .alloc_key_io_time_bad)
    }
    switch dataType {
    case DataType.free.rawValue, DataType.needGcGens.rawValue, DataType.needDiscard.rawValue:
      guard stripeSectors == 0, dirtySectors == 0, cachedSectors == 0, stripe == 0 else {
        throw bad("dirty_sectors", UInt64(dirtySectors), .alloc_key_empty_but_have_data)
      }
    case DataType.sb.rawValue...DataType.user.rawValue, DataType.parity.rawValue:
      guard dirtySectors != 0 || stripeSectors != 0 else {
        throw bad("dirty_sectors", 0, .alloc_key_dirty_sectors_0)
      }
    case DataType.cached.rawValue:
      guard cachedSectors != 0, dirtySectors == 0, stripeSectors == 0, stripe == 0 else {
        throw bad("cached_sectors", UInt64(cachedSectors), .alloc_key_cached_inconsistency)
      }
      guard readTime != 0 || !flags.contains(.lruChecked) else {
        throw bad("io_time", 0, .alloc_key_cached_but_read_time_zero)
      }
    default: break
    }
  }

  private func bad(
    _ field: StaticString, _ found: UInt64, _ error: FsckErrorID
  ) -> FormatError {
    FormatError(.inconsistent, "bch_alloc_v4", field, found: found, fsckError: error)
  }
}

extension AllocV4: CustomStringConvertible {
  /// Upstream's lines, joined as `bch2_alloc_to_text` joins them.
  public var description: String { text(device: nil) }

  /// `bch2_alloc_to_text`; the fragmentation needs the device.
  func text(device: BKeyContext.Device?) -> String {
    var text = "\n  gen \(generation) oldest_gen \(oldestGeneration) data_type "
    text += DataType(rawValue: dataType).description
    text += "\n  journal_seq       \(journalSeq)"
    text += "\n  need_discard      \(needsDiscard ? 1 : 0)"
    text += "\n  need_inc_gen      \(needsGenerationIncrement ? 1 : 0)"
    text += "\n  dirty_sectors     \(dirtySectors)"
    text += "\n  stripe_sectors    \(stripeSectors)"
    text += "\n  cached_sectors    \(cachedSectors)"
    text += "\n  stripe            \(stripe)"
    text += "\n  stripe_redundancy \(stripeRedundancy)"
    text += "\n  io_time[READ]     \(readTime)"
    text += "\n  io_time[WRITE]    \(writeTime)"
    if let device {
      let time = fragmentationLRUTime(bucketSizeSectors: device.bucketSizeSectors)
      text += "\n  fragmentation     \(time)"
    }
    return text + "\n  bp_start          \(backpointersStart)\n"
  }
}
