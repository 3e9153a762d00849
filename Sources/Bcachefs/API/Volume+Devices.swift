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

  /// Reads the whole journal, that of a clean volume too, and every part of every entry.
  ///
  /// - Returns: how many entries there are.
  /// - Throws: what reading the journal throws.
  package func readJournal() throws(VolumeError) -> Int {
    let contents = try JournalReader.read(
      media, options: JournalReader.Options(readsEvenIfClean: true, keepsEntries: true))
    for entry in contents.entries {
      guard let memory = entry.bytes else { continue }
      do throws(FormatError) {
        let bytes = memory.bytes
        var parts = try JSetView(validating: bytes).entries
        while try parts.advance() { _ = try? JSetEntry(decoding: parts.current) }
      } catch {
        // What a damaged entry has up to there was read.
        continue
      }
    }
    return contents.entries.count
  }
}
