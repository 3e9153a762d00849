// SPDX-License-Identifier: GPL-2.0
// Unmounting: it is over when the volume is closed, and whoever waits learns how that went.

internal import TestSupport
internal import Testing

@testable internal import BcachefsFUSE

@Suite(.serialized, .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"))
struct UnmountTests {
  private static let setting = ChangingMountTests.Setting.all[0]

  /// Mounts a new volume, and runs a script with `IMAGE` and `MOUNT`.
  private func withMount(_ script: String) throws -> ProgramResult {
    try withTemporaryFolder { folder in
      let images = try Self.setting.format(in: folder)
      let mount = try Self.setting.mount(images, isChanged: true)
      return try mount.shell(
        """
        BCACHEFS='\(builtProgram("bcachefs"))' IMAGE='\(mount.source)' MOUNT='\(mount.path)'
        server=$(pgrep -f "bcachefs mount .*$IMAGE")
        \(script)
        """)
    }
  }

  @Test func whenUmountReturnsTheVolumeIsClosed() throws {
    let result = try withMount(
      """
      dd if=/dev/urandom of=large bs=1M count=40 2>/dev/null; cd /
      "$BCACHEFS" umount "$MOUNT"; echo $?
      flock -n "$IMAGE" true && echo free
      "$BCACHEFS" fsck -n "$IMAGE" >/dev/null && echo sound
      "$BCACHEFS" show-super "$IMAGE" | grep -i clean: | tr -d ' \\t'
      grep -c " $MOUNT " /proc/mounts
      """)
    #expect(result.text == "0\nfree\nsound\nClean:1\n0\n", "\(result.standardError)")
  }

  @Test func theHelperOfUmountDoesTheSame() throws {
    let result = try withMount(
      """
      echo data >small; cd /
      helper=$(dirname "$IMAGE")/umount.fuse.bcachefs; ln -s "$BCACHEFS" "$helper"
      "$helper" "$MOUNT" -n -v -t fuse.bcachefs; echo $?
      flock -n "$IMAGE" true && echo free
      """)
    #expect(result.text == "0\nfree\n", "\(result.standardError)")
  }

  @Test func aServerThatDiesBeforeTheVolumeIsClosedIsToldOf() throws {
    let result = try withMount(
      """
      sync; cd /; kill -STOP $server
      "$BCACHEFS" umount -f "$MOUNT" 2>&1 & waiter=$!
      for i in $(seq 200); do grep -q " $MOUNT " /proc/mounts || break; sleep 0.1; done
      sleep 0.3; kill -0 $waiter && echo waits
      kill -KILL $server; wait $waiter; echo $?
      """)
    let text = result.text
    #expect(text.hasPrefix("waits\n") && text.hasSuffix("\n32\n"), "\(result.standardError)")
    #expect(text.contains("as after a crash"), "\(text)")
  }

  /// The kernel gives a mount's number to the next one while the first one's process is still at
  /// work: who unmounts the second one waits for the second one.
  @Test func anotherMountsEndIsNotTakenForThisOnes() throws {
    let result = try withMount(
      """
      cd /; folder=$(dirname "$IMAGE"); mkdir "$folder/second"; number=$(mountpoint -d "$MOUNT")
      truncate -s 256M "$folder/second.img"; "$BCACHEFS" format --quiet "$folder/second.img"
      kill -STOP $server; umount -f "$MOUNT"
      (sleep 0.5; kill -CONT $server) &
      "$BCACHEFS" mount "$folder/second.img" "$folder/second" || exit 1
      [ "$(mountpoint -d "$folder/second")" = $number ] && echo same number
      dd if=/dev/urandom of="$folder/second/large" bs=1M count=40 2>/dev/null
      "$BCACHEFS" umount "$folder/second"; echo $?
      flock -n "$folder/second.img" true && echo free
      wait
      """)
    // In the whole suite others mount meanwhile.
    #expect(result.text.hasSuffix("0\nfree\n"), "\(result.text)\(result.standardError)")
  }

  @Test(.enabled(if: FUSESupport.isRoot, "only root binds"))
  func whatIsMountedElsewhereTooIsNotWaitedFor() throws {
    let result = try withMount(
      """
      cd /; folder=$(dirname "$IMAGE"); mkdir "$folder/bound"; mount --bind "$MOUNT" "$folder/bound"
      timeout 20 "$BCACHEFS" umount "$folder/bound/"; echo $?
      kill -0 $server && echo alive
      timeout 60 "$BCACHEFS" umount "$MOUNT"; echo $?
      flock -n "$IMAGE" true && echo free
      """)
    #expect(result.text == "0\nalive\n0\nfree\n", "\(result.standardError)")
  }

  @Test func namesOfAnyBytesAndSlashesAreFound() throws {
    let result = try withMount(
      #"""
      cd /; "$BCACHEFS" umount "$MOUNT"
      strange="$(dirname "$IMAGE")/Gem\#u{e4}lde \134 e\#u{301}\#tx"; mkdir "$strange"
      "$BCACHEFS" mount "$IMAGE" "$strange" && echo a >"$strange/a"
      "$BCACHEFS" umount "$strange///"; echo $?
      flock -n "$IMAGE" true && echo free
      """#)
    #expect(result.text == "0\nfree\n", "\(result.standardError)")
  }

  /// Each that fails leaves a connection behind.
  @Test func whoFailsToUnmountManyTimesStillCan() throws {
    let result = try withMount(
      """
      exec 9>open; cd /
      for i in $(seq 150); do
        timeout 20 "$BCACHEFS" umount "$MOUNT" 2>/dev/null; echo $?
      done | uniq
      exec 9>&-
      timeout 60 "$BCACHEFS" umount "$MOUNT"; echo $?
      flock -n "$IMAGE" true && echo free
      """)
    #expect(result.text == "32\n0\nfree\n", "\(result.standardError)")
  }

  @Test func linesOfMountinfoAreTakenApart() {
    let line =
      #"36 35 0:47 / /mnt/a\040b\134c rw,noatime shared:1 master:2 - "#
      + #"fuse.bcachefs /dev/sdb:/x\011y rw,user_id=1000,group_id=1000"#
    let entry = MountEntry(line: Array(line.utf8)[...])
    #expect(entry?.device == "0:47" && entry?.type == "fuse.bcachefs" && entry?.userID == 1000)
    #expect(entry?.directory == #"/mnt/a b\c"# && entry?.source == "/dev/sdb:/x\ty")
    for wrong in ["", "36 35 0:47 / /mnt rw", "36 35 0:47 / /mnt rw - fuse"] {
      #expect(MountEntry(line: Array(wrong.utf8)[...]) == nil)
    }
  }

  @Test func refusalsNameTheirReason() throws {
    let result = try withMount(
      """
      exec 2>&1
      "$BCACHEFS" umount; echo $?
      "$BCACHEFS" umount "$MOUNT/missing"; echo $?
      "$BCACHEFS" umount /proc; echo $?
      "$BCACHEFS" umount /usr; echo $?
      exec 9>"$MOUNT/open"; cd /
      "$BCACHEFS" umount "$MOUNT"; echo $?
      exec 9>&-
      "$BCACHEFS" umount "$MOUNT"; echo $?
      """)
    let text = result.text
    #expect(text.contains("name what to unmount"), "\(text)")
    #expect(text.contains("missing: No such file or directory\n1\n"), "\(text)")
    #expect(text.contains("/proc: that is no volume, but of type proc\n1\n"), "\(text)")
    #expect(text.contains("/usr: nothing is mounted there\n1\n"), "\(text)")
    #expect(text.contains("-l hides it until they end\n32\n"), "\(text)")
    #expect(text.hasSuffix("32\n0\n"), "\(text)")
  }

  @Test func whatUmountHasForItsHelpersIsUnderstood() throws {
    let plain = try Unmounting(parsing: ["/mnt/a", "-n", "-r", "-N", "7", "-t", "fuse.bcachefs"])
    #expect(plain == Unmounting(directory: "/mnt/a"))
    let both = try Unmounting(parsing: ["-flv", "/mnt/a", "-N7"])
    #expect(both == Unmounting(directory: "/mnt/a", isForced: true, isLazy: true))
    for wrong in [[], ["/a", "/b"], ["/a", "-t"], ["/a", "-x"]] {
      #expect(throws: MountError.self) { try Unmounting(parsing: wrong) }
    }
    #expect(Unmounting.isHelper("/sbin/umount.fuse.bcachefs"))
    #expect(!Unmounting.isHelper("/sbin/mount.fuse.bcachefs"))
  }
}
