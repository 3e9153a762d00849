// SPDX-License-Identifier: GPL-2.0
// Which snapshots go, by what they and subvolumes say.

internal import BcachefsFormat
internal import Testing

@testable internal import Bcachefs

@Suite struct SnapshotPlanTests {
  /// A root with two leaves, 80 of subvolume 1 and 90 of subvolume 2.
  private func table(_ change: (inout SnapshotTable) -> Void = { _ in }) -> SnapshotTable {
    var table = SnapshotTable()
    var root = Snapshot()
    (root.child0, root.child1) = (90, 80)
    table[100] = root
    for (id, subvolume) in [(UInt32(90), UInt32(2)), (80, 1)] {
      var leaf = Snapshot()
      (leaf.parent, leaf.subvolume, leaf.isSubvolume) = (100, subvolume, true)
      table[id] = leaf
    }
    change(&table)
    table.number()
    return table
  }

  private func subvolumes(unlinked: UInt32? = nil) -> SnapshotPlan.Subvolumes {
    var subvolumes = SnapshotPlan.Subvolumes()
    for (id, snapshot) in [(UInt32(1), UInt32(80)), (2, 90)] {
      var subvolume = Subvolume(snapshot: snapshot, inode: 4096)
      subvolume.isUnlinked = id == unlinked
      subvolumes.add(id, subvolume)
    }
    return subvolumes
  }

  @Test func whatAnUnlinkedSubvolumeHadGoesToWhatIsLeft() {
    let plan = SnapshotPlan(table(), subvolumes(unlinked: 2), descendantsMax: 100)
    #expect(plan.isDead(90) && !plan.isDead(80) && !plan.isDead(100))
    #expect(plan.heir(of: 100) == 80)
    #expect(SnapshotPlan(table(), subvolumes(), descendantsMax: 100).isEmpty)
  }

  /// A flag that is lost does not cost anybody his files.
  @Test func whatASubvolumeLeadsToStaysWhateverItSaysOfItself() {
    let damaged = table {
      $0[90]?.isSubvolume = false
      $0[80]?.isDeleted = true
    }
    #expect(SnapshotPlan(damaged, subvolumes(), descendantsMax: 100).isEmpty)
    let plan = SnapshotPlan(damaged, subvolumes(unlinked: 2), descendantsMax: 100)
    #expect(plan.isDead(90) && !plan.isDead(80))
  }
}
