// SPDX-License-Identifier: GPL-2.0
// Threads that run closures, and pipelines over them whose results come in order.
//
// How it works
//   1. `submit` puts work in a bounded queue; each thread takes from it until the queue is closed
//      and empty. Work is told the number of its thread, for working memory kept per thread.
//   2. `orderedMap` turns a sequence of inputs into a sequence of outputs on all threads. Producer
//      and consumer run on the calling thread, in order; at most `window` inputs are under way.
//      So the result does not depend on the number of workers, nor on who finishes first.
//   3. The result of input number t goes to place t % window, which the window keeps free.
//
// Invariants
//   (1) `consume` sees outputs in the order of their inputs, on the calling thread.
//   (2) When `orderedMap` returns or throws, nothing of it is under way any more.
//
// Locks: none of the pool's is held while closures run.

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// A thread of our own; it receives no signals, which are left to the main thread.
@safe
struct WorkerThread: @unchecked Sendable {
  // Safety: a thread's handle is a plain value; it is only joined or compared.
  private let handle: pthread_t

  private final class Start {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  init(_ body: @escaping @Sendable () -> Void) {
    let start = unsafe Unmanaged.passRetained(Start(body)).toOpaque()
    var all = sigset_t()
    var previous = sigset_t()
    _ = unsafe sigfillset(&all)
    _ = unsafe pthread_sigmask(SIG_SETMASK, &all, &previous)
    #if canImport(Glibc)
    var handle = pthread_t()
    let result = unsafe pthread_create(&handle, nil, { unsafe Self.run($0) }, start)
    #else
    var created: pthread_t?
    let result = unsafe pthread_create(&created, nil, { unsafe Self.run($0) }, start)
    #endif
    _ = unsafe pthread_sigmask(SIG_SETMASK, &previous, nil)
    invariant(result == 0, "a thread can be started")
    #if canImport(Glibc)
    self.handle = handle
    #else
    guard let handle = unsafe created else { unreachable("a started thread has no handle") }
    unsafe self.handle = handle
    #endif
  }

  private static func run(_ start: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let start = unsafe start {
      unsafe Unmanaged<Start>.fromOpaque(start).takeRetainedValue().body()
    }
    return nil
  }

  /// Waits for its end; from the thread itself, lets it go instead.
  func join() {
    if pthread_equal(handle, pthread_self()) != 0 {
      _ = pthread_detach(handle)
    } else {
      _ = pthread_join(handle, nil)
    }
  }
}

/// A fixed number of threads that run what is submitted.
public final class WorkerPool: Sendable {
  /// Work; it is given the number of its thread, from 0.
  public typealias Work = @Sendable (_ worker: Int) -> Void

  private let queue: BoundedQueue<Work>
  private let threads: [WorkerThread]

  public var workers: Int { threads.count }

  /// - Parameters:
  ///   - workers: Threads, at least 1.
  ///   - queueDepth: Work that may wait before `submit` does; twice the threads if not given.
  public init(workers: Int, queueDepth: Int? = nil) {
    invariant(workers > 0, "a pool has workers")
    let queue = BoundedQueue<Work>(capacity: queueDepth ?? 2 * workers)
    self.queue = queue
    threads = (0..<workers).map { worker in
      WorkerThread {
        while let work = queue.pop() { work(worker) }
      }
    }
  }

  /// Runs what is queued, then ends the threads.
  deinit {
    queue.close()
    for thread in threads { thread.join() }
  }

  /// Queues `work`, waiting for room. Never from within work: all threads might wait for room.
  public func submit(_ work: @escaping Work) { queue.push(work) }

  /// Transforms inputs on all threads, and consumes the outputs in the order of the inputs.
  ///
  /// The first error in that order ends it: what comes after is neither produced nor consumed.
  /// Never from within work of the same pool.
  ///
  /// - Parameters:
  ///   - window: Inputs under way at most: this bounds memory.
  ///   - produce: The next input; nil is the end. On the calling thread.
  ///   - transform: On any thread; it is given the thread's number.
  ///   - consume: On the calling thread.
  public func orderedMap<Input: Sendable, Output: Sendable, Failure: Error>(
    window: Int,
    produce: () throws(Failure) -> Input?,
    transform: @escaping @Sendable (Input, _ worker: Int) throws(Failure) -> Output,
    consume: (Output) throws(Failure) -> Void
  ) throws(Failure) {
    let results = OrderedResults<Output, Failure>(window: window)
    defer { results.waitForAll() }
    var hasMore = true
    while true {
      while hasMore && results.hasRoom {
        guard let input = try produce() else {
          hasMore = false
          break
        }
        let ticket = results.begin()
        submit { worker in
          do throws(Failure) {
            results.finish(ticket, .success(try transform(input, worker)))
          } catch {
            results.finish(ticket, .failure(error))
          }
        }
      }
      guard let output = results.next() else { return }
      try consume(try output.get())
    }
  }
}

/// Results that arrive in any order and are taken in order. One thread begins and takes.
private final class OrderedResults<Output: Sendable, Failure: Error>: @unchecked Sendable {
  // Safety: everything mutable is only touched with `condition` locked.
  private let condition = Condition()
  private var ring: [Result<Output, Failure>?]
  private var taken = 0
  private var begun = 0
  private var finished = 0

  init(window: Int) {
    invariant(window > 0, "a window has room for something")
    ring = [Result<Output, Failure>?](repeating: nil, count: window)
  }

  var hasRoom: Bool { condition.withLock { begun - taken < ring.count } }

  /// The number of the next input.
  func begin() -> Int {
    condition.withLock {
      defer { begun += 1 }
      return begun
    }
  }

  func finish(_ ticket: Int, _ result: Result<Output, Failure>) {
    condition.withLock {
      ring[ticket % ring.count] = result
      finished += 1
      condition.signal()
    }
  }

  /// The oldest result, waiting for it; nil when nothing is under way.
  func next() -> Result<Output, Failure>? {
    condition.withLock {
      guard taken < begun else { return nil }
      let place = taken % ring.count
      while ring[place] == nil { condition.wait() }
      defer {
        ring[place] = nil
        taken += 1
      }
      return ring[place]
    }
  }

  func waitForAll() {
    condition.withLock {
      while finished < begun { condition.wait() }
    }
  }
}
