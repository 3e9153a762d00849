// SPDX-License-Identifier: GPL-2.0
// The checksum types a volume may name, and what each of them is: seed, final inversion, width.
//
// How it works
//   1. `ChecksumType` is a number from disk, known or not; `Checksum128` is the stored value, 16
//      bytes of which the type uses the first `fieldBytes`; the rest is zero.
//   2. `checksum` covers one span; `StreamingChecksum` covers spans in a row, with the same result.
//   3. The two ChaCha20/Poly1305 types are message authentication codes: they need the volume's
//      key and the nonce of the data, and are computed over what is stored (encrypted bytes).
//
// Invariants
//   (1) A type that is not known never yields a value: it is a thrown `.unknownType`.
//   (2) Bytes of a `Checksum128` beyond the type's `fieldBytes` are zero when computed here.
//
// On disk: `struct bch_csum`, two little-endian 64-bit words.
// Source: enum bch_csum_type, bch_crc_bytes (bcachefs_format.h); checksum.c, checksum.h.

/// Why a checksum cannot be computed.
public enum ChecksumError: Error, Hashable, Sendable, CustomStringConvertible {
  /// A type that this program does not know.
  case unknownType(UInt8)
  /// A type that authenticates, but the volume's key is not here.
  case noKey

  public var description: String {
    switch self {
    case .unknownType(let type): "unknown checksum type \(type)"
    case .noKey: "the checksum needs the volume's encryption key, which is not loaded"
    }
  }
}

/// A stored checksum (`struct bch_csum`): two little-endian words, unused bytes zero.
@frozen
public struct Checksum128: Hashable, Sendable, CustomStringConvertible {
  /// Bytes 0 ..< 8.
  public var lo: UInt64
  /// Bytes 8 ..< 16.
  public var hi: UInt64

  /// Bytes that it takes on disk.
  @inlinable public static var byteCount: Int { 16 }
  @inlinable public static var zero: Checksum128 { Checksum128() }

  @inlinable
  public init(lo: UInt64 = 0, hi: UInt64 = 0) {
    self.lo = lo
    self.hi = hi
  }

  /// Only the first `byteCount` bytes, at most 16; the others are zero.
  public func truncated(toByteCount byteCount: Int) -> Checksum128 {
    switch byteCount {
    case ...0: .zero
    case 1..<8: Checksum128(lo: lo & (1 << UInt64(8 * byteCount) - 1))
    case 8..<16: Checksum128(lo: lo, hi: hi & (1 << UInt64(8 * (byteCount - 8)) - 1))
    default: self
    }
  }

  /// Whether both are equal, in a time that does not depend on where they differ.
  /// (C: `bch2_crc_cmp`, negated.)
  @inlinable
  public func matches(_ other: Checksum128) -> Bool {
    (lo ^ other.lo) | (hi ^ other.hi) == 0
  }

  /// The kernel's notation for errors: `hi:lo`, in hexadecimal.
  public var description: String { "\(String(hi, radix: 16)):\(String(lo, radix: 16))" }

  /// The first `byteCount` bytes in the order of the disk, two hexadecimal digits each.
  /// (C: `bch2_csum_to_text`.)
  public func hexadecimal(byteCount: Int = 16) -> String {
    var text = ""
    for index in 0..<max(0, min(byteCount, 16)) {
      let word = index < 8 ? lo : hi
      let byte = UInt8(truncatingIfNeeded: word >> UInt64(8 * (index & 7)))
      text += byte < 16 ? "0" : ""
      text += String(byte, radix: 16)
    }
    return text
  }
}

