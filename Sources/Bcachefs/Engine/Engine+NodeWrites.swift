// SPDX-License-Identifier: GPL-2.0
// Writing nodes: what is dirty becomes a job, and what a job does.
//
// How it works
//   1. `write` takes the dirty keys of a node under its lock. The pin of what is dirty becomes that
//      of what is being written; keys that come from then on are dirty again, with a pin of their
//      own.
//   2. When the image is on disk, the pointer with the node's new end is put into the parent and
//      journalled (or journalled as the root), and only then the pin is dropped.
//   3. An update journals its pointers once its nodes are on disk.
// Invariants
//   (1) One append of a node is under way at most.
//   (2) Nodes that are unreachable, or whose pointers are not journalled, are not written.
// Source: btree_io.c (__bch2_btree_node_write, btree_node_write_work), btree_update_interior.c
// (btree_update_nodes_written).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

extension Engine {
  /// Puts a node's dirty keys into the queue.
  ///
  /// - Returns: False when it cannot be written now: somebody has it locked, or it has to wait for
  ///   the queue, or to be split after a replay.
  func write(_ node: LiveNode) -> Bool {
    guard node.state.contains(.dirty),
      node.state.isDisjoint(with: [.writing, .unreachable, .dead])
    else { return false }
    guard node.lock.tryIntent() else { return false }
    defer { node.lock.unlockIntent() }
    guard node.lock.tryWrite(ownReaders: 0) else { return false }
    defer { node.lock.unlockWrite() }
    guard node.state.contains(.dirty), node.blockers == 0,
      node.state.isDisjoint(with: [.writing, .unreachable, .dead]), !node.pointer.isNone
    else { return false }
    guard node.dirtyWords > 0 else {
      // What came is gone again. A bset without keys is not allowed.
      node.clear(.dirty)
      journal.drop(node.dirtyPin)
      return true
    }
    guard node.hasRoom(words: 0) else { return false }
    do throws(VolumeError) {
      let image = try node.takeImage(trees.parameters)
      trees.cache.count(node)
      node.pointer.sectorsWritten = node.writtenBytes / 512
      journal.move(node.dirtyPin, into: node.writingPin)
      node.clear(.dirty)
      node.set(.writing)
      nodeWrites.add(
        .append(
          NodeAppend(
            node: node, incarnation: node.incarnation, btree: node.btree, level: node.level,
            pointer: node.pointer, image: image, journalSequence: node.journalSequence)))
      return true
    } catch {
      stopWriting(because: error)
      return false
    }
  }

  // MARK: - Jobs

  /// How many journal entries that are not flushed a node may be written ahead of, at most: so many
  /// are blacklisted after a crash.
  private static var writesAhead: UInt64 { lostAfterCrash - 1 }

  func complete(_ append: NodeAppend) throws(VolumeError) {
    try checkWritable()
    if append.journalSequence > Self.writesAhead {
      try journal.flush(upTo: append.journalSequence - Self.writesAhead)
    }
    let isWhole = try write(append.image, append.pointer)
    if !isWhole { noteDegraded(append.btree, level: append.level, append.pointer) }
    try runInQueue("btree_node_write_work") { (transaction) throws(TransactionError) in
      try transaction.commitPointer(of: append)
    }
    let node = append.node
    lockForWriting(node)
    if node.incarnation == append.incarnation {
      node.clear(.writing)
      journal.drop(node.writingPin)
    }
    node.lock.unlockWrite()
    node.lock.unlockIntent()
  }

  func complete(_ update: InteriorUpdate) throws(VolumeError) {
    try checkWritable()
    let sectors = UInt64(trees.parameters.nodeBytes / 512)
    _ = try store.markBTree(
      update.newNodes.flatMap { new in
        new.pointer.places.map { (Int($0.device), $0.offset..<$0.offset + sectors) }
      })
    for new in update.newNodes where try !write(new.image, new.pointer) {
      noteDegraded(update.btree, level: new.level, new.pointer)
    }
    let sequence = try runInQueue("btree_update_nodes_written") {
      (transaction) throws(TransactionError) in
      try transaction.commitPointers(of: update)
    }
    if let (parent, incarnation) = update.parent {
      lockForWriting(parent)
      if parent.incarnation == incarnation {
        parent.blockers -= 1
        parent.journalSequence = max(parent.journalSequence, sequence)
        journal.pin(parent.dirtyPin, sequence: sequence)
      }
      parent.lock.unlockWrite()
      parent.lock.unlockIntent()
    }
    for new in update.newNodes {
      lockForWriting(new.node)
      if new.node.incarnation == new.incarnation { new.node.clear(.unreachable) }
      new.node.lock.unlockWrite()
      new.node.lock.unlockIntent()
      settle(new.allocation)
    }
    journal.drop(update.pin)
    instruments.times.record(.btreeInteriorUpdateTotal, from: update.startNanoseconds)
  }

