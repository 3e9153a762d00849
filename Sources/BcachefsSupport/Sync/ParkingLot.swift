// SPDX-License-Identifier: GPL-2.0
// Where threads sleep that wait for locks which have no room for a condition of their own.
//
// How it works
//   A fixed number of places, each a mutex and a condition. A lock is given a place when it is
//   made, in turn; several locks share one, so whoever is woken looks whether it was meant.
// Locks: a place is a leaf; nothing is taken while it is held.

internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

enum ParkingLot {
  /// As many as a lock's word can name.
  static let placeCount = 256

  private static let places: [Condition] = (0..<placeCount).map { _ in Condition() }
  private static let nextNumber = Atomic<UInt64>(0)

  /// The number of a place for a new lock.
  static func nextPlace() -> UInt8 {
    UInt8(truncatingIfNeeded: nextNumber.wrappingAdd(1, ordering: .relaxed).oldValue)
  }

  static func place(_ number: Int) -> Condition { places[number % placeCount] }
}

/// How long somebody spins before giving up: a little on the processor, then a few times giving it
/// to whoever holds the lock and may have been put aside.
struct SpinPatience {
  private static var looks: Int { 128 }
  private static var yields: Int { 16 }
  private var round = 0

  /// One round of waiting.
  ///
  /// - Returns: False when it has been enough.
  mutating func spin() -> Bool {
    round += 1
    if round <= Self.looks { return true }
    if round <= Self.looks + Self.yields {
      _ = sched_yield()
      return true
    }
    return false
  }
}
