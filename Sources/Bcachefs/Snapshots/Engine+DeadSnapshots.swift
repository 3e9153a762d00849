// SPDX-License-Identifier: GPL-2.0
// Snapshots that nobody needs, and what is in them, step by step.
//
// Source: snapshot.c (bch2_delete_dead_snapshots).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

extension Engine {
  /// What there is to do; empty where all snapshots are needed.
  func snapshotPlan() throws(VolumeError) -> SnapshotPlan {
    let subvolumes = try run("snapshot_plan") { (transaction) throws(TransactionError) in
      var subvolumes = SnapshotPlan.Subvolumes()
      var walk = KeyWalk(.subvolumes, from: .min)
      while let found = try transaction.next(&walk) {
        guard found.key.type == .subvolume,
          let id = UInt32(exactly: found.key.position.offset)
        else { continue }
        let subvolume = try found.decoded { (value) throws(FormatError) in
          try Subvolume(decoding: value)
        }
        subvolumes.add(id, subvolume)
      }
      return subvolumes
    }
    let table = snapshots.withLock { $0 }
    return SnapshotPlan(
      table, subvolumes, descendantsMax: journal.reservationMax / Self.wordsOfChangedNode)
  }

  /// A changed node in the journal: as it was, as it is, with headers, and some to spare.
  private static var wordsOfChangedNode: Int {
    2 * (1 + BKey.headerU64s + Snapshot.encodedU64s) + 6
  }

  /// Deletes and moves the keys of the nodes that go.
  ///
  /// - Parameter shouldStop: Asked after every step.
  /// - Returns: False when it was stopped.
  func cleanKeys(
    _ plan: SnapshotPlan, until shouldStop: () -> Bool
  ) throws(VolumeError) -> Bool {
    for number in 0..<BTreeID.count where BTreeID(rawValue: number).hasSnapshots {
      let btree = BTreeID(rawValue: number)
      var position: BPos? = .min
      while let start = position {
        if shouldStop() { return false }
        position = try run("delete_dead_snapshots", givesBack: true) {
          (transaction) throws(TransactionError) in
          if quotas != nil { transaction.quotas.cleansSnapshots = true }
          return try transaction.cleanSome(btree, from: start, plan)
        }
      }
    }
    return true
  }

  /// Has snapshots of subvolumes that go say what they are of now.
  func reparentSubvolumes(_ plan: SnapshotPlan) throws(VolumeError) {
    for subvolume in plan.subvolumes {
      while try run(
        "subvolume_reparent",
        { (transaction) throws(TransactionError) in try transaction.reparentSome(of: subvolume) })
      {}
    }
  }

  /// Removes a node without children, and its subvolume.
  func removeDeadSnapshot(_ id: UInt32) throws(VolumeError) {
    try run("snapshot_delete", givesBack: true) { (transaction) throws(TransactionError) in
      try transaction.removeDeadSnapshot(id)
      try transaction.commit()
    }
  }

  /// Removes a node whose child takes its place.
  func removeLinkingSnapshot(_ id: UInt32) throws(VolumeError) {
    let seed = nextNodeSequence()
    try run("snapshot_delete", givesBack: true) { (transaction) throws(TransactionError) in
      var random = SplitMix64(seed: seed)
      try transaction.removeLinkingSnapshot(id, &random)
      try transaction.commit()
    }
  }

  /// Files that nobody can reach, by deleted_inodes, but for those that `isSeen` says are held.
  func deadInodes(
    butFor isSeen: (_ inode: UInt64, _ snapshot: UInt32) -> Bool
  ) throws(VolumeError) -> [BPos] {
    try run("dead_inodes") { (transaction) throws(TransactionError) in
      var result: [BPos] = []
      var walk = KeyWalk(.deletedInodes, from: .min)
      while let found = try transaction.next(&walk) {
        let place = found.key.position
        if !isSeen(place.offset, place.snapshot) { result.append(place) }
      }
      return result
    }
  }
}
