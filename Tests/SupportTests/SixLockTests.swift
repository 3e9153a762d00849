// SPDX-License-Identifier: GPL-2.0
// The node lock: who may come in beside whom, sequence numbers, readers that never stop, sleepers.

import BcachefsSupport
import Synchronization
import TestSupport
import Testing

struct SixLockTests {
  /// A node with a lock, and what the lock is to keep whole.
  final class Node: @unchecked Sendable {
    // Safety: `first` and `second` only change while `lock` is held for writing.
    let lock = SixLock()
    var first: UInt64 = 0
    var second: UInt64 = 0

    // The macros of tests take no calls on what cannot be copied.
    func tryRead() -> Bool { lock.tryRead() }
    func tryRelockRead(_ sequence: UInt32) -> Bool { lock.tryRelockRead(ifSequenceIs: sequence) }
    func tryIntent() -> Bool { lock.tryIntent() }
    func tryRelockIntent(_ sequence: UInt32) -> Bool {
      lock.tryRelockIntent(ifSequenceIs: sequence)
    }
    func tryUpgrade() -> Bool { lock.tryUpgrade() }
    func tryWrite(ownReaders: Int = 0) -> Bool { lock.tryWrite(ownReaders: ownReaders) }
    func readSequence() -> UInt32? { lock.readSequence() }
    func validate(_ sequence: UInt32) -> Bool { lock.validate(sequence) }
    var sequence: UInt32 { lock.sequence }
    var readerCount: Int { lock.readerCount }
    var isIntentHeld: Bool { lock.isIntentHeld }
    var isWriteHeld: Bool { lock.isWriteHeld }
  }

  /// What the lock promises, said in plain numbers.
  struct Model {
    var readers = 0
    var isIntent = false
    var isWrite = false
    var sequence: UInt32 = 0
  }

  @Test func lockIsOneWord() {
    #expect(MemoryLayout<SixLock>.size == 8)
  }

  @Test(arguments: [UInt64(1), 2, 3])
  func randomOperationsAgreeWithTheModel(seed: UInt64) {
    var random = RandomSource(seed: seed)
    let node = Node()
    var model = Model()
    var seen: [UInt32] = [0]
    for step in 0..<20_000 {
      let old = seen[Int(random.next() % UInt64(seen.count))]
      apply(Int(random.next() % 12), to: node, &model, old: old)
      if seen.last != model.sequence { seen = Array((seen + [model.sequence]).suffix(3)) }
      let lock = (node.lock.readerCount, node.lock.isIntentHeld, node.lock.isWriteHeld)
      guard lock == (model.readers, model.isIntent, model.isWrite),
        node.lock.sequence == model.sequence
      else {
        Issue.record("seed \(seed), step \(step): \(lock), expected \(model)")
        return
      }
    }
    #expect(model.sequence > 100)
  }

  func apply(_ operation: Int, to node: Node, _ model: inout Model, old: UInt32) {
    switch operation {
    case 0, 1:
      let may = !model.isWrite
      #expect(node.tryRead() == may)
      if may { model.readers += 1 }
    case 2, 3:
      guard model.readers > 0 else { return }
      node.lock.unlockRead()
      model.readers -= 1
    case 4:
      let may = !model.isIntent
      #expect(node.tryIntent() == may)
      model.isIntent = true
    case 5:
      guard model.isIntent && !model.isWrite else { return }
      node.lock.unlockIntent()
      model.isIntent = false
    case 6:
      guard model.isIntent && !model.isWrite else { return }
      #expect(node.tryWrite(ownReaders: model.readers))
      model.isWrite = true
    case 7:
      guard model.isWrite else { return }
      node.lock.unlockWrite()
      model.isWrite = false
      model.sequence += 1
    case 8:
      guard model.readers > 0 && !model.isWrite else { return }
      let may = !model.isIntent
      #expect(node.tryUpgrade() == may)
      if may {
        model.readers -= 1
        model.isIntent = true
      }
    default: applyRest(operation, to: node, &model, old: old)
    }
  }

  func applyRest(_ operation: Int, to node: Node, _ model: inout Model, old: UInt32) {
    switch operation {
    case 9:
      let may = !model.isWrite && old == model.sequence
      #expect(node.tryRelockRead(old) == may)
      if may { model.readers += 1 }
    case 10:
      let may = !model.isIntent && old == model.sequence
      #expect(node.tryRelockIntent(old) == may)
      if may { model.isIntent = true }
    default:
      guard model.isIntent && !model.isWrite else { return }
      node.lock.downgrade()
      model.isIntent = false
      model.readers += 1
    }
  }

  @Test func writerWithForeignReadersGivesUpAndLeavesTheWayOpen() {
    let node = Node()
    #expect(node.tryRead())
    #expect(node.tryIntent())
    #expect(!node.tryWrite())
    #expect(!node.isWriteHeld)
    // The bit that keeps readers away is gone again.
    #expect(node.tryRead())
    #expect(!node.tryWrite(ownReaders: 1))
    #expect(node.tryWrite(ownReaders: 2))
    node.lock.unlockWrite()
    #expect(node.readerCount == 2)
    #expect(node.sequence == 1)
  }

  @Test func optimisticReadIsOnlyValidWhenNothingWasWritten() throws {
    let node = Node()
    let before = try #require(node.readSequence())
    #expect(node.tryIntent())
    #expect(node.validate(before))
    #expect(node.tryWrite())
    #expect(node.readSequence() == nil)
    #expect(!node.validate(before))
    node.lock.unlockWrite()
    #expect(!node.validate(before))
    #expect(node.readSequence() == before + 1)
  }

