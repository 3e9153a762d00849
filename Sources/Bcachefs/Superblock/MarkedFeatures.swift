// SPDX-License-Identifier: GPL-2.0
// Which features of the format a volume uses, as its superblock has it: who does not know one of
// them leaves the volume alone.
//
// Locks: `known` is a leaf; a superblock is written with no lock held.
// Source: super-io.c (bch2_check_set_feature).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

final class MarkedFeatures: Sendable {
  private let store: SuperblockStore
  private let known: Atomic<UInt64>

  init(_ store: SuperblockStore) {
    self.store = store
    known = Atomic(store.superblock.featureMask.rawValue)
  }

  /// Whether the superblock names a feature.
  func has(_ feature: SuperblockFeature) -> Bool {
    known.load(ordering: .acquiring) >> UInt64(feature.rawValue) & 1 != 0
  }

  /// Sees to it that the superblock names a feature, durably, before the first use of it.
  ///
  /// - Throws: what writing a superblock throws.
  func use(_ feature: SuperblockFeature) throws(VolumeError) {
    let bit = 1 << UInt64(feature.rawValue) as UInt64
    guard known.load(ordering: .acquiring) & bit == 0 else { return }
    try store.update { $0.featureMask.insert(feature) }
    known.bitwiseOr(bit, ordering: .releasing)
  }
}
