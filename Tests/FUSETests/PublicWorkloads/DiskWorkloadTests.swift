// SPDX-License-Identifier: GPL-2.0
// Programs that were made to load filesystems: fio, stress-ng, dbench.

internal import TestSupport
internal import Testing

extension PublicWorkloadTests {
  private static let fio = NeededPrograms("fio")

  private static let jobs = """
    [global]
    size=$SIZE
    loops=$LOOPS
    verify=crc32c
    verify_fatal=1
    do_verify=1
    randrepeat=1
    randseed=1
    buffer_compress_percentage=40
    [sequential]
    rw=write
    bs=128k
    numjobs=3
    ioengine=psync
    [random]
    stonewall
    rw=randwrite
    bsrange=512-64k
    numjobs=3
    ioengine=psync
    [direct-sequential]
    stonewall
    rw=write
    bs=64k
    direct=1
    ioengine=libaio
    iodepth=4
    [direct-random]
    rw=randwrite
    bs=4k
    direct=1
    ioengine=libaio
    iodepth=16
    numjobs=2
    [mmap-random]
    stonewall
    rw=randwrite
    bs=4k
    ioengine=mmap
    numjobs=2
    [mmap-sequential]
    rw=write
    bs=16k
    ioengine=mmap
    [mixed]
    stonewall
    rw=randrw
    bsrange=1k-32k
    ioengine=psync
    fsync=64
    [overwritten]
    rw=randwrite
    bs=8k
    ioengine=psync
    verify_backlog=64
    norandommap=0
    [trimmed]
    rw=randwrite
    bs=16k
    ioengine=psync
    fallocate=keep
    end_fsync=1
    """

  /// Each block has its checksum and is read again; what several write at once, too. The files stay
  /// and are verified once more from a new mount's view: by all that `expectWork` compares.
  @Test(
    .enabled(if: fio.areThere, fio.comment),
    arguments: settings("plain", "zstd, xxhash"))
  func fioReadsWhatItWrote(setting: Setting) throws {
    try expectWork(
      setting,
      """
      cat >"$ELSEWHERE/jobs" <<END
      \(Self.jobs)
      END
      fio --directory=. --output="$ELSEWHERE/said" "$ELSEWHERE/jobs" ||
        { cat "$ELSEWHERE/said"; exit 1; }
      if grep -E 'err= *[1-9]|verify:' "$ELSEWHERE/said"; then exit 1; fi
      """, ["SIZE": runsLongTests ? "24m" : "4m", "LOOPS": runsLongTests ? "12" : "1"])
  }

  private static let stress = NeededPrograms("stress-ng")

  /// The stressors of the class that say nothing of a filesystem mounted by FUSE, and why.
  private static let leftOut = [
    ("bind-mount", "mounts over the root of all: for a machine of its own"),
    ("binderfs", "mounts a filesystem of its own, without files of ours"),
    ("eventfd", "only descriptors without a file"),
    ("fiemap", "FUSE passes no FS_IOC_FIEMAP"),
    ("ioprio", "only the scheduler's priorities"),
    ("procfs", "reads /proc"),
    ("verity", "bcachefs has no fs-verity, and says so"),
  ]

  /// All stressors at once, each with as many instances as told; then, in the long run, one by one.
  /// The one that syncs the filesystem comes first, alone: where a process is killed while the
  /// kernel writes a file's times back (fuse_flush_time_update), the kernel keeps EINTR as the
  /// filesystem's error, for the next syncfs(2). The daemon is not asked.
  @Test(.enabled(if: stress.areThere, stress.comment), arguments: settings("plain"))
  func stressorsFindNothingWrong(setting: Setting) throws {
    try expectWork(
      setting,
      """
      run() {
        stress-ng --temp-path . --verify --no-rand-seed "$@" >"$ELSEWHERE/said" 2>&1 ||
          { cat "$ELSEWHERE/said"; exit 1; }
        # not even one that gave up
        if grep -E 'fail:|error:|aborted early|skipping' "$ELSEWHERE/said"; then exit 1; fi
      }
      run --io $INSTANCES --timeout $SECONDS_SYNCING
      others="--class filesystem --exclude $LEFT_OUT,io --hdd-bytes 8m --iomix-bytes 8m
        --fallocate-bytes 8m --copy-file-bytes 128m --sync-file-bytes 8m"
      run $others --all $INSTANCES --timeout $SECONDS_AT_ONCE
      [ "$SECONDS_EACH" = 0 ] || run $others --sequential 2 --timeout $SECONDS_EACH
      [ -z "$(ls -A | grep -v 'lost+found')" ] || { ls -lAR; exit 1; }
      """,
      [
        "LEFT_OUT": Self.leftOut.map(\.0).joined(separator: ","),
        "INSTANCES": runsLongTests ? "2" : "1", "SECONDS_SYNCING": runsLongTests ? "5" : "1",
        "SECONDS_AT_ONCE": runsLongTests ? "60" : "3", "SECONDS_EACH": runsLongTests ? "5" : "0",
      ])
  }

  private static let dbench = NeededPrograms("dbench")

  /// Clients do what those of a file server did, with what it answered. What dbench says of its
  /// semaphore is left out: it takes a machine's first one, whose number is 0, for a failure, says
  /// so, and uses it.
  @Test(.enabled(if: dbench.areThere, dbench.comment), arguments: settings("plain"))
  func dbenchsClientsGetTheAnswersTheyKnow(setting: Setting) throws {
    try expectWork(
      setting,
      """
      mkdir asynchronous synchronous
      run() {
        dbench --skip-cleanup -c /usr/share/dbench/client.txt -t $TIME "$@" \\
          >"$ELSEWHERE/said" 2>&1 || { cat "$ELSEWHERE/said"; exit 1; }
        if grep -v 'failed to create barrier semaphore' "$ELSEWHERE/said" |
          grep -iE 'failed|error'; then exit 1; fi
      }
      run -D asynchronous 3
      run -s -S -D synchronous 2
      """, ["TIME": runsLongTests ? "120" : "1"])
  }
}
