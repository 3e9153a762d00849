// SPDX-License-Identifier: GPL-2.0
// All entries of a journal for those who look into it: headers at once, contents one at a time.
//
// How it works
//   1. All journals are scanned as for replay, and every entry gets its fate; but of what is found
//      only headers and places are kept.
//   2. The contents of an entry are read again when they are asked for, from its chosen copy, and
//      proven again: whoever has the device open elsewhere may have reused the bucket meanwhile.
// Invariants
//   (1) Memory is that of the headers, and of one entry.
//   (2) No btree is looked at: a volume that cannot be read has a journal that can.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// A journal's entries, ascending, without their contents.
struct JournalListing: Sendable {
  let media: VolumeMedia
  let entries: [JournalEntry]
  /// What recovery would replay of an unclean volume: from the newest flushed entry's `last_seq` to
  /// that entry.
  let replayed: Range<UInt64>
  let blacklist: JournalBlacklist
  let warnings: [JournalWarning]

  /// - Throws: `.locked` without the key of an encrypted volume, `.unsupported` for entries of an
  ///   unknown format.
  init(_ media: VolumeMedia) throws(VolumeError) {
    self.media = media
    blacklist = JournalBlacklist(media.superblock)
    var warnings = JournalWarnings()
    let found = try JournalReader.scan(media, blacklist, keeping: .headers, &warnings)
    var entries = JournalReader.merge(found, &warnings)
    replayed = JournalReader.decide(
      &entries, blacklist, tells: !media.superblock.isClean, &warnings)
    self.entries = entries
    self.warnings = warnings.all
  }

  /// An entry's bytes, decrypted.
  ///
  /// - Throws: `.corrupt` when the entry is damaged, or does not stand there any more; `.device`,
  ///   `.missingMembers`.
  func bytes(of entry: JournalEntry) throws(VolumeError) -> HeapBuffer {
    let place = entry.places[0]
    guard place.isChecksumGood else {
      throw VolumeError(.corrupt, "journal entry \(entry.sequence) is damaged")
    }
    let byteCount =
      entry.header.sectorCount(blockSectors: Int(media.superblock.blockSizeSectors)) << 9
    let stored = HeapBuffer(byteCount: byteCount)
    var span = stored.mutableBytes
    try media.read(place.device, atSector: place.sector, into: &span)
    let decoder = JournalEntryDecoder(media)
    guard let header = try? JSetHeader(decoding: stored.bytes), header.magic == decoder.magic,
      header.seq == entry.sequence, header.byteCount == entry.header.byteCount,
      try decoder.isChecksumGood(header, stored.bytes)
    else {
      throw VolumeError(
        .corrupt,
        "journal entry \(entry.sequence) at sector \(place.sector) of device \(place.device) "
          + "changed while the journal was listed; is the volume mounted?")
    }
    return decoder.decrypted(header, stored.bytes)
  }
}
