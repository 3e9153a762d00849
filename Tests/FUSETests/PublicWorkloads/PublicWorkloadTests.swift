// SPDX-License-Identifier: GPL-2.0
// Programs that everybody has, at work on a mount: each does what it does on any filesystem, and
// judges itself what it reads.
//
// How it works
//   1. A test formats images in one of the ways of `ChangingMountTests.Setting`, mounts them, and
//      runs a script there. Where a program is missing the test is skipped, by name.
//   2. Afterwards the volume is unmounted; our check finds nothing, a mount that only reads and the
//      driver show the same as the mount did, and the driver's check finds nothing either.
//   3. Each run takes a few seconds. BCACHEFS_TEST_LONG makes it minutes, in all settings.
// Invariants
//   (1) A script ends with 0 only if every program in it found what it expected.

internal import Foundation
internal import TestSupport
internal import Testing

@Suite(.enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"), .serialized)
struct PublicWorkloadTests {
  typealias Setting = ChangingMountTests.Setting

  /// The settings of that name in the short run; all in the long one.
  static func settings(_ names: String...) -> [Setting] {
    Setting.all.filter { runsLongTests || names.contains($0.testDescription) }
  }

  /// Runs a bash script in the root of a new volume, and judges the volume afterwards.
  ///
  /// - Parameters:
  ///   - variables: That it sees; it has an empty folder elsewhere, `$ELSEWHERE`.
  ///   - seconds: After which it counts as hanging.
  func expectWork(
    _ setting: Setting, _ script: String, _ variables: [String: String] = [:],
    within seconds: Int = runsLongTests ? 1800 : 120
  ) throws {
    try withTemporaryFolder { folder in
      let images = try setting.format(in: folder, size: runsLongTests ? "2G" : "512M")
      try FileManager.default.createDirectory(
        atPath: "\(folder)/elsewhere", withIntermediateDirectories: true)
      let mount = try setting.mount(images, isChanged: true)
      let all = variables.merging(["ELSEWHERE": "\(folder)/elsewhere"]) { $1 }
      let settings = all.map { "export \($0.key)='\($0.value)'\n" }.sorted().joined()
      let result = try mount.shell(
        "\(settings)set -euo pipefail\n\(script)", timeoutSeconds: seconds)
      let said = "\(result.text)\n\(result.standardError)"
      #expect(result.status == 0, "\(said.suffix(4000))")
      let manifest = try mount.manifest()
      try mount.end()
      try setting.expect(manifest, images)
    }
  }
}

/// Whether programs are in `PATH`; and why a test that needs them is skipped.
struct NeededPrograms {
  let missing: [String]
  var areThere: Bool { missing.isEmpty }
  var comment: Comment { "not installed: \(missing.joined(separator: ", "))" }

  init(_ names: String...) {
    let folders = (environmentVariable("PATH") ?? "").split(separator: ":")
    missing = names.filter { name in
      !folders.contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(name)") }
    }
  }
}
