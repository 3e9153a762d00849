// SPDX-License-Identifier: GPL-2.0
// Reading the journal of a volume, without changing anything.
//
// How it works
//   1. A clean volume needs no journal: the clean section of its superblock has roots and clocks.
//   2. Otherwise the journals of all members that are there are read at the same time, a thread for
//      each (JournalScan.swift), and what was found is put in order by sequence number.
//   3. Copies become one entry, the tail is found, and every entry gets its fate
//      (JournalDecision.swift has the tables). Numbers of which nothing was found are told.
//   4. What is to be replayed is applied in order (JournalReplay.swift): roots, clocks, keys.
//   5. What a crash may have left in btree nodes of updates newer than the tail is blacklisted.
// Invariants
//   (1) The result depends on the devices' bytes alone, not on which thread was faster.
//   (2) Nothing but good copies is replayed; nothing newer than the tail is.
//   (3) Steps over sequence numbers are steps over entries and ranges: a number from the disk never
//       is a count of iterations.
// Source: journal_io.c, `bch2_journal_read`; recovery.c, `bch2_fs_recovery`.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

enum JournalReader {
  struct Options: Sendable {
    /// Lists the entries of a clean volume too; its roots still come from the clean section.
    var readsEvenIfClean = false
    /// Lists every entry on the devices with its bytes, however old. Without it entries that are
    /// not needed may be left out, and none keeps its bytes.
    var keepsEntries = false
  }

  /// Threads that read, at most: each has a bucket in memory.
  private static var threadMax: Int { 8 }

  /// Reads the journal, or what stands in its place on a clean volume.
  ///
  /// - Throws: `.allCopiesBad` for an unclean volume without any journal entry, `.locked` without
  ///   the key of an encrypted one, `.unsupported` for entries of an unknown format.
  static func read(
    _ media: VolumeMedia, options: Options = Options()
  ) throws(VolumeError) -> JournalContents {
    let superblock = media.superblock
    let clean = superblock.section(of: CleanSection.self)
    var warnings = JournalWarnings()
    let isClean = superblock.isClean && clean != nil
    if superblock.isClean && clean == nil { warnings.append(.cleanSectionMissing) }
    var entries: [JournalEntry] = []
    var blacklist = JournalBlacklist(superblock)
    var replayed: Range<UInt64> = 0..<0
    var newest: UInt64 = clean?.journalSeq ?? 0
    if !isClean || options.readsEvenIfClean {
      let found = try scan(
        media, blacklist, keeping: options.keepsEntries ? .everything : .needed, &warnings)
      entries = merge(found, &warnings)
      replayed = decide(&entries, blacklist, tells: !isClean, &warnings)
      newest = max(newest, entries.last { $0.places[0].isChecksumGood }?.sequence ?? 0)
    }
    var replay = JournalReplay(superblock)
    var isFromClean = isClean
    if !isClean && replayed.isEmpty {
      guard clean != nil else {
        throw VolumeError(.allCopiesBad, "not unmounted cleanly, and no journal entries found")
      }
      warnings.append(.noEntries)
      isFromClean = true
    }
    if isFromClean, let clean {
      if isClean && options.readsEvenIfClean && newest != clean.journalSeq {
        warnings.append(.cleanSequenceMismatch(clean: clean.journalSeq, journal: newest))
      }
      replay.apply(clean)
    } else {
      for entry in entries where entry.fate == .replayed { replay.apply(entry) }
      blacklist.insert(replay.blacklisted)
      blacklist.insert([lost(after: replayed, newest: newest, superblock.version)])
    }
    if !options.keepsEntries { for index in entries.indices { entries[index].bytes = nil } }
    warnings.append(contentsOf: replay.warnings)
    return JournalContents(
      isFromCleanSection: isFromClean, replayed: isFromClean ? 0..<0 : replayed,
      newestSequence: newest, roots: replay.roots, readClock: replay.clocks[0],
      writeClock: replay.clocks[1], keyVersion: replay.keyVersion, blacklist: blacklist,
      overlay: replay.finishOverlay(), entries: entries, warnings: warnings.all)
  }

