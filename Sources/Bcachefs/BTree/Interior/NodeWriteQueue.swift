// SPDX-License-Identifier: GPL-2.0
// The order in which nodes get to the disk, and what follows when they are there.
//
// How it works
//   1. Jobs stand in a queue: dirty keys to append to a node, and nodes that replace others. One
//      thread at a time takes them, in order: whoever needs one done works until it is, and a
//      thread of the engine's does so all the time.
//   2. A job writes its images to all places, then commits a transaction: for an append the node's
//      pointer with its new end, for an update all new pointers and their triggers.
//   3. Committing may split nodes, which takes places. Where those get few, what jobs before have
//      emptied is freed between two jobs.
// Invariants
//   (1) A job begins when all before it are done: a node that was retired is not written any more
//       when its places are given back.
//   (2) Nothing here waits for room in the journal that only this queue could make: it commits with
//       the watermark of interior updates.
// Locks: `state` is a leaf, and not held while a job runs.
// Source: btree_update_interior.c (btree_update_nodes_written), btree_io.c (btree_node_write_work).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

final class NodeWriteQueue: Sendable {
  enum Job {
    case append(NodeAppend)
    case update(InteriorUpdate)
  }

  private struct State {
    var jobs: [Job] = []
    var first = 0
    var added: UInt64 = 0
    var done: UInt64 = 0
    var isWorking = false
    var failure: VolumeError?
  }

  private let condition = Condition()
  private nonisolated(unsafe) var state = State()
  // Safety: `state` is only touched with `condition` locked.

  /// Jobs that are not done.
  var count: Int { condition.withLock { Int(unsafe state.added - state.done) } }

  /// Adds a job behind all others.
  func add(_ job: Job) {
    condition.withLock {
      unsafe state.jobs.append(job)
      unsafe state.added += 1
    }
    condition.broadcast()
  }

  /// Does the first job, if nobody is at it.
  ///
  /// - Returns: False if there was none, or somebody else does it.
  func step(_ engine: Engine) -> Bool {
    let job: Job? = condition.withLock {
      guard unsafe !state.isWorking, unsafe state.first < state.jobs.count else { return nil }
      unsafe state.isWorking = true
      return unsafe state.jobs[state.first]
    }
    guard let job else { return false }
    var failure: VolumeError?
    do throws(VolumeError) {
      switch job {
      case .append(let append): try engine.complete(append)
      case .update(let update): try engine.complete(update)
      }
      try engine.keepPlacesForQueue()
    } catch {
      failure = error
    }
    condition.withLock {
      unsafe state.first += 1
      if unsafe state.first * 2 > state.jobs.count {
        unsafe state.jobs.removeFirst(state.first)
        unsafe state.first = 0
      }
      unsafe state.done += 1
      unsafe state.isWorking = false
      if unsafe state.failure == nil { unsafe state.failure = failure }
    }
    condition.broadcast()
    if let failure { engine.stopWriting(because: failure) }
    return true
  }

  /// Waits until there is a job that nobody is at, or for as long as given.
  func waitForJob(nanoseconds: UInt64) {
    condition.withLock {
      let isWorking = unsafe state.isWorking
      let isEmpty = unsafe state.first == state.jobs.count
      if isWorking || isEmpty { _ = condition.wait(nanoseconds: nanoseconds) }
    }
  }

  /// Ends `waitForJob`.
  func wake() { condition.broadcast() }

  /// Works, or waits for who works, until there are no more than `limit` jobs.
  func drain(_ engine: Engine, to limit: Int = 0) {
    while true {
      let left: (jobs: Int, isWorking: Bool) = condition.withLock {
        unsafe (Int(state.added - state.done), state.isWorking)
      }
      guard left.jobs > limit else { return }
      if step(engine) { continue }
      condition.withLock {
        if unsafe state.isWorking { _ = condition.wait(nanoseconds: 10_000_000) }
      }
    }
  }
}
