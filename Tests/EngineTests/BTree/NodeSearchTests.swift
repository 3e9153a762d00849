// SPDX-License-Identifier: GPL-2.0
// Searching nodes of every shape beside counting: invariant (1) of BTreeNode+Search.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct NodeSearchTests {
  /// How positions are spread.
  enum Spread: CaseIterable {
    case dense, hashed, manyInodes, doubling, clusters, snapshots, extremes
  }

  private func positions(_ spread: Spread, _ random: inout SplitMix64) -> [BPos] {
    let count = Int(random.next() % 1200)
    let places = (0..<count).map { index -> BPos in
      let number = UInt64(index)
      return switch spread {
      case .dense: BPos(0, 4096 + number, 1)
      case .hashed: BPos(7, random.next(), 1)
      case .manyInodes: BPos(random.next() % 50, random.next() % 1000, .max)
      case .doubling: BPos(0, 1 << (number % 64) + number, .max)
      case .clusters: BPos(random.next() % 3 << 62, random.next() % 4000, 9)
      case .snapshots: BPos(5, random.next() % 40, UInt32(truncatingIfNeeded: random.next()))
      case .extremes:
        [BPos.min, .max, BPos(.max, 0, 0), BPos(0, .max, .max)][Int(random.next() % 4)]
      }
    }
    return Set(places).sorted()
  }

  @Test(arguments: Spread.allCases, [UInt64(1), 2, 3, 4])
  func boundsAreWhereCountingFindsThem(_ spread: Spread, seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let places = positions(spread, &random)
    let header = BTreeNodeHeader(
      magic: 0, btree: .extents, level: 0, minKey: .min, maxKey: .max, format: .current,
      bset: BSetHeader(decoding: [UInt8](repeating: 0, count: 24).rawBytes, at: 0))
    let node = BTreeNode(
      header: header, minKey: .min, maxKey: .max, image: HeapBuffer(byteCount: 0),
      entries: places.map { NodeEntry($0, imageOffset: 0) })
    var wanted: [BPos] = [.min, .max]
    for place in places.shuffled(using: &random).prefix(40) {
      wanted.append(place)
      if let behind = place.successor { wanted.append(behind) }
      if let before = place.predecessor { wanted.append(before) }
    }
    for _ in 0..<20 { wanted.append(BPos(random.next(), random.next(), 3)) }
    for place in wanted {
      let lower = places.count { $0 < place }
      let upper = places.count { $0 <= place }
      #expect(node.lowerBound(place) == lower, "\(spread), seed \(seed), \(place)")
      #expect(node.upperBound(place) == upper, "\(spread), seed \(seed), \(place)")
    }
  }
}
