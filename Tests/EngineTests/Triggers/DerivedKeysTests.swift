// SPDX-License-Identifier: GPL-2.0
// What follows from keys is what the driver has: all keys of a volume go through the triggers, in
// btrees that are empty at first. Then they go again, and nothing is left.
//
// Generations of buckets are given beforehand. Nodes of btrees are counted too, but are others than
// the driver's: what is of them is left out, as is what the driver keeps of times.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

/// A key with its value.
private struct WholeKey {
  let key: BKey
  let value: [UInt8]
}

private typealias Contents = [BTreeID: [WholeKey]]

@Suite struct DerivedKeysTests {
  private static let volumes = SampleVolume.fixtures + SampleVolume.corpus
  private static let sources: [BTreeID] = [.stripes, .reflink, .extents, .inodes, .subvolumes]
  private static let derived: [BTreeID] = [
    .alloc, .backpointers, .freespace, .lru, .needDiscard, .bucketGens, .accounting,
    .rebalanceWork, .deletedInodes, .subvolumeChildren,
  ]

  @Test(arguments: volumes)
  func triggersDeriveWhatTheDriverHas(_ sample: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let images = try sample.unpack(into: folder)
      let devices = try images.map { try BlockDevice.open(path: $0, mode: .exclusiveReadWrite) }
      let unlock = UnlockSource(ask: { _ in sample.passphrase })
      let volume = try Volume(media: VolumeOpener.open(devices: devices, unlock: unlock))
      var keys: Contents = [:]
      for btree in Self.sources + Self.derived { keys[btree] = try readAll(btree, volume) }
      let bare = try BareEngine(on: devices, places: try freeRun(keys, volume), unlock: unlock)
      // What readers see of it may be deltas in a journal.
      keys[.accounting] = try bare.engine.allKeys(of: .accounting)
      let rebuilt = try Rebuilt(bare.engine, emptying: Self.sources + Self.derived, keys)
      try rebuilt.insertAll(keys)
      try compare(rebuilt, keys)
      let seed = UInt64.random(in: .min ... .max)
      print("derived keys of \(sample): seed \(seed)")
      try rebuilt.deleteAll(keys, seed: seed)
      try expectNothing(rebuilt)
      bare.check()
      bare.engine.letGo()
    }
  }

  private func readAll(_ btree: BTreeID, _ volume: Volume) throws -> [WholeKey] {
    let cursor = BTreeCursor(volume.forest, btree)
    var result: [WholeKey] = []
    while let found = try cursor.next() {
      result.append(WholeKey(key: found.key, value: found.withValue { $0.copiedBytes }))
    }
    return result
  }

  /// Where the longest run of free buckets of the first device begins, bytes.
  private func freeRun(_ keys: Contents, _ volume: Volume) throws -> UInt64 {
    let runs = (keys[.freespace] ?? []).map(\.key).filter { $0.position.inode == 0 }
    let longest = try #require(runs.max { $0.size < $1.size })
    return Positions.bucket(ofFreespace: longest.start).offset
      * volume.media.members[0].bucketSizeSectors * 512
  }

  private func compare(_ rebuilt: Rebuilt, _ keys: Contents) throws {
    for btree in [BTreeID.backpointers, .rebalanceWork, .deletedInodes, .subvolumeChildren] {
      let expected = summary(btree, keys[btree] ?? [])
      let found = summary(btree, try rebuilt.readAll(btree))
      expectEqual(found, expected, "\(btree)")
    }
    expectEqual(try rebuilt.readAll(.alloc).buckets, (keys[.alloc] ?? []).buckets, "alloc")
    expectEqual(
      try rebuilt.readAll(.accounting).counters, (keys[.accounting] ?? []).counters, "accounting")
    expectEqual(
      try rebuilt.readAll(.lru).lruEntries(of: try rebuilt.readAll(.alloc)),
      (keys[.lru] ?? []).lruEntries(of: keys[.alloc] ?? []), "lru")
    for btree in [BTreeID.reflink, .stripes, .inodes] {
      let expected = (keys[btree] ?? []).map { Self.comparable($0) }
      let found = try rebuilt.readAll(btree).map { Self.comparable($0) }
      #expect(found == expected, "\(btree)")
    }
  }

  /// An inode's journal entry is that in which it was changed last.
  private static func comparable(_ found: WholeKey) -> [UInt8] {
    found.key.type == .inodeV3 ? Array(found.value.dropFirst(8)) : found.value
  }

  private func summary(_ btree: BTreeID, _ keys: [WholeKey]) -> [String: String] {
    var result: [String: String] = [:]
    for found in keys {
      guard btree == .backpointers else {
        result["\(found.key.position)"] = ""
        continue
      }
      guard let value = try? Backpointer(decoding: found.value.rawBytes), value.level == 0 else {
        continue
      }
      result["\(found.key.position)"] = "\(value)"
    }
    return result
  }

  private func expectEqual(
    _ found: [String: String], _ expected: [String: String], _ what: String
  ) {
    var differences: [String] = []
    for name in Set(found.keys).union(expected.keys).sorted() where found[name] != expected[name] {
      differences.append("\(name): \(found[name] ?? "none"), not \(expected[name] ?? "none")")
    }
    #expect(
      differences.isEmpty,
      "\(what): \(differences.count)\n\(differences.prefix(8).joined(separator: "\n"))")
  }

  private func expectNothing(_ rebuilt: Rebuilt) throws {
    for btree in Self.sources + [.rebalanceWork, .deletedInodes, .subvolumeChildren] {
      #expect(try rebuilt.readAll(btree).isEmpty, "\(btree)")
    }
    #expect(summary(.backpointers, try rebuilt.readAll(.backpointers)).isEmpty)
    #expect(try rebuilt.readAll(.accounting).counters.isEmpty)
    let inUse = try rebuilt.readAll(.alloc).buckets
    #expect(inUse.isEmpty, "\(inUse.prefix(4))")
  }
}

