// SPDX-License-Identifier: GPL-2.0
// Options that the superblock keeps, set while nobody has mounted the volume.
//
// How it works
//   1. The devices are opened for writing as for a mount, but nothing is recovered, nor replayed:
//      only superblocks are written, once, all options with it.
//   2. A volume that was formatted and never opened becomes a filesystem first, as at its first
//      mount.
// Invariants
//   (1) All values are checked before anything is written.
//   (2) What an option will need is in the superblock with it.
// Source: opts.c (bch2_opt_set_sb, bch2_opt_check_may_set); bcachefs-tools, set_option.

public import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

extension VolumeOption {
  /// Whether the superblock keeps it, and it may be set after the volume was made.
  public var isSettable: Bool {
    guard row.storage != .nowhere, !flags.contains(.hidden) else { return false }
    return isOfDevice || flags.contains(.mount) || flags.contains(.runtime)
  }

  /// Whether the superblock keeps it for each device.
  public var isOfDevice: Bool {
    if case .member = row.storage { true } else { false }
  }

  /// The feature that files with a value of it need (`bch2_opt_check_may_set`).
  func feature(_ value: UInt64) -> SuperblockFeature? {
    switch self {
    case .compression, .backgroundCompression:
      CompressionOption(rawValue: UInt8(truncatingIfNeeded: value)).algorithm.feature
    case .erasureCode where value != 0: .ec
    default: nil
    }
  }
}

/// Options of a volume's superblock.
public enum VolumeSettings {
  /// Sets options, all of them or none; durable when it returns.
  ///
  /// - Parameters:
  ///   - values: As text; nil is an option without `=VALUE`.
  ///   - devices: Members, by index, that options of devices are set for.
  ///   - seed: Of all randomness, as `FileSystemOptions.seed`.
  /// - Returns: the options with their values as they are printed.
  /// - Throws: `.invalid` for an option that cannot be set, and for a value that is none;
  ///   `.notFound` for a member that is not there; what opening devices and writing superblocks
  ///   throws.
  public static func set(
    _ values: [(option: VolumeOption, value: String?)], devices: [Int],
    of sources: VolumeSources, options: VolumeOptions = VolumeOptions(),
    unlock: UnlockSource = .keyring, seed: UInt64
  ) throws(VolumeError) -> [(option: VolumeOption, text: String)] {
    var volume = try VolumeOpener.openForWriting(sources, options: options, unlock: unlock)
    if !volume.store.superblock.isInitialized {
      // A superblock that was never mounted is only written when there is a filesystem.
      try close(volume)
      var settings = FileSystemOptions(seed: seed)
      (settings.volume, settings.unlock) = (options, unlock)
      try FileSystem.open(sources, settings).close()
      volume = try VolumeOpener.openForWriting(sources, options: options, unlock: unlock)
    }
    let parsed = try parse(values, volume.media)
    for index in devices where volume.store.superblock.member(at: index)?.isAlive != true {
      throw VolumeError(.notFound, "there is no member \(index)")
    }
    let media = volume.media
    try volume.store.update { superblock in
      for (option, value) in parsed {
        superblock.optionWords.set(option, to: value)
        if let feature = option.feature(value) { superblock.featureMask.insert(feature) }
        guard option.isOfDevice else { continue }
        superblock.changeMembers { members in
          for index in devices {
            members[index].flags = option.setting(memberFlags: members[index].flags, to: value)
          }
        }
      }
    }
    try close(volume)
    return parsed.map { option, value in
      (option, option.text(value) { media.targetText($0) })
    }
  }

  private static func close(_ volume: WritableVolume) throws(VolumeError) {
    for device in volume.media.devices {
      do throws(DeviceError) { try device?.close() } catch { throw VolumeError(error) }
    }
  }

  private static func parse(
    _ values: [(option: VolumeOption, value: String?)], _ media: VolumeMedia
  ) throws(VolumeError) -> [(option: VolumeOption, value: UInt64)] {
    var parsed: [(option: VolumeOption, value: UInt64)] = []
    for (option, text) in values {
      guard option.isSettable else {
        throw VolumeError(.invalid, "\(option.name) cannot be set after the volume was made")
      }
      do throws(OptionError) {
        parsed.append((option, try option.parse(text) { media.target(named: $0) }))
      } catch {
        throw VolumeError(.invalid, "\(error)")
      }
    }
    return parsed
  }
}

extension VolumeMedia {
  /// A device of the volume or a label, by the name that a target has.
  func target(named name: String) -> DiskTarget? {
    for (index, device) in devices.enumerated() where device?.name == name {
      return DiskTarget.device(UInt8(truncatingIfNeeded: index))
    }
    return superblock.target(named: name)
  }
}
