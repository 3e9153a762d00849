// SPDX-License-Identifier: GPL-2.0
// The engine for benchmarks: what the C engine's own perf_test does with its keys, in loops that
// stand in the engine's module. No part of the interface.
//
// Invariants
//   (1) Each operation is a transaction of its own, but for a scan.
// Source: tests.c (bch2_btree_perf_test).

internal import BcachefsFormat
internal import BcachefsIO
public import BcachefsSupport

/// What perf_test can do with keys, by its names: each is a transaction of its own.
@_spi(Benchmarks)
public enum KeyWork: String, CaseIterable, Sendable {
  case randInsert = "rand_insert"
  case randLookup = "rand_lookup"
  case randMixed = "rand_mixed"
  case randDelete = "rand_delete"
  case seqInsert = "seq_insert"
  case seqLookup = "seq_lookup"
  case seqOverwrite = "seq_overwrite"
  case seqDelete = "seq_delete"
}

/// A volume that is open for changes.
@_spi(Benchmarks)
public final class BenchedEngine: Sendable {
  private let engine: Engine
  private static let btree = BTreeID.xattrs

  /// Opens a volume, or initialises a formatted one.
  ///
  /// - Throws: why it cannot be opened for changes.
  public init(
    paths: [String], cacheBytes: Int, writeBufferBytes: Int = 8 << 20, seed: UInt64
  ) throws(VolumeError) {
    engine = try Engine.open(
      VolumeOpener.openForWriting(VolumeSources(paths: paths)),
      EngineOptions(cacheBytes: cacheBytes, writeBufferBytes: writeBufferBytes, seed: seed))
  }

  /// Writes everything and closes the volume.
  ///
  /// - Throws: what writing throws.
  public func close() throws(VolumeError) {
    try engine.close()
    for device in engine.media.devices {
      do throws(DeviceError) { try device?.close() } catch { throw VolumeError(error) }
    }
  }

  /// Does `count` operations on the calling thread.
  ///
  /// - Parameters:
  ///   - first: Of the positions that sequential inserts go to.
  ///   - random: Gives the positions of the others.
  /// - Returns: how many keys were met; for scans and deletes in order that may be less.
  /// - Throws: what transactions throw.
  @discardableResult
  public func perform(
    _ work: KeyWork, _ count: Int, first: UInt64 = 0, _ random: inout SplitMix64
  ) throws(VolumeError) -> Int {
    switch work {
    case .randInsert:
      for _ in 0..<count { try put(BPos(0, random.next(), .max), "rand_insert") }
      return count
    case .seqInsert:
      for offset in first..<first + UInt64(count) { try put(BPos(0, offset, .max), "seq_insert") }
      return count
    case .randLookup: return try lookUp(count, &random)
    case .randMixed: return try mix(count, &random)
    case .randDelete: return try deleteAtRandom(count, &random)
    case .seqLookup: return try scan()
    case .seqOverwrite: return try overwrite(count)
    case .seqDelete: return try deleteInOrder(count)
    }
  }

  /// A transaction that is durable when this returns.
  ///
  /// - Throws: what transactions and the journal throw.
  public func putDurably(_ number: UInt64) throws(VolumeError) {
    let sequence = try engine.run("durable_insert") {
      (transaction) throws(TransactionError) in
      transaction.setCookie(Self.btree, BPos(1, number, .max))
      return try transaction.commit()
    }
    try engine.journal.flush(upTo: sequence)
  }

  /// Overwrites keys of a few, all of them in one leaf: as inodes that are written to.
  ///
  /// - Throws: what transactions throw.
  public func overwriteFew(
    _ count: Int, of few: UInt64, _ random: inout SplitMix64
  ) throws(VolumeError) {
    for _ in 0..<count { try put(BPos(2, random.next() % few, .max), "overwrite_few") }
  }

