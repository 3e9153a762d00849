// SPDX-License-Identifier: GPL-2.0
// What the journal lacks, and what is left over in it: found when the volume was opened, and told
// before the first pass.
// Source: recovery.c (bch2_fs_recovery, read_btree_roots), journal_io.c (bch2_journal_read),
// logged_ops.c (bch2_resume_logged_ops).

internal import BcachefsFormat

extension VolumeCheck {
  /// What makes the volume another one than was written, and has a number of upstream's; all else
  /// that was noticed is a warning of the volume. That there is no entry at all is how a volume is
  /// left whose first opening for changes did not get far.
  func checkJournal() {
    for warning in volume.journalSummary.warnings {
      if let (id, text) = finding(warning) { report(id, text) }
    }
    checkJournalDevices()
    for btree in volume.journalSummary.lostRoots {
      report(.btree_root_bkey_invalid, "invalid btree root \(btree)")
    }
  }

  /// The superblock names the sets of devices that entries are on; where one is missing nobody
  /// knows on which its entries were.
  private func checkJournalDevices() {
    let members = media.members.indices.filter { media.members[$0].isAlive }
    let areRead = members.allSatisfy { index in
      media.devices[index] != nil && [.rw, .ro].contains(media.members[index].state)
    }
    guard areRead else { return }
    let marked = Set(volume.superblock.replicas.filter { $0.dataType == .journal }.map(\.devices))
    for (devices, sequence) in volume.journalSummary.devices.sorted(by: { $0.value < $1.value })
    where !marked.contains(devices) {
      report(
        .journal_entry_replicas_not_marked,
        "superblock not marked as containing replicas for journal entry \(sequence)\n"
          + "  \(ReplicasEntry(dataType: .journal, devices: devices))")
    }
  }

  private func finding(_ warning: JournalWarning) -> (FsckErrorID, String)? {
    switch warning {
    case .missing(let range, _): return missing(JournalWarning.text(range))
    case .noFlushedEntry:
      return (
        .dirty_but_no_journal_entries_post_drop_nonflushes,
        "journal read done, but no entries found after dropping non-flushes"
      )
    case .cleanSectionMissing:
      return (.sb_clean_missing, "superblock marked clean but clean section not present")
    case .damaged(let sequence, _): return missing("\(sequence)-\(sequence)")
    case .invalidContents(_, let type, let error) where type != .btreeRoot:
      return error.fsckError.map { ($0, warning.description) }
    case .invalidEntry(_, let error): return error.fsckError.map { ($0, warning.description) }
    default: return nil
    }
  }

  private func missing(_ entries: String) -> (FsckErrorID, String) {
    let all = JournalWarning.text(volume.journalSummary.replayed)
    return (.journal_entries_missing, "journal entries \(entries) missing! (replaying \(all))")
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
