// SPDX-License-Identifier: GPL-2.0
// Checksum and compression of the pointers that follow (`struct bch_extent_crc_unpacked`).
//
// How it works
//   On disk there are three widths of the same facts; the smallest that holds checksum, size and
//   nonce is written. Sizes are stored less one. An entry applies to all pointers after it
//   until the next one; pointers before the first have neither checksum nor compression, and their
//   sizes are the key's.
//
//   | kind   | type bits | sizes  | offset | nonce | checksum | words |
//   | ------ | --------- | ------ | ------ | ----- | -------- | ----- |
//   | crc32  | 2         | 7 bits | 7      | none  | 32 bits  | 1     |
//   | crc64  | 3         | 9      | 9      | 10    | 80       | 2     |
//   | crc128 | 4         | 13     | 13     | 13    | 128      | 3     |
//
// Invariants
//   (1) offset + liveSize <= uncompressedSize (validation, not decoding, checks it).
// Source: bcachefs extents.h, extents.c (bch2_extent_crc_pack, bch2_extent_crc_append).

public import BcachefsSupport

/// How the data that the following pointers name was encoded (`struct bch_extent_crc_unpacked`).
/// Sizes and offsets are in sectors.
@frozen
public struct ExtentCrc: Hashable, Sendable, BitwiseCopyable {
  /// What the data takes on the device.
  public var compressedSize: UInt32
  /// What it is when decompressed.
  public var uncompressedSize: UInt32
  /// The part still visible: the key's size.
  public var liveSize: UInt32
  /// Where in the decompressed data the visible part starts.
  public var offset: UInt16
  /// Added to the key's version for the cipher's nonce, sectors.
  public var nonce: UInt16
  /// `enum bch_csum_type`
  public var checksumType: UInt8
  /// `enum bch_compression_type`
  public var compressionType: UInt8
  public var checksum: Checksum128

  @inlinable public init(
    compressedSize: UInt32, uncompressedSize: UInt32, liveSize: UInt32, offset: UInt16 = 0,
    nonce: UInt16 = 0, checksumType: UInt8 = 0, compressionType: UInt8 = 0,
    checksum: Checksum128 = Checksum128()
  ) {
    self.compressedSize = compressedSize
    self.uncompressedSize = uncompressedSize
    self.liveSize = liveSize
    self.offset = offset
    self.nonce = nonce
    self.checksumType = checksumType
    self.compressionType = compressionType
    self.checksum = checksum
  }

  /// What holds for pointers before any crc entry: stored as it is.
  @inlinable public init(plainSectors size: UInt32) {
    self.init(compressedSize: size, uncompressedSize: size, liveSize: size)
  }

  /// Not stored as it is (`crc_is_compressed`).
  public var isCompressed: Bool {
    CompressionType(rawValue: compressionType).isCompressed
  }
  /// Only readable as a whole: compressed or checksummed (`crc_is_encoded`).
  public var isEncoded: Bool { checksumType != 0 || isCompressed }
}

extension ExtentCrc {
  /// The three widths on disk; the number is the type's bit.
  @frozen public enum Kind: UInt8, Sendable, CaseIterable {
    case crc32 = 1
    case crc64 = 2
    case crc128 = 3

    /// Words of the entry.
    @inlinable public var u64s: Int { Int(rawValue) }
    /// Bits of a size field (stored less one) and of the offset.
    @inlinable public var sizeBits: UInt64 {
      switch self {
      case .crc32: 7
      case .crc64: 9
      case .crc128: 13
      }
    }
    /// Bits of the nonce.
    @inlinable public var nonceBits: UInt64 {
      switch self {
      case .crc32: 0
      case .crc64: 10
      case .crc128: 13
      }
    }
    /// Largest size, sectors (`CRC32_SIZE_MAX` and so on).
    @inlinable public var maxSizeSectors: UInt32 { 1 << UInt32(sizeBits) }
    /// Largest nonce.
    @inlinable public var maxNonce: UInt16 { 1 << UInt16(nonceBits) &- 1 }
    /// Bytes of checksum it has room for.
    @inlinable public var checksumBytes: Int {
      switch self {
      case .crc32: 4
      case .crc64: 10
      case .crc128: 16
      }
    }
  }

