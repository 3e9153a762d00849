// SPDX-License-Identifier: GPL-2.0

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

/// Where data is put, and who is told that there is no room.
@Suite struct WritePointTests {
  private static let bucketSectors: UInt64 = 128

  /// A volume whose devices are of these sizes, in MiB.
  private func volume(
    _ sizes: [UInt64], durability: [UInt8] = []
  ) throws -> (engine: Engine, devices: [SimulatedDevice], setting: FreshVolume) {
    let setting = FreshVolume(testDescription: "") {
      $0.sizes = sizes.map { $0 << 20 }
      $0.durability = durability
    }
    let devices = try setting.format()
    return (try setting.engine(on: devices).engine, devices, setting)
  }

  private func close(
    _ volume: (engine: Engine, devices: [SimulatedDevice], setting: FreshVolume)
  ) throws {
    try volume.engine.close()
    for device in volume.engine.media.devices { try device?.close() }
    try volume.setting.expectSound(volume.devices, "")
  }

  private func request(
    _ sectors: UInt64 = 128, replicas: Int = 1, target: UInt64 = .max, onlyTarget: Bool = false
  ) -> AllocationRequest {
    AllocationRequest(
      sectors: sectors, replicas: replicas, target: target, onlyTarget: onlyTarget)
  }

  /// Writes a key that points to an allocation, and settles it.
  private func commit(
    _ allocation: SectorAllocation, at position: BPos, _ engine: Engine,
    _ reservation: inout DiskReservation
  ) throws {
    let words = allocation.places.map(\.word)
    let promised = reservation.sectors
    reservation.sectors = try engine.run("test_write") { (transaction) throws(TransactionError) in
      transaction.promisedSectors = promised
      unsafe transaction.update(
        .extents,
        BKey(
          type: .extent, position: position, size: UInt32(allocation.sectors),
          valueU64s: words.count),
        words.span.bytes)
      try transaction.commit()
      return transaction.promisedSectors
    }
    engine.settle(allocation)
  }

  private static func position(_ number: Int) -> BPos {
    Positions.extent(inode: 5000, end: UInt64(number + 1) * bucketSectors, snapshot: .max)
  }

  @Test func copiesAreOnDifferentDevicesThatFillBySharesOfFreeSpace() throws {
    let volume = try volume([64, 256, 128])
    var counts = [Int](repeating: 0, count: 3)
    for _ in 0..<700 {
      let found = try volume.engine.allocateSectors(
        request(replicas: 2), in: volume.engine.writePoints.user(1))
      #expect(found.sectors == 128 && found.places.count == 2)
      #expect(found.places[0].device != found.places[1].device)
      for place in found.places { counts[Int(place.device)] += 1 }
    }
    // With two copies the largest device can take one of each at most.
    #expect(counts[0] < counts[2] && counts[2] < counts[1])
    #expect(counts[0] > 100 && counts[1] > 500)
  }

