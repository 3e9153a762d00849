// SPDX-License-Identifier: GPL-2.0
// Which devices have failed to write since the volume was opened.
//
// How it works
//   A device that could not write or flush once is not written to any more: what it has may be old.
//   Copies on other devices go on. What was being written to it is written again elsewhere
//   (`Engine.rewriteDegradedNodes`). Its errors are counted for the superblock.
// Locks: none.
// Source: io_error handling of a member (error.c, bch2_io_error, bch2_io_error_work).

internal import BcachefsFormat
internal import Synchronization

final class DeviceFailures: Sendable {
  private let store: SuperblockStore
  private let bits = Atomic<UInt64>(0)

  init(_ store: SuperblockStore) { self.store = store }

  /// Bit n stands for member n.
  var mask: UInt64 { bits.load(ordering: .acquiring) }

  func contains(_ device: UInt8) -> Bool { mask >> UInt64(device & 63) & 1 != 0 }

  var count: Int { mask.nonzeroBitCount }

  /// A device could not write or flush.
  func noteWriteError(on device: UInt8) {
    store.memberErrors.add(.write, member: Int(device))
    bits.bitwiseOr(1 << UInt64(device & 63), ordering: .acquiringAndReleasing)
  }
}
