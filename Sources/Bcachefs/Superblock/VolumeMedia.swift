// SPDX-License-Identifier: GPL-2.0
// The devices of an open volume, and what its superblock says.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// An assembled volume: its newest superblock and the devices that are there.
final class VolumeMedia: Sendable {
  let superblock: Superblock
  /// By member index; nil where a member is missing, or its slot is empty.
  let devices: [BlockDevice?]
  /// Decrypts everything; nil on volumes without encryption.
  let key: EncryptionKey?
  /// Options of the superblock with those of the caller over them.
  let options: VolumeOptions
  /// What was noticed while opening and did not prevent it, a line each.
  let warnings: [String]

  init(
    superblock: Superblock, devices: [BlockDevice?], key: EncryptionKey?, options: VolumeOptions,
    warnings: [String]
  ) {
    self.superblock = superblock
    self.devices = devices
    self.key = key
    self.options = options
    self.warnings = warnings
  }

  /// The device of a member, nil if it is missing.
  func device(_ index: UInt8) -> BlockDevice? {
    devices.indices.contains(Int(index)) ? devices[Int(index)] : nil
  }
}