/// An engine some of whose btrees are filled anew.
private struct Rebuilt {
  let engine: Engine

  init(_ engine: Engine, emptying btrees: [BTreeID], _ keys: Contents) throws {
    self.engine = engine
    // What a replay split.
    try engine.writeAllNodes()
    for node in engine.trees.cache.allNodes where btrees.contains(node.btree) {
      guard !node.state.contains(.dead) else { continue }
      let isLocked = node.lock.tryIntent() && node.lock.tryWrite(ownReaders: 0)
      try #require(isLocked)
      engine.journal.drop(node.dirtyPin)
      engine.trees.cache.retire(node)
    }
    for btree in btrees {
      engine.trees.makeEmptyRoot(btree, sequence: engine.nextNodeSequence())
    }
    try seedBuckets(keys[.alloc] ?? [])
  }

  /// All buckets are free, and of the generations that the driver gave them.
  private func seedBuckets(_ alloc: [WholeKey]) throws {
    for (index, member) in engine.media.members.enumerated() where member.isAlive {
      try engine.run("test_seed") { (transaction) throws(TransactionError) in
        let end = BPos(UInt64(index), member.bucketCount)
        transaction.update(
          .freespace,
          BKey(
            type: .set, position: end,
            size: UInt32(truncatingIfNeeded: member.bucketCount - member.firstBucket)), RawSpan())
        try transaction.commit()
      }
    }
    try inPortions(alloc) { transaction, found in
      let old = try AllocV4(decoding: found.value.rawBytes)
      var new = AllocV4()
      new.generation = old.generation
      new.oldestGeneration = old.oldestGeneration
      transaction.put(new, at: found.key.position, flags: [])
    }
  }

  func insertAll(_ keys: Contents) throws {
    try inPortions(keys[.stripes] ?? []) { transaction, found in
      let stripe = try Stripe(decoding: found.value.rawBytes)
      var value = found.value
      var span = value.mutableSpan
      var bytes = unsafe span.mutableBytes
      for block in 0..<Int(stripe.head.dataCount) {
        try Stripe.set(sectorsInUse: 0, block: block, head: stripe.head, in: &bytes)
      }
      transaction.update(.stripes, found.key, value.rawBytes)
    }
    // Each has a user until all others have come.
    try inPortions(keys[.reflink] ?? []) { transaction, found in
      var value = found.value
      var span = value.mutableSpan
      var bytes = unsafe span.mutableBytes
      bytes[LEField<UInt64>(0)] = 1
      transaction.update(.reflink, found.key, value.rawBytes)
    }
    for btree in [BTreeID.extents, .inodes, .subvolumes] {
      try inPortions(keys[btree] ?? []) { transaction, found in
        transaction.update(btree, found.key, found.value.rawBytes)
      }
    }
    try inPortions(keys[.reflink] ?? []) { transaction, found in
      try transaction.addUsers(-1, of: found.key.position)
    }
  }

