// SPDX-License-Identifier: GPL-2.0
// Copying garbage collection: buckets that are partly in use are emptied, so that there are always
// whole ones to write to.
//
// How it works
//   1. Data that is overwritten leaves gaps in buckets, and a bucket is only used again when all of
//      it is free. So what is left in the emptiest ones is moved to new ones, which it fills.
//   2. A thread begins when of a device's free space half is not more than what is lost to gaps:
//      the fuller a device, the less may be lost (`copygcWait`). Until then it waits.
//   3. Who finds no free bucket collects himself, before there is "no space"
//      (Engine+MakeSpace.swift), when his turn has come: one collects at a time.
//   4. A round empties some buckets, flushes the journal, and discards them. It ends where the
//      emptiest buckets are so full that emptying them gives nothing.
// Invariants
//   (1) A pass tries no bucket twice: so it ends, whatever cannot be moved.
//   (2) Who collects never waits for somebody else to collect.
//   (3) Who waits for his turn has no lock, and goes before the thread.
//   (4) Room for what is moved is kept back by `SpaceUsage` and `Watermark.copygc`.
// Locks: `condition` is a leaf, and for waiting with empty hands.
// Source: movinggc.c (bch2_copygc, bch2_copygc_wait_amount).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// Who collects, and what came of it so far.
final class Copygc: @unchecked Sendable {
  // Safety: what changes is only touched with `condition` held.
  /// What was done since the volume was opened.
  struct Totals: Sendable {
    var rounds: UInt64 = 0
    var buckets: UInt64 = 0
    var moved = EvacuationCounts()
  }

  private var running = false
  /// Who has no room, and goes before the thread.
  private var waiting = 0
  private var sum = Totals()
  private let condition = Condition()
  /// Nodes that may still be placed before moving data for them is tried again.
  private let vain = Atomic<Int>(0)

  var isRunning: Bool { condition.withLock { running } }
  var totals: Totals { condition.withLock { sum } }

  /// Whether it makes sense to move data before a node takes one of the last buckets: not if that
  /// gave nothing just now.
  var mayHelp: Bool {
    guard vain.load(ordering: .relaxed) > 0 else { return true }
    vain.wrappingSubtract(1, ordering: .relaxed)
    return false
  }

  /// Moving data gave nothing.
  func noteVain() { vain.store(64, ordering: .relaxed) }

  /// Begins to collect, unless somebody does, or waits for it.
  fileprivate func tryBegin() -> Bool {
    condition.withLock {
      guard !running, waiting == 0 else { return false }
      running = true
      return true
    }
  }

  /// Begins to collect, when nobody else does.
  fileprivate func begin() {
    condition.withLock {
      waiting += 1
      while running { condition.wait() }
      waiting -= 1
      running = true
    }
  }

  fileprivate func end() {
    condition.withLock { running = false }
    condition.broadcast()
  }

  fileprivate func note(buckets: Int, _ counts: EvacuationCounts) {
    condition.withLock {
      sum.rounds += 1
      sum.buckets += UInt64(buckets)
      sum.moved.add(counts)
    }
  }
}

extension EvacuationCounts {
  fileprivate mutating func add(_ other: EvacuationCounts) {
    sectors += other.sectors
    nodes += other.nodes
    raced += other.raced
    failed += other.failed
  }
}

extension Engine {
  /// Buckets that a round empties.
  private static var bucketsAtOnce: Int { 16 }
  /// Rounds without one bucket more after which a pass is given up.
  private static var vainRoundsMax: Int { 4 }
  /// Sectors that are as good as nothing to wait for (`IO_CLOCK_PCPU_SECTORS`, of two processors).
  private static var waitSlack: UInt64 { 256 }

  /// Members that data can be moved within: bit n stands for member n.
  private var collectedDevices: UInt64 {
    WritableMember.all(media).reduce(0) { $0 | $1.bit } & ~failures.mask
  }

