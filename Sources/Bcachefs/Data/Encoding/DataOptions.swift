// SPDX-License-Identifier: GPL-2.0
// How data is to be stored: the volume's options, with those of a file over them.
//
// Source: inode.c (bch2_inode_opts_get), opts.h (`struct bch_io_opts`), extents.c
// (bch2_bkey_set_needs_rebalance).

internal import BcachefsFormat
internal import BcachefsSupport

/// What the options say of the data of a file.
struct DataOptions: Sendable {
  let parameters: DataParameters
  /// Copies of each extent.
  let replicas: Int
  let foregroundTarget: DiskTarget
  /// Where data is to come to rest, and how compressed.
  let atRest: ExtentRebalance
  /// Data is overwritten in place: so it is neither checksummed nor compressed.
  let isNocow: Bool
  /// It is, unless the volume's options say that nobody does (`nocow_enabled`).
  let isWrittenInPlace: Bool

  /// - Parameter inode: Whose options come before the volume's; nil for the volume's alone.
  init(_ options: VolumeOptions, key: EncryptionKey?, inode: Inode? = nil) {
    func value(_ own: InodeOption, _ volume: VolumeOption) -> UInt64 {
      inode?.value(of: own) ?? options[volume]
    }
    func compression(_ own: InodeOption, _ volume: VolumeOption) -> CompressionOption {
      CompressionOption(rawValue: UInt8(truncatingIfNeeded: value(own, volume)))
    }
    isNocow = value(.nocow, .nocow) != 0
    isWrittenInPlace = isNocow && options.isOn(.nocowEnabled)
    let foreground = compression(.compression, .compression)
    let background = compression(.backgroundCompression, .backgroundCompression)
    let rest = background.algorithm == CompressionKind.none ? foreground : background
    parameters = DataParameters(
      options, key: key, isNocow: isNocow, compression: foreground,
      checksum: ChecksumOption(
        rawValue: UInt8(truncatingIfNeeded: value(.dataChecksum, .dataChecksum))))
    replicas = Int(min(max(value(.dataReplicas, .dataReplicas), 1), 4))
    foregroundTarget = DiskTarget(
      rawValue: UInt16(truncatingIfNeeded: value(.foregroundTarget, .foregroundTarget)))
    atRest = ExtentRebalance(
      compression: isNocow ? 0 : rest.rawValue,
      target: UInt16(truncatingIfNeeded: value(.backgroundTarget, .backgroundTarget)))
  }
}

extension DataParameters {
  init(
    _ options: VolumeOptions, key: EncryptionKey?, isNocow: Bool, compression: CompressionOption,
    checksum: ChecksumOption
  ) {
    var type = ChecksumType(rawValue: checksum.dataChecksumType ?? 0)
    if key != nil {
      type = options.isOn(.wideMacs) ? .chacha20Poly1305 : .chacha20Poly1305Short
    }
    self.init(
      blockBytes: Int(options[.blockSize]), encodedExtentMaxBytes: Int(options[.encodedExtentMax]),
      checksumType: isNocow ? .none : type, compression: isNocow ? nil : compression.codec,
      compressionLevel: Int(compression.level), key: isNocow ? nil : key,
      inlineDataMaxBytes: Self.inlineDataMaxBytes(options))
  }

  /// What a key of type inline_data may hold; 0 where the volume is to have none.
  static func inlineDataMaxBytes(_ options: VolumeOptions) -> Int {
    options.isOn(.inlineData) ? min(Int(options[.blockSize]) / 2, 1024) : 0
  }
}
