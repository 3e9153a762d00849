// SPDX-License-Identifier: GPL-2.0
// Threads: order of results, bounds, errors, ends.

import BcachefsSupport
import Synchronization
import Testing

struct SyncTests {
  struct Broken: Error, Equatable {
    let input: Int
  }

  @Test(arguments: [1, 2, 7])
  func resultsComeInTheOrderOfTheirInputs(workers: Int) {
    let pool = WorkerPool(workers: workers)
    let most = Atomic<Int>(0)
    let underWay = Atomic<Int>(0)
    var next = 0
    var outputs: [Int] = []
    pool.orderedMap(window: 5) { () -> Int? in
      guard next < 2000 else { return nil }
      next += 1
      let now = underWay.add(1, ordering: .relaxed).newValue
      most.max(now, ordering: .relaxed)
      return next
    } transform: { input, worker in
      #expect((0..<workers).contains(worker))
      var sum: UInt64 = 0
      for step in 0..<UInt64(input % 17 * 100) { sum = sum &* 31 &+ step }
      return sum == 1 ? -input : input
    } consume: { output in
      underWay.subtract(1, ordering: .relaxed)
      outputs.append(output)
    }
    #expect(outputs == Array(1...2000))
    #expect(most.load(ordering: .relaxed) <= 5)
  }

  @Test func firstErrorInOrderIsThrownAndNothingIsLeftUnderWay() {
    let pool = WorkerPool(workers: 3)
    let running = Atomic<Int>(0)
    var next = 0
    var outputs: [Int] = []
    #expect(throws: Broken(input: 40)) {
      try pool.orderedMap(window: 8) { () throws(Broken) -> Int? in
        next += 1
        return next
      } transform: { input, _ throws(Broken) in
        running.add(1, ordering: .relaxed)
        defer { running.subtract(1, ordering: .relaxed) }
        if input >= 40 { throw Broken(input: input) }
        return input
      } consume: { output throws(Broken) in
        outputs.append(output)
      }
    }
    #expect(outputs == Array(1..<40))
    #expect(running.load(ordering: .relaxed) == 0)
    #expect(next <= 48)
  }

  @Test func errorsOfProducerAndConsumerEndIt() {
    let pool = WorkerPool(workers: 2)
    for broken in 0..<2 {
      var next = 0
      #expect(throws: Broken.self) {
        try pool.orderedMap(window: 3) { () throws(Broken) -> Int? in
          next += 1
          if broken == 0 && next == 10 { throw Broken(input: next) }
          return next
        } transform: { input, _ throws(Broken) in
          input
        } consume: { output throws(Broken) in
          if broken == 1 && output == 5 { throw Broken(input: output) }
        }
      }
    }
  }

  @Test func whatIsSubmittedRunsBeforeThePoolIsGone() {
    let count = Atomic<Int>(0)
    do {
      let pool = WorkerPool(workers: 2, queueDepth: 100)
      for _ in 0..<100 { pool.submit { _ in count.add(1, ordering: .relaxed) } }
    }
    #expect(count.load(ordering: .relaxed) == 100)
  }

  @Test func closedQueueGivesWhatItHoldsAndThenNil() {
    let queue = BoundedQueue<Int>(capacity: 3)
    for element in 1...3 { #expect(queue.push(element)) }
    queue.close()
    #expect(!queue.push(4))
    #expect([queue.pop(), queue.pop(), queue.pop(), queue.pop()] == [1, 2, 3, nil])
  }

  @Test func fullQueueMakesTheProducerWait() {
    let queue = BoundedQueue<Int>(capacity: 2)
    let pushed = Atomic<Int>(0)
    let pool = WorkerPool(workers: 1)
    pool.submit { _ in
      for element in 0..<500 {
        queue.push(element)
        pushed.add(1, ordering: .relaxed)
      }
      queue.close()
    }
    var seen: [Int] = []
    while let element = queue.pop() {
      seen.append(element)
      #expect(pushed.load(ordering: .relaxed) <= seen.count + 2)
    }
    #expect(seen == Array(0..<500))
  }

  @Test func waitingWithADeadlineEnds() {
    let condition = Condition()
    let start = Clocks.system.monotonicNanoseconds()
    let woken = condition.withLock {
      var woken = true
      // Spurious wake-ups are allowed, for ever is not.
      for _ in 0..<1000 where woken { woken = condition.wait(nanoseconds: 5_000_000) }
      return woken
    }
    #expect(!woken)
    #expect(Clocks.system.monotonicNanoseconds() - start >= 5_000_000)
  }

  func write(_ mark: UInt8, into buffer: inout AlignedBuffer) {
    var bytes = buffer.mutableBytes
    bytes.storeBytes(of: mark, toByteOffset: 100, as: UInt8.self)
  }

  func read(_ buffer: borrowing AlignedBuffer) -> UInt8 {
    buffer.bytes.loadLittleEndian(at: 100)
  }

  @Test func poolGivesBuffersAgainAndKeepsToItsLimit() {
    let pool = BufferPool(limitBytes: 20_000)
    var first = pool.take(byteCount: 5000)
    let firstBytes = first.byteCount
    #expect(firstBytes == 8192)
    write(77, into: &first)
    let second = pool.take(byteCount: 8192)
    let third = pool.take(byteCount: 8000)
    pool.give(first)
    #expect(pool.freeBytes == 8192)
    let again = pool.take(byteCount: 4097)
    let mark = read(again)
    #expect(mark == 77)
    #expect(pool.freeBytes == 0)
    pool.give(again)
    pool.give(second)
    pool.give(third)
    #expect(pool.freeBytes == 16384)
    pool.give(AlignedBuffer(byteCount: 100))
    #expect(pool.freeBytes == 16384)
    let smallBytes = pool.take(byteCount: 0).byteCount
    #expect(smallBytes == 4096)
  }
}
