// SPDX-License-Identifier: GPL-2.0

public import BcachefsSupport

extension BSetHeader {
  /// The nonce that a bset's block is encrypted and authenticated with (`btree_nonce`).
  ///
  /// - Parameter start: Where in the node the block begins, in bytes.
  public func nonce(ofBlockAt start: Int) -> Nonce {
    Nonce(
      counter: UInt32(truncatingIfNeeded: start), UInt32(truncatingIfNeeded: sequence),
      UInt32(truncatingIfNeeded: sequence >> 32), UInt32(truncatingIfNeeded: journalSequence)
    ).flipping(.btree)
  }
}
