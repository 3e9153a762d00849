// SPDX-License-Identifier: GPL-2.0
// What the journal lacks, and what is left over in it: found when the volume was opened, and told
// before the first pass.
// Source: recovery.c (bch2_fs_recovery, read_btree_roots), journal_io.c (bch2_journal_read),
// logged_ops.c (bch2_resume_logged_ops).

internal import BcachefsFormat

extension VolumeCheck {
  /// What makes the volume another one than was written, and has a number of upstream's; all else
  /// that was noticed is a warning of the volume.
  func checkJournal() {
    for warning in volume.journalSummary.warnings {
      if let (id, text) = finding(warning) { report(id, text) }
    }
    for btree in volume.journalSummary.lostRoots {
      report(.btree_root_bkey_invalid, "invalid btree root \(btree)")
    }
  }

  private func finding(_ warning: JournalWarning) -> (FsckErrorID, String)? {
    switch warning {
    case .missing(let range, let replaying):
      return (
        .journal_entries_missing,
        "journal entries \(range.lowerBound)-\(range.upperBound - 1) missing! (replaying "
          + "\(replaying.lowerBound)-\(replaying.upperBound - 1))"
      )
    case .noFlushedEntry:
      return (
        .dirty_but_no_journal_entries_post_drop_nonflushes,
        "journal read done, but no entries found after dropping non-flushes"
      )
    case .noEntries: return (.dirty_but_no_journal_entries, "no journal entries found")
    case .cleanSectionMissing:
      return (.sb_clean_missing, "superblock marked clean but clean section not present")
    case .damaged(let sequence, _):
      let all = volume.journalSummary.replayed
      return finding(.missing(sequence..<sequence + 1, replaying: all))
    case .invalidContents(_, let type, let error) where type != .btreeRoot:
      return error.fsckError.map { ($0, warning.description) }
    case .invalidEntry(_, let error): return error.fsckError.map { ($0, warning.description) }
    default: return nil
    }
  }

  /// What was to be gone on with when the volume was closed clean.
  func checkLoggedOperations() throws(VolumeError) {
    guard volume.superblock.isClean else { return }
    try forEachKey(of: .loggedOps) { (found) throws(VolumeError) in
      report(
        .logged_op_but_clean, "filesystem marked as clean but have logged op\n\(text(found))")
    }
  }
}
