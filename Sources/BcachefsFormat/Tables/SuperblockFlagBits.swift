// SPDX-License-Identifier: GPL-2.0
// The seven flag words of the superblock (`bch_sb.flags`): every bit that has a meaning. Options
// name their own bits in VolumeOption+Table.swift; here stand those that are no option.

/// Bits `lower ..< upper` of one of the superblock's flag words (C: `LE64_BITMASK(...,
/// flags[word])`).
@frozen
public struct SuperblockFlagBits: Hashable, Sendable {
  /// 0...6.
  public let word: Int
  public let lower: Int
  public let upper: Int

  @inlinable public init(_ word: Int, _ bits: Range<Int>) {
    self.word = word
    lower = bits.lowerBound
    upper = bits.upperBound
  }

  /// How many flag words there are.
  @inlinable public static var wordCount: Int { 7 }

  /// The same bits of the array of words at `byteOffset` of a structure.
  @inlinable public func bits(at byteOffset: Int) -> LEBits<UInt64> {
    LEBits(LEField(byteOffset &+ word &* 8), lower..<upper)
  }

  /// The largest value that fits.
  @inlinable public var max: UInt64 { bits(at: 0).max }

  @inlinable public func get(_ words: InlineArray<7, UInt64>) -> UInt64 {
    bits(at: 0).get(words[word])
  }

  /// Bits of `value` above `max` are dropped, as upstream's setters do.
  @inlinable public func set(_ words: inout InlineArray<7, UInt64>, to value: UInt64) {
    words[word] = bits(at: 0).setting(words[word], to: value & max)
  }
}

// swift-format-ignore
extension SuperblockFlagBits {
  /// Mounted read-write at least once: journal, root directory and allocation info exist.
  @inlinable public static var initialized: SuperblockFlagBits { .init(0, 0..<1) }
  /// Shut down cleanly: the section `clean` is there.
  @inlinable public static var clean: SuperblockFlagBits { .init(0, 1..<2) }
  /// The checksum type of the superblock itself.
  @inlinable public static var csumType: SuperblockFlagBits { .init(0, 2..<8) }
  @inlinable public static var hasErrors: SuperblockFlagBits { .init(0, 60..<61) }
  @inlinable public static var hasTopologyErrors: SuperblockFlagBits { .init(0, 61..<62) }
  @inlinable public static var bigEndian: SuperblockFlagBits { .init(0, 62..<63) }
  /// Not zero: all metadata and data is encrypted.
  @inlinable public static var encryptionType: SuperblockFlagBits { .init(1, 10..<14) }
  /// The version whose upgrade passes have all completed.
  @inlinable public static var versionUpgradeComplete: SuperblockFlagBits { .init(5, 0..<16) }
}
