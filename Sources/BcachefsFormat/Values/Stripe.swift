// SPDX-License-Identifier: GPL-2.0
// Erasure-coded stripes: which buckets form one, the checksums of their blocks, and how much of
// each data block is in use.
//
// How it works
//   A head of 8 bytes; a pointer for each block, data blocks first; checksums, block by block, one
//   for each 2^granularity sectors; then 16 bits for each block that count sectors in use. The last
//   word is filled up with zeroes.
// Invariants
//   (1) Offsets are computed from the head alone, and compared with the value's size before use.
// Source: bcachefs ec.c, ec.h.

public import BcachefsSupport

/// A stripe (`struct bch_stripe`), at `0:index`.
public struct Stripe: ~Escapable {
  /// The whole value.
  public let bytes: RawSpan
  public let head: Head

  /// The fixed part.
  @frozen
  public struct Head: Hashable, Sendable, BitwiseCopyable {
    /// Of each block.
    public var sectors: UInt16
    /// How parity is made, below 16; 0 is P and Q.
    public var algorithm: UInt8
    /// Bits 4 to 7 of the algorithm's byte, for what newer drivers still have to do with it (bit 4
    /// needs_reconcile, 5 to 7 can_widen); 0 in 1.13.
    public var pendingWork: UInt8
    /// Data and redundancy together.
    public var blockCount: UInt8
    public var redundantCount: UInt8
    /// log2 of the sectors that a checksum covers.
    public var checksumGranularityBits: UInt8
    /// `enum bch_csum_type`
    public var checksumType: UInt8
    /// Label of the devices it is on, plus one; 0 is any.
    public var diskLabel: UInt8

    @inlinable public init(
      sectors: UInt16, algorithm: UInt8 = 0, blockCount: UInt8, redundantCount: UInt8,
      checksumGranularityBits: UInt8, checksumType: UInt8, diskLabel: UInt8 = 0,
      pendingWork: UInt8 = 0
    ) {
      self.sectors = sectors
      self.algorithm = algorithm & 15
      self.pendingWork = pendingWork & 15
      self.blockCount = blockCount
      self.redundantCount = redundantCount
      self.checksumGranularityBits = checksumGranularityBits
      self.checksumType = checksumType
      self.diskLabel = diskLabel
    }

    /// Blocks of data, 0 if there is more redundancy than blocks.
    @inlinable public var dataCount: Int { max(0, Int(blockCount) &- Int(redundantCount)) }

    /// Checksums of a block.
    @inlinable public var checksumsPerBlock: Int {
      let bits = Int(min(checksumGranularityBits, 16))
      return (Int(sectors) &+ (1 << bits) &- 1) >> bits
    }

    /// Where the checksums of `block` start (`stripe_csum_offset`).
    public func checksumOffset(block: Int) -> Int {
      let bytes = ValueTables.checksumBytes(checksumType) ?? 0
      return 8 &+ 8 &* Int(blockCount) &+ block &* checksumsPerBlock &* bytes
    }

    /// Where the count of `block` stands (`stripe_blockcount_offset`).
    public func blockCountOffset(block: Int) -> Int {
      checksumOffset(block: Int(blockCount)) &+ 2 &* block
    }

    /// Words of the value (`stripe_val_u64s`); more than a key can hold is an error to validate.
    public var encodedU64s: Int { (blockCountOffset(block: Int(blockCount)) &+ 7) / 8 }

    /// - Precondition: room for 8 bytes.
    public func encode(into value: inout MutableRawSpan) {
      value[LEField<UInt16>(0)] = sectors
      value[LEField<UInt8>(2)] = algorithm | pendingWork << 4
      value[LEField<UInt8>(3)] = blockCount
      value[LEField<UInt8>(4)] = redundantCount
      value[LEField<UInt8>(5)] = checksumGranularityBits
      value[LEField<UInt8>(6)] = checksumType
      value[LEField<UInt8>(7)] = diskLabel
    }
  }

  /// - Throws: `.truncated` below 8 bytes.
  @_lifetime(copy value)
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 8 else { throw .tooSmall("bch_stripe", value.byteCount, 8) }
    bytes = value
    let algorithm = value[LEField<UInt8>(2)]
    head = Head(
      sectors: value[LEField(0)], algorithm: algorithm, blockCount: value[LEField(3)],
      redundantCount: value[LEField(4)], checksumGranularityBits: value[LEField(5)],
      checksumType: value[LEField(6)], diskLabel: value[LEField(7)],
      pendingWork: algorithm >> 4)
  }

  /// The pointer to a block, nil if there is no such block in the value.
  public func pointer(block: Int) -> ExtentPtr? {
    guard block >= 0, block < Int(head.blockCount), 16 &+ 8 &* block <= bytes.byteCount else {
      return nil
    }
    return ExtentPtr(word: bytes[LEField<UInt64>(8 &+ 8 &* block)])
  }

  /// Sectors in use of a block, nil if the value does not reach so far.
  public func sectorsInUse(block: Int) -> UInt16? {
    let offset = head.blockCountOffset(block: block)
    guard block >= 0, block < Int(head.blockCount), offset &+ 2 <= bytes.byteCount else {
      return nil
    }
    return bytes[LEField<UInt16>(offset)]
  }

  /// Checksum number `index` of a block, nil if the value does not reach so far.
  public func checksum(block: Int, index: Int) -> Checksum128? {
    guard block >= 0, block < Int(head.blockCount), index >= 0, index < head.checksumsPerBlock,
      let count = ValueTables.checksumBytes(head.checksumType)
    else { return nil }
    let start = head.checksumOffset(block: block) &+ index &* count
    guard start &+ count <= bytes.byteCount else { return nil }
    var checksum = Checksum128()
    for at in 0..<count {
      let byte = UInt64(bytes[LEField<UInt8>(start &+ at)])
      if at < 8 {
        checksum.lo |= byte << UInt64(at &* 8)
      } else {
        checksum.hi |= byte << UInt64(at &* 8 &- 64)
      }
    }
    return checksum
  }
}

