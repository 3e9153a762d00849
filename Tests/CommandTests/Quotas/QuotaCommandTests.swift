// SPDX-License-Identifier: GPL-2.0
// Limits and reports of volumes that nobody has mounted.

internal import Foundation
internal import TestSupport
internal import Testing

@Suite struct QuotaCommandTests {
  private func rows(_ text: String) -> [[String]] {
    text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
  }

  @Test func limitsAreSetAndShown() throws {
    try ChangeFixture.with { fixture in
      try fixture.succeed("set-fs-option", "--usrquota", "--prjquota", "VOLUME")
      try fixture.succeed("put", "VOLUME", "-", "f", input: [UInt8](repeating: 1, count: 10_000))
      try fixture.succeed("chown", "1000:100", "VOLUME", "f")
      try fixture.succeed(
        "quota", "set", "-u", "1000", "-u", "1001", "--space_soft=8k", "--space-hard=1M",
        "--inodes_hard=5", "VOLUME")
      try fixture.succeed("quota", "set", "-u", "1001", "--space_soft=0", "VOLUME")
      try fixture.succeed("quota", "grace", "-u", "--space=36h", "VOLUME")
      let text = try fixture.run("quota", "report", "VOLUME").text
      #expect(text.contains("User quotas are on; grace: space 36h, inodes 7d\n"))
      #expect(text.contains("Project quotas are on; grace: space 7d, inodes 7d\n"))
      #expect(!text.contains("Group"))
      let rows = rows(text)
      #expect(rows.contains(["1000", "+-", "12288", "8192", "1048576", "1", "0", "5"]))
      #expect(rows.contains(["1001", "--", "0", "0", "1048576", "0", "0", "5"]))
      let human = try fixture.run("quota", "report", "-u", "-h", "VOLUME").text
      #expect(human.contains("12.0 KiB") && human.contains("1.00 MiB"), "\(human)")
      let json = try jsonObject(try fixture.run("quota", "report", "-g", "--json", "VOLUME"))
      let group = try #require(json["group"] as? [String: Any])
      #expect(group["on"] as? Bool == false)
      let entries = try #require(group["entries"] as? [[String: Any]])
      #expect(entries.contains { $0["id"] as? Int == 100 && $0["space_used"] as? Int == 12_288 })
      try fixture.expectSound()
    }
  }

  @Test func settingSaysWhatIsInForce() throws {
    try ChangeFixture.with { fixture in
      let set = try fixture.run(
        "quota", "set", "--json", "-p", "7", "--space_hard=513", "--inodes_soft=3", "VOLUME")
      #expect(set.status == 0)
      #expect(set.standardError.contains("project quotas are off"))
      let list = try JSONSerialization.jsonObject(with: Data(set.standardOutput))
      let first = try #require((list as? [[String: Any]])?.first)
      #expect(first["type"] as? String == "project" && first["id"] as? Int == 7)
      #expect(first["space_hard"] as? Int == 1024 && first["inodes_soft"] as? Int == 3)
      let grace = try jsonObject(
        try fixture.run("quota", "grace", "--json", "--inodes=2w", "VOLUME"))
      #expect(grace.keys.sorted() == ["group", "project", "user"])
      // Without any type that is on all are shown.
      let text = try fixture.run("quota", "report", "VOLUME").text
      #expect(text.contains("Project quotas are off; grace: space 7d, inodes 14d"))
      #expect(text.contains("User quotas are off"))
    }
  }

  /// Whoever runs commands on a volume that nobody has mounted is not limited by it.
  @Test func commandsMayExceedLimits() throws {
    try ChangeFixture.with { fixture in
      try fixture.succeed("set-fs-option", "--usrquota", "VOLUME")
      try fixture.succeed("quota", "set", "-u", "0", "--inodes_hard=1", "VOLUME")
      try fixture.succeed("put", "VOLUME", "-", "f", input: [1])
      try fixture.expectSound()
    }
  }

  @Test func whatCannotBeSetIsNamed() throws {
    try ChangeFixture.with { fixture in
      let refusals: [([String], Int32, String)] = [
        (["quota", "set", "VOLUME", "-u", "1"], 64, "which"),
        (["quota", "set", "VOLUME", "--space_hard=1"], 64, "whose limits"),
        (["quota", "set", "VOLUME", "-u", "1", "--space_hard=x"], 64, "x is no size"),
        (["quota", "set", "VOLUME", "-u", "1", "--inodes_hard=1k"], 64, "1k is no number"),
        (["quota", "set", "VOLUME", "-u", "no such user", "--inodes_hard=1"], 66, "no user"),
        (["quota", "set", "VOLUME", "-p", "x", "--inodes_hard=1"], 66, "no project x"),
        (["quota", "grace", "VOLUME", "-u"], 64, "for how long"),
        (["quota", "grace", "VOLUME", "--space=1y"], 64, "1y is no time"),
        (["quota", "grace", "VOLUME", "--space=99999w"], 64, "no time"),
        (["quota", "report"], 64, "name one volume"),
        (["quota"], 64, "quota report, quota set, quota grace"),
      ]
      for (words, status, text) in refusals {
        let words = words.map { $0 == "VOLUME" ? fixture.volume : $0 }
        let result = try runProgram(builtProgram("bcachefs"), words, folder: fixture.folder)
        #expect(result.status == status, "\(words): \(result.standardError)")
        #expect(result.standardError.contains(text), "\(words): \(result.standardError)")
      }
    }
  }
}
