// SPDX-License-Identifier: GPL-2.0
// Which sets of devices hold data together, as the superblock has it: what tells whether a volume
// can be used without some of them.
//
// How it works
//   A set is written to the superblock before anything that is on it counts: by the commit that
//   first accounts for it, by the journal before it says that an entry is written. Sets stay when
//   nothing is on them any more.
// Locks: `positions` is a leaf; a superblock is written with no lock held.
// Source: replicas.c (bch2_mark_replicas), disk_accounting.c (bch2_accounting_update_sb).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

final class MarkedReplicas: Sendable {
  private let store: SuperblockStore
  /// The accounting keys' positions of those that are marked.
  private let positions: Mutex<Set<BPos>>

  init(_ store: SuperblockStore) {
    self.store = store
    positions = Mutex(Set(store.superblock.replicas.compactMap(Self.position)))
  }

  private static func position(_ entry: ReplicasEntry) -> BPos? {
    // More devices than an accounting key holds.
    guard entry.devices.count <= 16 else { return nil }
    let key = AccountingReplicas(
      dataType: entry.dataType.rawValue, required: entry.requiredCount, devices: entry.devices)
    return AccountingKey.replicas(key).position
  }

  /// Whether the superblock names this set; `position` is that of its accounting key.
  func isMarked(_ position: BPos) -> Bool { positions.withLock { $0.contains(position) } }

  /// Puts a set into the superblock, durably, if it is not there. The caller holds no lock.
  ///
  /// - Throws: what writing a superblock throws.
  func mark(_ replicas: AccountingReplicas) throws(VolumeError) {
    let position = AccountingKey.replicas(replicas).position
    if isMarked(position) { return }
    let entry = ReplicasEntry(
      dataType: DataType(rawValue: replicas.dataType), requiredCount: replicas.required,
      devices: replicas.devices)
    try store.update { superblock in
      let old = superblock.replicas
      if !old.contains(where: { $0.sorted == entry }) {
        superblock.setReplicas(old + [entry])
      }
    }
    positions.withLock { _ = $0.insert(position) }
  }
}
