// SPDX-License-Identifier: GPL-2.0
// How quotas follow transactions.
//
// How it works
//   1. Whatever changes what somebody uses changes an inode: its owner, its sectors, whether it is
//      there. So what counts is what each commit makes of the inodes in it: the trigger of inodes
//      notes the difference between what the counted subvolume saw and what it will see.
//   2. Before the commit is journalled the differences are checked and counted, all at once; where
//      the journal is full they are taken back, and the transaction begins anew.
//   3. Sectors that were promised to what is written now are given back in the same step.
// Invariants
//   (1) What is noted in a commit that does not happen is not counted.
//   (2) Moving keys from one snapshot to another changes nobody's use.
// Locks: those of the transaction's nodes are held, which keeps others from the same inodes.
// Source: fs.c (__bch2_create, bch2_setattr_nonsize, bch2_evict_inode), fs-io.c
// (__bch2_i_sectors_acct), where the driver has a call of quotas in each operation.

internal import BcachefsFormat
internal import BcachefsSupport

/// What a transaction knows of quotas; without any, nothing.
struct TransactionQuotas {
  var rule = QuotaRule.unchecked
  /// Snapshots are being cleaned up: keys move, and only those of the ones that are gone count.
  var cleansSnapshots = false
  /// What was promised to what is written; a commit takes from it.
  var promise = QuotaPromise()
  /// One for each type and number.
  var changes: [QuotaChange] = []

  mutating func begin(_ rule: QuotaRule) {
    self.rule = rule
    cleansSnapshots = false
    promise = QuotaPromise()
  }

  mutating func note(_ type: QuotaType, _ id: UInt32, _ sectors: Int64, _ inodes: Int64) {
    guard sectors != 0 || inodes != 0 else { return }
    guard let index = changes.firstIndex(where: { $0.type == type && $0.id == id }) else {
      return changes.append(QuotaChange(type: type, id: id, sectors: sectors, inodes: inodes))
    }
    changes[index].sectors &+= sectors
    changes[index].inodes &+= inodes
  }
}

extension Transaction {
  /// Notes what an update of the inodes btree changes about anybody's use.
  @inline(never)
  func noteQuotas(_ update: TransactionUpdate, _ known: Quotas) throws(TransactionError) {
    let snapshot = update.position.snapshot
    let isOfNewTree = newSnapshots.parent == 0 && newSnapshots.contains(snapshot)
    guard isOfNewTree || known.isCounted(snapshot) else { return }
    let stored = try committed(update)
    var (before, after): (Inode?, Inode?) = (nil, nil)
    if let stored, stored.key.type.isInode { before = try Self.inode(stored) }
    if update.type.isInode { after = try Self.inode(update.view) }
    if quotas.cleansSnapshots {
      // What a snapshot that goes saw of those above it counts until the volume is opened again.
      guard update.type == .deleted else { return }
    } else if stored == nil || update.type == .deleted {
      let inherited = try inheritedInode(update.position)
      if stored == nil { before = inherited }
      if update.type == .deleted { after = inherited }
    }
    for type in known.types {
      let (old, new) = (before.map { QuotaIDs($0)[type] }, after.map { QuotaIDs($0)[type] })
      if let old, let before { quotas.note(type, old, -Int64(clamping: before.sectors), -1) }
      if let new, let after { quotas.note(type, new, Int64(clamping: after.sectors), 1) }
    }
  }

  /// The inode that is seen at a place from snapshots above.
  private func inheritedInode(_ position: BPos) throws(TransactionError) -> Inode? {
    guard let above = position.successor, above.offset == position.offset else { return nil }
    var walk = KeyWalk(
      .inodes, from: above, upTo: BPos(position.inode, position.offset, .max), mode: .intent)
    while let found = try next(&walk) {
      guard isAncestor(found.key.position.snapshot, of: position.snapshot) else { continue }
      return found.key.type.isInode ? try Self.inode(found) : nil
    }
    return nil
  }

  /// Counts what the commit changes.
  ///
  /// - Throws: `.quotaExceeded`, with nothing counted.
  @inline(never)
  func chargeQuotas(_ known: Quotas) throws(TransactionError) {
    guard !quotas.changes.isEmpty else { return }
    if quotas.promise.sectors > 0, let type = known.types.first {
      let grown = quotas.changes.reduce(Int64(0)) { $0 &+ ($1.type == type ? $1.sectors : 0) }
      let kept = min(UInt64(clamping: grown), quotas.promise.sectors)
      quotas.promise.sectors -= kept
      for type in known.types {
        quotas.note(type, quotas.promise.ids[type], -Int64(clamping: kept), 0)
      }
    }
    do throws(VolumeError) {
      try known.charge(quotas.changes, quotas.rule)
    } catch {
      throw .failed(error)
    }
  }
}