  @Test func moreReadsOfAHolderAreAlwaysThere() {
    let node = Node()
    #expect(node.tryIntent())
    #expect(node.tryWrite())
    node.lock.addRead()
    node.lock.unlockWrite()
    #expect(node.readerCount == 1)
    #expect(node.tryWrite(ownReaders: 1))
    node.lock.unlockWrite()
    node.lock.unlockRead()
    node.lock.unlockIntent()
    #expect(node.readerCount == 0)
  }

  /// Takes write as a transaction would: tries, drops all, waits with empty hands, tries again.
  static func write(_ node: Node, _ body: () -> Void) {
    while true {
      guard node.lock.tryIntent() else {
        node.lock.waitUntilFree(for: .intent)
        continue
      }
      if node.lock.tryWrite() {
        body()
        node.lock.unlockWrite()
        node.lock.unlockIntent()
        return
      }
      node.lock.unlockIntent()
      node.lock.waitUntilFree(for: .write)
    }
  }

  static func read(_ node: Node, _ body: () -> Void) {
    while !node.lock.tryRead() { node.lock.waitUntilFree(for: .read) }
    body()
    node.lock.unlockRead()
  }

  @Test func readersNeverSeeHalfAWriteAndNoWriteIsLost() {
    let nodes = [Node(), Node()]
    let torn = Atomic<Int>(0)
    let relocked = Atomic<Int>(0)
    onThreads(4) { thread in
      var random = RandomSource(seed: UInt64(thread))
      for _ in 0..<5_000 {
        let node = nodes[Int(random.next() % 2)]
        switch random.next() % 4 {
        case 0, 1:
          Self.write(node) {
            node.first += 1
            node.second += 3
          }
        case 2:
          var before: (UInt64, UInt32) = (0, 0)
          Self.read(node) {
            if node.first * 3 != node.second { torn.add(1, ordering: .relaxed) }
            before = (node.first, node.lock.sequence)
          }
          if node.lock.tryRelockRead(ifSequenceIs: before.1) {
            if node.first != before.0 { torn.add(1, ordering: .relaxed) }
            relocked.add(1, ordering: .relaxed)
            node.lock.unlockRead()
          }
        default:
          guard node.lock.tryRead() else { continue }
          if node.lock.tryUpgrade() {
            let sum = node.first * 3
            if sum != node.second { torn.add(1, ordering: .relaxed) }
            node.lock.unlockIntent()
          } else {
            node.lock.unlockRead()
          }
        }
      }
    }
    #expect(torn.load(ordering: .relaxed) == 0)
    #expect(relocked.load(ordering: .relaxed) > 0)
    for node in nodes {
      #expect(UInt64(node.sequence) == node.first)
      #expect(node.first * 3 == node.second)
      #expect(node.readerCount == 0 && !node.isIntentHeld && !node.isWriteHeld)
    }
  }

  @Test func writerGetsInAmongReadersThatNeverStop() {
    let node = Node()
    let isDone = Atomic<Bool>(false)
    let reads = Atomic<Int>(0)
    let writes = Atomic<Int>(0)
    onThreads(4) { thread in
      if thread == 0 {
        defer { isDone.store(true, ordering: .releasing) }
        let start = Clocks.system.monotonicNanoseconds()
        while writes.load(ordering: .relaxed) < 200 {
          // Nobody has starved who gets in after a while.
          if Clocks.system.monotonicNanoseconds() - start > 60_000_000_000 { return }
          let before = reads.load(ordering: .relaxed)
          while reads.load(ordering: .relaxed) < before + 50 {}
          guard node.lock.tryIntent() else { continue }
          if node.lock.tryWrite() {
            writes.add(1, ordering: .relaxed)
            node.lock.unlockWrite()
          }
          node.lock.unlockIntent()
        }
        return
      }
      // Reads overlap: each reader takes the next one before it gives back the last, so the lock
      // is never free of readers unless new ones are kept away.
      var isHeld = false
      while !isDone.load(ordering: .acquiring) {
        let hasNext = node.lock.tryRead()
        if hasNext { reads.add(1, ordering: .relaxed) }
        if isHeld { node.lock.unlockRead() }
        isHeld = hasNext
        if !isHeld { node.lock.waitUntilFree(for: .read) }
      }
      if isHeld { node.lock.unlockRead() }
    }
    #expect(writes.load(ordering: .relaxed) == 200)
    #expect(node.readerCount == 0)
  }

  @Test func sleepersAreWokenWhenTheLockIsGivenBack() {
    let node = Node()
    let missed = Atomic<Int>(0)
    let woken = Atomic<Int>(0)
    onThreads(3) { thread in
      for round in 0..<200 {
        let state: SixLock.State = (round + thread) % 2 == 0 ? .intent : .read
        while true {
          if state == .intent ? node.lock.tryIntent() : node.lock.tryRead() { break }
          if node.lock.waitUntilFree(for: state) {
            woken.add(1, ordering: .relaxed)
          } else if state == .intent ? !node.lock.isIntentHeld : !node.lock.isWriteHeld {
            missed.add(1, ordering: .relaxed)
          }
        }
        if state == .intent {
          let isWriting = node.lock.tryWrite()
          let start = Clocks.system.monotonicNanoseconds()
          while Clocks.system.monotonicNanoseconds() - start < 300_000 {}
          if isWriting { node.lock.unlockWrite() }
          node.lock.unlockIntent()
        } else {
          node.lock.unlockRead()
        }
      }
    }
    // A sleeper that nobody wakes finds the lock free after the longest sleep.
    #expect(missed.load(ordering: .relaxed) < 20)
    #expect(woken.load(ordering: .relaxed) > 0)
  }
}
