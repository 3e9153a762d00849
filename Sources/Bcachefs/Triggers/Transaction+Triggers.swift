// SPDX-License-Identifier: GPL-2.0
// What follows from a change: derived keys, added to the same transaction.
//
// How it works
//   1. A commit runs the triggers of each update, with what is there now and what will be: btree by
//      btree, each before those that its triggers change, buckets last. In each btree first what
//      is overwritten is counted out, of all updates, then what is inserted is counted in: the
//      parts of a split extent stand where the whole one stood.
//   2. Pointers to btree nodes change in interior nodes before the disk leads to them; their
//      triggers run when an interior update is journalled.
//   3. What is counted is added as deltas (`account`); the journal gets the deltas, the accounting
//      btree the sums (Transaction+Commit.swift).
// Invariants
//   (1) Derived keys change only here.
//   (2) The trigger of a bucket runs once in a transaction, after all others.
// Source: btree_trans_commit.c (bch2_trans_commit_run_triggers), buckets.c (__trigger_extent).

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// Runs the triggers of all updates, and of those that they add.
  @inline(__always)
  func runTriggers() throws(TransactionError) {
    var changed: UInt64 = 0
    for index in 0..<updateCount {
      changed |= unsafe 1 << UInt64(updates[index].btree.rawValue & 63)
    }
    guard changed & Self.btreesWithTriggers != 0 else { return }
    try runTriggersInOrder()
  }

  /// Each btree before those that its triggers change.
  private static let triggerOrder: [BTreeID] = [
    .extents, .inodes, .reflink, .stripes, .subvolumes, .snapshots, .alloc,
  ]

  private static let btreesWithTriggers = triggerOrder.reduce(UInt64(0)) {
    $0 | 1 << UInt64($1.rawValue)
  }

  @inline(never)
  private func runTriggersInOrder() throws(TransactionError) {
    for btree in Self.triggerOrder {
      try runTriggers(of: btree, .overwrite)
      try runTriggers(of: btree, .insert)
    }
  }

  /// Runs the triggers of a btree's updates that have not run.
  private func runTriggers(
    of btree: BTreeID, _ phase: TransactionUpdate.Triggered
  ) throws(TransactionError) {
    var index = firstUpdate(btree, 0, .min)
    while index < updateCount {
      let update = unsafe updates[index]
      guard update.btree == btree, update.level == 0 else { return }
      guard update.triggered.isDisjoint(with: phase), !update.flags.contains(.noTriggers) else {
        index += 1
        continue
      }
      unsafe updates[index].triggered.formUnion(phase)
      try runTrigger(update, phase)
      // Others may stand before it by now.
      index = firstUpdate(btree, 0, update.position)
    }
  }

  private func runTrigger(
    _ update: TransactionUpdate, _ phase: TransactionUpdate.Triggered
  ) throws(TransactionError) {
    switch update.btree {
    case .extents, .reflink:
      if phase == .overwrite {
        try runExtentOverwriteTrigger(update)
      } else {
        try runExtentInsertTrigger(update)
      }
    case .inodes where phase == .overwrite: try runInodeTrigger(update)
    case .stripes where phase == .overwrite: try runStripeTrigger(update)
    case .subvolumes where phase == .overwrite: try runSubvolumeTrigger(update)
    case .snapshots where phase == .overwrite: changesSnapshots = true
    case .alloc where phase == .overwrite: try runAllocTrigger(update)
    default: break
    }
  }

  /// What is at an update's position in the btree, whatever this transaction will do.
  func committed(_ update: TransactionUpdate) throws(TransactionError) -> KeyView? {
    try node(update.btree, level: 0, update.position, .intent)?.with { $0.find(update.position) }
  }

  /// Nothing is left to do for an update.
  func finishTriggers(of update: TransactionUpdate) {
    let index = firstUpdate(update.btree, update.level, update.position)
    unsafe updates[index].triggered = [.overwrite, .insert]
  }

  /// Makes a copy of a key an update, to be changed in place.
  func change(_ btree: BTreeID, _ found: KeyView) -> TransactionUpdate {
    found.withValue { update(btree, found.key, $0) }
    return unsafe updates[firstUpdate(btree, 0, found.key.position)]
  }

  // MARK: - Accounting

  /// Adds to a counter.
  func account(_ key: AccountingKey, _ deltas: [Int64]) {
    guard deltas.contains(where: { $0 != 0 }) else { return }
    let position = key.position
    if case .replicas(let replicas) = key, deltas[0] > 0, !engine.replicas.isMarked(position) {
      unmarkedReplicas = replicas
    }
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

  /// Sets or removes the key that leads from a place back to the node there.
  private func setBackpointer(
    of place: ExtentPtr, _ btree: BTreeID, level: Int, _ position: BPos, sectors: UInt32,
    isSet: Bool
  ) throws(TransactionError) {
    let value = Backpointer(
      btree: btree, level: UInt8(level), dataType: DataType.btree.rawValue, bucketOffset: 0,
      bucketLength: sectors, position: position)
    try setBackpointer(of: place, value, isSet: isSet)
  }

  /// Sets or removes the key that leads from a place back to the key that points there.
  ///
  /// - Parameter backpointer: Its offset counts from the place.
  func setBackpointer(
    of place: ExtentPtr, _ backpointer: Backpointer, isSet: Bool
  ) throws(TransactionError) {
    var value = backpointer
    let (key, offset) = Positions.backpointer(
      device: place.device, sector: place.offset,
      bucketSizeSectors: UInt32(try member(place.device).bucketSizeSectors),
      offset: backpointer.bucketOffset)
    value.bucketOffset = offset
    guard isSet else { return delete(.backpointers, key) }
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
