// SPDX-License-Identifier: GPL-2.0
// Time is injected: what a volume records and how long things wait comes from a `Clocks`.

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Where time comes from.
public struct Clocks: Sendable {
  /// Nanoseconds since the beginning of 1970, UTC.
  public let wallNanoseconds: @Sendable () -> Int64
  /// Nanoseconds since some moment; never goes back.
  public let monotonicNanoseconds: @Sendable () -> UInt64

  public init(
    wallNanoseconds: @escaping @Sendable () -> Int64,
    monotonicNanoseconds: @escaping @Sendable () -> UInt64
  ) {
    self.wallNanoseconds = wallNanoseconds
    self.monotonicNanoseconds = monotonicNanoseconds
  }

  /// The system's clocks. The wall clock is the one that Linux gives its own filesystems for times
  /// of files: it goes on by a tick (a few milliseconds), and costs less. A kernel that keeps times
  /// of a mount takes them from there, too: with a finer one here a file would be changed, to its
  /// mind, before it was made, and each new file's times were set once more.
  public static let system = Clocks(
    wallNanoseconds: {
      let now = read(wallClock)
      return Int64(now.seconds) * 1_000_000_000 + Int64(now.nanoseconds)
    },
    monotonicNanoseconds: {
      let now = read(CLOCK_MONOTONIC)
      return UInt64(now.seconds) * 1_000_000_000 + UInt64(now.nanoseconds)
    })

  /// A wall clock that stands still (as with SOURCE_DATE_EPOCH), beside the system's other one.
  public static func fixed(wallNanoseconds: Int64) -> Clocks {
    Clocks(
      wallNanoseconds: { wallNanoseconds },
      monotonicNanoseconds: system.monotonicNanoseconds)
  }

  #if canImport(Glibc)
  private static var wallClock: clockid_t { CLOCK_REALTIME_COARSE }
  #else
  private static var wallClock: clockid_t { CLOCK_REALTIME }
  #endif

  private static func read(_ clock: clockid_t) -> (seconds: Int, nanoseconds: Int) {
    var time = timespec()
    _ = unsafe clock_gettime(clock, &time)
    return (Int(time.tv_sec), Int(time.tv_nsec))
  }
}