  func deleteAll(_ keys: Contents, seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    for btree in [BTreeID.extents, .inodes, .subvolumes, .reflink, .stripes] {
      try inPortions((keys[btree] ?? []).shuffled(using: &random), at: 7) { transaction, found in
        // Those that had users went with them.
        if btree != .reflink { transaction.delete(btree, found.key.position) }
      }
    }
  }

  func readAll(_ btree: BTreeID) throws -> [WholeKey] { try engine.allKeys(of: btree) }

  private func inPortions(
    _ keys: [WholeKey], at once: Int = 16, _ body: (Transaction, WholeKey) throws -> Void
  ) throws {
    var first = 0
    while first < keys.count {
      let portion = keys[first..<min(first + once, keys.count)]
      try engine.run("test_portion") { (transaction) throws(TransactionError) in
        for found in portion {
          do { try body(transaction, found) } catch let error as TransactionError {
            throw error
          } catch {
            throw .failed(VolumeError(.corrupt, "\(error)"))
          }
        }
        try transaction.commit()
      }
      first += once
    }
  }
}

extension Engine {
  fileprivate func allKeys(of btree: BTreeID) throws -> [WholeKey] {
    try run("test_read") { (transaction) throws(TransactionError) in
      var result: [WholeKey] = []
      var walk = KeyWalk(btree, from: .min)
      while let found = try transaction.next(&walk) {
        result.append(WholeKey(key: found.key, value: found.withValue { $0.copiedBytes }))
      }
      return result
    }
  }
}

extension Transaction {
  fileprivate func addUsers(_ delta: Int64, of position: BPos) throws(TransactionError) {
    guard let found = try lookup(.reflink, position, .intent) else { return }
    var words = change(.reflink, found).words
    words[LEField<Int64>(BKey.Layout.byteCount)] += delta
  }
}

extension [WholeKey] {
  /// Buckets that hold data, with what is in them.
  fileprivate var buckets: [String: String] {
    var result: [String: String] = [:]
    for found in self {
      guard let alloc = try? AllocV4(decoding: found.value.rawBytes) else { continue }
      switch DataType(rawValue: alloc.dataType) {
      case .user, .cached, .stripe, .parity:
        result["\(found.key.position)"] =
          "gen \(alloc.generation) \(DataType(rawValue: alloc.dataType)) "
          + "dirty \(alloc.dirtySectors) cached \(alloc.cachedSectors) striped "
          + "\(alloc.stripeSectors) stripe \(alloc.stripe) redundancy \(alloc.stripeRedundancy)"
      default: break
      }
    }
    return result
  }

  /// Entries of LRUs without times of reading, for buckets that hold data.
  fileprivate func lruEntries(of alloc: [WholeKey]) -> [String: String] {
    let buckets = alloc.buckets
    var result: [String: String] = [:]
    for found in self {
      let bucket = Positions.bucket(ofWord: found.key.position.offset)
      guard buckets["\(bucket)"] != nil else { continue }
      let id = Positions.lruID(found.key.position)
      let time =
        id == Positions.fragmentationLRU ? "\(Positions.lruTime(found.key.position))" : "read"
      result["\(id) \(bucket)"] = time
    }
    return result
  }

  /// Counters that are not zero, without those of metadata and of buckets without data.
  fileprivate var counters: [String: String] {
    var result: [String: String] = [:]
    for found in self {
      guard let key = AccountingKey(found.key.position), key.isOfData else { continue }
      let counters = (0..<found.value.count / 8).map {
        found.value.rawBytes[LEField<Int64>($0 * 8)]
      }
      if counters.contains(where: { $0 != 0 }) { result["\(key) \(key.position)"] = "\(counters)" }
    }
    return result
  }
}

extension AccountingKey {
  /// Whether it counts neither metadata nor buckets without data.
  fileprivate var isOfData: Bool {
    switch self {
    case .btree: false
    case .replicas(let entry): entry.dataType != DataType.btree.rawValue
    case .deviceDataType(_, let type):
      switch DataType(rawValue: type) {
      case .user, .cached, .stripe, .parity, .unstriped: true
      default: false
      }
    default: true
    }
  }
}