  /// A transaction of the queue's own: it goes before all others.
  private func runInQueue<Result>(
    _ name: StaticString, _ body: (Transaction) throws(TransactionError) -> Result
  ) throws(VolumeError) -> Result {
    try run(name, watermark: .interiorUpdates, body)
  }

  private func lockForWriting(_ node: LiveNode) {
    while true {
      if node.lock.tryIntent() {
        if node.lock.tryWrite(ownReaders: 0) { return }
        node.lock.unlockIntent()
      }
      node.lock.waitUntilFree(for: .write)
    }
  }

  /// Writes an image to all places of its node.
  ///
  /// - Returns: False when it is only in some of them: what is in the others is too short for what
  ///   the pointer says, and nobody takes it for the node.
  /// - Throws: when it is nowhere.
  private func write(_ image: NodeImage, _ pointer: NodePointer) throws(VolumeError) -> Bool {
    var written = 0
    var said: [String] = []
    for place in pointer.places {
      guard let device = media.device(place.device), !failures.contains(place.device) else {
        continue
      }
      do throws(DeviceError) {
        try device.write(
          image.bytes.bytes, atByte: place.offset * 512 + UInt64(image.startBytes))
        unflushed.add(place.device)
        written += 1
      } catch {
        failures.noteWriteError(on: place.device)
        said.append("\(error)")
      }
    }
    guard written > 0 else {
      throw VolumeError(
        .device,
        "a btree node could be written nowhere: "
          + (said.isEmpty ? "its devices have failed before" : said.joined(separator: "; ")))
    }
    instruments.count(.btreeNodeWrite)
    return written == pointer.places.count
  }

  private func noteDegraded(_ btree: BTreeID, level: Int, _ pointer: NodePointer) {
    degradedNodes.withLock {
      $0.append(DegradedNode(btree: btree, level: level, position: pointer.key.position))
    }
  }

  /// Writes nodes again that are on fewer devices than they should be, to those that have not
  /// failed. The caller holds no lock.
  func rewriteDegradedNodes() throws(VolumeError) {
    while let node = degradedNodes.withLock({ $0.popLast() }) {
      try rewrite(node.btree, level: node.level, node.position, .reclaim)
    }
  }
}

/// Where a node was when it could not be written to all of its places.
struct DegradedNode: Sendable {
  let btree: BTreeID
  let level: Int
  let position: BPos
}

extension Transaction {
  /// Journals a node's pointer with its new end, and puts it into the parent; nothing if the node
  /// was replaced meanwhile.
  fileprivate func commitPointer(of append: NodeAppend) throws(TransactionError) {
    guard let ref = try node(append.btree, level: append.level, append.pointer.key.position, .read)
    else { return }
    guard ref == NodeRef(append.node), append.node.incarnation == append.incarnation else { return }
    if append.node.state.contains(.root) {
      addRoot(append.btree, level: append.level, append.pointer)
    } else {
      append.pointer.withValue { value in
        update(append.btree, level: append.level + 1, append.pointer.key, value, flags: .noTriggers)
      }
    }
    ignoresRoom = engine.isReplaying.load(ordering: .relaxed)
    defer { ignoresRoom = false }
    try commit()
  }

  /// Journals what an interior update changed in memory already.
  ///
  /// - Returns: the sequence number of the journal entry.
  fileprivate func commitPointers(of update: InteriorUpdate) throws(TransactionError) -> UInt64 {
    if let (level, pointer) = update.newRoot {
      addRoot(update.btree, level: level, pointer)
    } else {
      for position in update.deleted {
        addKey(update.btree, level: update.level + 1, BKey(type: .deleted, position: position))
      }
      for new in update.newNodes {
        new.pointer.withWords { addEntry(.btreeKeys, update.btree, level: update.level + 1, $0) }
      }
    }
    try runPointerTriggers(update)
    return try commit()
  }
}
