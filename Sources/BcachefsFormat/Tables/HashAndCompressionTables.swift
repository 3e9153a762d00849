// SPDX-License-Identifier: GPL-2.0
// Kinds of name hash, checksum and compression: what stands on disk in keys, and what options
// call them. The two numberings differ. Numbers are persistent and must never change.

/// The hash of names in a directory or xattr tree (`enum bch_str_hash_type`), kept in inodes.
@frozen
public struct StringHashType: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "str_hash_type"
  public static let names: [StaticString] = [
    "crc32c", "crc64", "siphash_old", "siphash",
  ]
}

// swift-format-ignore
extension StringHashType {
  @inlinable public static var crc32c: StringHashType { .init(rawValue: 0) }
  @inlinable public static var crc64: StringHashType { .init(rawValue: 1) }
  @inlinable public static var siphashOld: StringHashType { .init(rawValue: 2) }
  @inlinable public static var siphash: StringHashType { .init(rawValue: 3) }
}

/// Values of the option `str_hash` (`enum bch_str_hash_opts`).
@frozen
public struct StringHashOption: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "str_hash_opt"
  public static let names: [StaticString] = [
    "crc32c", "crc64", "siphash",
  ]
}

// swift-format-ignore
extension StringHashOption {
  @inlinable public static var crc32c: StringHashOption { .init(rawValue: 0) }
  @inlinable public static var crc64: StringHashOption { .init(rawValue: 1) }
  @inlinable public static var siphash: StringHashOption { .init(rawValue: 2) }
}

/// Values of the options `metadata_checksum` and `data_checksum` (`enum bch_csum_opts`).
@frozen
public struct ChecksumOption: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "csum_opt"
  public static let names: [StaticString] = [
    "none", "crc32c", "crc64", "xxhash",
  ]
}

// swift-format-ignore
extension ChecksumOption {
  @inlinable public static var none: ChecksumOption { .init(rawValue: 0) }
  @inlinable public static var crc32c: ChecksumOption { .init(rawValue: 1) }
  @inlinable public static var crc64: ChecksumOption { .init(rawValue: 2) }
  @inlinable public static var xxhash: ChecksumOption { .init(rawValue: 3) }
}

/// How an extent is compressed (`enum bch_compression_type`).
@frozen
public struct CompressionType: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "compression_type"
  public static let names: [StaticString] = [
    "none", "lz4_old", "gzip", "lz4", "zstd", "incompressible",
  ]
}

// swift-format-ignore
extension CompressionType {
  @inlinable public static var none: CompressionType { .init(rawValue: 0) }
  @inlinable public static var lz4Old: CompressionType { .init(rawValue: 1) }
  @inlinable public static var gzip: CompressionType { .init(rawValue: 2) }
  @inlinable public static var lz4: CompressionType { .init(rawValue: 3) }
  @inlinable public static var zstd: CompressionType { .init(rawValue: 4) }
  @inlinable public static var incompressible: CompressionType { .init(rawValue: 5) }
}

/// The algorithm part of the options `compression` and `background_compression`
/// (`enum bch_compression_opts`).
@frozen
public struct CompressionKind: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "compression_opt"
  public static let names: [StaticString] = [
    "none", "lz4", "gzip", "zstd",
  ]
}

// swift-format-ignore
extension CompressionKind {
  @inlinable public static var none: CompressionKind { .init(rawValue: 0) }
  @inlinable public static var lz4: CompressionKind { .init(rawValue: 1) }
  @inlinable public static var gzip: CompressionKind { .init(rawValue: 2) }
  @inlinable public static var zstd: CompressionKind { .init(rawValue: 3) }
}

extension StringHashOption {
  /// The hash that new inodes get. `siphash` means the old keyed form on volumes without the
  /// feature `new_siphash` (`bch2_str_hash_opt_to_type`).
  public func type(newSiphash: Bool) -> StringHashType? {
    switch self {
    case .crc32c: .crc32c
    case .crc64: .crc64
    case .siphash: newSiphash ? .siphash : .siphashOld
    default: nil
    }
  }
}

extension ChecksumOption {
  /// The number of the checksum type (`enum bch_csum_type`) that data gets; nil for an unknown
  /// option (`bch2_csum_opt_to_type`).
  public var dataChecksumType: UInt8? {
    switch self {
    case .none: 0
    case .crc32c: 5
    case .crc64: 6
    case .xxhash: 7
    default: nil
    }
  }

  /// The number of the checksum type that metadata gets: CRCs with a start value other than zero.
  public var metadataChecksumType: UInt8? {
    switch self {
    case .crc32c: 1
    case .crc64: 2
    default: dataChecksumType
    }
  }
}

extension CompressionType {
  /// The superblock feature that announces such extents.
  public var feature: SuperblockFeature? {
    switch self {
    case .lz4, .lz4Old: .lz4
    case .gzip: .gzip
    case .zstd: .zstd
    case .incompressible: .incompressible
    default: nil
    }
  }

  /// The data under a checksum is to be decompressed before it is read (`crc_is_compressed`).
  public var isCompressed: Bool { self != .none && self != .incompressible }
}

extension CompressionKind {
  /// What extents written with it carry; nil for an unknown one (`bch2_compression_opt_to_type`).
  public var type: CompressionType? {
    switch self {
    case .none: CompressionType.none
    case .lz4: .lz4
    case .gzip: .gzip
    case .zstd: .zstd
    default: nil
    }
  }

  /// The superblock feature that announces such extents.
  public var feature: SuperblockFeature? { type?.feature }
}

/// Value of the options `compression` and `background_compression`: algorithm in the low four
/// bits, level in the high four (`struct bch_compression_opt`). Level 0 is the algorithm's default.
@frozen
public struct CompressionOption: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// - Parameter level: 0...15.
  @inlinable public init(_ algorithm: CompressionKind, level: UInt8 = 0) {
    rawValue = (algorithm.rawValue & 15) | (level & 15) << 4
  }

  @inlinable public var algorithm: CompressionKind { .init(rawValue: rawValue & 15) }
  @inlinable public var level: UInt8 { rawValue >> 4 }

  /// Algorithm known, and no level for `none` (`bch2_compression_opt_valid`).
  public var isValid: Bool { algorithm.isKnown && !(algorithm == .none && level != 0) }

  /// `ALGORITHM` or `ALGORITHM:LEVEL`, as in `zstd:15`; nil where it is neither.
  public init?(parsing text: some StringProtocol) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, let algorithm = CompressionKind(named: first) else {
      return nil
    }
    var level: UInt8 = 0
    if parts.count == 2 {
      guard let number = UInt8(parts[1]), number <= 15, algorithm != .none || number == 0 else {
        return nil
      }
      level = number
    }
    self.init(algorithm, level: level)
  }

  /// `zstd:15`, `lz4`; an invalid value counts as `none`, as upstream reads it.
  public var description: String {
    guard isValid else { return "\(CompressionKind.none)" }
    return level == 0 ? "\(algorithm)" : "\(algorithm):\(level)"
  }
}
