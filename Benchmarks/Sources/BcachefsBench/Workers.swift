// SPDX-License-Identifier: GPL-2.0
// Threads that do the same thing at a time, and how long they take.

internal import BcachefsSupport
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

enum Workers {
  private final class Job: Sendable {
    let body: @Sendable (Int) -> Int
    let next = Atomic<Int>(0)
    let failures = Atomic<Int>(0)

    init(_ body: @escaping @Sendable (Int) -> Int) { self.body = body }
  }

  /// Runs `body` on so many threads, with their numbers.
  ///
  /// - Returns: nanoseconds; nil if one of them returned less than nothing.
  static func time(_ count: Int, _ body: @escaping @Sendable (Int) -> Int) -> Double? {
    let job = Job(body)
    let start = Clocks.system.monotonicNanoseconds()
    if count == 1 {
      run(job)
    } else {
      var threads = [pthread_t](repeating: 0, count: count)
      for index in threads.indices {
        _ = unsafe pthread_create(
          &threads[index], nil,
          { argument in
            guard let argument = unsafe argument else { return nil }
            let job = unsafe Unmanaged<Job>.fromOpaque(argument).takeRetainedValue()
            Workers.run(job)
            return nil
          }, unsafe Unmanaged.passRetained(job).toOpaque())
      }
      for thread in threads { _ = pthread_join(thread, nil) }
    }
    let end = Clocks.system.monotonicNanoseconds()
    guard job.failures.load(ordering: .acquiring) == 0 else { return nil }
    return Double(max(1, end - start))
  }

  private static func run(_ job: Job) {
    let number = job.next.wrappingAdd(1, ordering: .relaxed).oldValue
    if job.body(number) < 0 { job.failures.wrappingAdd(1, ordering: .releasing) }
  }
}
