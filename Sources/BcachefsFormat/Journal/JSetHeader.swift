// SPDX-License-Identifier: GPL-2.0
// The fixed part of a journal entry, and which of its bytes are checksummed and encrypted.
//
// How it works
//   A journal bucket holds entries one after the other, each at a multiple of the block size. A
//   reader has a few sectors of one:
//   1. `JSetHeader(decoding:)` takes the header apart; `validateEarly` says whether this is an
//      entry of this volume, and whether its size can be true. Both look at plain bytes only.
//   2. The whole entry is read, its checksum verified over `JSetHeader.checksummedRange`, and
//      `encryptedRange` decrypted in place. The nonce is made of `nonce`.
//   3. `JSetView(validating:)` (JSetView.swift) looks at the rest.
// Invariants
//   (1) Fields from `writeClock` on mean nothing before decryption.
//   (2) byteCount == 56 + 8 * u64s, and fits an Int whatever the disk says.
// On disk: FORMAT.md, "Journal entries". Source: `struct jset`, bcachefs_format.h; journal_io.c.

public import BcachefsSupport

/// The fixed header of a journal entry (`struct jset`, 56 bytes).
public struct JSetHeader: Hashable, Sendable {
  /// The checksum, low word first; what type it is of stands in `flags`.
  public var checksumLo: UInt64
  public var checksumHi: UInt64
  /// `JSetHeader.magic(volume:)`
  public var magic: UInt64
  /// Every entry has its own number, one above that of the entry before.
  public var seq: UInt64
  public var version: UInt32
  public var flags: UInt32
  /// The payload, in u64s.
  public var u64s: UInt32
  /// No longer used.
  public var readClock: UInt16
  /// No longer used.
  public var writeClock: UInt16
  /// The oldest entry that still has keys the btrees have not written.
  public var lastSeq: UInt64

  public init(
    magic: UInt64, seq: UInt64, lastSeq: UInt64, version: MetadataVersion = .native,
    checksumType: UInt8 = 0, isFlush: Bool = true
  ) {
    checksumLo = 0
    checksumHi = 0
    self.magic = magic
    self.seq = seq
    self.version = UInt32(version.rawValue)
    flags = UInt32(checksumType & 15) | (isFlush ? 0 : 1 << 5)
    u64s = 0
    readClock = 0
    writeClock = 0
    self.lastSeq = lastSeq
  }
}

extension JSetHeader {
  /// Where `struct jset` keeps its fields.
  @frozen public enum Layout {
    @inlinable public static var checksumLo: LEField<UInt64> { .init(0) }
    @inlinable public static var checksumHi: LEField<UInt64> { .init(8) }
    @inlinable public static var magic: LEField<UInt64> { .init(16) }
    @inlinable public static var seq: LEField<UInt64> { .init(24) }
    @inlinable public static var version: LEField<UInt32> { .init(32) }
    @inlinable public static var flags: LEField<UInt32> { .init(36) }
    @inlinable public static var u64s: LEField<UInt32> { .init(40) }
    /// Here encryption starts.
    @inlinable public static var readClock: LEField<UInt16> { .init(44) }
    @inlinable public static var writeClock: LEField<UInt16> { .init(46) }
    @inlinable public static var lastSeq: LEField<UInt64> { .init(48) }
    @inlinable public static var byteCount: Int { 56 }

    @inlinable public static var checksumType: LEBits<UInt32> { .init(flags, 0..<4) }
    @inlinable public static var bigEndian: LEBits<UInt32> { .init(flags, 4..<5) }
    /// Written without a flush: `lastSeq` is not to be believed, and the entry only counts when a
    /// later one that was flushed is there.
    @inlinable public static var noFlush: LEBits<UInt32> { .init(flags, 5..<6) }
  }

  /// `JOURNAL_ENTRY_SIZE_MIN`: buffers are at least this large. Bytes.
  public static var bufferByteCountMin: Int { 64 << 10 }
  /// `JOURNAL_ENTRY_SIZE_MAX`: no entry is larger. Bytes.
  public static var byteCountMax: Int { 4 << 20 }
  /// `BCH_JOURNAL_BUCKETS_MIN`
  public static var journalBucketsMin: Int { 8 }

  /// The magic number of a volume's journal entries.
  ///
  /// - Parameter uuidLo: the first 8 bytes of `bch_sb.uuid`, little-endian.
  public static func magic(uuidLo: UInt64) -> UInt64 { uuidLo ^ 0x2452_35c1_a362_5032 }

