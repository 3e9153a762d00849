// SPDX-License-Identifier: GPL-2.0
// Images that the engine has open between turns of the driver's.

internal import BcachefsFormat
internal import BcachefsIO

@testable internal import Bcachefs

enum OpenedImages {
  /// Opens a volume for changes.
  static func open(
    _ images: [String], seed: UInt64 = 5, passphrase: String? = nil,
    versionUpgrade: VersionUpgradePolicy = .none
  ) throws -> Engine {
    let volume = try VolumeOpener.openForWriting(
      VolumeSources(paths: images), unlock: UnlockSource(ask: { _ in passphrase }))
    return try Engine.open(
      volume, EngineOptions(cacheBytes: 16 << 20, versionUpgrade: versionUpgrade, seed: seed))
  }

  /// Lets go of a volume that was closed, or is left as after a crash.
  static func letGo(_ engine: Engine) throws {
    engine.letGo()
    for device in engine.media.devices { try device?.close() }
  }
}
