// SPDX-License-Identifier: GPL-2.0
// How much is in use and how much is promised, in memory: what says at once whether there is room.
//
// How it works
//   1. The accounting btree is read when a volume is opened; from then on each commit adds its
//      deltas here too.
//   2. Who will write reserves sectors first, all copies counted. What is promised counts as used,
//      and a 64th more: for what has to be moved to make use of the last of it. A commit turns what
//      it adds from promised into used.
//   3. Of the devices' sectors a share is kept back, so that moving data never lacks room: what is
//      left is the capacity that users see.
//   4. The accounting btree may say anything: no count of a device exceeds what the device has.
// Invariants
//   (1) Nothing is promised that is not there: "no space" is told when a reservation is asked for.
//   (2) What is added is counted as used before it stops being promised.
// Locks: none; counters are atomic.
// Source: disk_accounting.h (bch2_accounting_mem_mod_locked), buckets.c
// (__bch2_disk_reservation_add, bch2_fs_usage_read_short, bch2_trans_account_disk_usage_change),
// alloc_background.c (bch2_recalc_capacity).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// Sectors that were promised to somebody, all copies counted. It is given back (`release`).
struct DiskReservation: Sendable {
  /// What is left of it.
  var sectors: UInt64 = 0
  /// What quotas allow of it; nothing where there are none.
  var quota = QuotaPromise()
}

final class SpaceUsage: Sendable {
  private static var typesPerDevice: Int { 16 }

  /// In sectors, all copies counted.
  private let data = Atomic<Int64>(0)
  private let nodes = Atomic<Int64>(0)
  private let reserved = Atomic<Int64>(0)
  private let inodes = Atomic<Int64>(0)
  /// By device and data type.
  private let bucketCounts = InlineArray<1024, Atomic<Int64>> { _ in Atomic(0) }
  /// Of buckets in use, what of them is not; by device and data type, in sectors.
  private let fragmented = InlineArray<1024, Atomic<Int64>> { _ in Atomic(0) }
  private let promised = Atomic<UInt64>(0)
  /// Of all devices that may be written to, less what is kept back; in sectors.
  private let capacityWithHidden: UInt64
  private let members: [(index: UInt8, info: MemberInfo)]
  /// Of each device, all its buckets and their sectors: what counters say beyond that is wrong.
  private let limits: InlineArray<64, (buckets: UInt64, sectors: UInt64)>

  init(_ media: VolumeMedia) {
    limits = InlineArray { index in
      guard let member = media.member(UInt8(index)) else { return (0, 0) }
      return (member.bucketCount, member.bucketCount * member.bucketSizeSectors)
    }
    let writable = WritableMember.all(media)
    members = writable.compactMap { member in
      media.member(member.index).map { (member.index, $0) }
    }
    let nodeSectors = UInt64(media.superblock[Superblock.Layout.btreeNodeSize])
    var capacity: UInt64 = 0
    var kept: UInt64 = 0
    for (_, member) in members {
      let nodes = Watermark.btreeReserve(
        nodesInBucket: member.bucketSizeSectors / max(nodeSectors, 1))
      // For nodes twice over, for copygc a 64th, and a bucket each for three of the streams.
      let reserve = 2 * nodes + member.bucketCount >> 6 + 3
      kept += 2 * reserve * member.bucketSizeSectors
      capacity += (member.bucketCount - member.firstBucket) * member.bucketSizeSectors
    }
    let bytes = media.options[.gcReserveBytes]
    let wanted =
      bytes > 0 ? bytes / 512 : capacity / 100 * min(media.options[.gcReservePercent], 100)
    capacityWithHidden = capacity - min(max(wanted, kept), capacity)
  }

  // MARK: - Counters

  /// Adds what a key of the accounting btree counts, or the deltas of one.
  ///
  /// - Returns: by how many sectors what users have reserved or written has grown.
  @discardableResult
  func add(_ position: BPos, _ value: RawSpan) -> Int64 {
    guard value.byteCount >= 8 else { return 0 }
    let delta = value[LEField<Int64>(0)]
    switch AccountingKey(position) {
    case .nrInodes: inodes.wrappingAdd(delta, ordering: .relaxed)
    case .persistentReserved:
      reserved.wrappingAdd(delta, ordering: .relaxed)
      return delta
    case .replicas(let replicas):
      switch DataType(rawValue: replicas.dataType) {
      case .user, .parity:
        data.wrappingAdd(delta, ordering: .relaxed)
        return delta
      case .btree: nodes.wrappingAdd(delta, ordering: .relaxed)
      default: break
      }
    case .deviceDataType(let device, let type):
      guard device < 64, type < Self.typesPerDevice else { break }
      let index = Int(device) * Self.typesPerDevice + Int(type)
      bucketCounts[index].wrappingAdd(delta, ordering: .relaxed)
      if value.byteCount >= 24 {
        fragmented[index].wrappingAdd(value[LEField<Int64>(16)], ordering: .relaxed)
      }
    default: break
    }
    return 0
  }

  /// Files, directories and all else with an inode, in all snapshots.
  var inodeCount: UInt64 { UInt64(clamping: inodes.load(ordering: .relaxed)) }

  /// Buckets of a device that hold data of a type.
  func buckets(_ type: DataType, of device: UInt8) -> UInt64 {
    guard device < 64, type.rawValue < Self.typesPerDevice else { return 0 }
    let index = Int(device) * Self.typesPerDevice + Int(type.rawValue)
    let count = UInt64(clamping: bucketCounts[index].load(ordering: .relaxed))
    return min(count, limits[Int(device)].buckets)
  }

