// SPDX-License-Identifier: GPL-2.0
// The volume's encryption key, itself encrypted with one made from the passphrase.

public import BcachefsSupport

/// The key of an encrypted volume (`struct bch_sb_field_crypt`).
public struct CryptSection: SuperblockSectionContents {
  public enum Layout {
    public static let flags = LEField<UInt64>(8)
    public static let kdfFlags = LEField<UInt64>(16)
    /// The first of the words of `struct bch_encrypted_key`.
    public static let keyMagic = LEField<UInt64>(24)
    /// 4 of them.
    public static let key = LEField<UInt64>(32)
    public static let byteCount = 64

    public static let kdfType = LEBits(flags, 0..<4)
    public static let scryptN = LEBits(kdfFlags, 0..<16)
    public static let scryptR = LEBits(kdfFlags, 16..<32)
    public static let scryptP = LEBits(kdfFlags, 32..<48)
  }

  /// `keyMagic` of a key that is not, or no longer, encrypted (`BCH_KEY_MAGIC`, "bch**key").
  public static let plainKeyMagic: UInt64 = 0x7965_6b2a_2a68_6362

  public static let type = SuperblockSectionType.crypt
  public var flags: UInt64
  /// Base 2 logarithms of scrypt's parameters, and bits without a meaning yet.
  public var kdfFlags: UInt64
  public var keyMagic: UInt64
  /// Four words.
  public var key: [UInt64]
  /// What a newer format has after these fields.
  public let slack: [UInt8]

  /// The section of a volume whose key is stored as `storedKey`, plain or wrapped.
  public init(costs: ScryptCosts, storedKey: StoredKey) {
    self.init(
      scryptN: costs.logN, scryptR: costs.logR, scryptP: costs.logP,
      keyMagic: storedKey.words[0], key: (1..<5).map { storedKey.words[$0] })
  }

  /// The key as it is stored, and what deriving the passphrase's key costs.
  public var storedKey: StoredKey {
    StoredKey(words: InlineArray { $0 == 0 ? keyMagic : key[$0 - 1] })
  }
  public var costs: ScryptCosts { ScryptCosts(kdfFlags: kdfFlags) }

  /// - Parameters:
  ///   - scryptN, scryptR, scryptP: base 2 logarithms of scrypt's parameters.
  ///   - key: Four words, encrypted unless `keyMagic` is `plainKeyMagic`.
  public init(scryptN: UInt16, scryptR: UInt16, scryptP: UInt16, keyMagic: UInt64, key: [UInt64]) {
    flags = 0
    kdfFlags = UInt64(scryptN) | UInt64(scryptR) << 16 | UInt64(scryptP) << 32
    self.keyMagic = keyMagic
    self.key = key
    slack = []
  }

  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    try Self.require(bytes, Layout.byteCount, "bch_sb_field_crypt")
    flags = bytes[Layout.flags]
    kdfFlags = bytes[Layout.kdfFlags]
    keyMagic = bytes[Layout.keyMagic]
    key = (0..<4).map { bytes[Layout.key.at($0 * 8)] }
    slack = bytes.copyOfBytes(from: Layout.byteCount)
  }

  public func encode() -> [UInt8] {
    var out = Self.blank(Layout.byteCount)
    out.put(flags, Layout.flags)
    out.put(kdfFlags, Layout.kdfFlags)
    out.put(keyMagic, Layout.keyMagic)
    for (index, word) in key.prefix(4).enumerated() { out.put(word, Layout.key.at(index * 8)) }
    return Self.finishedSection(out + slack)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {
    guard kdfType == .scrypt else {
      throw FormatError(
        .unsupported, "bch_sb_field_crypt", "kdf_type", found: UInt64(kdfType.rawValue))
    }
  }

  public var kdfType: KeyDerivation {
    KeyDerivation(rawValue: UInt8(truncatingIfNeeded: Layout.kdfType.get(flags)))
  }
  /// Base 2 logarithm.
  public var scryptN: UInt64 { Layout.scryptN.get(kdfFlags) }
  /// Base 2 logarithm.
  public var scryptR: UInt64 { Layout.scryptR.get(kdfFlags) }
  /// Base 2 logarithm.
  public var scryptP: UInt64 { Layout.scryptP.get(kdfFlags) }
  /// Whether a passphrase is needed.
  public var isKeyEncrypted: Bool { keyMagic != Self.plainKeyMagic }
}
