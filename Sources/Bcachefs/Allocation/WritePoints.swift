// SPDX-License-Identifier: GPL-2.0
// The streams that a volume is written in, and what is done when one finds no room.
// Source: alloc_foreground.c (writepoint_find, try_decrease_writepoints), `c->write_points`.

internal import BcachefsFormat
internal import BcachefsSupport

struct WritePoints: Sendable {
  let nodes: WritePoint
  /// For data that copygc and rebalance move.
  let moved: WritePoint
  private let user: [WritePoint]

  /// Streams of user data at a time, at most. Each may leave a bucket half filled: fewer where
  /// there are few buckets.
  private static var userCountMax: Int { 32 }
  private static var bucketsForEach: UInt64 { 128 }

  init(_ media: VolumeMedia) {
    let members = WritableMember.all(media)
    nodes = WritePoint(.btree, members)
    moved = WritePoint(.user, members)
    let buckets = media.members.reduce(UInt64(0)) { max($0, $1.bucketCount) }
    let count = max(1, min(buckets / Self.bucketsForEach, UInt64(Self.userCountMax)))
    user = (0..<count).map { _ in WritePoint(.user, members) }
  }

  /// All streams, each by a name that says what it is for.
  var named: [(name: String, point: WritePoint)] {
    [("btree", nodes), ("moved", moved)]
      + user.enumerated().map { index, point in ("user \(index)", point) }
  }

  /// The stream of a file, or whatever else the number stands for.
  func user(_ number: UInt64) -> WritePoint {
    user[Int((number &* 0x9e37_79b9_7f4a_7c15) >> 32) % user.count]
  }

  /// All streams give up their buckets.
  func retireAll(_ openBuckets: OpenBuckets) {
    for point in [nodes, moved] + user { point.retire(openBuckets) }
  }
}

extension Engine {
  /// Takes room on devices; see `WritePoint`. The caller holds no lock of a node, and settles the
  /// allocation when its keys are committed, or never will be.
  ///
  /// - Throws: `.noSpace`; what making room throws.
  func allocateSectors(
    _ request: AllocationRequest, in point: WritePoint
  ) throws(VolumeError) -> SectorAllocation {
    var request = request
    request.excluded |= failures.mask
    if request.watermark == .btree, request.makesRoom {
      // What is kept for data that moves is not for nodes, as long as moving data helps.
      var early = request
      early.watermark = .normal
      if let found = try point.take(early, self) { return found }
      if copygc.mayHelp {
        if try makeSpace(on: point.devices, request.watermark) {
          if let found = try point.take(early, self) { return found }
        } else {
          copygc.noteVain()
        }
      }
    }
    if let found = try point.take(request, self) { return found }
    // Others may have room in buckets that are open.
    writePoints.retireAll(openBuckets)
    if let found = try point.take(request, self) { return found }
    if request.watermark == .reclaim, try discardSomeBuckets() > 0,
      let found = try point.take(request, self)
    {
      // He does not wait for the journal: what is flushed by now has to do.
      return found
    }
    var vain = 0
    while request.makesRoom, request.watermark < .reclaim, vain < Self.vainAttemptsMax {
      let opened = openBuckets.openedCount
      let isMade = try makeSpace(on: point.devices, request.watermark)
      if let found = try point.take(request, self) { return found }
      // Others were faster, or fill what there is. As long as anybody gets anywhere it goes on.
      writePoints.retireAll(openBuckets)
      vain = isMade || openBuckets.openedCount != opened ? 0 : vain + 1
    }
    throw VolumeError(
      .noSpace,
      "no space: no free buckets for \(request.replicas) copies of \(request.minSectors) sectors")
  }

  /// How often room is made for one allocation while nobody gets any.
  private static var vainAttemptsMax: Int { 3 }

  /// The keys of an allocation are committed, or never will be.
  func settle(_ allocation: SectorAllocation) { openBuckets.release(allocation.buckets) }
}
