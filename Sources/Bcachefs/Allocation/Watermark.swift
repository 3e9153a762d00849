// SPDX-License-Identifier: GPL-2.0
// Who may take the last buckets and the last of the journal.

/// How urgent an allocation or a journal reservation is (`enum bch_watermark`). Each level leaves
/// a reserve to those above it: what frees space must not wait for space.
enum Watermark: UInt8, Sendable, Comparable, CaseIterable {
  case stripe
  case normal
  case copygc
  case btree
  case btreeCopygc
  /// Writes what pins the journal's oldest entries.
  case reclaim
  /// Makes new btree nodes reachable and frees old ones.
  case interiorUpdates

  static func < (a: Watermark, b: Watermark) -> Bool { a.rawValue < b.rawValue }
}
