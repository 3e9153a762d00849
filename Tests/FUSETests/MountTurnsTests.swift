// SPDX-License-Identifier: GPL-2.0
// The driver and our mount change one volume by turns, the same things in the same ways: what one
// left the other shows, and neither's check finds anything.

internal import TestSupport
internal import Testing

@Suite(
  .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"),
  .enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"), .serialized)
struct MountTurnsTests {
  private static let rounds = runsLongTests ? 10 : 1

  private static let settings = ChangingMountTests.Setting.all.filter {
    runsLongTests || ["plain", "two replicas"].contains($0.testDescription)
  }

  /// Adds a tree, changes what was there, and says what there is.
  private static let turn = """
    set -eu
    . "$JOB_GUEST/common.sh"
    unlock_if_encrypted
    mount_volume rw /mnt/a
    python3 "$JOB_GUEST/change.py" /mnt/a "$JOB_SEED"
    python3 "$JOB_GUEST/mktree.py" "/mnt/a/driver $JOB_SEED" --tiny --files 40 --seed "$JOB_SEED"
    if [ -n "${JOB_REMOUNTS:-}" ]; then umount /mnt/a; mount_volume ro /mnt/a; fi
    write_manifest /mnt/a
    umount /mnt/a
    """

  private func turn(of mount: borrowing MountedVolume, seed: Int) throws {
    let guest = KernelGuest.scripts
    let result = try mount.shell(
      """
      set -e
      python3 '\(guest)/change.py' "$MOUNT" \(seed)
      python3 '\(guest)/mktree.py' "$MOUNT/mount \(seed)" --tiny --files 40 --seed \(seed)
      """)
    try #require(result.status == 0, "seed \(seed): \(result.standardError)")
  }

  @Test(arguments: settings)
  func theDriverAndTheMountTakeTurns(setting: ChangingMountTests.Setting) throws {
    try withTemporaryFolder { folder in
      let images = try setting.format(in: folder)
      var progress = Progress("turns of mounts, \(setting)", of: Self.rounds)
      for round in 0..<Self.rounds {
        progress.reached(round)
        let seed = 2 * round + 1
        var job = ["JOB_PASSPHRASE": setting.passphrase ?? "", "JOB_SEED": "\(seed)"]
        // Of what is appended in place, within the last block, the driver forgets the new size.
        if setting.options.contains("--nocow") { job["JOB_REMOUNTS"] = "1" }
        let driver = try KernelGuest.run(job: Self.turn, images: images, environment: job)
        #expect(driver.complaints == [], "round \(round)")
        let mount = try setting.mount(images, isChanged: true)
        let seen = try mount.manifest()
        let isSame = seen == driver.manifest
        let difference = manifestDifference(expected: driver.manifest, seen: seen)
        #expect(isSame, "round \(round): \(difference)")
        try turn(of: mount, seed: seed + 1)
        let manifest = try mount.manifest()
        try mount.end()
        try setting.expect(manifest, images)
      }
    }
  }
}
