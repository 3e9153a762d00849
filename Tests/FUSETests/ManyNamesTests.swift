// SPDX-License-Identifier: GPL-2.0
// A directory that no single answer holds.

internal import TestSupport
internal import Testing

@Suite(.serialized, .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"))
struct ManyNamesTests {
  @Test func everyOfManyNamesIsListedOnce() throws {
    try withTemporaryFolder { folder in
      try runProgramOrThrow(
        "bash",
        [
          "-c",
          """
          mkdir -p tree/many && cd tree/many && seq -f 'a name of some length, number %.0f' 36000 |
            tr '\\n' '\\0' | xargs -0 touch
          """,
        ], folder: folder)
      let image = "\(folder)/volume.img"
      try runProgramOrThrow(
        builtProgram("bcachefs"), ["image", "create", "--source=\(folder)/tree", image],
        timeoutSeconds: 300)
      let mount = try MountedVolume([image])
      let result = try mount.python(
        """
        import os
        many = os.environ["MOUNT"] + "/many"
        expected = {f"a name of some length, number {i}" for i in range(1, 36001)}
        for turn in range(2):
            names = os.listdir(many)
            assert len(names) == 36000 and set(names) == expected, (turn, len(names))
        assert sum(e.is_file(follow_symlinks=False) for e in os.scandir(many)) == 36000
        print(sum(os.lstat(f"{many}/{n}").st_nlink for n in names[::100]))
        """, timeoutSeconds: 200)
      #expect(result.standardError == "")
      #expect(result.text == "360\n")
    }
  }
}
