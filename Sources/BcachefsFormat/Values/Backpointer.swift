// SPDX-License-Identifier: GPL-2.0
// From a place on a device back to the extent or btree node that uses it, and the generations of
// 256 buckets in one key.
// Source: bcachefs backpointers.c, alloc_background.c.

/// Who uses a part of a bucket (`struct bch_backpointer`), at `Positions.backpointer`.
@frozen
public struct Backpointer: Hashable, Sendable, BitwiseCopyable {
  public var btree: BTreeID
  /// Level of the key that has the pointer: 0 for data, above for btree nodes.
  public var level: UInt8
  /// `enum bch_data_type`
  public var dataType: UInt8
  /// 40 bits: sectors from the bucket's start, shifted by `Positions.compressRatioShift`, plus the
  /// pointer's offset into its decompressed extent.
  public var bucketOffset: UInt64
  /// Sectors on the device.
  public var bucketLength: UInt32
  /// The key that has the pointer.
  public var position: BPos

  @inlinable public init(
    btree: BTreeID, level: UInt8, dataType: UInt8, bucketOffset: UInt64, bucketLength: UInt32,
    position: BPos
  ) {
    self.btree = btree
    self.level = level
    self.dataType = dataType
    self.bucketOffset = bucketOffset
    self.bucketLength = bucketLength
    self.position = position
  }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 4 }

  /// - Throws: `.truncated` below 32 bytes.
  @inlinable public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 32 else {
      throw FormatError(
        .truncated, "bch_backpointer", found: UInt64(value.byteCount), expected: 32,
        fsckError: .bkey_val_size_too_small)
    }
    let word = value[LEField<UInt64>(0)]
    self.init(
      btree: BTreeID(rawValue: UInt8(truncatingIfNeeded: word)),
      level: UInt8(truncatingIfNeeded: word >> 8), dataType: UInt8(truncatingIfNeeded: word >> 16),
      bucketOffset: word >> 24, bucketLength: value[LEField<UInt32>(8)],
      position: BPos(decoding: value, at: 12))
  }

  /// - Precondition: room for 32 bytes, `bucketOffset` below 2^40.
  @inlinable public func encode(into value: inout MutableRawSpan) {
    assert(bucketOffset < 1 << 40)
    var word = UInt64(btree.rawValue) | UInt64(level) << 8 | UInt64(dataType) << 16
    word |= bucketOffset << 24
    value[LEField<UInt64>(0)] = word
    value[LEField<UInt32>(8)] = bucketLength
    position.encode(into: &value, at: 12)
  }

  /// `bch2_backpointer_validate`
  public func validate(key: BKey, context: BKeyContext = .none) throws(FormatError) {
    guard level <= ValueTables.maxDepth else {
      throw FormatError(
        .tooLarge, "bch_backpointer", "level", found: UInt64(level),
        expected: UInt64(ValueTables.maxDepth), fsckError: .backpointer_level_bad)
    }
    guard let device = context.device(key.position.inode) else { return }
    let size = device.bucketSizeSectors
    let bucket = Positions.bucket(ofBackpointer: key.position, bucketSizeSectors: size)
    let expected = Positions.backpointer(
      bucket: bucket, bucketSizeSectors: size, bucketOffset: bucketOffset)
    guard bucketOffset >> Positions.compressRatioShift < UInt64(size), key.position == expected
    else {
      throw FormatError(
        .inconsistent, "bch_backpointer", "bucket_offset", found: bucketOffset,
        expected: key.position.offset, fsckError: .backpointer_bucket_offset_wrong)
    }
  }
}

extension Backpointer: CustomStringConvertible {
  /// `btree=extents l=0 offset=8:0 len=8 pos=4096:8:U32_MAX` (`bch2_backpointer_to_text`).
  public var description: String {
    let shift = Positions.compressRatioShift
    let remainder = bucketOffset & (1 << shift &- 1)
    return "btree=\(btree) l=\(level) offset=\(bucketOffset >> shift):\(remainder)"
      + " len=\(bucketLength) pos=\(position)"
  }
}

/// The generations of 256 buckets (`struct bch_bucket_gens`), at `device:bucket / 256`.
public struct BucketGens: ~Escapable {
  /// One byte a bucket.
  public let bytes: RawSpan

  /// `KEY_TYPE_BUCKET_GENS_NR`
  @inlinable public static var count: Int { 256 }
  /// Words of the value.
  @inlinable public static var encodedU64s: Int { count / 8 }

  /// - Throws: `.inconsistent` (`bucket_gens_val_size_bad`) unless it has 256 bytes.
  @_lifetime(copy value)
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount == BucketGens.count else {
      throw FormatError(
        .inconsistent, "bch_bucket_gens", "size", found: UInt64(value.byteCount),
        expected: UInt64(BucketGens.count), fsckError: .bucket_gens_val_size_bad)
    }
    bytes = value
  }

  /// The generation of bucket `index` of these, 0 ..< 256.
  public subscript(index: Int) -> UInt8 {
    index >= 0 && index < BucketGens.count ? bytes[LEField<UInt8>(index)] : 0
  }

  /// Sets the generation of bucket `index` of a value; nothing if there is no such bucket.
  public static func set(_ index: Int, to generation: UInt8, in value: inout MutableRawSpan) {
    guard index >= 0, index < min(count, value.byteCount) else { return }
    value[LEField<UInt8>(index)] = generation
  }

  /// All generations, a space between.
  public var description: String {
    var text = String(self[0])
    for index in 1..<BucketGens.count { text += " \(self[index])" }
    return text
  }
}