/// How data is checksummed (`enum bch_csum_type`). A number from disk: it may be unknown.
@frozen
public struct ChecksumType: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public var rawValue: UInt8

  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

  // The numbers are persistent and must never change.
  @inlinable public static var none: ChecksumType { .init(rawValue: 0) }
  /// CRC-32C, all ones first, inverted last: metadata.
  @inlinable public static var crc32cNonzero: ChecksumType { .init(rawValue: 1) }
  /// CRC-64, all ones first, inverted last: metadata.
  @inlinable public static var crc64Nonzero: ChecksumType { .init(rawValue: 2) }
  /// Encrypted; the first 80 bits of the authentication code.
  @inlinable public static var chacha20Poly1305Short: ChecksumType { .init(rawValue: 3) }
  /// Encrypted; all 128 bits of the authentication code (`wide_macs`, and all metadata).
  @inlinable public static var chacha20Poly1305: ChecksumType { .init(rawValue: 4) }
  /// CRC-32C, seed zero: data.
  @inlinable public static var crc32c: ChecksumType { .init(rawValue: 5) }
  /// CRC-64, seed zero: data.
  @inlinable public static var crc64: ChecksumType { .init(rawValue: 6) }
  @inlinable public static var xxhash: ChecksumType { .init(rawValue: 7) }

  /// Every type that is known, in order of their numbers.
  public static let allKnown: [ChecksumType] = (0..<8).map { ChecksumType(rawValue: $0) }

  /// Whether the number is one of `allKnown` (`BCH_CSUM_NR` = 8).
  @inlinable public var isKnown: Bool { rawValue < 8 }

  /// Bytes of `Checksum128` that this type uses, 0 for an unknown one. (C: `bch_crc_bytes`.)
  public var fieldBytes: Int {
    switch self {
    case .crc32cNonzero, .crc32c: 4
    case .crc64Nonzero, .crc64, .xxhash: 8
    case .chacha20Poly1305Short: 10
    case .chacha20Poly1305: 16
    default: 0
    }
  }

  /// Whether data of this type is encrypted. (C: `bch2_csum_type_is_encryption`.)
  @inlinable public var isEncryption: Bool {
    self == .chacha20Poly1305Short || self == .chacha20Poly1305
  }

  /// Whether `merge` is possible. (C: `bch2_checksum_mergeable`.)
  @inlinable public var isMergeable: Bool { self == .none || self == .crc32c || self == .crc64 }

  /// The C name without its prefix; `(unknown 9)` for one that has none.
  public var description: String {
    let names = [
      "none", "crc32c_nonzero", "crc64_nonzero", "chacha20_poly1305_80", "chacha20_poly1305_128",
      "crc32c", "crc64", "xxhash",
    ]
    return isKnown ? names[Int(rawValue)] : "(unknown \(rawValue))"
  }

  /// The checksum of `bytes`. (C: `bch2_checksum`.)
  ///
  /// - Parameters:
  ///   - bytes: What is stored: for the encrypted types, encrypt first.
  ///   - key: The volume's key; only the encrypted types look at it.
  ///   - nonce: The data's nonce; only the encrypted types look at it.
  /// - Throws: `.unknownType`; `.noKey` when the type is encrypted and `key` is nil.
  public func checksum(
    _ bytes: RawSpan, key: EncryptionKey? = nil, nonce: Nonce = .zero
  ) throws(ChecksumError) -> Checksum128 {
    switch self {
    case .none: return .zero
    case .crc32cNonzero: return Checksum128(lo: UInt64(~CRC32C.update(~0, bytes)))
    case .crc64Nonzero: return Checksum128(lo: ~CRC64.update(~0, bytes))
    case .crc32c: return Checksum128(lo: UInt64(CRC32C.update(0, bytes)))
    case .crc64: return Checksum128(lo: CRC64.update(0, bytes))
    case .xxhash: return Checksum128(lo: XXHash64.hash(bytes))
    case .chacha20Poly1305Short, .chacha20Poly1305:
      guard let key else { throw .noKey }
      var mac = Poly1305(key: key, nonce: nonce)
      mac.update(bytes)
      return mac.finish().truncated(toByteCount: fieldBytes)
    default: throw .unknownType(rawValue)
    }
  }

  /// The checksum of A followed by B, from the checksums of both. (C: `bch2_checksum_merge`.)
  ///
  /// - Parameters:
  ///   - secondByteCount: Length of B in bytes.
  /// - Precondition: `isMergeable`.
  /// - Complexity: some 100 ns for each bit set in `secondByteCount`.
  public func merge(
    _ first: Checksum128, _ second: Checksum128, secondByteCount: Int
  ) -> Checksum128 {
    invariant(isMergeable, "only seedless checksums merge")
    var merged = first
    switch self {
    case .crc32c:
      let low = UInt32(truncatingIfNeeded: first.lo)
      merged.lo = UInt64(CRC32C.appendingZeros(low, byteCount: secondByteCount))
    case .crc64: merged.lo = CRC64.appendingZeros(first.lo, byteCount: secondByteCount)
    default: merged.lo = 0
    }
    return Checksum128(lo: merged.lo ^ second.lo, hi: merged.hi ^ second.hi)
  }
}

/// A checksum over spans that come one after the other. (C: `struct bch2_checksum_state`.)
public struct StreamingChecksum: ~Copyable, Sendable {
  public let type: ChecksumType
  private var remainder: UInt64
  private var hash: XXHash64?
  private var mac: Poly1305?

  /// - Throws: As `ChecksumType.checksum`.
  public init(
    _ type: ChecksumType, key: EncryptionKey? = nil, nonce: Nonce = .zero
  ) throws(ChecksumError) {
    guard type.isKnown else { throw .unknownType(type.rawValue) }
    var mac: Poly1305?
    if type.isEncryption {
      guard let key else { throw .noKey }
      mac = Poly1305(key: key, nonce: nonce)
    }
    self.type = type
    self.remainder = type == .crc32cNonzero || type == .crc64Nonzero ? ~0 : 0
    self.hash = type == .xxhash ? XXHash64() : nil
    self.mac = mac
  }

  /// Appends `bytes`.
  public mutating func update(_ bytes: RawSpan) {
    switch type {
    case .crc32c, .crc32cNonzero:
      remainder = UInt64(CRC32C.update(UInt32(truncatingIfNeeded: remainder), bytes))
    case .crc64, .crc64Nonzero: remainder = CRC64.update(remainder, bytes)
    case .xxhash: hash?.update(bytes)
    case .chacha20Poly1305Short, .chacha20Poly1305: mac?.update(bytes)
    default: break
    }
  }

  /// The checksum of everything passed to `update`.
  public consuming func finish() -> Checksum128 {
    switch type {
    case .crc32c, .crc64: return Checksum128(lo: remainder)
    case .crc32cNonzero: return Checksum128(lo: UInt64(~UInt32(truncatingIfNeeded: remainder)))
    case .crc64Nonzero: return Checksum128(lo: ~remainder)
    case .xxhash: return Checksum128(lo: hash?.digest ?? 0)
    case .chacha20Poly1305Short, .chacha20Poly1305:
      let code = mac?.finish() ?? .zero
      return code.truncated(toByteCount: type.fieldBytes)
    default: return .zero
    }
  }
}
