// SPDX-License-Identifier: GPL-2.0
// What `unlock` leaves in the guest's keyring is what the driver needs to mount.

internal import TestSupport
internal import Testing

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct UnlockTests {
  @Test(arguments: ["user", "user_session", "session"])
  func driverMountsAfterUnlock(keyring: String) throws {
    try withTemporaryFolder { folder in
      let volume = try SampleVolume.fixture("encrypted")
      let images = try volume.unpack(into: folder)
      // A failed mount before shows that there was no key; reading afterwards asks nobody, in
      // another session neither. A session of its own is what a login has (keyctl(2),
      // KEYCTL_JOIN_SESSION_KEYRING); where it starts without links, mount looks in it alone.
      let outcome = try KernelGuest.run(
        job: """
          set -eu
          in_new_session() {
            python3 -c '
          import ctypes, os, sys
          ctypes.CDLL(None).syscall(250, 1, None)
          os.execvp(sys.argv[1], sys.argv[1:])' "$@"
          }
          if [ "$JOB_KEYRING" = session ] && [ -z "${JOINED:-}" ]; then
            JOINED=1 in_new_session bash "$0"
            exit
          fi
          mount -t bcachefs -o ro /dev/ubda /mnt/a && exit 3
          "$JOB_PROGRAM" unlock -k "$JOB_KEYRING" /dev/ubda <<<"$JOB_PASSPHRASE"
          "$JOB_PROGRAM" unlock -c /dev/ubda >&2
          "$JOB_PROGRAM" ls /dev/ubda >/mnt/b/names
          [ "$JOB_KEYRING" = session ] || in_new_session "$JOB_PROGRAM" ls /dev/ubda >/dev/null
          echo "job: mount" >/dev/kmsg
          mount -t bcachefs -o ro /dev/ubda /mnt/a
          ls /mnt/a | diff - /mnt/b/names >&2
          python3 "$JOB_GUEST/manifest.py" /mnt/a
          umount /mnt/a
          """, images: images,
        environment: [
          "JOB_PROGRAM": builtProgram("bcachefs"), "JOB_KEYRING": keyring,
          "JOB_PASSPHRASE": try #require(volume.passphrase),
        ])
      #expect(outcome.status == 0, "\(outcome.result.standardError)\(outcome.log)")
      #expect(outcome.result.standardError.contains("Device is encrypted and unlocked\n"))
      #expect(manifestDifference(expected: try volume.manifest(), seen: outcome.manifest) == [])
    }
  }
}
