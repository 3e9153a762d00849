// SPDX-License-Identifier: GPL-2.0
// `list`, `list_journal`, `show-super` and `fs usage` agree with what the driver shows of a volume.
//
// How it works
//   1. An unclean volume is listed first, then made clean by the driver: names, attributes and
//      extents are the same before and after.
//   2. The driver mounts the clean volume without changing it (norecovery, nochanges: the images'
//      hashes say so), and shows what it has in memory.
// Invariants under test: the same lines for every key of every btree, packed formats of every node,
// options, counters, members, accounting and statfs; the same journal sequence numbers.

internal import BcachefsFormat
internal import Foundation
internal import TestSupport
internal import Testing

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct KernelViewTests {
  /// A few in the short run, all in the long one.
  static let fixtures = SampleVolume.fixtures.filter {
    runsLongTests || ["encrypted", "snapshots", "unclean"].contains($0.name)
  }
  static let corpus = SampleVolume.corpus.filter {
    runsLongTests || ["ec", "tiered"].contains($0.name)
  }

  @Test(arguments: fixtures)
  func ourViewOfFixturesIsTheDrivers(volume: SampleVolume) throws {
    try compareViews(volume)
  }

  @Test(.enabled(if: !corpus.isEmpty, "\(SampleVolume.corpusMissing)"), arguments: corpus)
  func ourViewOfTheCorpusIsTheDrivers(volume: SampleVolume) throws {
    try compareViews(volume)
  }

  private func compareViews(_ volume: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let images = try volume.unpack(into: folder)
      let command = try CommandOnVolume(
        images: images, passphrase: volume.passphrase, folder: folder)
      let isClean = try command.superblock()["clean"] as? Bool == true
      let before = isClean ? nil : try Recovered(command)
      if let before {
        let outcome = try KernelGuest.run(
          job: #". "$JOB_GUEST/recover.sh""#, images: images,
          environment: ["JOB_PASSPHRASE": volume.passphrase ?? ""])
        try #require(outcome.status == 0, "\(outcome.result.standardError)")
        try before.expectReplayed(in: outcome.log)
      }
      let view = try command.expectDriversView(passphrase: volume.passphrase, folder: folder)
      try before?.expectKeys(view)
    }
  }
}

extension CommandOnVolume {
  /// Lets the driver show a clean volume, and compares all that our commands print of it.
  @discardableResult
  func expectDriversView(passphrase: String?, folder: String) throws -> KernelView {
    let hashes = try runProgramOrThrow("sha256sum", images).text
    let viewFolder = "\(folder)/view"
    try FileManager.default.createDirectory(
      atPath: viewFolder, withIntermediateDirectories: false)
    let view = try KernelView(images: images, passphrase: passphrase, folder: viewFolder)
    try compareBTrees(view)
    try compareSuperblock(view)
    try compareUsage(view)
    try compareJournal(view)
    #expect(try runProgramOrThrow("sha256sum", images).text == hashes)
    return view
  }

  private func compareBTrees(_ view: KernelView) throws {
    #expect(view.btrees.count == 21)
    for btree in view.btrees {
      let keys = try run(["list", "-b", btree]).standardOutput
      let difference = lineDifference(kernel: try view.keys(of: btree), ours: keys)
      #expect(difference == [], "\(btree)")
      // The driver prints interior nodes after their children, ours are listed level by level.
      let shown = nodes(try view.formats(of: btree))
      for level in 0...3 {
        let text = try run(["list", "-m", "formats", "-l", "\(level)", "-b", btree]).text
        let ofLevel = shown.filter { $0[0].hasPrefix("l \(level) ") }
        #expect(nodes(text) == ofLevel, "\(btree)")
        if ofLevel.isEmpty { break }
      }
    }
  }

  /// The nodes that a list of formats has, without what exists in memory alone: lengths of compiled
  /// code and search trees, neighbours, roots that the driver makes for empty btrees.
  private func nodes(_ text: String) -> [[String]] {
    var nodes: [[String]] = []
    for line in text.split(separator: "\n").map(String.init) {
      if !line.hasPrefix(" ") { nodes.append([]) }
      let field = line.drop { $0 == " " }
      if ["sib u64s: ", "floats ", "failed unpacked "].contains(where: field.hasPrefix) {
        continue
      }
      let end = line.firstRange(of: "    unpack fn len: ")?.lowerBound ?? line.endIndex
      nodes[nodes.count - 1].append(String(line[..<end]))
    }
    return nodes.filter { !$0.contains("    ptrs: durability: 0 ") }
  }

