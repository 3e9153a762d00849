// SPDX-License-Identifier: GPL-2.0

public import BcachefsFormat
internal import BcachefsIO
public import BcachefsSupport

extension Volume {
  /// Opens a volume for reading. Its devices are never written to; an unclean volume is read as its
  /// journal says.
  ///
  /// - Parameters:
  ///   - sources: Which devices: `VolumeSources(parsing:)` takes what mount takes.
  ///   - options: Laid over the superblock's: `degraded`, `very_degraded` and others decide about
  ///     opening.
  ///   - unlock: Asked if the volume needs a passphrase.
  ///   - clocks: Tell how fast each device answers, to choose among copies.
  ///   - onDamage: Told of each copy found bad, once, on the thread that reads it, a line each.
  ///     Whether another copy was good, the read's result tells.
  /// - Throws: `.notFound`, `.device`, `.notAVolume`, `.unsupported`, `.foreignMember`,
  ///   `.splitBrain`, `.missingMembers`, `.locked`, `.corrupt`, `.allCopiesBad`.
  public static func open(
    _ sources: VolumeSources, options: VolumeOptions = VolumeOptions(),
    unlock: UnlockSource = .keyring, clocks: Clocks = .system,
    onDamage: (@Sendable (String) -> Void)? = nil
  ) throws(VolumeError) -> Volume {
    try Volume(
      media: try VolumeOpener.open(sources, options: options, unlock: unlock, clocks: clocks),
      onDamage: onDamage)
  }
}
