// SPDX-License-Identifier: GPL-2.0
// What is damaged is found: by our check under the error's number, and in the words that the driver
// has for the same.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

/// A way to contradict what else is on a volume.
struct MetadataDamage: Sendable, CustomStringConvertible {
  let name: String
  let fixture: String
  /// What the check must find; it may find what follows from it, too.
  let expected: FsckErrorID
  /// Whether the driver looks for it at all.
  var isKnownToDriver = true
  let apply: @Sendable (Transaction) throws(TransactionError) -> Bool

  var description: String { name }

  static let all: [MetadataDamage] = [
    MetadataDamage(
      name: "a backpointer is missing", fixture: "plain", expected: .ptr_to_missing_backpointer
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.backpointers, where: { $0.isOfExtent }) { transaction, found in
        transaction.delete(.backpointers, found.key.position, flags: .noTriggers)
      }
    },
    MetadataDamage(
      name: "a backpointer leads nowhere", fixture: "plain", expected: .backpointer_to_missing_ptr
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.backpointers, where: { $0.isOfExtent }) { transaction, found in
        transaction.copy(
          .backpointers, found,
          to: BPos(found.key.position.inode, found.key.position.offset + 8 << 10)
        ) {
          $0[LEField<UInt64>(BKey.Layout.byteCount)] += 8 << 34
        }
      }
    },
    MetadataDamage(
      name: "a bucket's dirty sectors are wrong", fixture: "plain",
      expected: .alloc_key_dirty_sectors_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.alloc, where: { $0.alloc?.dataType == DataType.user.rawValue }) {
        $0.changeBucket($1) { $0.dirtySectors += 8 }
      }
    },
    MetadataDamage(
      name: "a bucket with data is said to be a parity block", fixture: "plain",
      expected: .alloc_key_data_type_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.alloc, where: { $0.alloc?.dataType == DataType.user.rawValue }) {
        $0.changeBucket($1) { $0.dataType = DataType.btree.rawValue }
      }
    },
    MetadataDamage(
      name: "free buckets are not in freespace", fixture: "plain",
      expected: .freespace_hole_missing
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.freespace, where: { $0.key.size > 16 }) { transaction, found in
        transaction.delete(.freespace, found.key.position, flags: .noTriggers)
      }
    },
    MetadataDamage(
      name: "a bucket in use is said to need a discard", fixture: "plain",
      expected: .need_discard_key_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.alloc, where: { $0.alloc?.dataType == DataType.user.rawValue }) {
        $0.update(
          .needDiscard, BKey(type: .set, position: $1.key.position), RawSpan(), flags: .noTriggers)
      }
    },
    MetadataDamage(
      name: "a generation in bucket_gens is wrong", fixture: "plain",
      expected: .bucket_gens_key_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.alloc, where: { $0.alloc?.dataType == DataType.user.rawValue }) {
        let (position, index) = Positions.bucketGens(bucket: $1.key.position)
        var gens = [UInt8](repeating: 0, count: BucketGens.count)
        gens[index] = 3
        $0.update(
          .bucketGens,
          BKey(type: .bucketGens, position: position, valueU64s: BucketGens.encodedU64s),
          gens.rawBytes, flags: .noTriggers)
      }
    },
    MetadataDamage(
      name: "a fragmented bucket is in no LRU", fixture: "plain",
      expected: .alloc_key_to_missing_lru_entry
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.lru, where: { _ in true }) { transaction, found in
        transaction.delete(.lru, found.key.position, flags: .noTriggers)
      }
    },
    MetadataDamage(
      name: "an entry of an LRU is wrong", fixture: "plain", expected: .lru_entry_bad
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.lru, where: { _ in true }) { transaction, found in
        transaction.copy(
          .lru, found, to: BPos(found.key.position.inode + 7, found.key.position.offset)
        ) { _ in }
      }
    },
    MetadataDamage(
      name: "inodes are counted wrong", fixture: "plain", expected: .accounting_mismatch
    ) { (transaction) throws(TransactionError) in
      transaction.account(.nrInodes, [5])
      return true
    },
    MetadataDamage(
      name: "a file's sectors are counted wrong", fixture: "plain",
      expected: .accounting_mismatch, isKnownToDriver: false
    ) { (transaction) throws(TransactionError) in
      transaction.account(.inode(number: 99_999), [1, 8, 8])
      return true
    },
    MetadataDamage(
      name: "a snapshot's depth is wrong", fixture: "snapshots", expected: .snapshot_bad_depth
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.snapshots, where: { $0.snapshot?.parent ?? 0 != 0 }) {
        transaction, found in
        guard var snapshot = found.snapshot else { return }
        snapshot.depth += 2
        transaction.copy(.snapshots, found, to: found.key.position) { words in
          var value = words._mutatingExtracting(BKey.Layout.byteCount..<words.byteCount)
          snapshot.encode(into: &value)
        }
      }
    },
    MetadataDamage(
      name: "a shared extent has too many users", fixture: "snapshots",
      expected: .reflink_v_refcount_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.reflink, where: { $0.key.type == .reflinkV }) {
        transaction, found in
        transaction.copy(.reflink, found, to: found.key.position) {
          $0[LEField<UInt64>(BKey.Layout.byteCount)] += 2
        }
      }
    },
    MetadataDamage(
      name: "a stripe's sectors in use are counted wrong", fixture: "stripes",
      expected: .stripe_sector_count_wrong
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.stripes, where: { $0.key.type == .stripe }) { transaction, found in
        guard let head = found.withValue({ try? Stripe(decoding: $0).head }) else { return }
        transaction.copy(.stripes, found, to: found.key.position) {
          $0[LEField<UInt16>(BKey.Layout.byteCount + head.blockCountOffset(block: 0))] += 8
        }
      }
    },
    MetadataDamage(
      name: "an extent's generation is that of the future", fixture: "unchecked",
      expected: .ptr_gen_newer_than_bucket_gen
    ) { (transaction) throws(TransactionError) in
      try transaction.damage(.extents, where: { $0.key.type == .extent && $0.isPlain }) {
        transaction, found in
        transaction.copy(.extents, found, to: found.key.position) {
          $0[LEField<UInt64>(BKey.Layout.byteCount)] += 5 << 56
        }
      }
    },
  ]
}

