// SPDX-License-Identifier: GPL-2.0
// Volumes on devices that are open already: simulated ones, for tests and fuzzers.

package import BcachefsFormat
package import BcachefsIO
internal import BcachefsSupport

extension Volume {
  /// Opens a volume for reading, as `open` does of named devices.
  ///
  /// - Parameters:
  ///   - devices: Of one volume, in any order.
  ///   - cacheBytes: What cached btree nodes may take.
  /// - Throws: as `open`, without `.notFound`.
  package static func open(
    devices: [BlockDevice], options: VolumeOptions = VolumeOptions(),
    unlock: UnlockSource = UnlockSource(usesKeyring: false), cacheBytes: Int = 256 << 20
  ) throws(VolumeError) -> Volume {
    try Volume(
      media: try VolumeOpener.open(devices: devices, options: options, unlock: unlock),
      cacheBytes: cacheBytes)
  }

  /// The volume's journal, that of a clean volume too.
  ///
  /// - Throws: as `VolumeJournal.open`.
  package func journal() throws(VolumeError) -> VolumeJournal { try VolumeJournal(media) }
}
