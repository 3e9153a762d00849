// SPDX-License-Identifier: GPL-2.0
// Counters of the engine's before the driver: it takes them over, and the engine takes over its.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct DriverCounterTests {
  private static let job = #"""
    set -eu
    . "$JOB_GUEST/common.sh"
    mount_volume rw,fsck /mnt/a
    mkdir /mnt/a/counted
    sync
    umount /mnt/a
    """#

  /// Counters of sectors: a mount adds many.
  private static let inSectors: Set<PersistentCounter> = [
    .ioRead, .ioWrite, .ioMove, .moveExtentRead, .moveExtentWrite, .moveExtentFinish,
  ]

  @Test func theDriverGoesOnFromWhatTheEngineCounted() throws {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture("replicas").unpack(into: folder)
      let engine = try OpenedImages.open(images)
      for offset in 0..<UInt64(3000) {
        try engine.run("test_count") { (transaction) throws(TransactionError) in
          let words = [offset, 0, 0, 0]
          unsafe transaction.update(
            .quotas, BKey(type: .quota, position: BPos(0, offset, 0), valueU64s: 4),
            words.span.bytes)
          try transaction.commit()
        }
      }
      try engine.rewrite(.quotas, level: 0, .min, .btreeCopygc)
      try engine.close()
      let ours = PersistentCounter.all.map { engine.instruments.counters[$0] }
      #expect(ours[Int(PersistentCounter.transactionCommit.rawValue)] > 3000)
      #expect(ours[Int(PersistentCounter.btreeNodeRewrite.rawValue)] > 0)
      try OpenedImages.letGo(engine)
      let outcome = try KernelGuest.run(job: Self.job, images: images)
      #expect(outcome.complaints == [], "\(outcome.log)")
      let volume = try VolumeOpener.openForWriting(VolumeSources(paths: images))
      let after = volume.store.counters
      for counter in PersistentCounter.all {
        let own = ours[Int(counter.rawValue)]
        // The last write of a superblock is counted when it is on its way.
        #expect(after[counter] >= own - (counter == .writeSuper ? 1 : 0), "\(counter)")
        if !Self.inSectors.contains(counter) {
          #expect(after[counter] < own + 2000, "\(counter)")
        }
      }
      for counter in [PersistentCounter.transactionCommit, .journalWrite] {
        #expect(after[counter] > ours[Int(counter.rawValue)], "\(counter)")
      }
      for device in volume.media.devices { try device?.close() }
    }
  }
}
