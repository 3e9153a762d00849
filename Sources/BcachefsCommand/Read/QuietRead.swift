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

  /// What `list_journal` prints of a volume's first entries.
  ///
  /// - Throws: what it fails with.
  package static func journalTexts(
    of journal: VolumeJournal, limit: Int
  ) throws(VolumeError) -> [String] {
    guard let arguments = try? ParsedArguments([], spec: JournalListCommand.spec),
      let filter = try? JournalFilter(arguments)
    else { return [] }
    let printer = JournalText(journal, filter: filter)
    var texts: [String] = []
    for entry in journal.entries.prefix(limit) {
      texts.append(printer.header(entry))
      let parts = try? journal.contents(of: entry)
      texts += (parts ?? []).compactMap {
        printer.text($0).map { String(decoding: $0, as: UTF8.self) }
      }
      texts.append(printer.json(entry, parts: parts).text())
    }
    return texts
  }

  /// What `fs usage`, `subvolume list` and `subvolume list-snapshots` print.
  ///
  /// - Throws: what they fail with.
  package static func texts(of volume: Volume) throws(VolumeError) -> [String] {
    try UsageCommand.allTexts(of: volume) + SubvolumeListCommand.allTexts(of: volume)
      + SnapshotListCommand.allTexts(of: volume)
  }
}
