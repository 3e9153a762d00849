// SPDX-License-Identifier: GPL-2.0
// A stream of data that is written behind each other: the buckets that it fills, on the devices
// that its options ask for.
//
// How it works
//   1. Each allocation says how many copies it wants and where. Devices that the stream has a
//      bucket on come first, then the others of the target, in the order of their clocks; then,
//      where that is allowed, all others. A device counts with its durability; one of durability 0
//      is a cache and gets one copy more, of user data, and only if the target names it.
//   2. A clock advances with each bucket that is opened on its device, by more where less is free:
//      so devices fill by their shares of free space.
//   3. All copies are of the same sectors: an allocation is as long as the fullest of its buckets
//      allows, and who needs more asks again.
//   4. Where devices are too few for all copies, fewer will do; where they have no room, buckets
//      that other streams have open are used, then room is made, then there is none.
// Invariants
//   (1) Copies of an allocation are on different devices.
//   (2) A bucket of an allocation stays open until it is settled.
// Locks: `state` is held while `OpenBuckets` counts, and not while btrees are read.
// Source: alloc_foreground.c (`struct write_point`, bch2_alloc_sectors_start_trans,
// bch2_dev_stripe_increment, deallocate_extra_replicas).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// What somebody wants to write.
struct AllocationRequest: Sendable {
  /// At most; on each device.
  var sectors: UInt64
  /// At least.
  var minSectors: UInt64 = 1
  /// What it is made of, if only whole pieces count; the first may be cut down to `minSectors`.
  var pieces = PieceSizes()
  var replicas: Int
  /// Devices to use first, or `onlyTarget`: bit n stands for member n.
  var target: UInt64 = .max
  var onlyTarget = false
  /// Devices that have a copy already.
  var excluded: UInt64 = 0
  var watermark = Watermark.normal
  /// Whether half of what is kept for those who are more urgent may be used.
  var takesTheLast = false
  /// Whether room is made where there is none; who makes some does without.
  var makesRoom = true
}

/// Sizes of pieces that are written behind each other, in sectors.
struct PieceSizes: Sendable {
  static let countMax = 64
  private var sizes = InlineArray<64, UInt32>(repeating: 0)
  private var count = 0
  /// Of all of them.
  private(set) var sum: UInt64 = 0

  var isFull: Bool { count == Self.countMax }

  mutating func append(_ sectors: UInt32) {
    sizes[count] = sectors
    count += 1
    sum += UInt64(sectors)
  }

  /// What is used of so much room: whole pieces, or a part of the first one.
  func used(of sectors: UInt64) -> UInt64 {
    var used: UInt64 = 0
    for index in 0..<count {
      let next = used + UInt64(sizes[index])
      guard next <= sectors else { break }
      used = next
    }
    return used > 0 ? used : sectors
  }
}

/// Places for sectors, one on each device, in buckets that stay open until it is settled.
struct SectorAllocation: Sendable {
  let places: [ExtentPtr]
  let buckets: [BPos]
  let sectors: UInt64
}

/// A member that may be written to.
struct WritableMember: Sendable {
  let index: UInt8
  let durability: UInt8
  let bucketSectors: UInt64
  let dataAllowed: PersistentMask<DataType>

  var bit: UInt64 { 1 << UInt64(index) }

  /// All members whose devices are here, and that are for reading and writing.
  static func all(_ media: VolumeMedia) -> [WritableMember] {
    let slots = media.superblock.members
    return media.members.enumerated().compactMap { index, member in
      guard index < 64, member.isAlive, member.state == .rw, member.bucketSizeSectors > 0,
        media.devices[index] != nil
      else { return nil }
      return WritableMember(
        index: UInt8(index), durability: member.durability,
        bucketSectors: member.bucketSizeSectors, dataAllowed: slots[index].dataAllowed)
    }
  }
}

final class WritePoint: Sendable {
  fileprivate struct State {
    var buckets: [OpenBucket] = []
    /// By member.
    var clocks = [UInt64](repeating: 0, count: 64)
  }

  private enum Step {
    case done(SectorAllocation)
    case needsBucket(on: UInt8)
    case impossible
  }

  let dataType: DataType
  private let members: [WritableMember]
  private let state = Mutex(State())

  init(_ dataType: DataType, _ members: [WritableMember]) {
    self.dataType = dataType
    self.members = members.filter {
      $0.dataAllowed.contains(dataType) && ($0.durability > 0 || dataType == .user)
    }
  }

  /// What dumps show: its buckets, and the clocks of its devices, in their order.
  var shown: (buckets: [OpenBucket], clocks: [UInt64]) {
    state.withLock { state in (state.buckets, devices.map { state.clocks[Int($0)] }) }
  }

  /// The devices that it may use.
  var devices: [UInt8] { members.map(\.index) }

  /// Takes room in open buckets. The caller holds no lock of a node.
  ///
  /// - Returns: nil when devices have no room for it.
  /// - Throws: what reading btrees throws.
  func take(
    _ request: AllocationRequest, _ engine: Engine
  ) throws(VolumeError) -> SectorAllocation? {
    invariant(request.minSectors > 0 && request.minSectors <= request.sectors, "it wants some")
    var full: UInt64 = 0
    while true {
      let next = state.withLock { step(&$0, request, full: full, engine.openBuckets) }
      switch next {
      case .done(let allocation): return allocation
      case .impossible: return nil
      case .needsBucket(let device):
        guard let bucket = try openBucket(on: device, request, engine) else {
          full |= 1 << UInt64(device)
          continue
        }
        let available = engine.usage.availableBuckets(of: device)
        let isAdded = state.withLock { $0.add(bucket, available: available) }
        // Somebody else has opened one meanwhile: that is enough for both.
        if !isAdded { engine.openBuckets.putBack(bucket) }
      }
    }
  }

