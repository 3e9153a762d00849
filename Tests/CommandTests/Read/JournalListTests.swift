// SPDX-License-Identifier: GPL-2.0
// What `list_journal` prints is what a decoder of a few lines of Python finds on the devices.

internal import Foundation
internal import TestSupport
internal import Testing

@Suite struct JournalListTests {
  /// A journal entry as journal.py prints it.
  private struct Found {
    let header: [String]
    var lines: [String] = []

    var place: String { "\(header[0]) \(header[1])" }
    var sequence: UInt64 { UInt64(header[2]) ?? 0 }
    var isFlush: Bool { header[4] == "1" }
    /// Log messages and keys, as `list_journal` prints them.
    var printed: [String] {
      lines.filter { $0.contains(": ") }.map {
        $0.hasPrefix("message: ") ? "log" + $0.dropFirst(7) : $0
      }
    }
    /// Transactions: their functions' names, and the lines from one to the next.
    var transactions: [(name: String, lines: [String])] {
      var result: [(name: String, lines: [String])] = []
      var isOpen = false
      for line in lines {
        if line.hasPrefix("btree_root: ") || !line.contains(": ") { isOpen = false }
        if line.hasPrefix("log: ") {
          isOpen = true
          result.append((String(line.dropFirst(5)), []))
        }
        if isOpen { result[result.count - 1].lines.append(line) }
      }
      return result
    }
  }

  private func decoded(_ fixture: ReadFixture) throws -> [Found] {
    let script = "\(repositoryRoot)/Tests/KernelTests/guest/journal.py"
    var result: [Found] = []
    for line in try runProgramOrThrow("python3", [script] + fixture.images).text
      .split(separator: "\n")
    {
      if line.hasPrefix("entry ") {
        result.append(Found(header: line.split(separator: " ").dropFirst().map(String.init)))
      } else {
        result[result.count - 1].lines.append(String(line))
      }
    }
    return result
  }

  private func entries(_ result: ProgramResult) throws -> [[String: Any]] {
    let value = try JSONSerialization.jsonObject(with: Data(result.standardOutput))
    return try #require(value as? [[String: Any]])
  }

  /// The lines of log messages and keys that `text` shows.
  private func contents(_ text: some StringProtocol) -> [String] {
    let kinds = ["log: ", "btree_keys: ", "btree_root: ", "overwrite: ", "write_buffer_keys: "]
    return text.split(separator: "\n").map { String($0.drop { $0 == " " || $0 == "*" }) }
      .filter { line in kinds.contains { line.hasPrefix($0) } }
  }

