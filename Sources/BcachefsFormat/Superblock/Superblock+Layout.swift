// SPDX-License-Identifier: GPL-2.0
// Offsets of the superblock's header, and the options and states in the bits of its flags.

// swift-format-ignore
extension Superblock {
  public enum Layout {
    /// 2 words: `struct bch_csum`.
    public static let checksum = LEField<UInt64>(0)
    public static let version = LEField<UInt16>(16)
    public static let versionMin = LEField<UInt16>(18)
    public static let reserved = LEField<UInt32>(20)
    /// `__uuid_t` at 24.
    public static let magic = 24
    /// `__uuid_t` at 40.
    public static let uuid = 40
    /// `__uuid_t` at 56.
    public static let userUUID = 56
    /// 32 bytes at 72.
    public static let label = 72
    public static let sector = LEField<UInt64>(104)
    public static let seq = LEField<UInt64>(112)
    public static let blockSize = LEField<UInt16>(120)
    public static let deviceIndex = LEField<UInt8>(122)
    public static let deviceCount = LEField<UInt8>(123)
    /// Size of all sections.
    public static let u64s = LEField<UInt32>(124)
    public static let timeBaseLow = LEField<UInt64>(128)
    public static let timeBaseHigh = LEField<UInt32>(136)
    public static let timePrecision = LEField<UInt32>(140)
    /// 7 words.
    public static let flags = LEField<UInt64>(144)
    public static let writeTime = LEField<UInt64>(200)
    /// 2 words.
    public static let features = LEField<UInt64>(208)
    /// 2 words.
    public static let compat = LEField<UInt64>(224)
    /// `struct bch_sb_layout`, 512 bytes at 240.
    public static let layout = 240
    public static let byteCount = 752
    /// The checksum covers everything from here to the end of the sections.
    public static let checksumStart = 16

    static func word(_ index: Int) -> LEField<UInt64> { flags.at(index * 8) }

    // flags[0]
    public static let initialized = LEBits(word(0), 0..<1)
    public static let clean = LEBits(word(0), 1..<2)
    public static let checksumType = LEBits(word(0), 2..<8)
    public static let errorAction = LEBits(word(0), 8..<12)
    /// In 512-byte sectors.
    public static let btreeNodeSize = LEBits(word(0), 12..<28)
    public static let gcReserve = LEBits(word(0), 28..<33)
    public static let rootReserve = LEBits(word(0), 33..<40)
    public static let metaChecksumType = LEBits(word(0), 40..<44)
    public static let dataChecksumType = LEBits(word(0), 44..<48)
    public static let metaReplicasWanted = LEBits(word(0), 48..<52)
    public static let dataReplicasWanted = LEBits(word(0), 52..<56)
    public static let posixACL = LEBits(word(0), 56..<57)
    public static let userQuota = LEBits(word(0), 57..<58)
    public static let groupQuota = LEBits(word(0), 58..<59)
    public static let projectQuota = LEBits(word(0), 59..<60)
    public static let hasErrors = LEBits(word(0), 60..<61)
    public static let hasTopologyErrors = LEBits(word(0), 61..<62)
    public static let bigEndian = LEBits(word(0), 62..<63)
    public static let promoteWholeExtents = LEBits(word(0), 63..<64)

    // flags[1]
    public static let stringHashType = LEBits(word(1), 0..<4)
    public static let compressionTypeLow = LEBits(word(1), 4..<8)
    public static let inodes32Bit = LEBits(word(1), 8..<9)
    public static let wideMACs = LEBits(word(1), 9..<10)
    public static let encryptionType = LEBits(word(1), 10..<14)
    public static let encodedExtentMaxBits = LEBits(word(1), 14..<20)
    public static let metaReplicasRequired = LEBits(word(1), 20..<24)
    public static let dataReplicasRequired = LEBits(word(1), 24..<28)
    public static let promoteTarget = LEBits(word(1), 28..<40)
    public static let foregroundTarget = LEBits(word(1), 40..<52)
    public static let backgroundTarget = LEBits(word(1), 52..<64)

    // flags[2]
    public static let backgroundCompressionTypeLow = LEBits(word(2), 0..<4)
    public static let gcReserveBytes = LEBits(word(2), 4..<64)

    // flags[3]
    public static let erasureCode = LEBits(word(3), 0..<16)
    public static let metadataTarget = LEBits(word(3), 16..<28)
    public static let shardInodeNumbers = LEBits(word(3), 28..<29)
    public static let inodesUseKeyCache = LEBits(word(3), 29..<30)
    /// Milliseconds.
    public static let journalFlushDelay = LEBits(word(3), 30..<62)
    public static let journalFlushDisabled = LEBits(word(3), 62..<63)

    // flags[4]
    /// Milliseconds.
    public static let journalReclaimDelay = LEBits(word(4), 0..<32)
    public static let journalTransactionNames = LEBits(word(4), 32..<33)
    public static let nocow = LEBits(word(4), 33..<34)
    public static let writeBufferSize = LEBits(word(4), 34..<54)
    public static let versionUpgrade = LEBits(word(4), 54..<56)
    public static let compressionTypeHigh = LEBits(word(4), 56..<60)
    public static let backgroundCompressionTypeHigh = LEBits(word(4), 60..<64)

    // flags[5]
    /// Up to which version all upgrade passes have run.
    public static let versionUpgradeComplete = LEBits(word(5), 0..<16)
    /// Seconds.
    public static let allocatorStuckTimeout = LEBits(word(5), 16..<32)
    /// Newest version whose incompatible features are in use; formats above 1.13 only.
    public static let versionIncompat = LEBits(word(5), 32..<48)
    /// Newest version whose incompatible features may be used; formats above 1.13 only.
    public static let versionIncompatAllowed = LEBits(word(5), 48..<64)
    /// From 1.24 on: the option casefold, for directories that say nothing.
    public static let casefold = LEBits(word(6), 22..<23)
    /// From 1.14 on: `extent_bp_shift`, 0 for 10.
    public static let backpointerShift = LEBits(word(6), 40..<48)
  }

  /// Devices a volume can have (`BCH_SB_MEMBERS_MAX`).
  public static let maxDeviceCount: UInt8 = 64
}