  private func compareSuperblock(_ view: KernelView) throws {
    // What mounting itself sets is not the superblock's.
    let set = ["read_only", "nochanges", "norecovery"]
    let text = try runProgramOrThrow(builtProgram("bcachefs"), ["show-super", images[0]]).text
    let lines = text.components(separatedBy: "Options:")[1].split(separator: "\n")
    var count = 0
    for line in lines.prefix(while: { $0.hasPrefix("  ") }) {
      let fields = line.split(separator: ":", maxSplits: 1).map {
        $0.trimmingCharacters(in: .whitespaces)
      }
      let shown = view.files["options/\(fields[0])"]?.trimmingCharacters(in: .whitespaces)
      guard let shown, !set.contains(fields[0]) else { continue }
      #expect(fields[1] == shown, "\(fields[0])")
      count += 1
    }
    #expect(count > 25)
    let superblock = try self.superblock()
    let sections = try #require(superblock["sections"] as? [[String: Any]])
    try compareCounters(view, sections)
    let members = try #require(
      sections.first { $0["type"] as? String == "members_v2" }?["members"] as? [[String: Any]])
    for (index, member) in members.enumerated() {
      let device = "dev-\(index)"
      #expect(view.value("\(device)/uuid") == member["uuid"] as? String)
      #expect(view.value("\(device)/nbuckets") == (member["nbuckets"] as? Int).map { "\($0)" })
      #expect(view.value("\(device)/state") == member["state"] as? String)
      #expect(view.value("\(device)/durability") == (member["durability"] as? Int).map { "\($0)" })
    }
  }

  private func compareCounters(_ view: KernelView, _ sections: [[String: Any]]) throws {
    let counters = try #require(sections.first { $0["type"] as? String == "counters" })
    var count = 0
    for (path, text) in view.files where path.hasPrefix("counters/") {
      // "since mount: 0 B", "since filesystem creation: 18.0 B"; what mounting itself counted is
      // not in the superblock yet.
      let lines = text.split(separator: "\n").map {
        $0.split(separator: ":", maxSplits: 1).last?.trimmingCharacters(in: .whitespaces) ?? ""
      }
      guard lines.count == 2, lines[0] == "0 B" else { continue }
      let name = String(path.dropFirst("counters/".count))
      let value = try #require(counters[name] as? UInt64, "\(name)")
      #expect(HumanSize.text(value) == lines[1], "\(name)")
      count += 1
    }
    #expect(count > 40)
  }

  /// Three significant digits and a unit of 1024, as the kernel prints sizes.
  private func compareUsage(_ view: KernelView) throws {
    let usage = try object(["fs", "usage", "--json"])
    let statfs = try view.statfs()
    // Its blocks, all and free, are whole ones: each is rounded down.
    let capacity = try #require(usage["capacity_bytes"] as? UInt64)
    let used = try #require(usage["used_bytes"] as? UInt64)
    #expect(capacity / statfs[0] == statfs[1])
    #expect((capacity - used) / statfs[0] == statfs[2])
    let ours = try #require(usage["accounting"] as? [[String: Any]]).map { entry in
      let counters = (entry["counters"] as? [Int] ?? []).map { "\($0)" }
      return "\(entry["key"] as? String ?? ""): \(counters.joined(separator: " "))"
    }
    let kernels = try #require(view.files["internal/accounting"]).split(separator: "\n")
      .map(String.init)
    #expect(ours.sorted() == kernels.sorted())
    for device in try #require(usage["devices"] as? [[String: Any]]) {
      let index = try #require(device["index"] as? Int)
      let table = try #require(view.files["dev-\(index)/alloc_debug"])
      var rows: [String: [Int]] = [:]
      for line in table.split(separator: "\n") {
        let fields = line.split(separator: " ")
        if fields.count == 4 { rows[String(fields[0])] = fields.dropFirst().compactMap { Int($0) } }
      }
      for data in try #require(device["data"] as? [[String: Any]]) {
        let type = try #require(data["type"] as? String)
        let row = try #require(rows[type], "\(type)")
        #expect(data["buckets"] as? Int == row[0], "\(type)")
        #expect(data["fragmented_bytes"] as? Int == row[2] * 512, "\(type)")
        // The kernel counts sectors of what holds data, our table also what is free.
        if row[1] != 0 { #expect(data["bytes"] as? Int == row[1] * 512, "\(type)") }
      }
    }
  }

  private func compareJournal(_ view: KernelView) throws {
    let debug = try #require(view.files["internal/journal_debug"])
    let line = debug.split(separator: "\n").first { $0.hasPrefix("seq: ") }
    let newest = line?.split(separator: " ").last.flatMap { UInt64($0) }
    let numbers = try objects(["list_journal", "-a", "-H", "--json"])
      .compactMap { $0["seq"] as? UInt64 }
    #expect(newest != nil && numbers.last == newest)
  }
}

/// What our command said of an unclean volume, before the driver recovered it.
private struct Recovered {
  /// What recovery leaves as it is: it only writes what the journal has.
  private static let btrees = [
    "dirents", "extents", "quotas", "reflink", "snapshot_trees", "snapshots", "subvolumes",
    "xattrs",
  ]
  private let keys: [String: [UInt8]]
  private let dirty: ClosedRange<UInt64>

  init(_ command: CommandOnVolume) throws {
    var keys: [String: [UInt8]] = [:]
    for btree in Self.btrees {
      keys[btree] = try command.run(["list", "-b", btree]).standardOutput
    }
    self.keys = keys
    let numbers = try command.objects(["list_journal", "-d", "-H", "--json"])
      .compactMap { $0["seq"] as? UInt64 }
    let first = try #require(numbers.first)
    dirty = first...(numbers.last ?? first)
  }

  func expectReplayed(in log: KernelLog) throws {
    let line = try #require(log.lines.first { $0.contains("replaying entries ") })
    #expect(line.hasSuffix("replaying entries \(dirty.lowerBound)-\(dirty.upperBound)"))
  }

  func expectKeys(_ view: KernelView) throws {
    for btree in Self.btrees {
      let difference = lineDifference(
        kernel: try view.keys(of: btree), ours: try #require(keys[btree]))
      #expect(difference == [], "\(btree), before recovery")
    }
  }
}