  @Test func theTargetComesFirstThenWhateverHasRoom() throws {
    let volume = try volume([64, 64])
    let point = volume.engine.writePoints.user(1)
    var second = 0
    while true {
      let found = try volume.engine.allocateSectors(request(target: 0b10), in: point)
      guard found.places[0].device == 1 else { break }
      second += 1
    }
    #expect(second > 800)
    let error = #expect(throws: VolumeError.self) {
      _ = try volume.engine.allocateSectors(request(target: 0b10, onlyTarget: true), in: point)
    }
    #expect(error?.code == .noSpace)
  }

  @Test func durabilityCountsAndACacheIsOnlyFilledWhenItIsNamed() throws {
    let volume = try volume([64, 64, 64], durability: [1, 2, 0])
    let point = volume.engine.writePoints.user(1)
    let two = try volume.engine.allocateSectors(request(replicas: 2, target: 0b010), in: point)
    #expect(two.places.map(\.device) == [1])
    let three = try volume.engine.allocateSectors(request(replicas: 3), in: point)
    #expect(Set(three.places.filter { !$0.isCached }.map(\.device)) == [0, 1])
    let cached = try volume.engine.allocateSectors(request(target: 0b100), in: point)
    #expect(cached.places.filter(\.isCached).map(\.device) == [2])
    #expect(cached.places.filter { !$0.isCached }.count == 1)
    let nodes = try volume.engine.allocateSectors(
      request(32, replicas: 3, target: 0b100), in: volume.engine.writePoints.nodes)
    #expect(nodes.places.allSatisfy { !$0.isCached && $0.device != 2 })
  }

  @Test func tooFewDevicesGetFewerCopies() throws {
    let volume = try volume([64, 64])
    let found = try volume.engine.allocateSectors(
      request(replicas: 3), in: volume.engine.writePoints.user(1))
    #expect(found.places.count == 2)
  }

  @Test func streamsThatStandStillGiveTheirBucketsToOthers() throws {
    let volume = try volume([16])
    // Every stream has a bucket of its own at first: more than there are free ones at the end.
    var sectors: UInt64 = 0
    var number: UInt64 = 0
    let error = #expect(throws: VolumeError.self) {
      while true {
        number += 1
        let point = volume.engine.writePoints.user(number)
        sectors += try volume.engine.allocateSectors(request(8), in: point).sectors
      }
    }
    #expect(error?.code == .noSpace)
    let kept = Watermark.normal.reservedBuckets(of: 256, nodesInBucket: 4)
    let free = volume.engine.usage.buckets(.free, of: 0)
    #expect(sectors >= (free - kept - 6) * Self.bucketSectors)
  }

  @Test func threadsNeverGetTheSameSectors() throws {
    let volume = try volume([64, 64, 64])
    let taken = Mutex<[[UInt64: UInt64]]>([[:], [:], [:]])
    let failure = Mutex<VolumeError?>(nil)
    onThreads(4) { thread in
      var random = SplitMix64(seed: UInt64(thread))
      for _ in 0..<400 {
        do throws(VolumeError) {
          let found = try volume.engine.allocateSectors(
            AllocationRequest(sectors: 8 * (1 + random.next() % 12), replicas: 2),
            in: volume.engine.writePoints.user(random.next() % 3))
          taken.withLock { taken in
            for place in found.places {
              for sector in stride(from: place.offset, to: place.offset + found.sectors, by: 8) {
                taken[Int(place.device)][sector, default: 0] += 1
              }
            }
          }
        } catch {
          failure.withLock { $0 = error }
        }
      }
    }
    #expect(failure.withLock { $0 } == nil)
    for device in taken.withLock({ $0 }) {
      #expect(device.count > 100)
      #expect(device.values.allSatisfy { $0 == 1 })
    }
  }

  // MARK: - Reservations

  @Test func whatIsPromisedCountsUntilItIsGivenBack() throws {
    let usage = try volume([64]).engine.usage
    let (capacity, used, available) = (usage.capacity, usage.used, usage.available)
    #expect(available <= capacity - used && available > (capacity - used) / 100 * 95)
    var first = try usage.reserve(available / 4, replicas: 2)
    #expect(first.sectors == available / 4 * 2)
    let error = #expect(throws: VolumeError.self) {
      _ = try usage.reserve(available / 4, replicas: 3)
    }
    #expect(error?.code == .noSpace)
    #expect(throws: VolumeError.self) { _ = try usage.reserve(.max, replicas: 3) }
    usage.release(&first)
    #expect(first.sectors == 0 && usage.available == available && usage.used == used)
  }

  /// A volume is filled by those who reserve, until there is nothing left to reserve: until then
  /// all that was promised can be written.
  @Test(arguments: [([64], 1), ([64, 96, 64], 2)] as [([UInt64], Int)])
  func noSpaceIsToldByTheReservationAndNeverLater(sizes: [UInt64], replicas: Int) throws {
    let volume = try volume(sizes)
    let engine = volume.engine
    var random = SplitMix64(seed: 5)
    var number = 0
    var isFull = false
    while !isFull {
      var reservation: DiskReservation
      do throws(VolumeError) {
        reservation = try engine.usage.reserve(Self.bucketSectors, replicas: replicas)
      } catch {
        #expect(error.code == .noSpace)
        isFull = true
        continue
      }
      var left = Self.bucketSectors
      while left > 0 {
        let found = try engine.allocateSectors(
          request(left, replicas: replicas), in: engine.writePoints.user(random.next() % 4))
        let end = UInt64(number + 1) * Self.bucketSectors - left + found.sectors
        try commit(
          found, at: Positions.extent(inode: 5000, end: end, snapshot: .max), engine,
          &reservation)
        left -= found.sectors
      }
      #expect(reservation.sectors == 0)
      number += 1
    }
    let written = UInt64(number * replicas) * Self.bucketSectors
    #expect(written > engine.usage.capacity * 9 / 10)
    let recounted = SpaceUsage(engine.media)
    try engine.readUsage(into: recounted)
    #expect(recounted.used == engine.usage.used)
    #expect(recounted.capacity == engine.usage.capacity)
    for device in UInt8(0)..<UInt8(sizes.count) {
      for type in UInt8(0)..<UInt8(DataType.nativeCount) {
        let type = DataType(rawValue: type)
        #expect(
          recounted.buckets(type, of: device) == engine.usage.buckets(type, of: device),
          "\(type) on device \(device)")
      }
    }
    try close(volume)
    let again = try volume.setting.engine(on: volume.devices)
    #expect(again.engine.usage.used > written)
    // What is deleted can be promised again.
    for number in 0..<number / 2 {
      try again.engine.run("test_delete", watermark: .reclaim) {
        (transaction) throws(TransactionError) in
        var walk = KeyWalk(
          .extents, from: Positions.extent(inode: 5000, end: 1, snapshot: .max),
          upTo: Self.position(number))
        while let found = try transaction.next(&walk) {
          transaction.delete(.extents, found.key.position)
        }
        try transaction.commit()
      }
    }
    var reservation = try again.engine.usage.reserve(written / 4, replicas: 1)
    again.engine.usage.release(&reservation)
    try again.engine.close()
    try volume.setting.letGo(again)
    try volume.setting.expectSound(volume.devices, "after deleting")
  }
}