  /// Takes the first 56 bytes apart.
  ///
  /// - Throws: `.truncated`.
  public init(decoding bytes: RawSpan) throws(FormatError) {
    guard bytes.byteCount >= Layout.byteCount else {
      throw FormatError(
        .truncated, "jset", found: UInt64(bytes.byteCount), expected: UInt64(Layout.byteCount))
    }
    checksumLo = bytes[Layout.checksumLo]
    checksumHi = bytes[Layout.checksumHi]
    magic = bytes[Layout.magic]
    seq = bytes[Layout.seq]
    version = bytes[Layout.version]
    flags = bytes[Layout.flags]
    u64s = bytes[Layout.u64s]
    readClock = bytes[Layout.readClock]
    writeClock = bytes[Layout.writeClock]
    lastSeq = bytes[Layout.lastSeq]
  }

  /// Writes the 56 bytes.
  ///
  /// - Precondition: `bytes` covers them.
  public func encode(into bytes: inout MutableRawSpan) {
    bytes[Layout.checksumLo] = checksumLo
    bytes[Layout.checksumHi] = checksumHi
    bytes[Layout.magic] = magic
    bytes[Layout.seq] = seq
    bytes[Layout.version] = version
    bytes[Layout.flags] = flags
    bytes[Layout.u64s] = u64s
    bytes[Layout.readClock] = readClock
    bytes[Layout.writeClock] = writeClock
    bytes[Layout.lastSeq] = lastSeq
  }

  /// Header and payload, in bytes (`vstruct_bytes`).
  public var byteCount: Int { Layout.byteCount + Int(u64s) * 8 }

  /// What the entry takes on disk (`vstruct_sectors`). Sectors of 512 bytes.
  ///
  /// - Parameter blockSectors: the volume's block size, at least 1.
  public func sectorCount(blockSectors: Int) -> Int {
    let blockBytes = max(1, blockSectors) << 9
    return (byteCount + blockBytes - 1) / blockBytes * max(1, blockSectors)
  }

  /// The number of the checksum type (`enum bch_csum_type`).
  public var checksumType: UInt8 { UInt8(truncatingIfNeeded: Layout.checksumType.get(flags)) }
  public var isBigEndian: Bool { Layout.bigEndian.get(flags) != 0 }
  public var isFlush: Bool { Layout.noFlush.get(flags) == 0 }

  /// The bytes the checksum covers, as they are on disk (encrypted).
  public var checksummedRange: Range<Int> { 16..<byteCount }
  /// The bytes that are encrypted where `checksumType` says so.
  public var encryptedRange: Range<Int> { 44..<byteCount }
  /// The nonce of checksum and encryption (`journal_nonce`).
  public var nonce: Nonce {
    Nonce(
      counter: 0, UInt32(truncatingIfNeeded: seq), UInt32(truncatingIfNeeded: seq >> 32), 3 << 28)
  }

  /// What can be said before decryption: an entry of this volume, in a format we can read, of a
  /// size that fits where it stands (`jset_validate_early`).
  ///
  /// - Parameter bytesLeft: to the end of the bucket.
  /// - Throws: `.badMagic` (nothing, or an entry of another volume: not damage), `.unsupported`,
  ///   `.tooLarge`.
  public func validateEarly(
    magic expectedMagic: UInt64, bytesLeft: Int
  ) throws(FormatError) {
    guard magic == expectedMagic else {
      throw FormatError(.badMagic, "jset", "magic", found: magic, expected: expectedMagic)
    }
    guard !isBigEndian else { throw FormatError(.unsupported, "jset", "big_endian", found: 1) }
    guard MetadataVersion(exactly: version)?.isCompatible == true else {
      throw FormatError(
        .unsupported, "jset", "version", found: UInt64(version),
        fsckError: .jset_unsupported_version)
    }
    guard byteCount <= bytesLeft else {
      throw FormatError(
        .tooLarge, "jset", "u64s", found: UInt64(byteCount), expected: UInt64(clamping: bytesLeft),
        fsckError: .jset_past_bucket_end)
    }
    guard byteCount <= JSetHeader.byteCountMax else {
      throw FormatError(
        .tooLarge, "jset", "u64s", found: UInt64(byteCount),
        expected: UInt64(JSetHeader.byteCountMax))
    }
  }

  /// What else the header must fulfil, once decrypted (`jset_validate`).
  ///
  /// - Throws: `.unsupported` (checksum type), `.inconsistent` (`lastSeq` after `seq`).
  public func validate() throws(FormatError) {
    guard checksumType <= 7 else {
      throw FormatError(
        .unsupported, "jset", "csum_type", found: UInt64(checksumType),
        fsckError: .jset_unknown_csum)
    }
    guard !isFlush || lastSeq <= seq else {
      throw FormatError(
        .inconsistent, "jset", "last_seq", found: lastSeq, expected: seq,
        fsckError: .jset_last_seq_newer_than_seq)
    }
  }
}

extension JSetHeader: CustomStringConvertible {
  public var description: String {
    let version = MetadataVersion(exactly: version).map(\.description) ?? "\(version)"
    return
      "seq \(seq) last_seq \(lastSeq) version \(version) u64s \(u64s) csum_type \(checksumType)"
      + (isFlush ? "" : " no_flush")
  }
}