  /// Numbers that btree nodes may name and that never were: from the tail to as far as btree
  /// writes can be ahead of the journal's.
  private static func lost(
    after replayed: Range<UInt64>, newest: UInt64, _ version: MetadataVersion
  ) -> Range<UInt64> {
    let ahead: UInt64 = version > .native ? 4096 : 8
    // The next number is the first that a volume opened for changes uses: it must not be ignored.
    let (end, overflow) = max(newest, replayed.upperBound - 1).addingReportingOverflow(ahead + 1)
    return replayed.upperBound..<(overflow ? .max : end)
  }

  // MARK: - Scanning

  /// What all members hold, in the members' order.
  static func scan(
    _ media: VolumeMedia, _ blacklist: JournalBlacklist, keeping: JournalKeeping,
    _ warnings: inout JournalWarnings
  ) throws(VolumeError) -> [FoundJournalEntry] {
    var members: [UInt8] = []
    for (index, member) in media.superblock.members.enumerated().prefix(256)
    where member.isAlive && (member.state == .rw || member.state == .ro) {
      if media.device(UInt8(index)) == nil {
        warnings.append(.memberUnread(device: UInt8(index), "the device is missing"))
      } else {
        members.append(UInt8(index))
      }
    }
    guard !members.isEmpty else { return [] }
    let pool = WorkerPool(workers: min(members.count, threadMax))
    var next = 0
    var found: [FoundJournalEntry] = []
    try pool.orderedMap(
      window: members.count,
      produce: { () throws(VolumeError) -> UInt8? in
        guard next < members.count else { return nil }
        next += 1
        return members[next - 1]
      },
      transform: { (member: UInt8, _) throws(VolumeError) -> MemberScan in
        guard let device = media.device(member) else { return MemberScan() }
        return try scan(member, device, media, blacklist, keeping: keeping)
      },
      consume: { (scan: MemberScan) throws(VolumeError) in
        found += scan.found
        warnings.append(contentsOf: scan.warnings)
      })
    return found
  }

  private struct MemberScan: Sendable {
    var found: [FoundJournalEntry] = []
    var warnings = JournalWarnings()
  }

  /// A member whose superblock does not say where its journal is counts as missing: others may have
  /// what it had.
  private static func scan(
    _ member: UInt8, _ device: BlockDevice, _ media: VolumeMedia,
    _ blacklist: JournalBlacklist, keeping: JournalKeeping
  ) throws(VolumeError) -> MemberScan {
    let map: JournalMap
    do throws(VolumeError) {
      map = try JournalMap(of: member, on: device, in: media)
    } catch {
      var warnings = JournalWarnings()
      warnings.append(.memberUnread(device: member, "\(error)"))
      return MemberScan(warnings: warnings)
    }
    var scan = JournalScan(map, media: media, blacklist, keeping: keeping)
    try scan.run(device)
    return MemberScan(found: scan.found, warnings: scan.warnings)
  }

  // MARK: - Deciding

  /// Makes one entry of all copies of each number, ascending.
  static func merge(
    _ found: [FoundJournalEntry], _ warnings: inout JournalWarnings
  ) -> [JournalEntry] {
    var reach = [UInt64](repeating: 0, count: 256)
    for copy in found where copy.isGood {
      let device = Int(copy.place.device)
      reach[device] = max(reach[device], copy.header.seq)
    }
    let order = found.indices.sorted { a, b in
      let (x, y) = (found[a].header.seq, found[b].header.seq)
      return x != y ? x < y : a < b
    }
    var entries: [JournalEntry] = []
    var start = 0
    while start < order.count {
      let sequence = found[order[start]].header.seq
      var end = start
      while end < order.count, found[order[end]].header.seq == sequence { end += 1 }
      let copies = order[start..<end].map { found[$0] }
      entries.append(entry(of: copies, reach: reach, &warnings))
      start = end
    }
    return entries
  }

