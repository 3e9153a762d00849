// SPDX-License-Identifier: GPL-2.0
// Subvolumes that the command makes and deletes in a mount: whoever looks sees them at once, or not
// any more, and a snapshot has what was written before.

internal import TestSupport
internal import Testing

@Suite(.serialized, .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"))
struct SubvolumeMountTests {
  /// Runs a script in a mount of a new volume, and again when it was mounted anew.
  private func run(_ script: String, again: String = "true") throws {
    try withTemporaryFolder { folder in
      let image = "\(folder)/volume.img"
      let result = try runProgram(
        "timeout",
        [
          "-k", "5", "100", "bash", "-c",
          """
          set -eu
          truncate -s 256M "$IMAGE"
          "$BCACHEFS" format --quiet "$IMAGE"
          mkdir "$MOUNT"
          trap 'cd /; fusermount3 -q -u -z "$MOUNT"' EXIT
          "$BCACHEFS" mount "$IMAGE" "$MOUNT"
          cd "$MOUNT"
          \(script)
          cd /
          fusermount3 -u "$MOUNT"
          for try in $(seq 100); do
            "$BCACHEFS" fsck -n "$IMAGE" >"$FOLDER/fsck" 2>&1 && break || sleep 0.1
          done
          "$BCACHEFS" fsck -n "$IMAGE"
          "$BCACHEFS" mount "$IMAGE" "$MOUNT"
          cd "$MOUNT"
          \(again)
          """,
        ],
        environment: [
          "BCACHEFS": builtProgram("bcachefs"), "IMAGE": image, "FOLDER": folder,
          "MOUNT": "\(folder)/mount",
        ], timeoutSeconds: 120)
      #expect(
        result.status == 0,
        "\(result.text)\n\(result.standardError.split(separator: "\n").suffix(12))")
    }
  }

  @Test func subvolumesGoAsDirectoriesWhenTheyAreEmpty() throws {
    try run(
      """
      "$BCACHEFS" subvolume create sub sub/inner
      mkdir sub/directory
      echo text >sub/directory/file
      ! rmdir sub 2>error
      grep -q "not empty" error
      ! rm -d sub/directory 2>/dev/null
      "$BCACHEFS" subvolume snapshot -r sub snap
      ! rm -rf snap 2>error
      grep -q "Read-only" error
      rm -r sub
      [ ! -e sub ] && [ "$(cat snap/directory/file)" = text ]
      "$BCACHEFS" subvolume create sub
      rmdir sub
      [ ! -e sub ]
      """, again: "[ ! -e sub ] && [ -e snap/directory/file ]")
  }

  @Test func whatTheCommandMakesAndDeletesIsSeenAtOnce() throws {
    try run(
      """
      [ ! -e sub ] && ls >/dev/null
      "$BCACHEFS" subvolume create sub "$MOUNT/other"
      [ -d sub ] && [ -d other ]
      ls | grep -qx sub
      echo text >sub/file
      [ ! -e snap ]
      "$BCACHEFS" subvolume snapshot -r sub snap
      [ "$(cat snap/file)" = text ]
      ls | grep -qx snap
      echo more >>sub/file
      [ "$(cat snap/file)" = text ]
      ! touch snap/new 2>/dev/null
      (cd sub && "$BCACHEFS" subvolume snapshot inner)
      [ "$(tail -1 sub/inner/file)" = more ]
      ! "$BCACHEFS" subvolume delete sub 2>"$FOLDER/said"
      grep -q 'subvolumes in it' "$FOLDER/said"
      "$BCACHEFS" subvolume delete sub/inner
      [ ! -e sub/inner ]
      "$BCACHEFS" subvolume delete sub
      [ ! -e sub ] && ! ls | grep -qx sub
      mkdir sub && [ -z "$(ls sub)" ]
      ! "$BCACHEFS" subvolume delete sub 2>/dev/null
      ! "$BCACHEFS" subvolume create sub 2>"$FOLDER/said"
      grep -q 'exists already' "$FOLDER/said"
      """,
      again: """
        [ "$(cat snap/file)" = text ] && [ -d other ] && [ -z "$(ls sub)" ]
        """)
  }

  @Test func aSnapshotHasWhatIsWrittenToAFileThatIsOpen() throws {
    try run(
      """
      "$BCACHEFS" subvolume create sub
      python3 - <<'END'
      import os, subprocess
      with open("sub/file", "wb", buffering=0) as f:
        for n in range(20):
          f.write(bytes([n]) * 100_000)
          subprocess.run(
            [os.environ["BCACHEFS"], "subvolume", "snapshot", "sub", f"snap{n}"], check=True)
      for n in range(20):
        with open(f"snap{n}/file", "rb") as f:
          got = f.read()
        assert len(got) == 100_000 * (n + 1), (n, len(got))
        assert all(got[k * 100_000] == k for k in range(n + 1)), n
      END
      for n in $(seq 0 18); do "$BCACHEFS" subvolume delete snap$n; done
      """,
      again: """
        [ "$(stat -c %s snap19/file)" = 2000000 ]
        cmp snap19/file sub/file
        """)
  }

  @Test(.enabled(if: FUSESupport.isRoot, "others than root are asked for by root"))
  func whoMayNotWriteToADirectoryMakesNothingInIt() throws {
    try run(
      """
      cd / && fusermount3 -u "$MOUNT"
      for try in $(seq 50); do
        "$BCACHEFS" mount -o allow_other "$IMAGE" "$MOUNT" 2>/dev/null && break || sleep 0.1
      done
      cd "$MOUNT"
      chmod 755 . && mkdir -m 777 free && "$BCACHEFS" subvolume create roots
      chmod 755 "$FOLDER"
      as() {
        python3 -c '
      import os, sys
      os.setgroups([]); os.setgid(12345); os.setuid(12345)
      os.execv(sys.argv[1], sys.argv[1:])' "$BCACHEFS" subvolume "$@"
      }
      if as list --help >/dev/null 2>&1; then
        ! as create mine 2>/dev/null
        as create free/mine
        [ "$(stat -c %u free/mine)" = 12345 ]
        ! as snapshot roots free/stolen 2>/dev/null
        ! as delete roots 2>/dev/null
        as snapshot free/mine free/copy
        as delete free/copy
      fi
      """)
  }

  /// More than there are threads, while the kernel has something to write back for each.
  @Test func manySnapshotsAtOnceAreTaken() throws {
    try run(
      """
      cat >"$FOLDER/write.py" <<'END'
      import os, sys
      file = os.open("file", os.O_CREAT | os.O_WRONLY)
      while not os.path.exists("done"):
          os.pwrite(file, os.urandom(1 << 20), 0)
      END
      python3 "$FOLDER/write.py" & writer=$!
      requests=
      for number in $(seq 40); do
        "$BCACHEFS" subvolume snapshot . "snapshot $number" & requests="$requests $!"
      done
      for request in $requests; do wait $request; done
      touch done
      wait $writer
      [ $(ls -d snapshot* | wc -l) = 40 ]
      """, again: "[ $(ls -d snapshot* | wc -l) = 40 ]")
  }
}
