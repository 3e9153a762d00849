// SPDX-License-Identifier: GPL-2.0
// mount -o fsck: what is wrong is said before anything is mounted.

internal import BcachefsFormat
internal import BcachefsIO
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.serialized, .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"))
struct CheckedMountTests {
  /// A new volume that has the bucket of its superblock among those that are free.
  private func withDamagedImage(_ body: (String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      let image = "\(folder)/volume.img"
      try runProgramOrThrow("truncate", ["-s", "64M", image])
      try runProgramOrThrow(builtProgram("bcachefs"), ["format", "--quiet", image])
      let volume = try VolumeOpener.openForWriting(VolumeSources(paths: [image]))
      let engine = try Engine.open(volume, EngineOptions(seed: 1))
      try engine.run("test_damage") { (transaction) throws(TransactionError) in
        let bucket = BKey(type: .set, position: BPos(0, 1), size: 1)
        transaction.update(.freespace, bucket, RawSpan(), flags: .noTriggers)
        try transaction.commit()
      }
      try engine.close()
      for device in engine.media.devices { try device?.close() }
      try body(image)
    }
  }

  private func mount(_ image: String, _ options: String) throws -> ProgramResult {
    try withTemporaryFolder { folder in
      let path = "\(folder)/mount"
      try runProgramOrThrow("mkdir", [path])
      let result = try runProgram(
        builtProgram("bcachefs"), ["mount", "-o", options, image, path], timeoutSeconds: 60)
      if result.status == 0 { try runProgramOrThrow("umount", [path]) }
      return result
    }
  }

  @Test func aVolumeWithErrorsIsNotMountedForChanges() throws {
    try withDamagedImage { image in
      let refused = try mount(image, "fsck")
      #expect(refused.status == 32)
      #expect(refused.standardError.contains("freespace"), "\(refused.standardError)")
      #expect(refused.standardError.contains("fix_errors=no"), "\(refused.standardError)")
      let shown = try mount(image, "ro,fsck")
      #expect(shown.status == 0 && shown.standardError.contains("freespace"))
      let unchecked = try mount(image, "ro")
      #expect(unchecked.status == 0 && unchecked.standardError.isEmpty)
    }
  }

  @Test func whatWasFoundIsCountedInTheSuperblock() throws {
    try withDamagedImage { image in
      func counted() throws -> String {
        try runProgramOrThrow(
          builtProgram("bcachefs"), ["show-super", "--fields=errors", image]
        ).text
      }
      #expect(try !counted().contains("freespace"))
      let mounted = try mount(image, "fsck,fix_errors=no")
      #expect(mounted.status == 0, "\(mounted.standardError)")
      // The volume is closed after umount returns; another mount waits for that.
      #expect(try mount(image, "rw").status == 0)
      _ = try mount(image, "rw")
      #expect(try counted().contains("freespace"))
    }
  }
}
