// SPDX-License-Identifier: GPL-2.0
// SIGKILL at any moment of any command that changes a volume: what the driver finds is sound, and
// each file is as it was or as it was to be; of what is one step nothing is changed, or all.

internal import Foundation
internal import TestSupport
internal import Testing

@Suite("commands that are killed", .enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct KilledCommandTests {
  struct Step: CustomTestStringConvertible, Sendable {
    let words: String
    let isOne: Bool

    var testDescription: String { words }
  }

  /// Each on a volume that has `a`: twelve directories of twelve files, and a subvolume `s` with
  /// the same in it.
  static let steps: [Step] = [
    Step(words: "put VOLUME tree new", isOne: true),
    Step(words: "import VOLUME new <tree.tar", isOne: true),
    Step(words: "mkdir -p VOLUME new/b/c/d", isOne: true),
    Step(words: "mv VOLUME a/d1 a/d2/moved", isOne: true),
    Step(words: "mv VOLUME a/d1/f1 a/d2/f2", isOne: true),
    Step(words: "ln VOLUME a/d1/f1 a/d2/linked", isOne: true),
    Step(words: "ln -s VOLUME target a/d2/linked", isOne: true),
    Step(words: "truncate -s 10 VOLUME a/d7/f12", isOne: true),
    Step(words: "setfattr -n user.a -v b VOLUME a/d3", isOne: true),
    Step(words: "subvolume create VOLUME a/sub", isOne: true),
    Step(words: "subvolume snapshot VOLUME s shot", isOne: true),
    Step(words: "subvolume delete VOLUME s", isOne: true),
    Step(words: "rm VOLUME a/d2/f12", isOne: true),
    Step(words: "rm -r VOLUME a", isOne: false),
    Step(words: "chmod -R go-rx VOLUME a", isOne: false),
    Step(words: "chown -R 12:34 VOLUME a", isOne: false),
  ]

  @Test(arguments: steps)
  func whatIsKilledHasDoneItOrNot(step: Step) throws {
    try ChangeFixture.with(mebibytes: 64) { fixture in
      _ = try SourceTree.make(
        at: "\(fixture.folder)/tree",
        script: """
          for d in {1..12}; do
            mkdir d$d; for f in {1..12}; do head -c $((f * 1777)) /dev/urandom >d$d/f$f; done
          done
          """)
      try fixture.succeed("put", "VOLUME", "tree", "a")
      try fixture.succeed("subvolume", "create", "VOLUME", "s")
      try fixture.succeed("put", "VOLUME", "tree", "s/a")
      try runProgramOrThrow("tar", ["cf", "tree.tar", "-C", "tree", "."], folder: fixture.folder)
      let image = fixture.images[0]
      try runProgramOrThrow("cp", [image, "\(image).before"])
      let command = step.words.replacingOccurrences(of: "VOLUME", with: image)

      let before = try state(of: fixture, step)
      let start = ContinuousClock.now
      let whole = try shell("$BCACHEFS \(command)", folder: fixture.folder)
      let duration = start.duration(to: .now)
      #expect(whole.status == 0, "\(whole.standardError)")
      let after = try state(of: fixture, step)
      let changed = Set(before.keys).union(after.keys).filter { before[$0] != after[$0] }
      #expect(!changed.isEmpty)

      var random = SystemRandomNumberGenerator()
      for _ in 0..<(runsLongTests ? 30 : 2) {
        try runProgramOrThrow("cp", ["\(image).before", image])
        let seconds = duration / .seconds(1) * Double.random(in: 0.1...1.05, using: &random)
        _ = try shell(
          "timeout -s KILL \(seconds) $BCACHEFS \(command) 2>/dev/null", folder: fixture.folder)
        let seen = try state(of: fixture, step)
        let when = "killed after \(seconds) s of \(duration)"
        let strange = Set(seen.keys).union(before.keys).filter {
          seen[$0] != before[$0] && seen[$0] != after[$0]
        }
        #expect(strange.isEmpty, "\(strange.sorted().prefix(4)): \(when)")
        if step.isOne {
          let done = changed.filter { seen[$0] == after[$0] }
          #expect(
            done.isEmpty || done.count == changed.count, "\(done.sorted().prefix(4)): \(when)")
        }
      }
    }
  }

  /// What the driver shows of each path, but for times, the root, and what is under a name that
  /// says that it is not finished.
  private func state(of fixture: ChangeFixture, _ step: Step) throws -> [String: String] {
    var result: [String: String] = [:]
    for line in try fixture.manifestByDriver() {
      var fields = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      guard fields.count > 8, fields[0] != ".", !fields[0].hasPrefix(".bcachefs-unfinished-") else {
        continue
      }
      fields.remove(at: 7)
      // Directories lose subdirectories one by one, unless all is one step.
      if !step.isOne, fields[1] == "d" { fields.remove(at: 3) }
      result[fields[0]] = fields.dropFirst().joined(separator: "\t")
    }
    return result
  }
}
