// SPDX-License-Identifier: GPL-2.0
// Versions, recovery passes, and what a change of version asks for, against the driver's tables.

import BcachefsFormat
import Foundation
import Testing

struct VersionAndPassTests {
  @Test func versionsAreTheDriversAndTheNewestTools() throws {
    let golden = try GoldenTables()
    let native = try golden.names(of: "BCH_METADATA_VERSIONS")
    #expect(
      Dictionary(
        uniqueKeysWithValues: MetadataVersion.table.map { (Int($0.version.rawValue), "\($0.name)") }
      ) == native)
    for (number, name) in try golden.names(of: "BCH_METADATA_VERSIONS_NEWEST") {
      let version = MetadataVersion(rawValue: UInt16(number))
      #expect(version.name.map { "\($0)" } == name)
      #expect(version.isNewerThanNative == (native[number] == nil))
    }
  }

  @Test func versionsPrintAndParse() {
    #expect("\(MetadataVersion.native)" == "1.13: inode_has_child_snapshots")
    #expect("\(MetadataVersion(1, 39))" == "1.39: per_dev_fragmentation_lru")
    #expect("\(MetadataVersion(2, 1))" == "2.1: (unknown version)")
    #expect(MetadataVersion(parsing: "1.3") == .rebalanceWork)
    #expect(MetadataVersion(parsing: "lru_v2") == MetadataVersion(0, 26))
    #expect(MetadataVersion(parsing: "1.1024") == nil)
    #expect(MetadataVersion(parsing: "1") == nil)
    #expect(MetadataVersion(1, 39).isCompatible)
    #expect(!MetadataVersion(2, 0).isCompatible)
    #expect(!MetadataVersion(rawValue: 8).isCompatible)
    #expect(MetadataVersion.requiredUpgradeBelow.rawValue == 1 << 10 | 3)
  }

  @Test func passesAreTheDriversInOrder() throws {
    let rows = try #require(try GoldenTables().rows["BCH_RECOVERY_PASSES"])
    #expect(rows.count == RecoveryPass.table.count)
    for row in rows {
      let order = try #require(Int(row[0]))
      let pass = RecoveryPass.table[order]
      #expect("\(pass.pass)" == row[1])
      #expect(pass.pass.rawValue == UInt8(row[2]))
      #expect(pass.pass.order == order)
      let bits = [
        "0": 0, "PASS_SILENT": 1, "PASS_FSCK": 2, "PASS_UNCLEAN": 4, "PASS_ALWAYS": 8,
        "PASS_ONLINE": 16,
      ]
      let conditions = row[3].split(separator: "|").reduce(0) { $0 | (bits[String($1)] ?? 128) }
      #expect(pass.conditions.rawValue == UInt8(conditions), "\(pass.pass)")
    }
  }

  @Test func masksOfPassesConvertBothWays() {
    let mask: PersistentMask<RecoveryPass> = [.allocRead, .checkTopology, .recoveryPassEmpty]
    #expect(mask.rawValue == 1 << 0 | 1 << 4 | 1 << 41)
    #expect(mask.runOrderBits == 1 << 4 | 1 << 2 | 1 << 0)
    #expect(PersistentMask<RecoveryPass>(runOrderBits: mask.runOrderBits) == mask)
    #expect(mask.runOrderDescription == "recovery_pass_empty,check_topology,alloc_read")
    let newer = PersistentMask<RecoveryPass>(rawValue: 1 << 63 | 1)
    #expect(newer.runOrderBits == 1 << 4)
    #expect(newer.runOrderDescription == "alloc_read,(unknown recovery_pass 63)")
  }

  @Test func stepsAreTheDrivers() throws {
    let url = try #require(
      Bundle.module.url(forResource: "Golden/version-steps", withExtension: "txt"))
    let lines = try String(contentsOf: url, encoding: .utf8).split(separator: "\n")
      .map { $0.split(separator: " ").map(String.init) }
    for (name, steps) in [
      ("UPGRADE_TABLE", MetadataVersion.upgradeSteps),
      ("DOWNGRADE_TABLE", MetadataVersion.downgradeSteps),
    ] {
      // A step that only concerns stripes is code upstream, not a row of UPGRADE_TABLE.
      let listed = steps.filter { !$0.demand.isEmpty }
      let golden = lines.filter { $0[0] == name && ($0[2] != "-" || $0[3] != "-") }
      #expect(listed.count == golden.count)
      for (step, line) in zip(listed, golden) {
        #expect(step.version.name.map { "\($0)" } == line[1])
        let names = line[2] == "-" ? [] : line[2].split(separator: ",").map(String.init)
        var passes = names.contains("ALL_FSCK") ? RecoveryPass.fsckPasses : []
        for name in names where name != "ALL_FSCK" {
          passes.insert(try #require(RecoveryPass(named: name)))
        }
        #expect(step.demand.passes == passes, "\(line[1])")
        let errors = line[3] == "-" ? [] : line[3].split(separator: ",").map(String.init)
        #expect(step.demand.silenced.map(\.description) == errors, "\(line[1])")
      }
    }
  }

  @Test func upgradeTakesTheStepsBetween() {
    let demand = MetadataVersion.upgradeDemand(
      from: .rebalanceWorkAcctFix, to: .native, hasStripes: true)
    #expect(demand.passes == [.checkInodes])
    #expect(demand.silenced == [.inode_has_child_snapshots_wrong])
    let none = MetadataVersion.upgradeDemand(from: .native, to: .native, hasStripes: true)
    #expect(none.isEmpty)
    let stripes = MetadataVersion.upgradeDemand(
      from: .miBtreeBitmap, to: .bucketStripeSectors, hasStripes: true)
    #expect(stripes.silenced == [.alloc_key_dirty_sectors_wrong, .alloc_key_stripe_sectors_wrong])
  }

  @Test func downgradeEntriesLeaveOutEmptySteps() {
    #expect(MetadataVersion.downgradeEntries(for: .native, hasStripes: false).count == 3)
    #expect(MetadataVersion.downgradeEntries(for: .native, hasStripes: true).count == 4)
    #expect(MetadataVersion.downgradeEntries(for: .lruV2, hasStripes: true).isEmpty)
  }
}
