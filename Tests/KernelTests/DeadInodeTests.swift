// SPDX-License-Identifier: GPL-2.0
// Files that were deleted while somebody had them open, when the machine stopped: the engine
// deletes them when it opens the volume.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct DeadInodeTests {
  /// Plain, large, sparse and reflinked files, one with attributes, an empty directory, and some
  /// in a snapshot whose source has them still; the guest stops with all of them open.
  private static let job = """
    set -eu
    . "$JOB_GUEST/common.sh"
    mount_volume rw /mnt/a
    mkdir /mnt/a/kept
    head -c 3000000 /dev/urandom >/mnt/a/kept/file
    python3 "$JOB_GUEST/subvolume.py" create /mnt/a/sub
    for name in one two three; do head -c 500000 /dev/urandom >/mnt/a/sub/$name; done
    python3 "$JOB_GUEST/subvolume.py" snapshot /mnt/a/sub /mnt/a/snap
    cat >/mnt/b/hold.py <<'P'
    import os, time
    os.chdir('/mnt/a')
    held = []
    for number in range(20):
        name = 'dead%d' % number
        with open(name, 'wb') as file:
            for piece in range(number):
                file.seek(piece * 300000)
                file.write(os.urandom(100000))
        os.setxattr(name, 'user.colour', b'red' * 50)
        held.append(os.open(name, os.O_RDWR))
        os.unlink(name)
    for name in ('snap/one', 'sub/two'):
        held.append(os.open(name, os.O_RDWR))
        os.unlink(name)
    os.mkdir('gone')
    held.append(os.open('gone', os.O_RDONLY))
    os.rmdir('gone')
    os.sync()
    open('/mnt/b/ready', 'w').close()
    time.sleep(1000)
    P
    python3 /mnt/b/hold.py >/mnt/b/log 2>&1 &
    for wait in $(seq 200); do
      [ -e /mnt/b/ready ] && break
      sleep 0.1
    done
    [ -e /mnt/b/ready ] || { cat /mnt/b/log >&2; exit 1; }
    """

  @Test(arguments: [false, true])
  func whatWasUnlinkedAndOpenIsDeleted(usesReplicas: Bool) throws {
    try withTemporaryFolder { folder in
      let images = (usesReplicas ? ["a", "b"] : ["a"]).map { "\(folder)/\($0).img" }
      for image in images { try runProgramOrThrow("truncate", ["-s", "192M", image]) }
      try runProgramOrThrow(
        builtProgram("bcachefs"),
        ["format", "--quiet"] + (usesReplicas ? ["--replicas=2"] : []) + images)
      let outcome = try KernelGuest.run(job: Self.job, images: images)
      #expect(outcome.complaints == [])
      let engine = try OpenedImages.open(images)
      #expect(!engine.wasClean)
      let left = try engine.run("test_left") { (transaction) throws(TransactionError) in
        try transaction.next(.deletedInodes, from: .min) != nil
      }
      #expect(!left)
      #expect(engine.deadInodeCount.load(ordering: .relaxed) > 15)
      try engine.close()
      try OpenedImages.letGo(engine)
      let checked = try KernelGuest.check(images: images)
      #expect(checked.complaints == [])
      let manifest = checked.result.text
      #expect(manifest.contains("sub/one") && manifest.contains("snap/two"))
      #expect(manifest.contains("kept/file") && !manifest.contains("dead"))
      #expect(!manifest.contains("snap/one") && !manifest.contains("sub/two"))
    }
  }
}