  @Test(arguments: (SampleVolume.fixtures + SampleVolume.corpus).filter { $0.passphrase == nil })
  func everyEntryIsWhatStandsOnTheDevice(sample: SampleVolume) throws {
    try ReadFixture.with(sample) { fixture in
      let found = Dictionary(try decoded(fixture).map { ($0.place, $0) }) { first, _ in first }
      let listed = try entries(
        try fixture.run("list_journal", ["-a", "-B", "-H", "--json", fixture.volume])
      ).filter { $0["missing"] == nil }
      #expect(!listed.isEmpty)
      let text = try fixture.run("list_journal", ["-a", "-B", "-V", "false", fixture.volume]).text
      let blocks = text.components(separatedBy: "\n\n")
      #expect(blocks.count == listed.count)
      for (entry, block) in zip(listed, blocks) {
        for place in try #require(entry["places"] as? [[String: Any]]) {
          let device = try #require(place["device"] as? Int)
          let sector = try #require(place["sector"] as? Int)
          let other = try #require(found["\(device) \(sector)"])
          #expect(other.sequence == entry["seq"] as? UInt64)
          #expect(other.isFlush == entry["flush"] as? Bool)
          #expect(other.header[5] == (entry["bytes"] as? Int).map { "\($0)" })
          #expect(contents(block) == other.printed)
        }
      }
      // Nothing newer stands there, and nothing that recovery needs was left out.
      let numbers = Set(listed.compactMap { $0["seq"] as? UInt64 })
      let newest = try #require(found.values.map(\.sequence).max())
      #expect(numbers.contains(newest))
      let start = try #require(listed.last { $0["flush"] as? Bool == true }?["last_seq"] as? UInt64)
      for other in found.values where other.sequence >= start {
        #expect(numbers.contains(other.sequence))
      }
    }
  }

  @Test func filtersChooseTransactions() throws {
    try ReadFixture.with(try SampleVolume.fixture("unclean")) { fixture in
      let all = try decoded(fixture).sorted { $0.sequence < $1.sequence }.flatMap(\.transactions)
      func expect(_ arguments: String..., lists expected: [String]) throws {
        let listed = contents(
          try fixture.run("list_journal", ["-a", "-B", "-Vfalse"] + arguments + [fixture.volume])
            .text)
        #expect(listed == expected, "\(arguments)")
      }
      func chosen(_ choice: ((name: String, lines: [String])) -> Bool) -> [String] {
        all.filter(choice).flatMap(\.lines)
      }
      let creations = chosen { $0.name.hasPrefix("__bch2_create") }
      #expect(!creations.isEmpty && creations.count < all.flatMap(\.lines).count)
      try expect("-t", "__bch2_create", lists: creations)
      let others = chosen { !$0.name.hasPrefix("__bch2_create") }
      try expect("-t", "-__bch2_create", lists: others)
      let root = "btree=inodes l=0 "
      let rootChanges = chosen {
        $0.lines.contains { $0.contains(root) && $0.contains(" 0:4096:U32_MAX ") }
      }
      #expect(!rootChanges.isEmpty)
      try expect("-k", "inodes:0:4096", lists: rootChanges)
      try expect("-k", "inodes:0:4096:U32_MAX", lists: rootChanges)
      try expect("-k", "inodes:0:4096:1", lists: [])
      try expect("--transaction-filter=inodes:0:4096", lists: rootChanges)
      let withoutRoot = chosen {
        !$0.lines.contains { $0.contains(root) && $0.contains(" 0:4096:U32_MAX ") }
      }
      try expect("-k", "-inodes:0:4095-inodes:0:4096:U32_MAX", lists: withoutRoot)
      let names = chosen { $0.lines.contains { $0.contains("btree=dirents ") } }
        .filter { $0.hasPrefix("log: ") || $0.contains("btree=dirents ") }
      try expect("-b", "dirents", lists: names)
      try expect("-k", "dirents", lists: names)
    }
  }

  @Test func numbersChooseEntries() throws {
    try ReadFixture.with(try SampleVolume.fixture("unclean")) { fixture in
      func expect(_ arguments: String..., lists expected: [UInt64]) throws {
        let listed = try entries(
          try fixture.run("list_journal", ["-H", "--json"] + arguments + [fixture.volume])
        ).compactMap { $0["seq"] as? UInt64 }
        #expect(listed == expected, "\(arguments)")
      }
      // Of this volume upstream says that it replays 10 to 13.
      try expect("-d", lists: [10, 11, 12, 13])
      try expect("-n2", lists: [12, 13])
      try expect("-s", "11..12", lists: [11, 12])
      try expect("-s12", lists: [12])
      try expect("-s", "12..", lists: [12, 13])
      try expect("-d", "-F", lists: [13])
    }
  }

  @Test func whatNeverReachedTheDiskIsMarkedAndHidden() throws {
    try ReadFixture.with(try SampleVolume.fixture("unclean")) { fixture in
      // The newest entry is the only one flushed that is needed: its second half is lost.
      let newest = try #require(try decoded(fixture).max { $0.sequence < $1.sequence })
      let sector = try #require(UInt64(newest.header[1]))
      let byteCount = try #require(UInt64(newest.header[5]))
      let handle = try #require(FileHandle(forUpdatingAtPath: fixture.images[0]))
      try handle.seek(toOffset: sector * 512 + byteCount / 2)
      try handle.write(contentsOf: [UInt8](repeating: 0, count: Int(byteCount / 2)))
      try handle.close()
      let shown = try fixture.run("list_journal", ["-a", fixture.volume])
      #expect(shown.status == 0)
      #expect(!shown.text.contains("journal entry     \(newest.sequence)\n"))
      let all = try fixture.run("list_journal", ["-a", "-B", "-v", fixture.volume]).text
      #expect(all.contains("blacklisted damaged journal entry     \(newest.sequence)\n* bytes  "))
      #expect(all.contains("* fate            torn\n"))
      #expect(all.contains("* fate            unflushed\n"))
    }
  }

  @Test func encryptedJournalsNeedTheirPassphrase() throws {
    try ReadFixture.with(try SampleVolume.fixture("encrypted")) { fixture in
      let before = try readFile(fixture.images[0])
      let locked = try bcachefs("list_journal", fixture.volume)
      #expect(locked.status == 77)
      let listed = try fixture.run("list_journal", ["-a", fixture.volume])
      #expect(listed.status == 0)
      #expect(listed.text.contains("  btree_root: btree=inodes l=0 u64s 11 type btree_ptr_v2 "))
      let after = try readFile(fixture.images[0])
      #expect(after == before)
    }
  }

  @Test func oneDeviceOfTwoHasAllEntries() throws {
    try ReadFixture.with(try SampleVolume.fixture("replicas")) { fixture in
      let whole = try fixture.run("list_journal", ["-a", "-V0", fixture.volume]).text
      for image in fixture.images {
        let half = try fixture.run("list_journal", ["-a", "-V0", image])
        #expect(half.status == 0, "\(half.standardError)")
        #expect(contents(half.text) == contents(whole))
      }
    }
  }

  @Test(arguments: [
    ["-b", "inode"], ["-k", "inodes:x"], ["-s", "a..b"], ["-n", "0"], ["-V", "maybe"],
    ["-o", "no_such_option"], [],
  ])
  func wrongCommandLinesAreRefused(arguments: [String]) throws {
    let operands = arguments.isEmpty ? [] : ["/dev/null"]
    let result = try runProgram(builtProgram("bcachefs"), ["list_journal"] + arguments + operands)
    #expect(result.status == 64, "\(result.standardError)")
  }
}
