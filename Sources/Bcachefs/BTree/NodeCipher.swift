// SPDX-License-Identifier: GPL-2.0
// Encryption of a btree node's blocks, for those who read, write or change them.
//
// Source: btree_io.h (bset_encrypt).

package import BcachefsFormat
package import BcachefsSupport

package enum NodeCipher {
  /// Encrypts or decrypts a block in place: its keys, and of the first one the header before the
  /// bset's.
  ///
  /// - Parameters:
  ///   - start: Where in the node the block begins, in bytes.
  ///   - keys: Where its keys are, within `bytes`.
  package static func apply(
    _ key: EncryptionKey, to bytes: inout MutableRawSpan, blockAt start: Int, _ bset: BSetHeader,
    keys: Range<Int>
  ) {
    var nonce = bset.nonce(ofBlockAt: start)
    if start == 0 {
      let header = BTreeNodeHeader.Layout.flags.offset..<BTreeNodeHeader.Layout.bset
      do {
        var part = bytes._mutatingExtracting(header)
        key.applyChaCha20(to: &part, nonce: nonce)
      }
      nonce = nonce.adding(bytes: (header.count + 63) / 64 * 64)
    }
    var part = bytes._mutatingExtracting(keys)
    key.applyChaCha20(to: &part, nonce: nonce)
  }
}
