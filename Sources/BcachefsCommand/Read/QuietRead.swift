// SPDX-License-Identifier: GPL-2.0
// The reading commands on an open volume, without printing: what the fuzzer runs.

package import Bcachefs
internal import BcachefsFormat

/// Runs what commands run, and keeps their output to itself.
package enum QuietRead {
  /// Writes a volume's archive to nowhere, as `export` does.
  ///
  /// - Parameter limit: The most bytes; a damaged volume may promise any number.
  /// - Returns: how many files were damaged; nil where it ended before the archive did.
  package static func export(_ volume: Volume, upTo limit: UInt64) -> Int? {
    let damage = DamageReport(command: "export", isSilent: true)
    do throws(CommandFailure) {
      _ = try ExportCommand.export(
        volume, from: volume.root, named: [], to: ByteOutput(discardingUpTo: limit), damage)
      return damage.count
    } catch {
      return nil
    }
  }

  /// What `fs usage`, `subvolume list` and `subvolume list-snapshots` print.
  ///
  /// - Throws: what they fail with.
  package static func texts(of volume: Volume) throws(VolumeError) -> [String] {
    try UsageCommand.allTexts(of: volume) + SubvolumeListCommand.allTexts(of: volume)
      + SnapshotListCommand.allTexts(of: volume)
  }
}
