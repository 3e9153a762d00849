// SPDX-License-Identifier: GPL-2.0
// Which devices were written to since they were flushed.
//
// How it works
//   A write is noted when it is through, and before anybody counts on it; who flushes a device
//   forgets it before the flush begins. So what a flush may not cover, since it was still under
//   way, is noted when the flush has begun, and the next one covers it.
// Invariants
//   (1) A write that somebody counts on is noted here, or a flush has begun since it was through.
// Locks: none.

internal import Synchronization

/// A bit for each member.
final class UnflushedDevices: Sendable {
  private let bits = Atomic<UInt64>(0)

  /// The device has been written to; the write is through.
  func add(_ device: UInt8) { bits.bitwiseOr(1 << UInt64(device & 63), ordering: .releasing) }

  /// The caller flushes this device now.
  func remove(_ device: UInt8) {
    bits.bitwiseAnd(~(1 << UInt64(device & 63)), ordering: .acquiring)
  }

  /// The devices that were written to, which the caller flushes now.
  func take() -> [UInt8] {
    let taken = bits.exchange(0, ordering: .acquiring)
    return (0..<64).filter { taken & 1 << UInt64($0) != 0 }.map { UInt8($0) }
  }
}
