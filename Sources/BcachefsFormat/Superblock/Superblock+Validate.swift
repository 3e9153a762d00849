// SPDX-License-Identifier: GPL-2.0
// What a superblock must fulfil before it is believed, or written.
//
// How it works
//   validate() asks what upstream asks of every superblock that it reads and writes, in upstream's
//   order, and throws the first contradiction. checkSupported() asks whether this program may mount
//   the volume: whether it knows every feature that the volume depends on.
// Invariants
//   (1) A superblock that passes validate(forWrite: true) is one that Linux 6.12 accepts.
//   (2) Neither changes anything; work is bounded by the size of the sections.
// Source: `bch2_sb_validate`, super-io.c, and each section's `validate`.

internal import BcachefsSupport

extension Superblock {
  /// Checks values against each other.
  ///
  /// - Parameter forWrite: Also what must only hold for superblocks about to be written.
  /// - Throws: the first contradiction found.
  public func validate(forWrite: Bool = false) throws(FormatError) {
    try Self.checkVersions(version: version, min: versionMin)
    try validateHeader()
    try validateOptions(forWrite: forWrite)
    try layout.validate()
    let hasMembers = section(.membersV1) != nil || (!forWrite && section(.membersV2) != nil)
    guard hasMembers else { throw FormatError(.missing, "bch_sb", "members_v1") }
    // Other sections refer to members.
    for type in [SuperblockSectionType.membersV1, .membersV2] {
      try section(type)?.contents?.validate(in: self, forWrite: forWrite)
    }
    for section in sections where section.type != .membersV1 && section.type != .membersV2 {
      try section.contents?.validate(in: self, forWrite: forWrite)
    }
    if forWrite {
      let checksumType = ChecksumType(
        rawValue: UInt8(truncatingIfNeeded: self[Layout.checksumType]))
      guard checksumType.isKnown, !checksumType.isEncryption else {
        throw FormatError(
          .unsupported, "bch_sb", "csum_type", found: UInt64(checksumType.rawValue))
      }
      let memberSeq = member(at: Int(deviceIndex))?.seq ?? 0
      guard memberSeq == seq else {
        throw FormatError(.inconsistent, "bch_sb", "member.seq", found: memberSeq, expected: seq)
      }
    }
  }

  private func validateHeader() throws(FormatError) {
    // A page.
    guard blockSizeSectors > 0, blockSizeSectors <= 8 else {
      throw FormatError(
        blockSizeSectors == 0 ? .tooSmall : .tooLarge, "bch_sb", "block_size",
        found: UInt64(blockSizeSectors), expected: blockSizeSectors == 0 ? 1 : 8)
    }
    guard !userUUID.isZero else { throw FormatError(.missing, "bch_sb", "user_uuid") }
    guard !uuid.isZero else { throw FormatError(.missing, "bch_sb", "uuid") }
    guard deviceCount > 0, deviceCount <= Self.maxDeviceCount else {
      throw FormatError(
        deviceCount == 0 ? .tooSmall : .tooLarge, "bch_sb", "nr_devices",
        found: UInt64(deviceCount), expected: deviceCount == 0 ? 1 : UInt64(Self.maxDeviceCount))
    }
    guard deviceIndex < deviceCount else {
      throw FormatError(
        .tooLarge, "bch_sb", "dev_idx", found: UInt64(deviceIndex),
        expected: UInt64(deviceCount) - 1)
    }
    guard timePrecision > 0, timePrecision <= 1_000_000_000 else {
      throw FormatError(
        timePrecision == 0 ? .tooSmall : .tooLarge, "bch_sb", "time_precision",
        found: UInt64(timePrecision), expected: timePrecision == 0 ? 1 : 1_000_000_000)
    }
  }

  /// The superblock with upstream's defaults in the place of fields that older programs left zero:
  /// what a mount goes by, and what `show-super` prints. For reading only: write back `self`.
  ///
  /// - Source: `bch2_sb_validate`, super-io.c.
  public func withReadDefaults() -> Superblock {
    var mended = self
    for bits in [Layout.journalFlushDelay, Layout.journalReclaimDelay] where self[bits] == 0 {
      mended[bits] = 1000
    }
    if self[Layout.versionUpgradeComplete] == 0 {
      mended[Layout.versionUpgradeComplete] = UInt64(version.rawValue)
    }
    if version <= .diskAccountingV2 {
      if self[Layout.allocatorStuckTimeout] == 0 { mended[Layout.allocatorStuckTimeout] = 30 }
      mended[Layout.promoteWholeExtents] = 1
    }
    return mended
  }

  /// Options of newer formats may have values that are not known here.
  private func validateOptions(forWrite: Bool) throws(FormatError) {
    guard !version.isNewerThanNative else { return }
    let words = forWrite ? optionWords : withReadDefaults().optionWords
    for option in VolumeOption.allCases {
      guard let value = words.value(of: option) else { continue }
      do {
        try option.validate(value)
      } catch {
        throw FormatError(.invalid, "bch_sb", option.row.name, found: value)
      }
    }
  }

  /// Refuses a volume that depends on what version 1.13 does not know.
  ///
  /// - Throws: `.unsupported`, naming the field: an unknown feature bit (`found` is its number), or
  ///   incompatible changes of a newer version in use.
  public func checkSupported() throws(FormatError) {
    if let unknown = featureMask.unknown.elements.first {
      throw FormatError(.unsupported, "bch_sb", "features", found: UInt64(unknown.rawValue))
    }
    guard features[1] == 0 else {
      throw FormatError(
        .unsupported, "bch_sb", "features", found: 64 + UInt64(features[1].trailingZeroBitCount))
    }
    let incompatible = MetadataVersion(
      rawValue: UInt16(truncatingIfNeeded: self[Layout.versionIncompat]))
    guard !incompatible.isNewerThanNative else {
      throw FormatError(
        .unsupported, "bch_sb", "version_incompat", found: UInt64(incompatible.rawValue))
    }
  }
}
