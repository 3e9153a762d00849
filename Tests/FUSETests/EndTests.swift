// SPDX-License-Identifier: GPL-2.0
// How mounts begin and end: foreground, background, signals, refusals, mount(8)'s helper.

internal import Glibc
internal import TestSupport
internal import Testing

@Suite(.serialized, .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"))
struct EndTests {
  private func withPlain(_ script: String) throws -> ProgramResult {
    try runMountScript(on: "plain", script)
  }

  @Test(arguments: ["INT", "TERM", "HUP"])
  func signalUnmounts(_ signal: String) throws {
    let result = try withPlain(
      """
      set -m
      "$BCACHEFS" mount -f -o ro "$IMAGE" "$MOUNT" & pid=$!
      for i in $(seq 100); do
        grep -q " $MOUNT fuse.bcachefs ro," /proc/mounts && break; sleep 0.1
      done
      cat "$MOUNT/tree/links/origin" | wc -c
      kill -\(signal) $pid; wait $pid; echo $?
      grep -c " $MOUNT " /proc/mounts
      """)
    #expect(result.text == "12\n0\n0\n", "\(result.standardError)")
  }

  /// What the kernel has not written back yet when the signal comes, too: of a file that is open.
  @Test(arguments: ["INT", "TERM", "HUP"])
  func signalWritesWhatWasWritten(_ signal: String) throws {
    try withTemporaryFolder { folder in
      let setting = ChangingMountTests.Setting.all[0]
      let images = try setting.format(in: folder)
      let mount = try setting.mount(images, isChanged: true)
      let server = try #require(try mount.server())
      let result = try mount.shell(
        """
        python3 - \(server) \(signal) <<'END'
        import os, signal, sys, time
        file = os.open("open", os.O_CREAT | os.O_WRONLY)
        os.write(file, b"x" * 2500000)
        os.kill(int(sys.argv[1]), signal.Signals["SIG" + sys.argv[2]])
        time.sleep(4)
        END
        """)
      #expect(result.status == 0, "\(result.standardError)")
      for _ in 0..<200 where try mount.server() != nil { usleep(50_000) }
      #expect(try mount.server() == nil)
      let again = try setting.mount(images, isChanged: false)
      #expect(try again.shell("tr -d x <open | wc -c; wc -c <open").text == "0\n2500000\n")
      try again.end()
      try setting.expectSound(images)
    }
  }

  @Test func backgroundMountEndsWithItsUnmount() throws {
    let result = try withPlain(
      """
      "$BCACHEFS" mount -o ro "$IMAGE" "$MOUNT" && cat "$MOUNT/tree/links/origin" | wc -c
      pgrep -c -f "mount -o ro $IMAGE"
      umount "$MOUNT" || fusermount3 -u "$MOUNT"
      for i in $(seq 100); do pgrep -f "mount -o ro $IMAGE" >/dev/null || break; sleep 0.1; done
      pgrep -c -f "mount -o ro $IMAGE"
      """)
    #expect(result.standardError == "")
    #expect(result.text == "12\n1\n0\n")
  }

  @Test func backgroundMountHoldsNothingOfItsCaller() throws {
    // Who reads a pipe's end goes on when the command has ended, whatever number its other end has.
    let result = try withPlain(
      """
      ulimit -n 4096
      (exec 17>&1 1023>&1 3000>&1; "$BCACHEFS" mount -o ro "$IMAGE" "$MOUNT") | cat
      cat "$MOUNT/tree/links/origin" | wc -c
      """)
    #expect(result.standardError == "")
    #expect(result.text == "12\n")
  }

  @Test func refusalsNameTheirReason() throws {
    let result = try withPlain(
      """
      refused() { "$BCACHEFS" "$@" 2>&1; echo $?; }
      refused mount -o no_such_option=1 "$IMAGE" "$MOUNT"
      exec 9<"$IMAGE"; flock -s 9
      refused mount "$IMAGE" "$MOUNT"
      exec 9<&-
      refused mount -o ro,no_such_option=1 "$IMAGE" "$MOUNT"
      refused mount -o ro,subvol=no/such "$IMAGE" "$MOUNT"
      refused mount -o ro "$IMAGE" "$MOUNT/missing"
      refused mount -o ro "$IMAGE.missing" "$MOUNT"
      grep -c " $MOUNT " /proc/mounts
      """)
    let text = result.text
    #expect(text.contains("has locked it; unmount, detach or stop that first"))
    #expect(text.contains("option no_such_option: no such option\n1\n"))
    #expect(text.contains("option subvol=no/such: no: no such name\n1\n"))
    #expect(text.contains("/missing: No such file or directory\n1\n"))
    #expect(text.contains(".missing"))
    #expect(text.hasSuffix("32\n0\n"))
  }

  @Test(.enabled(if: FUSESupport.isRoot, "mount(8) is root's"))
  func mountCommandFindsItsHelper() throws {
    let result = try withPlain(
      """
      ln -s "$BCACHEFS" "$FOLDER/mount.fuse.bcachefs"
      "$FOLDER/mount.fuse.bcachefs" "$IMAGE" "$MOUNT" -n -f -o ro,nodev,_netdev,x-test=1; echo $?
      grep -c " $MOUNT " /proc/mounts
      "$FOLDER/mount.fuse.bcachefs" "$IMAGE" "$MOUNT" -n -o ro,noexec -t fuse.bcachefs; echo $?
      grep " $MOUNT " /proc/mounts | cut -d' ' -f3,4 | cut -d, -f1-4
      """)
    #expect(result.standardError == "")
    #expect(result.text == "0\n0\n0\nfuse.bcachefs ro,nosuid,nodev,noexec\n")
  }
}
