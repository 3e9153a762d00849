// SPDX-License-Identifier: GPL-2.0
// A mutex with a condition: for threads that wait for each other.
//
// How it works
//   1. Both are pthread objects in memory of their own, so that their addresses never change
//      (`Synchronization.Mutex` cannot serve a condition variable, and has none).
//   2. Deadlines are measured on the monotonic clock: setting the wall clock wakes nobody.
//
// Invariants
//   (1) The mutex is not recursive; whoever waits holds it exactly once.
//   (2) Wake-ups may be spurious: waiters check what they wait for in a loop.

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// A mutex and a condition variable.
@safe
public final class Condition: @unchecked Sendable {
  // Safety: pthread objects are made for concurrent use; the pointers never change.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>

  public init() {
    unsafe mutex = .allocate(capacity: 1)
    unsafe condition = .allocate(capacity: 1)
    unsafe mutex.initialize(to: pthread_mutex_t())
    unsafe condition.initialize(to: pthread_cond_t())
    var failed = unsafe pthread_mutex_init(mutex, nil)
    #if canImport(Glibc)
    var attributes = pthread_condattr_t()
    failed |= unsafe pthread_condattr_init(&attributes)
    failed |= unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    failed |= unsafe pthread_cond_init(condition, &attributes)
    failed |= unsafe pthread_condattr_destroy(&attributes)
    #else
    failed |= unsafe pthread_cond_init(condition, nil)
    #endif
    invariant(failed == 0, "a mutex and a condition can be made")
  }

  deinit {
    _ = unsafe pthread_cond_destroy(condition)
    _ = unsafe pthread_mutex_destroy(mutex)
    unsafe condition.deallocate()
    unsafe mutex.deallocate()
  }

  /// Takes the mutex. Not recursive.
  public func lock() {
    let result = unsafe pthread_mutex_lock(mutex)
    invariant(result == 0, "the mutex can be locked")
  }

  /// Gives the mutex back.
  public func unlock() {
    let result = unsafe pthread_mutex_unlock(mutex)
    invariant(result == 0, "the mutex was locked")
  }

  /// Runs `body` with the mutex held.
  @inlinable
  public func withLock<Value, Failure: Error>(
    _ body: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    lock()
    defer { unlock() }
    return try body()
  }

  /// Gives the mutex back, sleeps until woken (or for no reason), and takes it again.
  /// The caller holds the mutex.
  public func wait() {
    let result = unsafe pthread_cond_wait(condition, mutex)
    invariant(result == 0, "the caller holds the mutex")
  }

  /// As `wait`, but no longer than `nanoseconds`. The caller holds the mutex.
  ///
  /// - Returns: False when the time has passed.
  public func wait(nanoseconds: UInt64) -> Bool {
    let second: UInt64 = 1_000_000_000
    var time = timespec()
    #if canImport(Glibc)
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    let fraction = UInt64(time.tv_nsec) + nanoseconds % second
    // Past any life of a process is as good as never.
    time.tv_sec += Int(min(nanoseconds / second, 1 << 40)) + Int(fraction / second)
    time.tv_nsec = Int(fraction % second)
    let result = unsafe pthread_cond_timedwait(condition, mutex, &time)
    #else
    time.tv_sec = Int(min(nanoseconds / second, 1 << 40))
    time.tv_nsec = Int(nanoseconds % second)
    let result = unsafe pthread_cond_timedwait_relative_np(condition, mutex, &time)
    #endif
    invariant(result == 0 || result == ETIMEDOUT, "the caller holds the mutex")
    return result == 0
  }

  /// Wakes one waiter at least, if there is any.
  public func signal() { _ = unsafe pthread_cond_signal(condition) }

  /// Wakes all waiters.
  public func broadcast() { _ = unsafe pthread_cond_broadcast(condition) }
}
