// SPDX-License-Identifier: GPL-2.0
// copy_file_range through a mount: what is copied shares its room with where it came from.

internal import TestSupport
internal import Testing

@Suite(.serialized, .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"))
struct CopyRangeTests {
  @Test func copiedRangesAreSharedAndReadTheSame() throws {
    try withTemporaryFolder { folder in
      let image = "\(folder)/volume.img"
      try runProgramOrThrow("truncate", ["-s", "128M", image])
      try runProgramOrThrow(builtProgram("bcachefs"), ["format", "--quiet", image])
      do {
        let mount = try MountedVolume([image], options: "rw")
        let result = try mount.python(
          """
          import os
          top = os.environ["MOUNT"]
          data = os.urandom(3 << 20) + b"end"
          with open(top + "/source", "wb") as f: f.write(data)
          os.sync()
          free = os.statvfs(top).f_bfree
          def copy(a, b, start, count, at):
              source, target = os.open(a, os.O_RDONLY), os.open(b, os.O_RDWR | os.O_CREAT)
              done = 0
              while done < count:
                  n = os.copy_file_range(source, target, count - done, start + done, at + done)
                  if n == 0: break
                  done += n
              os.close(source); os.close(target)
              return done
          assert copy(top + "/source", top + "/whole", 0, len(data), 0) == len(data)
          os.sync()
          assert free - os.statvfs(top).f_bfree < 64, (free, os.statvfs(top).f_bfree)
          assert open(top + "/whole", "rb").read() == data
          assert copy(top + "/source", top + "/odd", 1001, 70000, 17) == 70000
          assert open(top + "/odd", "rb").read() == bytes(17) + data[1001:71001]
          with open(top + "/source", "r+b") as f: f.write(b"changed")
          assert open(top + "/whole", "rb").read() == data
          print("done")
          """)
        #expect(result.standardError == "")
        #expect(result.text == "done\n")
      }
    }
  }
}
