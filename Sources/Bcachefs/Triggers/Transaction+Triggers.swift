// SPDX-License-Identifier: GPL-2.0
// What follows from a change: derived keys, added to the same transaction.
//
// How it works
//   1. A commit runs the trigger of each update, with what is there now and what will be. Triggers
//      add updates, whose triggers run as well, until nothing is added.
//   2. Pointers to btree nodes change in interior nodes before the disk leads to them; their
//      triggers run when an interior update is journalled.
//   3. What is counted is added as deltas (`account`); the journal gets the deltas, the accounting
//      btree the sums (Transaction+Commit.swift).
// Invariants
//   (1) Derived keys change only here.
//   (2) A key whose trigger is not there yet is refused by name, before anything changes.
// Source: btree_trans_commit.c (bch2_trans_commit_run_triggers), buckets.c (__trigger_extent).

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// Runs the triggers of all updates, and of those that they add.
  @inline(__always)
  func runTriggers() throws(TransactionError) {
    var index = 0
    while index < updateCount {
      let update = unsafe updates[index]
      index += 1
      guard update.triggered.isEmpty, !update.flags.contains(.noTriggers), update.level == 0,
        Self.hasTrigger(update.btree)
      else { continue }
      unsafe updates[index - 1].triggered = [.insert, .overwrite]
      try runTrigger(update)
      // Others may stand before it by now.
      index = 0
    }
  }

  /// Whether something follows from the keys of a btree.
  @inline(__always)
  private static func hasTrigger(_ btree: BTreeID) -> Bool {
    btreesWithTriggers >> UInt64(btree.rawValue) & 1 != 0
  }

  private static let btreesWithTriggers: UInt64 = [
    BTreeID.extents, .inodes, .alloc, .stripes, .reflink, .subvolumes, .snapshots,
  ].reduce(0) { $0 | 1 << UInt64($1.rawValue) }

  private func runTrigger(_ update: TransactionUpdate) throws(TransactionError) {
    guard update.btree == .alloc else {
      throw .failed(
        VolumeError(
          .unsupported,
          "keys of the \(update.btree) btree cannot be changed yet: what follows "
            + "from them is not derived"))
    }
    try runAllocTrigger(update)
  }

  // MARK: - Accounting

  /// Adds to a counter.
  func account(_ key: AccountingKey, _ deltas: [Int64]) {
    guard deltas.contains(where: { $0 != 0 }) else { return }
    let position = key.position
    var sums = deltas
    if let own = ownKey(.accounting, from: position, upTo: position) {
      own.view.withValue { value in
        for index in sums.indices where index < value.byteCount / 8 {
          sums[index] &+= value[LEField<Int64>(index * 8)]
        }
      }
    }
    unsafe self.update(
      .accounting, BKey(type: .accounting, position: position, valueU64s: sums.count),
      sums.span.bytes, flags: [.noTriggers, .delta])
  }

  // MARK: - Pointers to nodes

  /// The triggers of the pointers that an interior update changed.
  func runPointerTriggers(_ update: InteriorUpdate) throws(TransactionError) {
    for new in update.newNodes {
      try mark(new.pointer, update.btree, level: new.level, sign: 1)
    }
    for old in update.oldPointers {
      try mark(old.pointer, update.btree, level: old.level, sign: -1)
    }
  }

  /// Counts a node's places in or out.
  private func mark(
    _ pointer: NodePointer, _ btree: BTreeID, level: Int, sign: Int64
  ) throws(TransactionError) {
    let sectors = Int64(engine.trees.parameters.nodeBytes / 512)
    let places = pointer.places
    for place in places {
      try changeBucket(of: place) { (alloc) throws(VolumeError) in
        alloc.dataType = DataType.btree.rawValue
        try alloc.addDirty(sign * sectors)
      }
      try setBackpointer(
        of: place, btree, level: level + 1, pointer.key.position, sectors: UInt32(sectors),
        isSet: sign > 0)
    }
    let total = sign * sectors * Int64(places.count)
    account(
      .replicas(
        AccountingReplicas(
          dataType: DataType.btree.rawValue, required: 1, devices: places.map(\.device))),
      [total])
    account(.btree(id: UInt32(btree.rawValue)), [total])
  }

  /// Sets or removes the key that leads from a place back to a node.
  private func setBackpointer(
    of place: ExtentPtr, _ btree: BTreeID, level: Int, _ position: BPos, sectors: UInt32,
    isSet: Bool
  ) throws(TransactionError) {
    let member = try member(place.device)
    let bucketSectors = member.bucketSizeSectors
    let bucket = Positions.bucket(device: place.device, bucket: place.offset / bucketSectors)
    let offset = (place.offset % bucketSectors) << Positions.compressRatioShift
    let key = Positions.backpointer(
      bucket: bucket, bucketSizeSectors: UInt32(bucketSectors), bucketOffset: offset)
    guard isSet else { return delete(.backpointers, key) }
    let value = Backpointer(
      btree: btree, level: UInt8(level), dataType: DataType.btree.rawValue, bucketOffset: offset,
      bucketLength: sectors, position: position)
    var words = InlineArray<4, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var bytes = unsafe span.mutableBytes
    value.encode(into: &bytes)
    update(
      .backpointers,
      BKey(type: .backpointer, position: key, valueU64s: Backpointer.encodedU64s), bytes.bytes)
  }

  func member(_ index: UInt8) throws(TransactionError) -> MemberInfo {
    guard let member = engine.media.member(index), member.bucketSizeSectors > 0 else {
      throw .failed(VolumeError(.corrupt, "a pointer leads to device \(index), which is no member"))
    }
    return member
  }
}

extension AllocV4 {
  /// Adds to the sectors in use.
  ///
  /// - Throws: `.corrupt` where they would be less than none, or more than can be counted.
  fileprivate mutating func addDirty(_ sectors: Int64) throws(VolumeError) {
    guard let sum = UInt32(exactly: Int64(dirtySectors) + sectors) else {
      throw VolumeError(
        .corrupt, "a bucket with \(dirtySectors) dirty sectors cannot change by \(sectors)")
    }
    dirtySectors = sum
  }
}