  /// Gives files extents of 4 KiB, one in a transaction, with all that follows from it. The data
  /// itself is not written.
  ///
  /// - Parameter firstFile: Of as many files as the extents need, 64 for each.
  /// - Throws: what allocating and transactions throw.
  public func appendExtents(_ count: Int, firstFile: UInt64) throws(VolumeError) {
    for number in 0..<UInt64(count) {
      let file = firstFile + number / 64
      let found = try engine.allocateSectors(
        AllocationRequest(sectors: 8, replicas: 1), in: engine.writePoints.user(file))
      // With a gap behind each: so that it is a key of its own.
      let end = (number % 64 + 1) * 16
      let words = found.places.map(\.word)
      try engine.run("append_extents") { (transaction) throws(TransactionError) in
        try unsafe transaction.updateExtent(
          .extents,
          BKey(
            type: .extent, position: Positions.extent(inode: file, end: end, snapshot: .max),
            size: UInt32(found.sectors), valueU64s: words.count), words.span.bytes)
        try transaction.commit()
      }
      engine.settle(found)
    }
  }

  // MARK: - Loops

  private func put(_ position: BPos, _ name: StaticString) throws(VolumeError) {
    try engine.run(name) { (transaction) throws(TransactionError) in
      transaction.setCookie(Self.btree, position)
      try transaction.commit()
    }
  }

  private func lookUp(_ count: Int, _ random: inout SplitMix64) throws(VolumeError) -> Int {
    var found = 0
    for _ in 0..<count {
      let position = BPos(0, random.next(), .max)
      let isThere = try engine.run("rand_lookup") { (transaction) throws(TransactionError) in
        try transaction.next(Self.btree, from: position) != nil
      }
      if isThere { found += 1 }
    }
    return found
  }

  /// Looks a key up, and overwrites every fourth.
  private func mix(_ count: Int, _ random: inout SplitMix64) throws(VolumeError) -> Int {
    for index in 0..<count {
      let position = BPos(0, random.next(), .max)
      try engine.run("rand_mixed") { (transaction) throws(TransactionError) in
        let isUpdate = index & 3 == 0
        let found = try transaction.next(
          Self.btree, from: position, isUpdate ? .intent : .read)
        guard isUpdate, let found else { return }
        transaction.setCookie(Self.btree, found.key.position)
        try transaction.commit()
      }
    }
    return count
  }

  private func deleteAtRandom(
    _ count: Int, _ random: inout SplitMix64
  ) throws(VolumeError) -> Int {
    var deleted = 0
    for _ in 0..<count {
      let position = try deleteNext(from: BPos(0, random.next(), .max), "rand_delete")
      if position != nil { deleted += 1 }
    }
    return deleted
  }

  private func deleteNext(
    from position: BPos, _ name: StaticString
  ) throws(VolumeError) -> BPos? {
    try engine.run(name) { (transaction) throws(TransactionError) -> BPos? in
      guard let found = try transaction.next(Self.btree, from: position, .intent) else {
        return nil
      }
      let position = found.key.position
      transaction.delete(Self.btree, position)
      try transaction.commit()
      return position
    }
  }

  private func scan() throws(VolumeError) -> Int {
    try engine.run("seq_lookup") { (transaction) throws(TransactionError) in
      var count = 0
      var walk = KeyWalk(Self.btree, from: .min)
      while try transaction.next(&walk) != nil { count += 1 }
      return count
    }
  }

  private func overwrite(_ count: Int) throws(VolumeError) -> Int {
    var (position, done) = (BPos.min as BPos?, 0)
    while let start = position, done < count {
      position = try engine.run("seq_overwrite") {
        (transaction) throws(TransactionError) -> BPos? in
        guard let found = try transaction.next(Self.btree, from: start, .intent) else {
          return nil
        }
        let place = found.key.position
        transaction.setCookie(Self.btree, place)
        try transaction.commit()
        return place.successor
      }
      if position != nil { done += 1 }
    }
    return done
  }

  private func deleteInOrder(_ count: Int) throws(VolumeError) -> Int {
    var (position, done) = (BPos.min as BPos?, 0)
    while let start = position, done < count {
      position = try deleteNext(from: start, "seq_delete")
      if position != nil { done += 1 }
    }
    return done
  }
}

extension Transaction {
  /// Sets a key as perf_test does: one word of value, zero.
  @inline(__always)
  fileprivate func setCookie(_ btree: BTreeID, _ position: BPos) {
    let words = InlineArray<1, UInt64>(repeating: 0)
    unsafe update(
      btree, BKey(type: .cookie, position: position, valueU64s: 1), words.span.bytes)
  }
}
