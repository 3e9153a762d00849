// SPDX-License-Identifier: GPL-2.0
// Opening a volume to read it: from its name to its devices, key and options.
//
// How it works
//   1. VolumeDiscovery opens devices read-only and SuperblockCopies finds each one's superblock.
//   2. VolumeAssembly matches devices to members; MemberCheck decides whether they are enough.
//   3. FormatSupport refuses what cannot be read without misreading it; VolumeLock finds the key.
// Invariants
//   (1) No device is written to, whatever happens: none is ever open for writing.
//   (2) A refused open leaves no descriptor open.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

enum VolumeOpener {
  /// Opens a volume for reading.
  ///
  /// - Parameters:
  ///   - options: Laid over the superblock's; `degraded`, `very_degraded`, `no_splitbrain_check`
  ///     and `sb` decide about opening.
  ///   - unlock: Asked only if the volume needs a passphrase.
  ///   - clocks: Tell how fast each device answers.
  /// - Throws: `.notFound`, `.device`, `.notAVolume`, `.unsupported`, `.foreignMember`,
  ///   `.splitBrain`, `.missingMembers`, `.locked`, `.corrupt`.
  static func open(
    _ sources: VolumeSources, options: VolumeOptions = VolumeOptions(),
    unlock: UnlockSource = .keyring, clocks: Clocks = .system
  ) throws(VolumeError) -> VolumeMedia {
    let found = try VolumeDiscovery.devices(of: sources, options: options)
    let isPaths = if case .paths = sources.selector { true } else { false }
    return try open(found, mayLeaveOut: !isPaths, options: options, unlock: unlock, clocks: clocks)
  }

  /// Opens a volume on devices that are open already, as simulated ones are.
  ///
  /// - Throws: as `open`, without `.notFound`.
  static func open(
    devices: [BlockDevice], options: VolumeOptions = VolumeOptions(),
    unlock: UnlockSource = .keyring, clocks: Clocks = .system
  ) throws(VolumeError) -> VolumeMedia {
    var found: [DeviceSuperblock] = []
    for device in devices {
      found.append(
        try SuperblockCopies.read(device, firstSector: options[.sb], searching: true))
    }
    return try open(found, mayLeaveOut: false, options: options, unlock: unlock, clocks: clocks)
  }

  private static func open(
    _ found: [DeviceSuperblock], mayLeaveOut: Bool, options: VolumeOptions, unlock: UnlockSource,
    clocks: Clocks
  ) throws(VolumeError) -> VolumeMedia {
    let assembly = try VolumeAssembly(found, mayLeaveOut: mayLeaveOut, options: options)
    return try media(of: assembly, options: options, unlock: unlock, clocks: clocks)
  }

  /// Whether the devices are enough and the volume can be read; its key.
  static func media(
    of assembly: VolumeAssembly, options: VolumeOptions, unlock: UnlockSource, clocks: Clocks,
    warnings: [String] = []
  ) throws(VolumeError) -> VolumeMedia {
    let superblock = assembly.superblock
    do throws(FormatError) {
      try FormatSupport.checkReadable(superblock)
    } catch {
      throw VolumeError(
        .unsupported, "volume \(superblock.userUUID): \(VolumeFormatText.describe(error))")
    }
    let missing = try MemberCheck(superblock, devices: assembly.devices).check(options)
    let key = try VolumeLock(superblock).key(from: unlock)
    var settled = VolumeOptions(superblock: superblock.withReadDefaults().optionWords)
    settled.apply(options)
    return VolumeMedia(
      superblock: superblock, devices: assembly.devices, key: key, options: settled,
      warnings: warnings + assembly.warnings + missing + versionWarnings(superblock), clocks: clocks
    )
  }

  private static func versionWarnings(_ superblock: Superblock) -> [String] {
    guard superblock.version > FormatSupport.newestReadable else { return [] }
    return [
      "the volume has format version \(superblock.version), newer than this program; what it does "
        + "not know is left out"
    ]
  }
}
