// SPDX-License-Identifier: GPL-2.0

public import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

extension Volume {
  /// Opens a volume for reading. Its devices are never written to; an unclean volume is read as its
  /// journal says.
  ///
  /// - Parameters:
  ///   - sources: Which devices: `VolumeSources(parsing:)` takes what mount takes.
  ///   - options: Laid over the superblock's: `degraded`, `very_degraded` and others decide about
  ///     opening.
  ///   - unlock: Asked if the volume needs a passphrase.
  /// - Throws: `.notFound`, `.device`, `.notAVolume`, `.unsupported`, `.foreignMember`,
  ///   `.splitBrain`, `.missingMembers`, `.locked`, `.corrupt`, `.allCopiesBad`.
  public static func open(
    _ sources: VolumeSources, options: VolumeOptions = VolumeOptions(),
    unlock: UnlockSource = .keyring
  ) throws(VolumeError) -> Volume {
    try Volume(media: try VolumeOpener.open(sources, options: options, unlock: unlock))
  }
}