  /// The narrowest kind that holds this, or nil if none does.
  public var smallestKind: Kind? {
    guard let bytes = ValueTables.checksumBytes(checksumType) else { return nil }
    guard compressedSize > 0, uncompressedSize > 0, compressedSize <= uncompressedSize,
      UInt32(offset) < uncompressedSize
    else { return nil }
    for kind in [Kind.crc32, .crc64, .crc128]
    where bytes <= kind.checksumBytes && uncompressedSize <= kind.maxSizeSectors
      && nonce <= kind.maxNonce
    {
      return kind
    }
    return nil
  }

  /// Whether `kind` has the bits for sizes, offset, nonce and types. (The checksum is cut to what
  /// the kind holds, as upstream does.)
  @inlinable public func fits(_ kind: Kind) -> Bool {
    compressedSize > 0 && uncompressedSize > 0 && compressedSize <= kind.maxSizeSectors
      && uncompressedSize <= kind.maxSizeSectors && UInt32(offset) < kind.maxSizeSectors
      && nonce <= kind.maxNonce && checksumType < 16 && compressionType < 16
  }

  /// The entry's words; unused ones are zero.
  ///
  /// - Precondition: `fits(kind)`.
  @inlinable public func words(as kind: Kind) -> (UInt64, UInt64, UInt64) {
    assert(fits(kind))
    let bits = kind.sizeBits
    var word = 1 << UInt64(kind.rawValue) as UInt64
    var shift = UInt64(kind.rawValue) &+ 1
    word |= UInt64(compressedSize &- 1) << shift
    shift &+= bits
    word |= UInt64(uncompressedSize &- 1) << shift
    shift &+= bits
    word |= UInt64(offset) << shift
    shift &+= bits
    if kind == .crc32 { shift &+= 1 }
    word |= UInt64(nonce) << shift
    shift &+= kind.nonceBits
    word |= UInt64(checksumType) << shift
    word |= UInt64(compressionType) << (shift &+ 4)
    switch kind {
    case .crc32: return (word | checksum.lo << 32, 0, 0)
    case .crc64: return (word | checksum.hi << 48, checksum.lo, 0)
    case .crc128: return (word, checksum.lo, checksum.hi)
    }
  }

  /// Decodes the entry at `byteOffset`, whose kind the caller has read from its type bits.
  ///
  /// - Precondition: `bytes` covers the kind's words.
  @inlinable public init(
    decoding bytes: RawSpan, at byteOffset: Int, kind: Kind, liveSize: UInt32
  ) {
    let word = bytes[LEField<UInt64>(byteOffset)]
    let bits = kind.sizeBits
    let mask = 1 << bits &- 1 as UInt64
    var shift = UInt64(kind.rawValue) &+ 1
    let compressed = word >> shift & mask
    shift &+= bits
    let uncompressed = word >> shift & mask
    shift &+= bits
    let offset = word >> shift & mask
    shift &+= bits
    if kind == .crc32 { shift &+= 1 }
    let nonce = word >> shift & (1 << kind.nonceBits &- 1)
    shift &+= kind.nonceBits
    let checksum =
      switch kind {
      case .crc32: Checksum128(lo: word >> 32)
      case .crc64: Checksum128(lo: bytes[LEField<UInt64>(byteOffset &+ 8)], hi: word >> 48)
      case .crc128:
        Checksum128(
          lo: bytes[LEField<UInt64>(byteOffset &+ 8)], hi: bytes[LEField<UInt64>(byteOffset &+ 16)])
      }
    self.init(
      compressedSize: UInt32(truncatingIfNeeded: compressed) &+ 1,
      uncompressedSize: UInt32(truncatingIfNeeded: uncompressed) &+ 1, liveSize: liveSize,
      offset: UInt16(truncatingIfNeeded: offset), nonce: UInt16(truncatingIfNeeded: nonce),
      checksumType: UInt8(truncatingIfNeeded: word >> shift) & 15,
      compressionType: UInt8(truncatingIfNeeded: word >> (shift &+ 4)) & 15, checksum: checksum)
  }
}