  private func openBucket(
    on device: UInt8, _ request: AllocationRequest, _ engine: Engine
  ) throws(VolumeError) -> OpenBucket? {
    let partial = engine.openBuckets.takePartial(
      device, dataType, minSectors: request.minSectors)
    if let partial { return partial }
    return try engine.openBuckets.take(
      device, dataType, request.watermark, takesTheLast: request.takesTheLast, engine)
  }

  /// Gives up all buckets: others may fill them.
  func retire(_ openBuckets: OpenBuckets) {
    state.withLock { $0.dropBuckets(below: .max, openBuckets) }
  }

  // MARK: - Choosing

  /// - Parameter full: Devices without a bucket for this request.
  private func step(
    _ state: inout State, _ request: AllocationRequest, full: UInt64, _ openBuckets: OpenBuckets
  ) -> Step {
    state.dropBuckets(below: request.minSectors, openBuckets)
    var chosen: [WritableMember] = []
    var copies = 0
    var hasCache = dataType != .user
    for isFallback in [false, true] where copies < request.replicas {
      if isFallback && request.onlyTarget { break }
      // A cache is only filled where the target names it.
      hasCache = hasCache || isFallback
      for member in ordered(state) where copies < request.replicas {
        guard request.excluded & member.bit == 0, full & member.bit == 0,
          isFallback || request.target & member.bit != 0,
          !chosen.contains(where: { $0.index == member.index }),
          member.durability > 0 || !hasCache, member.bucketSectors >= request.minSectors
        else { continue }
        guard state.buckets.contains(where: { $0.device == member.index }) else {
          return .needsBucket(on: member.index)
        }
        chosen.append(member)
        copies += Int(member.durability)
        hasCache = hasCache || member.durability == 0
      }
    }
    // Too few devices is one thing, devices without room another.
    guard copies > 0, copies >= request.replicas || full == 0 else { return .impossible }
    dropExtra(&chosen, copies - request.replicas)
    return .done(take(&state, chosen, request, openBuckets))
  }

  /// Devices with an open bucket first, then by their clocks.
  private func ordered(_ state: State) -> [WritableMember] {
    let open = state.buckets.compactMap { bucket in
      members.first { $0.index == bucket.device }
    }
    let rest = members.filter { member in !open.contains { $0.index == member.index } }
      .sorted { state.clocks[Int($0.index)] < state.clocks[Int($1.index)] }
    return open + rest
  }

  /// Leaves out what is not needed, where a device counts for several.
  private func dropExtra(_ chosen: inout [WritableMember], _ extra: Int) {
    var extra = extra
    chosen.removeAll { member in
      guard member.durability > 0, Int(member.durability) <= extra else { return false }
      extra -= Int(member.durability)
      return true
    }
  }

  private func take(
    _ state: inout State, _ chosen: [WritableMember], _ request: AllocationRequest,
    _ openBuckets: OpenBuckets
  ) -> SectorAllocation {
    var count = request.sectors
    for bucket in state.buckets where chosen.contains(where: { $0.index == bucket.device }) {
      count = min(count, bucket.freeSectors)
    }
    count = request.pieces.used(of: count)
    var places: [ExtentPtr] = []
    var taken: [BPos] = []
    for member in chosen {
      guard let index = state.buckets.firstIndex(where: { $0.device == member.index }) else {
        continue
      }
      let bucket = state.buckets[index]
      places.append(
        ExtentPtr(
          device: bucket.device, offset: bucket.nextSector, generation: bucket.generation,
          isCached: member.durability == 0))
      taken.append(bucket.position)
      state.buckets[index].nextSector += count
    }
    openBuckets.hold(taken)
    state.dropBuckets(below: 1, openBuckets)
    return SectorAllocation(places: places, buckets: taken, sectors: count)
  }
}

extension WritePoint.State {
  /// Gives back buckets that have less room than this.
  fileprivate mutating func dropBuckets(below sectors: UInt64, _ openBuckets: OpenBuckets) {
    for bucket in buckets where bucket.freeSectors < sectors { openBuckets.putBack(bucket) }
    buckets.removeAll { $0.freeSectors < sectors }
  }

  /// Adds a bucket of a device that has so many more; false if there is one of that device.
  fileprivate mutating func add(_ bucket: OpenBucket, available: UInt64) -> Bool {
    guard !buckets.contains(where: { $0.device == bucket.device }) else { return false }
    buckets.append(bucket)
    let index = Int(bucket.device)
    let sum = clocks[index].addingReportingOverflow((1 << 48) / max(available, 1))
    clocks[index] = sum.overflow ? .max : sum.partialValue
    // A device that was not used for long does not have to catch up with all that others did.
    let scale = clocks[index] / 4
    for index in clocks.indices { clocks[index] -= min(clocks[index], scale) }
    return true
  }
}
