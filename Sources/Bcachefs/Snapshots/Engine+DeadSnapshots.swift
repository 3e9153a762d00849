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

  /// Deletes and moves the keys of the nodes that go, until none is left of them.
  ///
  /// While the keys of an inode are walked others may split an extent that is still to come: then
  /// its first parts are where the walk has been already. So each inode that had keys of such nodes
  /// is walked anew, until one walk finds none.
  ///
  /// - Parameter shouldStop: Asked after every step.
  /// - Returns: False when it was stopped.
  func cleanKeys(
    _ plan: SnapshotPlan, until shouldStop: () -> Bool
  ) throws(VolumeError) -> Bool {
    var inodes = InodeRanges.all
    while !inodes.isEmpty {
      var found = InodeRanges.none
      // The order matters: see SnapshotCleaner.swift.
      for number in 0..<BTreeID.count where BTreeID(rawValue: number).hasSnapshots {
        let btree = BTreeID(rawValue: number)
        for range in inodes.ranges {
          guard try cleanKeys(btree, range, plan, &found, until: shouldStop) else { return false }
        }
      }
      inodes = found
    }
    return true
  }

  private func cleanKeys(
    _ btree: BTreeID, _ inodes: ClosedRange<UInt64>, _ plan: SnapshotPlan,
    _ found: inout InodeRanges, until shouldStop: () -> Bool
  ) throws(VolumeError) -> Bool {
    let ends = btree.places(of: inodes)
    var position: BPos? = ends.lowerBound
    while let start = position, start <= ends.upperBound {
      if shouldStop() { return false }
      let step = try run("delete_dead_snapshots", givesBack: true) {
        (transaction) throws(TransactionError) in
        if quotas != nil { transaction.quotas.cleansSnapshots = true }
        return try transaction.cleanSome(btree, start...ends.upperBound, plan)
      }
      for inode in step.inodes { found.insert(inode) }
      position = step.next
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
  ///
  /// - Complexity: one transaction for some of them: it keeps what it reads locked, and begins anew
  ///   for each node that is not in memory.
  func deadInodes(
    butFor isSeen: (_ inode: UInt64, _ snapshot: UInt32) -> Bool
  ) throws(VolumeError) -> [DeadInode] {
    let places = try deletedInodes().filter { !isSeen($0.offset, $0.snapshot) }
    var result: [DeadInode] = []
    var next = 0
    while next < places.count {
      let some = places[next..<min(next + Self.inodesAtOnce, places.count)]
      result += try run("dead_inodes") { (transaction) throws(TransactionError) in
        var found: [DeadInode] = []
        for place in some {
          guard let inode = try transaction.findInode(place.offset, place.snapshot, .read) else {
            continue
          }
          found.append(DeadInode(place: place, generation: inode.generation))
        }
        return found
      }
      next = some.endIndex
    }
    return result
  }

  private static var inodesAtOnce: Int { 16 }

  /// What deleted_inodes names.
  private func deletedInodes() throws(VolumeError) -> [BPos] {
    var places: [BPos] = []
    var position: BPos? = .min
    while let start = position {
      let some = try run("dead_inodes") { (transaction) throws(TransactionError) in
        var some: [BPos] = []
        var walk = KeyWalk(.deletedInodes, from: start)
        while some.count < Self.placesAtOnce, let found = try transaction.next(&walk) {
          some.append(found.key.position)
        }
        return some
      }
      places += some
      position = some.last?.successor
    }
    return places
  }

  private static var placesAtOnce: Int { 1024 }
}

/// A file that nobody can reach.
struct DeadInode {
  let place: BPos
  /// What has the number later is of another one.
  let generation: UInt32
}

extension BTreeID {
  /// Where in a btree of files the keys of inodes are.
  fileprivate func places(of inodes: ClosedRange<UInt64>) -> ClosedRange<BPos> {
    if inodes == 0...UInt64.max { return BPos.min...BPos.max }
    return self == .inodes
      ? BPos(0, inodes.lowerBound)...BPos(0, inodes.upperBound, .max)
      : BPos(inodes.lowerBound, 0)...BPos(inodes.upperBound, .max, .max)
  }
}