  private static func entry(
    of copies: [FoundJournalEntry], reach: [UInt64], _ warnings: inout JournalWarnings
  ) -> JournalEntry {
    let good = copies.filter(\.isGood)
    let row = JournalDecision.copyRow(kind(of: good), hasBad: good.count < copies.count)
    var chosen: FoundJournalEntry? = nil
    switch row.choice {
    case .nothing: break
    case .first: chosen = good.first
    case .newestDevice:
      for copy in good {
        guard let best = chosen else {
          chosen = copy
          continue
        }
        if rank(copy, reach).lexicographicallyPrecedes(rank(best, reach)) { continue }
        if rank(copy, reach) != rank(best, reach) { chosen = copy }
      }
    }
    let first = chosen ?? copies[0]
    let others = copies.filter { $0.place != first.place }
    let places = [first.place] + others.map(\.place)
    if row.isTold {
      let sequence = first.header.seq
      warnings.append(
        row.copies == .contradicting
          ? .contradictingCopies(sequence: sequence, places)
          : .badCopies(sequence: sequence, places.filter { !$0.isChecksumGood }))
    }
    return JournalEntry(
      header: first.header, places: places, fate: .notNeeded, bytes: chosen?.bytes)
  }

  private static func rank(_ copy: FoundJournalEntry, _ reach: [UInt64]) -> [UInt64] {
    [
      reach[Int(copy.place.device)], copy.header.isFlush ? 1 : 0,
      copy.header.isFlush ? copy.header.lastSeq : 0,
    ]
  }

  private static func kind(of good: [FoundJournalEntry]) -> JournalDecision.Copies {
    guard let first = good.first else { return .none }
    guard good.count > 1 else { return .one }
    return good.dropFirst().allSatisfy { areEqual(first, $0) } ? .identical : .contradicting
  }

  private static func areEqual(_ a: FoundJournalEntry, _ b: FoundJournalEntry) -> Bool {
    guard a.header.byteCount == b.header.byteCount else { return false }
    guard let a = a.bytes, let b = b.bytes else { return a.digest == b.digest }
    guard a.byteCount == b.byteCount else { return false }
    return unsafe a.bytes.withUnsafeBytes { x in
      unsafe b.bytes.withUnsafeBytes { y in unsafe x.elementsEqual(y) }
    }
  }

  /// Gives every entry its fate.
  ///
  /// - Returns: What is replayed, from the tail's `last_seq` to the tail; empty when there is no
  ///   good entry.
  static func decide(
    _ entries: inout [JournalEntry], _ blacklist: JournalBlacklist, tells: Bool,
    _ warnings: inout JournalWarnings
  ) -> Range<UInt64> {
    let usable = entries.indices.filter {
      entries[$0].places[0].isChecksumGood && !blacklist.isBlacklisted(entries[$0].sequence)
        && entries[$0].sequence < .max
    }
    let tail = usable.last { entries[$0].header.isFlush } ?? usable.last
    var replayed: Range<UInt64> = 0..<0
    if let tail {
      let header = entries[tail].header
      // Numbers begin with 1.
      let first = header.isFlush ? max(1, header.lastSeq) : header.seq
      replayed = min(first, header.seq)..<header.seq + 1
      if tells && !header.isFlush { warnings.append(.noFlushedEntry(used: header.seq)) }
    }
    for index in entries.indices {
      let entry = entries[index]
      let row = JournalDecision.fateRow(
        place(of: entry.sequence, replayed), isGood: entry.places[0].isChecksumGood,
        isBlacklisted: blacklist.isBlacklisted(entry.sequence), isFlush: entry.header.isFlush)
      entries[index].fate = row.fate
      guard row.isTold && tells else { continue }
      warnings.append(
        row.fate == .damaged
          ? .damaged(sequence: entry.sequence, entry.places)
          : .blacklistedFlush(sequence: entry.sequence))
    }
    if tells { tellMissing(entries, replayed, blacklist, &warnings) }
    return replayed
  }

  private static func place(
    of sequence: UInt64, _ replayed: Range<UInt64>
  ) -> JournalDecision.Place {
    if sequence < replayed.lowerBound { return .before }
    return sequence < replayed.upperBound ? .within : .after
  }

  /// Warns of numbers of which nothing was found.
  private static func tellMissing(
    _ entries: [JournalEntry], _ replayed: Range<UInt64>, _ blacklist: JournalBlacklist,
    _ warnings: inout JournalWarnings
  ) {
    var expected = replayed.lowerBound
    for entry in entries where replayed.contains(entry.sequence) {
      if expected < entry.sequence {
        for gap in blacklist.complement(in: expected..<entry.sequence) {
          warnings.append(.missing(gap, replaying: replayed))
        }
      }
      expected = entry.sequence + 1
    }
  }
}
