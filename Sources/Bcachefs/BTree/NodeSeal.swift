// SPDX-License-Identifier: GPL-2.0
// Encryption and checksum of a block of a node, before it is written.
//
// Source: btree_io.c (__bch2_btree_node_write).

internal import BcachefsFormat
internal import BcachefsSupport

enum NodeSeal {
  /// Encrypts what is to be encrypted, then checksums.
  ///
  /// - Parameters:
  ///   - bytes: The block; its header is complete but for the checksum.
  ///   - start: Where in the node the block begins, in bytes.
  ///   - keys: Where its keys are, within `bytes`.
  static func apply(
    to bytes: inout MutableRawSpan, blockAt start: Int, _ bset: BSetHeader, keys: Range<Int>,
    key: EncryptionKey?
  ) throws(ChecksumError) {
    let type = ChecksumType(rawValue: bset.checksumType)
    if type.isEncryption, let key {
      NodeCipher.apply(key, to: &bytes, blockAt: start, bset, keys: keys)
    }
    let checksum = try type.checksum(
      bytes.bytes.extracting(16..<keys.upperBound), key: key, nonce: bset.nonce(ofBlockAt: start))
    bytes[LEField<UInt64>(0)] = checksum.lo
    bytes[LEField<UInt64>(8)] = checksum.hi
  }
}
