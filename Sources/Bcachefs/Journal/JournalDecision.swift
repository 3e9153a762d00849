// SPDX-License-Identifier: GPL-2.0
// What counts of a journal: two tables that decide everything, and nothing else does.
//
// How it works
//   1. `copyRows`: several copies of one sequence number, on several devices or (after damage) on
//      one. A copy is good when its checksum is; contents of bad copies are never used.
//   2. The tail is the newest good entry that was flushed and is not blacklisted: everything up to
//      it had reached the disks when it was written. Its `last_seq` is where replay begins.
//      Without one, the newest good entry that is not blacklisted is replayed alone.
//   3. `fateRows`: what becomes of every number, by its place (before replay begins, within, after
//      the tail), by what was found of it, and by the blacklist.
//
//        place   found    blacklisted  flushed  fate           told
//        before  good     any          any      notNeeded
//        before  damaged  any          any      notNeeded
//        within  good     no           any      replayed
//        within  good     yes          yes      blacklisted    yes
//        within  good     yes          no       blacklisted
//        within  damaged  no           any      damaged        yes
//        within  damaged  yes          any      blacklisted
//        after   good     yes          any      blacklisted
//        after   good     no           no       unflushed
//        after   good     no           yes      unflushed      (not possible: it would be the tail)
//        after   damaged  any          any      torn
//      Numbers within of which nothing was found, and that are not blacklisted, are missing:
//      reading goes on, and says so.
// Invariants
//   (1) Every combination matches exactly one row of its table (tested).
//   (2) A copy with a bad checksum decides nothing but `damaged` and `torn`. (Upstream replays the
//       contents of damaged entries that are not the last one; here they are told as missing.)
// Source: journal_io.c, `journal_entry_add`, `bch2_journal_read`.

internal import BcachefsSupport

/// What becomes of a journal entry.
typealias JournalFate = VolumeJournal.Fate

/// One row of a table matches where every condition that it has holds.
enum JournalDecision {
  /// Good copies of one number.
  enum Copies: UInt8, Sendable, CaseIterable {
    case none
    case one
    case identical
    case contradicting
  }

  enum CopyChoice: UInt8, Sendable {
    /// Nothing of it can be used.
    case nothing
    /// The only one, or the first of equals by device, bucket, offset.
    case first
    /// The copy on the device whose good entries reach furthest; among several there, and on equal
    /// devices, a flushed one; then by `last_seq`, the larger; then the first.
    case newestDevice
  }

  struct CopyRow: Sendable {
    let copies: Copies
    /// Whether there are bad copies besides; nil: either way.
    let hasBad: Bool?
    let choice: CopyChoice
    let isTold: Bool
  }

  static let copyRows: [CopyRow] = [
    CopyRow(copies: .none, hasBad: nil, choice: .nothing, isTold: false),
    CopyRow(copies: .one, hasBad: false, choice: .first, isTold: false),
    CopyRow(copies: .one, hasBad: true, choice: .first, isTold: true),
    CopyRow(copies: .identical, hasBad: false, choice: .first, isTold: false),
    CopyRow(copies: .identical, hasBad: true, choice: .first, isTold: true),
    CopyRow(copies: .contradicting, hasBad: nil, choice: .newestDevice, isTold: true),
  ]

  /// Where a number stands.
  enum Place: UInt8, Sendable, CaseIterable {
    case before
    case within
    case after
  }

  struct FateRow: Sendable {
    let place: Place
    let isGood: Bool
    let isBlacklisted: Bool?
    let isFlush: Bool?
    let fate: JournalFate
    let isTold: Bool

    init(
      _ place: Place, good: Bool, blacklisted: Bool? = nil, flush: Bool? = nil,
      _ fate: JournalFate, told: Bool = false
    ) {
      self.place = place
      isGood = good
      isBlacklisted = blacklisted
      isFlush = flush
      self.fate = fate
      isTold = told
    }

    func matches(_ place: Place, _ good: Bool, _ blacklisted: Bool, _ flush: Bool) -> Bool {
      self.place == place && isGood == good
        && (isBlacklisted == nil || isBlacklisted == blacklisted)
        && (isFlush == nil || isFlush == flush)
    }
  }

  static let fateRows: [FateRow] = [
    FateRow(.before, good: true, .notNeeded),
    FateRow(.before, good: false, .notNeeded),
    FateRow(.within, good: true, blacklisted: false, .replayed),
    FateRow(.within, good: true, blacklisted: true, flush: true, .blacklisted, told: true),
    FateRow(.within, good: true, blacklisted: true, flush: false, .blacklisted),
    FateRow(.within, good: false, blacklisted: false, .damaged, told: true),
    FateRow(.within, good: false, blacklisted: true, .blacklisted),
    FateRow(.after, good: true, blacklisted: true, .blacklisted),
    FateRow(.after, good: true, blacklisted: false, .unflushed),
    FateRow(.after, good: false, .torn),
  ]

  static func copyRow(_ copies: Copies, hasBad: Bool) -> CopyRow {
    let index = copyRows.firstIndex { $0.copies == copies && ($0.hasBad ?? hasBad) == hasBad }
    invariant(index != nil, "the table of copies has a row for everything")
    return copyRows[index ?? 0]
  }

  static func fateRow(
    _ place: Place, isGood: Bool, isBlacklisted: Bool, isFlush: Bool
  ) -> FateRow {
    let index = fateRows.firstIndex { $0.matches(place, isGood, isBlacklisted, isFlush) }
    invariant(index != nil, "the table of fates has a row for everything")
    return fateRows[index ?? 0]
  }
}