  /// Sectors of a device that are lost to gaps in buckets whose contents can be moved.
  func fragmentedSectors(of device: UInt8) -> UInt64 {
    guard device < 64 else { return 0 }
    return [DataType.btree, .user, .stripe].reduce(0) { sum, type in
      let index = Int(device) * Self.typesPerDevice + Int(type.rawValue)
      let sectors = UInt64(clamping: fragmented[index].load(ordering: .relaxed))
      return sum + min(sectors, limits[Int(device)].sectors)
    }
  }

  /// Buckets that are free or can be made so at any time (`__dev_buckets_available`).
  func availableBuckets(of device: UInt8) -> UInt64 {
    buckets(.free, of: device) + buckets(.cached, of: device)
      + buckets(.needGcGens, of: device) + buckets(.needDiscard, of: device)
  }

  // MARK: - What there is

  /// Sectors that can be used for data and nodes.
  var capacity: UInt64 {
    var hidden: UInt64 = 0
    for (index, member) in members {
      hidden +=
        (buckets(.sb, of: index) + buckets(.journal, of: index)) * member.bucketSizeSectors
    }
    return capacityWithHidden - min(hidden, capacityWithHidden)
  }

  /// Sectors that are in use, those promised included.
  var used: UInt64 { used(promised.load(ordering: .acquiring)) }

  private func used(_ promised: UInt64) -> UInt64 {
    let reserved = UInt64(clamping: reserved.load(ordering: .acquiring))
    let (all, overflow) = reserved.addingReportingOverflow(promised)
    guard !overflow else { return .max }
    // `reserve_factor`
    let withSpare = all &+ (all &+ 63) >> 6
    return UInt64(clamping: data.load(ordering: .acquiring))
      &+ UInt64(clamping: nodes.load(ordering: .acquiring)) &+ withSpare
  }

  /// Sectors that can still be promised (`avail_factor`).
  var available: UInt64 { available(promised.load(ordering: .acquiring)) }

  private func available(_ promised: UInt64) -> UInt64 {
    let (capacity, used) = (self.capacity, used(promised))
    return used >= capacity ? 0 : (capacity - used) * 64 / 65
  }

  // MARK: - Promises

  /// What is promised and not used yet.
  var promisedSectors: UInt64 { promised.load(ordering: .acquiring) }

  /// Promises room for sectors in several copies.
  ///
  /// - Throws: `.noSpace`.
  func reserve(_ sectors: UInt64, replicas: Int) throws(VolumeError) -> DiskReservation {
    let (wanted, overflow) = sectors.multipliedReportingOverflow(by: UInt64(max(replicas, 1)))
    while true {
      let old = promised.load(ordering: .acquiring)
      let available = available(old)
      guard !overflow, wanted <= available else {
        throw VolumeError(
          .noSpace,
          "no space: \(sectors) sectors in \(replicas) copies, and \(available) are available")
      }
      let (exchanged, _) = promised.compareExchange(
        expected: old, desired: old + wanted, ordering: .acquiringAndReleasing)
      if exchanged { return DiskReservation(sectors: wanted) }
    }
  }

  /// Takes back what is left of a promise.
  func release(_ reservation: inout DiskReservation) {
    endPromise(of: reservation.sectors)
    reservation.sectors = 0
  }

  /// So many sectors are used now, or not wanted any more.
  func endPromise(of sectors: UInt64) {
    guard sectors > 0 else { return }
    promised.wrappingSubtract(sectors, ordering: .acquiringAndReleasing)
  }
}

extension Engine {
  private static var countsReadAtOnce: Int { 4096 }

  /// Adds all that is in use. Nothing is committed meanwhile.
  ///
  /// - Returns: how many keys of files and snapshots count nothing.
  @discardableResult
  func readUsage(into usage: SpaceUsage) throws(VolumeError) -> Int {
    var (start, empty) = (BPos?.some(.min), 0)
    while let from = start {
      let some = try run("accounting_read") { (transaction) throws(TransactionError) in
        try transaction.counts(from: from, limit: Self.countsReadAtOnce)
      }
      for (position, counters) in some.counts {
        unsafe usage.add(position, counters.span.bytes)
      }
      empty += some.empty
      start = some.end
    }
    return empty
  }
}

/// Some keys of the accounting btree.
private struct SomeCounts {
  /// Those that `SpaceUsage` adds: there are as many as there are devices and kinds of data.
  var counts: [(BPos, [Int64])] = []
  var empty = 0
  /// Where the next ones are; nil at the end.
  var end: BPos?
}

extension Transaction {
  fileprivate func counts(from start: BPos, limit: Int) throws(TransactionError) -> SomeCounts {
    var result = SomeCounts()
    var walk = KeyWalk(.accounting, from: start)
    for _ in 0..<limit {
      guard let found = try next(&walk) else { return result }
      guard found.key.type == .accounting else { continue }
      switch AccountingKey(found.key.position) {
      case .inode, .snapshot: if found.countsNothing { result.empty += 1 }
      default: result.counts.append((found.key.position, found.counters))
      }
    }
    result.end = walk.position
    return result
  }
}

extension KeyView {
  /// Of a key of the accounting btree.
  fileprivate var counters: [Int64] {
    withValue { value in (0..<value.byteCount / 8).map { value[LEField<Int64>($0 * 8)] } }
  }

  /// Whether all its counters are 0.
  var countsNothing: Bool {
    withValue { value in
      (0..<value.byteCount / 8).allSatisfy { value[LEField<Int64>($0 * 8)] == 0 }
    }
  }
}
