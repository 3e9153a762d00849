// SPDX-License-Identifier: GPL-2.0
// Inodes and subvolumes: which are to be deleted, which have versions in descendant snapshots, and
// which subvolume stands in which.
//
// How it works
//   1. An unlinked inode has a key in deleted_inodes, unless a snapshot below still shows it.
//   2. The nearest version of an inode above a new one is marked `hasChildSnapshot`, and is not any
//      more when the last one below is gone.
//   3. A subvolume has a key in subvolume_children below the one that holds its name.
// Source: inode.c (bch2_trigger_inode), subvolume.c (bch2_subvolume_trigger).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

extension Transaction {
  func runInodeTrigger(_ update: TransactionUpdate) throws(TransactionError) {
    if let known = engine.quotas { try noteQuotas(update, known) }
    let position = update.position
    let old = (try committed(update)).flatMap(\.inodeFlags)
    let new = update.view.inodeFlags
    if update.type == .inodeV3 { stampInode(update) }
    let delta = (new == nil ? 0 : 1) - (old == nil ? 0 : 1)
    if delta != 0 { account(.nrInodes, [Int64(delta)]) }
    let (wasDead, isDead) = (old?.isDead ?? false, new?.isDead ?? false)
    if wasDead != isDead {
      if isDead {
        self.update(.deletedInodes, BKey(type: .set, position: position), RawSpan())
      } else {
        delete(.deletedInodes, position)
      }
    }
    guard delta != 0 else { return }
    if parentSnapshot(of: position.snapshot) != 0 {
      try updateParent(of: position, hasChild: delta > 0)
    }
    if let new, new.contains(.hasChildSnapshot), !(try hasInodeBelow(position)) {
      setFlags(new.subtracting(.hasChildSnapshot), of: update)
    }
  }

  /// Marks the nearest version of an inode in a snapshot above, or takes the mark away.
  private func updateParent(of position: BPos, hasChild: Bool) throws(TransactionError) {
    var from = position.successor
    while let start = from {
      guard
        let found = try next(
          .inodes, from: start, upTo: BPos(position.inode, position.offset, .max), .intent)
      else { return }
      from = found.key.position.successor
      let above = found.key.position.snapshot
      guard isAncestor(above, of: position.snapshot), let flags = found.inodeFlags
      else { continue }
      if !hasChild, try hasInodeBelow(found.key.position) { return }
      guard flags.contains(.hasChildSnapshot) != hasChild else { return }
      guard found.key.type == .inodeV3 else { throw Self.tooOld(found.key) }
      return setFlags(flags.symmetricDifference(.hasChildSnapshot), of: change(.inodes, found))
    }
  }

  /// Has an inode say whether a snapshot below has a version of its own.
  func markIfParent(_ found: KeyView) throws(TransactionError) {
    guard let flags = found.inodeFlags else { return }
    let isParent = try hasInodeBelow(found.key.position)
    guard flags.contains(.hasChildSnapshot) != isParent else { return }
    guard found.key.type == .inodeV3 else { throw Self.tooOld(found.key) }
    setFlags(flags.symmetricDifference(.hasChildSnapshot), of: change(.inodes, found))
  }

  private static func tooOld(_ key: BKey) -> TransactionError {
    .failed(VolumeError(.unsupported, "\(key): written by an older version; upgrade first"))
  }

  /// Whether an inode has a version in a snapshot that descends from this one.
  private func hasInodeBelow(_ position: BPos) throws(TransactionError) -> Bool {
    try hasKeyBelow(.inodes, position) { $0.inodeFlags != nil }
  }

  private func setFlags(_ flags: InodeFlags, of update: TransactionUpdate) {
    var words = update.words
    words[LEField<UInt32>(BKey.Layout.byteCount + Inode.Layout.flags.offset)] =
      UInt32(truncatingIfNeeded: update.view.rawInodeFlags) & ~InodeFlags.all.rawValue
      | flags.rawValue
  }

  // MARK: - Subvolumes

  func runSubvolumeTrigger(_ update: TransactionUpdate) throws(TransactionError) {
    let old = try Self.childPosition(try committed(update))
    let new = try Self.childPosition(update.view)
    guard old != new else { return }
    if let old { delete(.subvolumeChildren, old) }
    if let new { self.update(.subvolumeChildren, BKey(type: .set, position: new), RawSpan()) }
  }

  /// Where a subvolume stands in subvolume_children; nil for the root, and for none.
  private static func childPosition(_ found: KeyView?) throws(TransactionError) -> BPos? {
    guard let found, found.key.type == .subvolume else { return nil }
    let subvolume = try found.decoded { (value) throws(FormatError) in
      try Subvolume(decoding: value)
    }
    guard subvolume.pathParent != 0 else { return nil }
    return BPos(UInt64(subvolume.pathParent), found.key.position.offset)
  }

  // MARK: - Snapshots

  /// Brings the tree of snapshots in memory up to date with what was committed.
  func followSnapshots() {
    var index = firstUpdate(.snapshots, 0, .min)
    var gone: [UInt32] = []
    engine.snapshots.withLock { table in
      while index < updateCount {
        let update = unsafe updates[index]
        guard update.btree == .snapshots, update.level == 0 else { break }
        index += 1
        guard let id = UInt32(exactly: update.position.offset) else { continue }
        table[id] =
          update.type == .snapshot
          ? update.view.withValue { try? Snapshot(decoding: $0) } : nil
        if update.type != .snapshot { gone.append(id) }
      }
      table.number()
    }
    engine.quotas?.forget(gone)
    engine.quotas?.follow(newSnapshots)
  }
}

extension KeyView {
  /// An inode's flags; nil where this is none.
  fileprivate var inodeFlags: InodeFlags? {
    switch key.type {
    case .inode, .inodeV2, .inodeV3:
      InodeFlags(rawValue: UInt32(truncatingIfNeeded: rawInodeFlags) & InodeFlags.all.rawValue)
    default: nil
    }
  }

  fileprivate var rawInodeFlags: UInt64 {
    withValue { value in
      let offset = key.type == .inode ? 8 : Inode.Layout.flags.offset
      guard value.byteCount >= offset + 8 else { return 0 }
      return value[LEField<UInt64>(offset)]
    }
  }
}

extension InodeFlags {
  /// Bits of the flags alone, without what else stands in the same word.
  fileprivate static let all = InodeFlags(rawValue: 1 << 20 - 1)

  /// To be deleted, with nothing left that shows it (`bkey_is_unlinked_inode`).
  fileprivate var isDead: Bool { contains(.unlinked) && !contains(.hasChildSnapshot) }
}
