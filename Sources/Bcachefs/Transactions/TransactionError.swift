// SPDX-License-Identifier: GPL-2.0
// Why a transaction did not commit: it has to begin again, or it failed.

/// What ends a transaction's body early.
enum TransactionError: Error, Sendable {
  /// Nothing happened: the runner runs the body again. Never seen outside of the runner.
  case restart(RestartReason)
  case failed(VolumeError)

  /// The volume's error, for those who act on its code.
  init(_ error: VolumeError) { self = .failed(error) }
}

/// Why a transaction has to begin again (upstream: `BCH_ERR_transaction_restart_*`).
enum RestartReason: UInt8, Sendable, CaseIterable {
  /// Somebody else holds a lock; the transaction waited for it with none of its own.
  case lockConflict
  /// A node was read from a device, with no lock held.
  case nodeRead
  /// A node was full and has been split, or was nearly empty and has been merged.
  case nodeSplit
  /// There was no room in the journal; the transaction waited for it.
  case journalFull
  /// The write buffer was full, or the transaction has to see what was in it; it was emptied.
  case writeBufferUnflushed
  /// The superblock did not name the devices that something will be on; now it does.
  case replicasUnmarked
}
