// SPDX-License-Identifier: GPL-2.0
// Opening a volume to write to it: the same as to read it, on devices that are nobody else's.
//
// How it works
//   1. The devices are found read-only; then each is opened once more, for writing, which fails if
//      somebody else has mounted, attached or opened it for writing.
//   2. Only what is read through these counts: between the two anybody could have written.
//   3. What this program cannot write to is refused (`WritingSupport`) before anything is written.
//   4. With `nochanges` devices stay read-only, and the superblock's changes stay in memory.
// Invariants
//   (1) Opening writes nothing; the first write is `SuperblockStore.markDirty`.
//   (2) A refused open leaves no descriptor open and no lock taken.
// Source: super.c (bch2_fs_open).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// A volume whose devices are open for writing. Nothing has been written yet.
struct WritableVolume {
  let media: VolumeMedia
  let store: SuperblockStore
}

extension VolumeOpener {
  /// Opens a volume for writing.
  ///
  /// - Parameter options: as for reading; and `version_upgrade`, which is done only if it is asked
  ///   for here, and `nochanges`.
  /// - Throws: as `open`; `.device` with `.inUse` for a device that somebody else writes to.
  static func openForWriting(
    _ sources: VolumeSources, options: VolumeOptions = VolumeOptions(),
    unlock: UnlockSource = .keyring, clocks: Clocks = .system
  ) throws(VolumeError) -> WritableVolume {
    let found = try VolumeDiscovery.devices(of: sources, options: options)
    let isPaths = if case .paths = sources.selector { true } else { false }
    // Those that are no members of the volume shall not be locked.
    let assembly = try VolumeAssembly(found, mayLeaveOut: !isPaths, options: options)
    var devices: [BlockDevice] = []
    for device in assembly.devices.compactMap({ $0 }) {
      if options.isOn(.nochanges) {
        devices.append(device)
        continue
      }
      do throws(DeviceError) {
        devices.append(try BlockDevice.open(path: device.name, mode: .exclusiveReadWrite))
      } catch {
        throw VolumeError(error)
      }
    }
    return try openForWriting(
      devices: devices, options: options, unlock: unlock, clocks: clocks,
      warnings: assembly.warnings)
  }

  /// Opens a volume on devices that are open for writing already (with `nochanges` for reading).
  ///
  /// - Parameter warnings: What was noticed while they were found.
  static func openForWriting(
    devices: [BlockDevice], options: VolumeOptions = VolumeOptions(),
    unlock: UnlockSource = .keyring, clocks: Clocks = .system, warnings: [String] = []
  ) throws(VolumeError) -> WritableVolume {
    var found: [DeviceSuperblock] = []
    for device in devices {
      guard device.mode == .exclusiveReadWrite || options.isOn(.nochanges) else {
        throw VolumeError(.device, "\(device.name) is open for reading only")
      }
      found.append(
        try SuperblockCopies.read(device, firstSector: options[.sb], searching: true))
    }
    let assembly = try VolumeAssembly(found, mayLeaveOut: false, options: options)
    let superblock = assembly.superblock
    try WritingSupport.check(superblock, policy: policy(options))
    for device in found { try WritingSupport.checkJournal(device.superblock) }
    let media = try media(
      of: assembly, options: options, unlock: unlock, clocks: clocks,
      warnings: warnings.filter { !assembly.warnings.contains($0) })
    let members = found.filter { device in assembly.devices.contains { $0 === device.device } }
    let store = SuperblockStore(
      superblock, devices: members, options: media.options, clocks: clocks)
    return WritableVolume(media: media, store: store)
  }

  /// The upgrade that the caller asks for; what the superblock says is for the driver.
  static func policy(_ options: VolumeOptions) -> VersionUpgradePolicy {
    options.defined(.versionUpgrade).map {
      VersionUpgradePolicy(rawValue: UInt8(truncatingIfNeeded: $0))
    } ?? .none
  }
}