  /// How many sectors may be written before it is time to collect (`bch2_copygc_wait_amount`).
  var copygcWait: UInt64 {
    let nodeSectors = UInt64(media.superblock[Superblock.Layout.btreeNodeSize])
    var wait = UInt64.max
    for device in WritableMember.all(media) where !failures.contains(device.index) {
      guard let member = media.member(device.index) else { continue }
      let reserve =
        Watermark.stripe.reservedBuckets(
          of: member.bucketCount, nodesInBucket: member.bucketSizeSectors / max(nodeSectors, 1))
        + openBuckets.count(of: device.index)
      let available = usage.availableBuckets(of: device.index)
      let allowed = (available - min(available, reserve)) * member.bucketSizeSectors / 2
      let lost = usage.fragmentedSectors(of: device.index)
      wait = min(wait, allowed - min(allowed, lost))
    }
    return wait
  }

  /// A step of the thread that collects: a round, if it is time for one.
  ///
  /// - Returns: False where there is nothing to do now.
  /// - Throws: as transactions do.
  func collect(until isStopped: () -> Bool) throws(VolumeError) -> Bool {
    guard copygcWait <= Self.waitSlack, copygc.tryBegin() else {
      instruments.count(.copygcWait)
      return false
    }
    defer { copygc.end() }
    return try collect(on: collectedDevices, goal: 1, until: isStopped)
  }

  /// Empties fragmented buckets of devices, so that there are free ones.
  ///
  /// - Parameter goal: How many more each of the devices shall have.
  /// - Returns: False where there are no more than before.
  func collectNow(on devices: [UInt8], goal: Int) throws(VolumeError) -> Bool {
    copygc.begin()
    defer { copygc.end() }
    let mask = devices.reduce(UInt64(0)) { $0 | 1 << UInt64($1 & 63) } & collectedDevices
    return try collect(on: mask, goal: goal, until: { false })
  }

  private func collect(
    on devices: UInt64, goal: Int, until isStopped: () -> Bool
  ) throws(VolumeError) -> Bool {
    let mover = ExtentMover(self)
    // Those that others took meanwhile were made, too.
    let opened = openBuckets.openedCount
    func madeBuckets() -> UInt64 {
      freeBuckets(on: devices) + (openBuckets.openedCount - opened)
    }
    let before = madeBuckets()
    var (best, vain, tried) = (before, 0, Set<BPos>())
    while best < before + UInt64(goal), vain < Self.vainRoundsMax, !isStopped() {
      let buckets = try fragmentedBuckets(
        on: devices, limit: Self.bucketsAtOnce, without: tried)
      guard isWorthwhile(buckets) else { break }
      for bucket in buckets { tried.insert(bucket.position) }
      var counts = EvacuationCounts()
      let hasRoom = try evacuate(buckets, mover, &counts, until: isStopped)
      try freeWhatWasReplaced()
      if !hasRoom {
        let full = WritableMember.all(media).filter { devices & $0.bit != 0 }.map(\.index)
        _ = try makeSpace(on: full, .copygc)
      }
      copygc.note(buckets: buckets.count, counts)
      instruments.count(.copygc)
      let now = madeBuckets()
      vain = now > best ? 0 : vain + 1
      best = max(best, now)
      if !hasRoom, vain > 0 { break }
    }
    return best > before
  }

  /// - Returns: False where there was no room left to move data to.
  private func evacuate(
    _ buckets: [FragmentedBucket], _ mover: ExtentMover, _ counts: inout EvacuationCounts,
    until isStopped: () -> Bool
  ) throws(VolumeError) -> Bool {
    for bucket in buckets where !isStopped() {
      do throws(VolumeError) {
        try evacuate(bucket, mover, &counts, until: isStopped)
      } catch {
        guard error.code == .noSpace else { throw error }
        return false
      }
    }
    return true
  }

  /// Whether what is wasted in buckets makes up for a whole one, nearly.
  private func isWorthwhile(_ buckets: [FragmentedBucket]) -> Bool {
    let wasted = buckets.reduce(0) { $0 + $1.wasted }
    let size = buckets.reduce(0) { max($0, $1.wasted + $1.sectors) }
    return !buckets.isEmpty && wasted >= size / 2
  }

  private func freeBuckets(on devices: UInt64) -> UInt64 {
    WritableMember.all(media).reduce(0) { sum, member in
      devices & member.bit == 0 ? sum : sum + usage.buckets(.free, of: member.index)
    }
  }
}
