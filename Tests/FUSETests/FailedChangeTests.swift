// SPDX-License-Identifier: GPL-2.0
// Changes of contents that fail half way, for lack of space: what the kernel shows of the file then
// is what is there.

internal import TestSupport
internal import Testing

@Suite(.serialized, .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"))
struct FailedChangeTests {
  /// What a script prints, and what another does after the volume was mounted again, are the same.
  private func expectKept(_ script: String, _ check: String) throws -> String {
    try withTemporaryFolder { folder in
      let setting = ChangingMountTests.Setting.all[0]
      let images = try setting.format(in: folder, size: "128M")
      let mount = try setting.mount(images, isChanged: true)
      let result = try mount.shell(
        "set -e\ncat >s.py <<'END'\n\(script)\nEND\npython3 s.py\n\(check)")
      #expect(result.status == 0, "\(result.text)\(result.standardError)")
      try mount.end()
      let again = try setting.mount(images, isChanged: true)
      #expect(try again.shell(check).text == result.text)
      try again.end()
      try setting.expectSound(images)
      return result.text
    }
  }

  @Test func aCopyThatEndsEarlySaysHowFarItCame() throws {
    let text = try expectKept(
      """
      import errno, os
      source = os.open("source", os.O_CREAT | os.O_RDWR)
      os.ftruncate(source, 1 << 30)
      target = os.open("target", os.O_CREAT | os.O_RDWR)
      os.write(target, bytes(10))
      at = 100
      while True:
          try:
              count = os.copy_file_range(source, target, 1 << 30, at - 99, at)
          except OSError as error:
              assert error.errno == errno.ENOSPC, error
              break
          assert count > 0
          at += count
          assert os.fstat(target).st_size == at, (os.fstat(target).st_size, at)
      assert at > 1 << 20
      """, "stat -c %s target; sha256sum target")
    #expect(Int(text.split(separator: "\n")[0]).map { $0 > 1 << 20 } == true)
  }

  /// The kernel takes what it is given, and would do so for ever.
  @Test func whoReadsTooHearsWhileWritingThatThereIsNoRoom() throws {
    let text = try expectKept(
      """
      import errno, os
      file = os.open("file", os.O_CREAT | os.O_RDWR)
      piece = os.urandom(1 << 20)
      taken = 0
      try:
          while taken < 20 << 30:
              taken += os.write(file, piece)
              assert os.pread(file, 1, 0) == piece[:1]
      except OSError as error:
          assert error.errno == errno.ENOSPC, error
      assert taken < 20 << 30, taken
      os.remove("file")
      try:
          os.close(file)
      except OSError as error:
          assert error.errno == errno.ENOSPC, error
      """, "ls")
    #expect(text == "lost+found\ns.py\n")
  }

  @Test func zeroingThatHasNoRoomLeavesWhatWasThere() throws {
    let text = try expectKept(
      """
      import ctypes, errno, os
      libc = ctypes.CDLL(None, use_errno=True)
      file = os.open("file", os.O_CREAT | os.O_RDWR)
      os.write(file, b"D" * (4 << 20))
      os.fsync(file)
      size = ctypes.c_long(1 << 30)
      assert libc.fallocate(file, 0x10, ctypes.c_long(0), size) == -1
      assert ctypes.get_errno() == errno.ENOSPC
      """, "stat -c %s file; tr -d D <file | wc -c")
    #expect(text == "\(4 << 20)\n0\n")
  }
}