extension KeyView {
  fileprivate var alloc: AllocV4? { withValue { try? AllocV4(key: key, value: $0) } }

  fileprivate var snapshot: Snapshot? { withValue { try? Snapshot(decoding: $0) } }

  fileprivate var isOfExtent: Bool {
    withValue { (try? Backpointer(decoding: $0))?.level == 0 }
  }

  /// Begins with a pointer.
  fileprivate var isPlain: Bool { withValue { $0[LEField<UInt64>(0)] & 1 != 0 } }
}

extension Transaction {
  /// Damages the first key of a kind.
  ///
  /// - Returns: whether there is one.
  fileprivate func damage(
    _ btree: BTreeID, where isWanted: (KeyView) -> Bool, _ body: (Transaction, KeyView) -> Void
  ) throws(TransactionError) -> Bool {
    var walk = KeyWalk(btree, from: .min, mode: .intent)
    while let found = try next(&walk) {
      guard isWanted(found) else { continue }
      body(self, found)
      return true
    }
    return false
  }

  /// Puts a copy of a key somewhere, changed; nothing follows from it.
  fileprivate func copy(
    _ btree: BTreeID, _ found: KeyView, to position: BPos,
    _ change: (inout MutableRawSpan) -> Void
  ) {
    var key = found.key
    key.position = position
    found.withValue { update(btree, key, $0, flags: .noTriggers) }
    guard var words = ownKey(btree, from: position, upTo: position)?.words else { return }
    change(&words)
  }

  fileprivate func changeBucket(_ found: KeyView, _ change: (inout AllocV4) -> Void) {
    guard var alloc = found.alloc else { return }
    change(&alloc)
    put(alloc, at: found.key.position, flags: .noTriggers)
  }
}

@Suite struct CheckDamageTests {
  /// Damages a volume, and closes it.
  private func damage(_ images: [String], _ damage: MetadataDamage) throws {
    let volume = try VolumeOpener.openForWriting(
      VolumeSources(paths: images), unlock: .keyring)
    let engine = try Engine.open(volume, EngineOptions(seed: 1))
    let isDone = try engine.run("test_damage") { (transaction) throws(TransactionError) in
      let isDone = try damage.apply(transaction)
      try transaction.commit()
      return isDone
    }
    try #require(isDone, "\(damage.fixture) has no such key")
    try engine.close()
    for device in engine.media.devices { try device?.close() }
  }

  private func findings(_ images: [String]) throws -> [CheckFinding] {
    let devices = try images.map { try BlockDevice.open(path: $0, mode: .readOnly) }
    defer { for device in devices { try? device.close() } }
    let volume = try Volume(media: VolumeOpener.open(devices: devices, unlock: .keyring))
    var findings: [CheckFinding] = []
    var events = CheckEvents()
    events.finding = { findings.append($0) }
    _ = try volume.check(CheckOptions(), events)
    return findings
  }

  @Test(arguments: MetadataDamage.all)
  func damageIsFound(_ damage: MetadataDamage) throws {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture(damage.fixture).unpack(into: folder)
      try self.damage(images, damage)
      let found = try findings(images)
      #expect(found.contains { $0.id == damage.expected }, "\(found.map(\.text))")
      #expect(found.count < 16, "\(found.count): \(found.prefix(20).map(\.text))")
    }
  }

  @Test(
    .enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"),
    arguments: MetadataDamage.all.filter(\.isKnownToDriver))
  func theDriverSaysTheSame(_ damage: MetadataDamage) throws {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture(damage.fixture).unpack(into: folder)
      try self.damage(images, damage)
      let found = try findings(images).filter { $0.id == damage.expected }
      let outcome = try KernelGuest.check(images: images)
      let said = outcome.complaints.joined(separator: "\n")
      for finding in found.prefix(4) {
        let words = finding.text.split(separator: "\n")[0]
        #expect(said.contains(words), "\(words)\n\(said)")
      }
    }
  }
}
