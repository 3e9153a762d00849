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

extension Watermark {
  /// Buckets for the nodes that those need who free space: four updates of the deepest btree
  /// (`BTREE_NODE_RESERVE`).
  static func btreeReserve(nodesInBucket: UInt64) -> UInt64 {
    let nodes: UInt64 = 28
    let perBucket = max(nodesInBucket, 1)
    return (nodes + perBucket - 1) / perBucket
  }

  /// Free buckets of a device that are left to those who are more urgent
  /// (`bch2_dev_buckets_reserved`).
  func reservedBuckets(of count: UInt64, nodesInBucket: UInt64) -> UInt64 {
    let nodes = Self.btreeReserve(nodesInBucket: nodesInBucket)
    return switch self {
    case .stripe: (count >> 6) + (count >> 6) + 2 * nodes
    case .normal: (count >> 6) + 2 * nodes
    case .copygc: 2 * nodes
    case .btree: nodes
    case .btreeCopygc, .reclaim, .interiorUpdates: 0
    }
  }
}
