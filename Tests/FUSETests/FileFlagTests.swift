// SPDX-License-Identifier: GPL-2.0
// Flags of files in a mount, as chattr sets them: what the kernel would refuse by itself it leaves
// to us. What was refused has changed nothing: which shows when the volume is mounted again, since
// the kernel keeps what it knew.

internal import TestSupport
internal import Testing

@Suite(
  .serialized, .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"),
  .enabled(if: FUSESupport.isRoot, "only root sets these flags"))
struct FileFlagTests {
  /// Runs a script on a new volume, mounts it again and runs another.
  private func onNewVolume(
    options: String = "", _ script: String, thenPrinting second: String, _ expected: String
  ) throws {
    try withTemporaryFolder { folder in
      let setting = ChangingMountTests.Setting.all[0]
      let images = try setting.format(in: folder)
      let mount = try MountedVolume(images, isChanged: true, options: options)
      let result = try mount.shell("set -e\n\(script)")
      #expect(result.status == 0, "\(result.text)\(result.standardError)")
      try mount.end()
      let again = try setting.mount(images, isChanged: true)
      let seen = try again.shell(second)
      #expect(seen.text == expected, "\(seen.standardError)")
      try again.end()
      try setting.expectSound(images)
    }
  }

  /// Fails where a command succeeds.
  private static let refuses = "refuses() { ! \"$@\" 2>/dev/null || { echo \"$*\" >&2; exit 1; }; }"

  @Test func anImmutableFileKeepsWhatItHas() throws {
    try onNewVolume(
      """
      \(Self.refuses)
      yes precious | head -c 14000 >file
      exec 4<>file
      chattr +i file
      lsattr file | grep -q '^-*i-* file$'
      for size in 5 14000 20000; do refuses truncate -s $size file; done
      refuses fallocate -l 50000 file
      refuses python3 -c 'open("file", "a")'
      refuses python3 -c 'import os; os.truncate("file", 0)'
      refuses fallocate -p -o 0 -l 8192 /proc/self/fd/4
      refuses touch file
      refuses chmod 600 file
      refuses rm -f file
      refuses ln file other
      sync file
      """, thenPrinting: "stat -c %s file; grep -vc precious file; chattr -i file && rm file && ls",
      "14000\n1\nlost+found\n")
  }

  /// What was written before, by who had it open, is not lost to those who close the file after.
  @Test func timesOfWritingOutliveAFlagThatCameAfter() throws {
    try onNewVolume(
      """
      cat >both.py <<'END'
      import os, subprocess, time
      writer = os.open("file", os.O_CREAT | os.O_WRONLY)
      os.write(writer, b"one")
      time.sleep(0.02)
      subprocess.run(["chattr", "+i", "file"], check=True)
      os.write(writer, b"two")
      reader = os.open("file", os.O_RDONLY)
      os.fsync(reader)
      os.close(reader)
      os.fsync(writer)
      os.close(writer)
      END
      python3 both.py
      """, thenPrinting: "cat file; chattr -i file", "onetwo")
  }

  @Test func aFileThatMayOnlyGrowDoes() throws {
    try onNewVolume(
      """
      \(Self.refuses)
      echo first >log
      exec 4<>log
      chattr +a log
      lsattr log | grep -q '^-*a-* log$'
      refuses dd if=/dev/zero of=log bs=1 count=3 conv=notrunc
      refuses python3 -c 'open("log", "r+")'
      refuses python3 -c 'import os; os.open("log", os.O_WRONLY | os.O_APPEND | os.O_TRUNC)'
      refuses truncate -s 3 log
      refuses fallocate -p -o 0 -l 4096 /proc/self/fd/4
      refuses fallocate -z -o 0 -l 4096 /proc/self/fd/4
      refuses touch -d 2001-01-01 log
      refuses chmod 600 log
      refuses mv log other
      touch log
      for line in second third; do
        sleep 0.02
        python3 - $line <<'END'
      import os, sys
      log = os.open("log", os.O_WRONLY | os.O_APPEND)
      os.write(log, sys.argv[1].encode() + b"\\n")
      os.fsync(log)
      os.close(log)
      END
      done
      """, thenPrinting: "cat log; chattr -a log", "first\nsecond\nthird\n")
  }

  @Test func flagsOfDirectoriesCountForTheirNames() throws {
    try onNewVolume(
      """
      \(Self.refuses)
      mkdir fixed grows
      touch fixed/old grows/old
      chattr +i fixed
      chattr +a grows
      lsattr -d fixed grows | grep -c '^-*[ia]-* ' | grep -q 2
      refuses touch fixed/new
      refuses rm -f fixed/old
      refuses rm -f grows/old
      refuses mv grows/old grows/other
      touch grows/new
      """, thenPrinting: "chattr -R -i -a fixed grows; ls fixed grows",
      "fixed:\nold\n\ngrows:\nnew\nold\n")
  }

  /// Who is not in a file's group does not get others to run it as that one (CVE-2016-7097).
  @Test func anAccessListTakesTheGroupsBitFromAStranger() throws {
    try onNewVolume(
      options: "allow_other",
      """
      chmod 755 .
      for file in strange own; do
        cp /bin/true $file
        chown 1000:0 $file
        chmod 2755 $file
      done
      chgrp 1000 own
      chmod 2755 own
      mkdir directory
      chown 1000:0 directory
      chmod 2755 directory
      setpriv --reuid 1000 --regid 1000 --clear-groups setfacl -m u:1000:rwx strange own directory
      """, thenPrinting: "stat -c '%a %n' strange own directory",
      "775 strange\n2775 own\n775 directory\n")
  }
}
