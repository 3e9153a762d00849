// SPDX-License-Identifier: GPL-2.0
// The one-word entries of an extent's value: pointers to data, to stripes, and rebalance wishes.
//
// Each is kept as the word it is on disk, with its bit fields as properties: bits that this version
// does not use survive. The position of the lowest set bit says which entry a word starts
// (`enum bch_extent_entry_type`).

/// A place on a device (`struct bch_extent_ptr`): entry type bit 0.
@frozen
public struct ExtentPtr: Hashable, Sendable, BitwiseCopyable {
  /// As on disk, after byte order.
  public var word: UInt64

  @inlinable public init(word: UInt64) { self.word = word }

  /// - Parameters:
  ///   - device: Index of the member; 255 is `BCH_SB_MEMBER_INVALID`.
  ///   - offset: Sectors from the device's start, below 2^44.
  ///   - generation: Of the bucket, when the pointer was made.
  @inlinable public init(
    device: UInt8, offset: UInt64, generation: UInt8, isCached: Bool = false,
    isUnwritten: Bool = false
  ) {
    assert(offset <= ExtentPtr.maxOffset)
    word = 1 | (offset & ExtentPtr.maxOffset) << 4 | UInt64(device) << 48
    word |= UInt64(generation) << 56
    if isCached { word |= 1 << 1 }
    if isUnwritten { word |= 1 << 3 }
  }

  /// The largest sector that a pointer can name.
  @inlinable public static var maxOffset: UInt64 { 1 << 44 &- 1 }

  /// Only a copy: may be dropped whenever the bucket is wanted.
  @inlinable public var isCached: Bool {
    get { word & 1 << 1 != 0 }
    set { word = word & ~(1 << 1) | (newValue ? 1 << 1 : 0) }
  }
  /// Space is reserved and nothing was written: reads as zeroes.
  @inlinable public var isUnwritten: Bool {
    get { word & 1 << 3 != 0 }
    set { word = word & ~(1 << 3) | (newValue ? 1 << 3 : 0) }
  }
  /// Sectors from the device's start.
  @inlinable public var offset: UInt64 {
    get { word >> 4 & ExtentPtr.maxOffset }
    set { word = word & ~(ExtentPtr.maxOffset << 4) | (newValue & ExtentPtr.maxOffset) << 4 }
  }
  /// Index of the member device.
  @inlinable public var device: UInt8 {
    get { UInt8(truncatingIfNeeded: word >> 48) }
    set { word = word & ~(0xff << 48) | UInt64(newValue) << 48 }
  }
  /// The bucket's generation when the pointer was made: older than the bucket's now, it is stale.
  @inlinable public var generation: UInt8 {
    get { UInt8(truncatingIfNeeded: word >> 56) }
    set { word = word & ~(0xff << 56) | UInt64(newValue) << 56 }
  }
}

/// Makes the pointer after it part of an erasure-coded stripe (`struct bch_extent_stripe_ptr`):
/// entry type bit 4.
@frozen
public struct ExtentStripePtr: Hashable, Sendable, BitwiseCopyable {
  /// As on disk, after byte order.
  public var word: UInt64

  @inlinable public init(word: UInt64) { self.word = word }

  /// - Parameters:
  ///   - stripe: Index (offset of the key) in the stripes btree, below 2^47.
  ///   - block: Which of the stripe's blocks holds the data.
  ///   - redundancy: How many blocks may be lost, below 16.
  @inlinable public init(stripe: UInt64, block: UInt8, redundancy: UInt8) {
    assert(stripe < 1 << 47 && redundancy < 16)
    word = 1 << 4 | UInt64(block) << 5 | UInt64(redundancy & 15) << 13 | stripe << 17
  }

  /// Which of the stripe's blocks.
  @inlinable public var block: UInt8 { UInt8(truncatingIfNeeded: word >> 5) }
  /// How many blocks may be lost.
  @inlinable public var redundancy: UInt8 { UInt8(truncatingIfNeeded: word >> 13) & 15 }
  /// Index in the stripes btree.
  @inlinable public var stripe: UInt64 { word >> 17 }
}

/// Where and how the extent's owner wants it kept (`struct bch_extent_rebalance`): entry type
/// bit 5.
@frozen
public struct ExtentRebalance: Hashable, Sendable, BitwiseCopyable {
  /// As on disk, after byte order.
  public var word: UInt64

  @inlinable public init(word: UInt64) { self.word = word }

  /// - Parameters:
  ///   - compression: A compression option: type in the low, level in the high four bits.
  ///   - target: A target as options encode it.
  @inlinable public init(compression: UInt8, target: UInt16) {
    word = 1 << 5 | UInt64(compression) << 40 | UInt64(target) << 48
  }

  /// A compression option: type in the low, level in the high four bits.
  @inlinable public var compression: UInt8 { UInt8(truncatingIfNeeded: word >> 40) }
  /// A target as options encode it.
  @inlinable public var target: UInt16 { UInt16(truncatingIfNeeded: word >> 48) }
}

/// What is said of the whole extent (`struct bch_extent_flags`, from 1.25 on): entry type bit 6.
@frozen
public struct ExtentFlags: Hashable, Sendable, BitwiseCopyable {
  /// As on disk, after byte order.
  public var word: UInt64

  @inlinable public init(word: UInt64 = 1 << 6) { self.word = word }

  /// Its data was found to be lost once; what stands there since has a good checksum and is not
  /// what was written (`BCH_EXTENT_FLAG_poisoned`).
  @inlinable public var isPoisoned: Bool {
    get { word & 1 << 7 != 0 }
    set { word = word & ~(1 << 7) | (newValue ? 1 << 7 : 0) }
  }
}
