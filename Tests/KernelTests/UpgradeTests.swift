// SPDX-License-Identifier: GPL-2.0
// Volumes of version 1.12, which Linux 6.11 wrote: the engine makes of them what the driver makes.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct UpgradeTests {
  /// Positions of the inodes that say that they have versions below.
  private func parents(_ engine: Engine) throws -> [BPos] {
    try engine.run("test_look") { (transaction) throws(TransactionError) in
      var result: [BPos] = []
      var walk = KeyWalk(.inodes, from: .min)
      while let found = try transaction.next(&walk) {
        guard found.key.type.isInode else { continue }
        if try Transaction.inode(found).flags.contains(.hasChildSnapshot) {
          result.append(found.key.position)
        }
      }
      return result
    }
  }

  /// Takes the marks away that version 1.12 does not have, and the version down.
  private func makeOld(_ images: [String]) throws -> [BPos] {
    let engine = try OpenedImages.open(images)
    let marked = try parents(engine)
    for position in marked {
      try engine.run("test_unmark") { (transaction) throws(TransactionError) in
        guard let found = try transaction.lookup(.inodes, position, .intent) else { return }
        var inode = try Transaction.inode(found)
        inode.flags.remove(.hasChildSnapshot)
        transaction.put(
          .inodes, .inodeV3, position, inode.encodedU64s, flags: .noTriggers
        ) { inode.encode(into: &$0) }
        try transaction.commit()
      }
    }
    #expect(try parents(engine) == [])
    try engine.close()
    try OpenedImages.letGo(engine)
    let volume = try VolumeOpener.openForWriting(VolumeSources(paths: images))
    try volume.store.update { superblock in
      superblock.version = MetadataVersion(rawValue: 1 << 10 | 12)
      superblock.versionMin = superblock.version
      superblock[Superblock.Layout.versionUpgradeComplete] = UInt64(superblock.version.rawValue)
    }
    for device in volume.media.devices { try device?.close() }
    return marked
  }

  @Test func theEngineMarksTheInodesThatTheDriverMarks() throws {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture("snapshots").unpack(into: folder)
      let marked = try makeOld(images)
      #expect(!marked.isEmpty)
      let copies = images.map { "\($0).copy" }
      for (image, copy) in zip(images, copies) {
        try FileManager.default.copyItem(atPath: image, toPath: copy)
      }
      let engine = try OpenedImages.open(images, versionUpgrade: .compatible)
      #expect(try parents(engine) == marked)
      try engine.close()
      try OpenedImages.letGo(engine)
      let checked = try KernelGuest.check(images: images)
      #expect(checked.complaints == [])
      #expect(checked.status == 0)

      let outcome = try KernelGuest.run(
        job: """
          set -eu
          . "$JOB_GUEST/common.sh"
          mount_volume rw,version_upgrade=compatible /mnt/a
          umount /mnt/a
          """, images: copies)
      #expect(outcome.status == 0)
      let driver = try OpenedImages.open(copies)
      #expect(try parents(driver) == marked)
      try driver.close()
      try OpenedImages.letGo(driver)
    }
  }
}
