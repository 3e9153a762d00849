// SPDX-License-Identifier: GPL-2.0
// Counts of what is no more: each file and each snapshot that there ever was has a key of the
// accounting btree.
//
// How it works
//   Keys of files and snapshots that count nothing go when a volume is opened that was closed
//   clean, where there are many. Until then a key's version says which deltas are in it: whoever
//   replays the journal after a crash would add them once more if the key were not there.
// Invariants
//   (1) A key goes only when the journal has no delta of it. It goes from its node alone: where
//       that is never written, the key is still there, and counts nothing.
// Locks: as all transactions; nobody else has the engine yet.

internal import BcachefsFormat
internal import BcachefsSupport

extension Engine {
  /// So many keys that count nothing are left alone.
  static var emptyCountsMax: Int { 64 }

  /// Deletes the counts of files and snapshots that count nothing. The volume was closed clean, and
  /// nothing was committed since.
  ///
  /// - Throws: what transactions throw.
  func forgetEmptyCounts() throws(VolumeError) {
    var start = BPos?.some(.min)
    while let from = start {
      start = try run("accounting_empty", watermark: .reclaim, givesBack: true) {
        (transaction) throws(TransactionError) in
        let next = try transaction.forgetEmptyCounts(from)
        try transaction.commit()
        return next
      }
    }
  }
}

extension Transaction {
  /// As many as the smallest nodes take at once.
  private static var countsAtOnce: Int { 32 }
  private static var readAtOnce: Int { 4096 }

  /// - Returns: where to go on; nil at the end.
  fileprivate func forgetEmptyCounts(_ start: BPos) throws(TransactionError) -> BPos? {
    let isSwapped = engine.media.superblock.swapsAccountingPositions
    let newest = engine.journal.newestNeeded
    (pinnedSequence, newestSequence) = (newest, newest)
    var walk = KeyWalk(.accounting, from: start, mode: .intent)
    var read = 0
    while let found = try next(&walk) {
      read += 1
      let position = found.key.position
      if found.key.type == .accounting, found.countsNothing {
        switch AccountingKey(position, isByteSwapped: isSwapped) {
        case .inode, .snapshot:
          delete(.accounting, position, flags: [.noTriggers, .notJournalled])
        default: break
        }
      }
      if updateCount == Self.countsAtOnce || read == Self.readAtOnce { return position.successor }
    }
    return nil
  }
}
