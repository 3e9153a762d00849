// SPDX-License-Identifier: GPL-2.0
// The node cache beside a dictionary: invariants of NodeCache.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct NodeCacheTests {
  private func node(_ number: UInt64) -> BTreeNode {
    let header = BTreeNodeHeader(
      magic: 0, btree: .extents, level: 0, minKey: .min, maxKey: BPos(number, 0, 0),
      format: .current, bset: BSetHeader(decoding: [UInt8](repeating: 0, count: 24).rawBytes, at: 0)
    )
    return BTreeNode(
      header: header, minKey: .min, maxKey: header.maxKey, image: HeapBuffer(byteCount: 4096),
      entries: [])
  }

  private func identity(_ number: UInt64) throws -> NodeIdentity {
    var value = [UInt8](repeating: 0, count: 48)
    for byte in 0..<8 { value[8 + byte] = UInt8(truncatingIfNeeded: number >> (8 * byte)) }
    let word = ExtentPtr(device: 0, offset: 8 * number, generation: 0).word
    for byte in 0..<8 { value[40 + byte] = UInt8(truncatingIfNeeded: word >> (8 * byte)) }
    let identity = NodeIdentity(.btreePtrV2, value.rawBytes)
    return try #require(identity)
  }

  @Test(arguments: [UInt64(1), 2, 3])
  func nodesAreFoundUntilTheyGoAndTheLimitHolds(seed: UInt64) throws {
    let limit = 64 * 4096 * 4
    let cache = NodeCache(limitBytes: limit, nodeBytes: 4096)
    var random = SplitMix64(seed: seed)
    var hits = 0
    for _ in 0..<50_000 {
      let number = random.next() % (random.next() % 2 == 0 ? 50 : 1000)
      let identity = try identity(number)
      if let found = cache.node(identity) {
        #expect(found.maxKey.inode == number, "seed \(seed)")
        hits += 1
      } else {
        cache.keep(node(number), identity)
        #expect(cache.node(identity)?.maxKey.inode == number, "seed \(seed)")
      }
      #expect(cache.byteCount <= limit)
    }
    // Half of all accesses go to fifty nodes, which fit; those that are used stay.
    #expect(hits > 25_000)
  }

  @Test func replacingANodeKeepsTheCountRight() throws {
    let cache = NodeCache(limitBytes: 1 << 20, nodeBytes: 4096)
    for _ in 0..<100 { cache.keep(node(5), try identity(5)) }
    #expect(cache.byteCount == 4096)
  }

  @Test func pointersWithoutPlacesHaveNoIdentity() {
    let empty = [UInt8](repeating: 0, count: 48)
    let identities = [
      NodeIdentity(.btreePtrV2, empty.rawBytes),
      NodeIdentity(.btreePtrV2, empty.rawBytes.extracting(0..<40)),
      NodeIdentity(.btreePtr, empty.rawBytes.extracting(0..<0)),
      NodeIdentity(.extent, empty.rawBytes),
    ]
    #expect(identities.allSatisfy { $0 == nil })
  }
}