// MARK: - Writing

extension Stripe {
  /// Sets the pointer to a block of a value that `Head.encode` has begun.
  ///
  /// - Throws: `.truncated` if it does not fit.
  public static func set(
    _ ptr: ExtentPtr, block: Int, in value: inout MutableRawSpan
  ) throws(FormatError) {
    let offset = 8 &+ 8 &* block
    guard block >= 0, offset &+ 8 <= value.byteCount else {
      throw .tooSmall("bch_stripe", value.byteCount, offset &+ 8)
    }
    value[LEField<UInt64>(offset)] = ptr.word
  }

  /// Sets the sectors in use of a block.
  ///
  /// - Throws: `.truncated` if it does not fit.
  public static func set(
    sectorsInUse sectors: UInt16, block: Int, head: Head, in value: inout MutableRawSpan
  ) throws(FormatError) {
    let offset = head.blockCountOffset(block: block)
    guard block >= 0, offset &+ 2 <= value.byteCount else {
      throw .tooSmall("bch_stripe", value.byteCount, offset &+ 2)
    }
    value[LEField<UInt16>(offset)] = sectors
  }

  /// Sets checksum number `index` of a block.
  ///
  /// - Throws: `.truncated` if it does not fit.
  public static func set(
    _ checksum: Checksum128, block: Int, index: Int, head: Head, in value: inout MutableRawSpan
  ) throws(FormatError) {
    let count = ValueTables.checksumBytes(head.checksumType) ?? 0
    let start = head.checksumOffset(block: block) &+ index &* count
    guard block >= 0, index >= 0, start &+ count <= value.byteCount else {
      throw .tooSmall("bch_stripe", value.byteCount, start &+ count)
    }
    for at in 0..<count {
      let word = at < 8 ? checksum.lo : checksum.hi
      value[LEField<UInt8>(start &+ at)] =
        UInt8(truncatingIfNeeded: word >> UInt64(at & 7 &* 8))
    }
  }
}

// MARK: - Validation, text

extension Stripe {
  /// `bch2_stripe_validate`, without the rules for its pointers.
  public func validate(key: BKey) throws(FormatError) {
    guard key.position != .min, key.position <= BPos(0, UInt64(UInt32.max)) else {
      throw FormatError(
        .invalid, "bch_stripe", "pos", found: key.position.offset, fsckError: .stripe_pos_bad)
    }
    guard bytes.byteCount / 8 >= head.encodedU64s else {
      throw FormatError(
        .tooSmall, "bch_stripe", "u64s", found: UInt64(bytes.byteCount / 8),
        expected: UInt64(head.encodedU64s), fsckError: .stripe_val_size_bad)
    }
    guard head.checksumGranularityBits < 64 else {
      throw FormatError(
        .tooLarge, "bch_stripe", "csum_granularity_bits",
        found: UInt64(head.checksumGranularityBits), expected: 63,
        fsckError: .stripe_csum_granularity_bad)
    }
  }

  /// `bch2_stripe_to_text`
  public func text(context: BKeyContext = .none) -> String {
    let dataCount = Int32(head.blockCount) &- Int32(head.redundantCount)
    var text = "algo \(head.algorithm) sectors \(head.sectors)"
    text += " blocks \(UInt32(bitPattern: dataCount)):\(head.redundantCount) csum "
    text += ChecksumType(rawValue: head.checksumType).description
    if head.checksumGranularityBits < 64 {
      let sectors: UInt64 = 1 << UInt64(head.checksumGranularityBits)
      text += " gran \(sectors)"
    } else {
      text += " gran (invalid shift \(head.checksumGranularityBits))"
    }
    if head.diskLabel != 0 { text += " label \(head.diskLabel &- 1)" }
    for block in 0..<Int(head.blockCount) {
      guard let ptr = pointer(block: block) else { break }
      text += " \(ptr.text(context: context))"
      if ChecksumType(rawValue: head.checksumType).isKnown, block < head.dataCount,
        let sectors = sectorsInUse(block: block)
      {
        text += "#\(sectors)"
      }
    }
    return text
  }
}
