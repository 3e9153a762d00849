// SPDX-License-Identifier: GPL-2.0
// Locks of buckets: writers together, movers together, never both; movers come first.

internal import BcachefsFormat
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct NocowLocksTests {
  private static let buckets = (0..<4).map { BPos(UInt64($0 % 2), 17 + UInt64($0)) }

  @Test func writersGetAllOrNone() {
    let locks = NocowLocks()
    let (a, b, c) = (Self.buckets[0], Self.buckets[1], Self.buckets[2])
    #expect(locks.tryWriting(to: [a, b, a]) == nil)
    #expect(locks.tryWriting(to: [a, c]) == nil)
    #expect(locks.contains(a) && locks.contains(b) && locks.contains(c))
    #expect(locks.counts == (3, 0))
    locks.endWriting(to: [a, c])
    #expect(!locks.contains(c))
    locks.whileMoving(c) {
      #expect(locks.tryWriting(to: [a, b, c]) == c)
      #expect(locks.counts == (2, 1))
    }
    locks.endWriting(to: [a, b, a])
    #expect(Self.buckets.allSatisfy { !locks.contains($0) })
    #expect(locks.counts == (0, 0))
  }

  @Test func nobodyWritesWhileSomebodyMoves() {
    let locks = NocowLocks()
    // Of the first bucket, to which all write.
    let writers = Atomic<Int>(0)
    let meetings = Atomic<Int>(0)
    onThreads(4) { index in
      for step in 0..<2000 {
        let bucket = Self.buckets[step % 2]
        if index == 3 {
          locks.whileMoving(bucket) {
            if step % 2 == 0, writers.load(ordering: .sequentiallyConsistent) > 0 {
              meetings.wrappingAdd(1, ordering: .relaxed)
            }
          }
          continue
        }
        // All of them write to the first bucket, and each to another one.
        let wanted = [Self.buckets[0], Self.buckets[1 + index]]
        while let blocking = locks.tryWriting(to: wanted) { locks.waitForMovers(of: blocking) }
        writers.wrappingAdd(1, ordering: .sequentiallyConsistent)
        writers.wrappingSubtract(1, ordering: .sequentiallyConsistent)
        locks.endWriting(to: wanted)
      }
    }
    #expect(meetings.load(ordering: .relaxed) == 0)
    #expect(locks.counts == (0, 0))
  }
}
