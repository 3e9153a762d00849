// SPDX-License-Identifier: GPL-2.0
// Times as inodes have them: units of the superblock's precision since its beginning of time.
// Source: `timespec_to_bch2_time`, `bch2_time_to_timespec`, bcachefs.h.

internal import BcachefsFormat

/// How a volume counts time.
struct VolumeTime: Sendable {
  /// Nanoseconds of a unit, 1 or more.
  private let precision: Int64
  /// Of time 0, in nanoseconds since 1970.
  private let base: Int64

  init(_ superblock: Superblock) {
    precision = max(Int64(superblock.timePrecision), 1)
    base = Int64(bitPattern: superblock.timeBaseLow)
  }

  /// Nanoseconds since 1970, UTC; the first or last there are for a time beyond.
  func nanoseconds(_ units: UInt64) -> Int64 {
    let (product, overflow) = Int64(bitPattern: units).multipliedReportingOverflow(by: precision)
    guard !overflow else { return units >> 63 == 0 ? .max : .min }
    // What was before the first wrapped when it was stored, and does so back.
    return product &+ base
  }

  /// - Parameter nanoseconds: Since 1970, UTC.
  func units(_ nanoseconds: Int64) -> UInt64 {
    UInt64(bitPattern: (nanoseconds &- base) / precision)
  }
}
