// SPDX-License-Identifier: GPL-2.0
// Objects of nodes that are used again.

internal import BcachefsFormat
internal import Testing

@testable internal import Bcachefs

@Suite struct LiveNodeCacheTests {
  /// An interior node may be replaced while updates below it are under way. What takes its object
  /// has nothing to wait for; else it could never be written, and the journal would fill.
  @Test func anObjectThatIsUsedAgainKeepsNothingOfTheNodeItWas() {
    let cache = LiveNodeCache(limitBytes: 1 << 20, nodeBytes: 4096)
    let node = cache.take()
    node.becomeEmpty(.xattrs, level: 1, sequence: 7)
    node.blockers = 2
    node.wordsWhenMerged = 100
    node.journalSequence = 9
    node.set(.dirty)
    let incarnation = node.incarnation
    cache.retire(node)
    let again = cache.take()
    #expect(again === node)
    #expect(again.incarnation != incarnation)
    #expect(again.state == [])
    #expect(again.blockers == 0)
    #expect(again.wordsWhenMerged == .max)
    #expect(again.journalSequence == 0)
    #expect(again.pointer.isNone)
  }
}
