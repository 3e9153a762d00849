// SPDX-License-Identifier: GPL-2.0
// Nodes whose keys go one after the other are joined, in whatever order that is: none is left
// behind empty.

internal import BcachefsFormat
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct EmptiedNodesTests {
  enum Order: CaseIterable, Sendable {
    case ascending, descending, random
    /// Every seventh, from one end to the other, again and again.
    case sparse

    func numbers(_ count: UInt64, seed: UInt64) -> [UInt64] {
      switch self {
      case .ascending: return Array(0..<count)
      case .descending: return (0..<count).reversed()
      case .sparse:
        return (0..<7).flatMap { first in stride(from: UInt64(first), to: count, by: 7) }
      case .random:
        var random = SplitMix64(seed: seed)
        return (0..<count).shuffled(using: &random)
      }
    }
  }

  private static let keyCount: UInt64 = 20_000

  private static func position(_ number: UInt64) -> BPos { BPos(1 + number / 64, number, .max) }

  @Test(arguments: Order.allCases) func noNodeIsLeftBehindEmpty(order: Order) throws {
    let setting = FreshVolume(testDescription: "small nodes") {
      $0.build.options[.btreeNodeSize] = 4 << 10
    }
    let bare = try setting.engine(on: try setting.format())
    let engine = bare.engine
    func nodes() -> Int {
      engine.trees.cache.allNodes.count { $0.btree == .xattrs && $0.state.isDisjoint(with: .dead) }
    }
    for start in stride(from: 0, to: Self.keyCount, by: 8) {
      try engine.run("test_fill") { (transaction) throws(TransactionError) in
        for number in start..<start + 8 {
          transaction.set(.xattrs, Self.position(number), number)
        }
        try transaction.commit()
      }
    }
    #expect(nodes() > 100)
    try engine.writeAllNodes()
    let cache = engine.trees.cache
    let bytes = cache.allNodes.reduce(0) { $0 + ($1.state.contains(.dead) ? 0 : $1.memoryBytes) }
    #expect(cache.byteCount <= bytes && cache.byteCount > bytes * 3 / 4, "nodes are counted")
    for number in order.numbers(Self.keyCount, seed: 1) {
      try engine.run("test_empty") { (transaction) throws(TransactionError) in
        transaction.delete(.xattrs, Self.position(number))
        try transaction.commit()
      }
    }
    engine.nodeWrites.drain(engine)
    #expect(nodes() <= 4, "nodes that are left of 20,000 keys")
    try engine.close()
    try setting.letGo(bare)
  }
}
