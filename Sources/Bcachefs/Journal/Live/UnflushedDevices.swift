// SPDX-License-Identifier: GPL-2.0
// Which devices were written to since they were flushed.
//
// Invariants
//   (1) Who writes says so before the write begins to count: a flush that comes later covers it.
// Locks: none.

internal import Synchronization

/// A bit for each member.
final class UnflushedDevices: Sendable {
  private let bits = Atomic<UInt64>(0)

  /// The device has been written to.
  func add(_ device: UInt8) { bits.bitwiseOr(1 << UInt64(device & 63), ordering: .releasing) }

  /// The devices that were written to, which the caller flushes now.
  func take() -> [UInt8] {
    let taken = bits.exchange(0, ordering: .acquiring)
    return (0..<64).filter { taken & 1 << UInt64($0) != 0 }.map { UInt8($0) }
  }
}
