// SPDX-License-Identifier: GPL-2.0
// Some files of a mount are written, cut, copied, punched, mapped and read in all ways that system
// calls have, past the kernel's cache and through it, beside copies in memory (exercise.py); each
// round ends with an unmount and a check, and the next one begins with what is there.

internal import TestSupport
internal import Testing

@Suite(.enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"), .serialized)
struct ExerciseTests {
  // In the long run 1.2 million operations.
  private static let rounds = runsLongTests ? 20 : 2
  private static let operations = runsLongTests ? 7000 : 1500

  private static let settings = ChangingMountTests.Setting.all.filter {
    runsLongTests
      || ["gzip, blocks of 4 KiB", "nocow", "two replicas"].contains($0.testDescription)
  }

  @Test(arguments: settings)
  func filesAreWhatTheirCopiesSay(setting: ChangingMountTests.Setting) throws {
    try withTemporaryFolder { folder in
      let images = try setting.format(in: folder)
      try runProgramOrThrow("mkdir", ["\(folder)/models"])
      var progress = Progress("exercise, \(setting)", of: Self.rounds)
      for round in 0..<Self.rounds {
        progress.reached(round)
        let mount = try setting.mount(images, isChanged: true)
        let result = try mount.shell(
          """
          python3 '\(KernelGuest.scripts)/exercise.py' "$MOUNT" '\(folder)/models' \
            \(round + 1) \(Self.operations)
          """, timeoutSeconds: 300)
        try #require(
          result.status == 0, "round \(round): \(result.text)\(result.standardError)")
        try mount.end()
        try setting.expectSound(images)
      }
    }
  }
}
