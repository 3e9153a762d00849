// SPDX-License-Identifier: GPL-2.0
// The devices of an open volume, and what its superblock says.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

/// An assembled volume: its newest superblock and the devices that are there.
final class VolumeMedia: Sendable {
  let superblock: Superblock
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

  init(
    superblock: Superblock, devices: [BlockDevice?], key: EncryptionKey?, options: VolumeOptions,
    warnings: [String]
  ) {
    self.superblock = superblock
    self.devices = devices
    let slots = superblock.members
    members = devices.indices.map { index in
      MemberInfo(slots.indices.contains(index) ? slots[index] : nil, device: devices[index])
    }
    self.key = key
    self.options = options
    self.warnings = warnings
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
  /// How fast the device answers, to choose among replicas.
  let latency: DeviceLatency

  init(_ member: Member?, device: BlockDevice?) {
    isAlive = member?.isAlive ?? false
    bucketSizeSectors = UInt64(member?.bucketSizeSectors ?? 0)
    bucketCount = member?.bucketCount ?? 0
    firstBucket = UInt64(member?.firstBucket ?? 0)
    durability = member?.durability ?? 0
    state = member?.state ?? .rw
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
}
