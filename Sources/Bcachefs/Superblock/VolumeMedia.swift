// SPDX-License-Identifier: GPL-2.0
// The devices of an open volume, and what its superblock says; reads of them, with the time they
// take.
//
// How it works
//   1. Of several copies the one whose device is expected to answer first is read: each read is
//      taken into its device's average.
//   2. A device that was not chosen is expected to be a little faster each time: so it is tried
//      again some day, and a device that was slow once is not slow for ever.
// Invariants
//   (1) Copies on devices that are there come before those on devices that failed, those before
//       copies on missing devices; among each, dirty copies before cached ones.
// Locks: none; averages are atomics, of which a lost update does no harm.
// Source: extents.c (bch2_bkey_pick_read_device), buckets.c (bch2_latency_acct). Upstream throws
// dice, weighted by latency; here the same reads have the same order.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

/// An assembled volume: its newest superblock and the devices that are there.
final class VolumeMedia: Sendable {
  let superblock: Superblock
  /// How extent entries of newer formats are stepped over.
  let entrySizes: ExtentEntrySizes
  /// By member index; nil where a member is missing, or its slot is empty.
  let devices: [BlockDevice?]
  /// By member index, as many as `devices`.
  let members: [MemberInfo]
  /// Decrypts everything; nil on volumes without encryption.
  let key: EncryptionKey?
  /// Options of the superblock with those of the caller over them.
  let options: VolumeOptions
  /// What was noticed while opening and did not prevent it, a line each.
  let warnings: [String]
  let clocks: Clocks

  init(
    superblock: Superblock, devices: [BlockDevice?], key: EncryptionKey?, options: VolumeOptions,
    warnings: [String], clocks: Clocks = .system
  ) {
    self.superblock = superblock
    entrySizes = superblock.extentEntrySizes
    self.devices = devices
    let slots = superblock.members
    members = devices.indices.map { index in
      MemberInfo(slots.indices.contains(index) ? slots[index] : nil, device: devices[index])
    }
    self.key = key
    self.options = options
    self.warnings = warnings
    self.clocks = clocks
  }

  /// The device of a member, nil if it is missing.
  func device(_ index: UInt8) -> BlockDevice? {
    devices.indices.contains(Int(index)) ? devices[Int(index)] : nil
  }

  /// What is known of a member, nil for an index that no member has.
  func member(_ index: UInt8) -> MemberInfo? {
    guard members.indices.contains(Int(index)), members[Int(index)].isAlive else { return nil }
    return members[Int(index)]
  }

  // MARK: - Reading

  /// Reads sectors of a member, and takes note of how long that took.
  ///
  /// - Throws: `.missingMembers`, `.device`.
  func read(
    _ index: UInt8, atSector sector: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    guard let device = device(index) else {
      throw VolumeError(.missingMembers, "the device is missing")
    }
    let (offset, overflow) = sector.multipliedReportingOverflow(by: 512)
    guard !overflow else { throw VolumeError(.corrupt, "there is no sector \(sector)") }
    let start = clocks.monotonicNanoseconds()
    let latency = members[Int(index)].latency
    do throws(DeviceError) {
      try device.read(into: &target, atByte: offset)
    } catch {
      latency.record(nanoseconds: max(clocks.monotonicNanoseconds() &- start, DeviceLatency.failed))
      throw VolumeError(error)
    }
    latency.record(nanoseconds: clocks.monotonicNanoseconds() &- start)
  }

  /// What a read of a copy is expected to cost: the smallest number is tried first.
  func readCost(of pointer: ExtentPtr) -> UInt64 {
    guard device(pointer.device) != nil else { return .max }
    let member = members[Int(pointer.device)]
    var cost = member.latency.nanoseconds
    if pointer.isCached { cost += 1 << 60 }
    if member.state == .failed { cost += 1 << 61 }
    return cost
  }

  /// Takes note that devices of the same rank as the one chosen were left alone.
  func leftAlone(_ pointer: ExtentPtr) {
    guard device(pointer.device) != nil else { return }
    members[Int(pointer.device)].latency.fade()
  }

  /// Places of the same thing in the order in which to try them.
  func inReadOrder(_ places: [ExtentPtr]) -> [ExtentPtr] {
    guard places.count > 1 else { return places }
    let costs = places.map { (place: $0, cost: readCost(of: $0)) }
    let sorted = costs.sorted { $0.cost < $1.cost }.map(\.place)
    for place in sorted.dropFirst() { leftAlone(place) }
    return sorted
  }
}

/// What readers ask about a member, without a walk through the superblock's sections.
struct MemberInfo: Sendable {
  /// The slot holds a device; all else is zero if not.
  let isAlive: Bool
  let bucketSizeSectors: UInt64
  /// Size of the device in buckets.
  let bucketCount: UInt64
  /// Index of the first bucket that may be used.
  let firstBucket: UInt64
  /// As how many replicas a copy here counts, 0 to 2.
  let durability: UInt8
  let state: MemberState
  /// Its free buckets are listed: not so yet where it was being added to the volume.
  let isFreespaceInitialized: Bool
  /// How fast the device answers, to choose among replicas.
  let latency: DeviceLatency

  init(_ member: Member?, device: BlockDevice?) {
    isAlive = member?.isAlive ?? false
    bucketSizeSectors = UInt64(member?.bucketSizeSectors ?? 0)
    bucketCount = member?.bucketCount ?? 0
    firstBucket = UInt64(member?.firstBucket ?? 0)
    durability = member?.durability ?? 0
    state = member?.state ?? .rw
    isFreespaceInitialized = member?.freespaceInitialized ?? false
    latency = DeviceLatency(isRotational: device?.isRotational ?? false)
  }

  /// The bucket that a sector lies in; nil beyond the last, and on members without buckets.
  func bucket(ofSector sector: UInt64) -> UInt64? {
    guard bucketSizeSectors != 0 else { return nil }
    let bucket = sector / bucketSizeSectors
    return bucket < bucketCount ? bucket : nil
  }
}

/// A moving average of how long reads of one device take.
final class DeviceLatency: Sendable {
  private let average: Atomic<UInt64>

  /// What a read that failed counts as, at least: a second.
  static let failed: UInt64 = 1_000_000_000

  /// Before the first read a guess: 8 ms where there are seeks, 100 us where there are none.
  init(isRotational: Bool) { average = Atomic(isRotational ? 8_000_000 : 100_000) }

  /// Nanoseconds that a read is expected to take.
  var nanoseconds: UInt64 { average.load(ordering: .relaxed) }

  /// Takes one read into the average, with a weight of an eighth. Of two threads at the same moment
  /// one may be forgotten.
  func record(nanoseconds: UInt64) {
    let old = average.load(ordering: .relaxed)
    let new = min(nanoseconds, 1 << 40)
    average.store(old - old / 8 + new / 8, ordering: .relaxed)
  }

  /// Takes a 256th off, for a read that went to another device.
  func fade() {
    let old = average.load(ordering: .relaxed)
    average.store(old - old >> 8, ordering: .relaxed)
  }
}
