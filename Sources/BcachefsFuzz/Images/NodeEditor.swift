// SPDX-License-Identifier: GPL-2.0
// A btree node in plain text, to be changed and sealed again.
//
// How it works
//   1. The blocks of a node that was read are found and decrypted; where each key and each value is
//      stands in lists.
//   2. After changes every block is encrypted again, and gets the checksum of what it is now: a
//      reader has nothing to notice but the contents themselves.
// Invariants
//   (1) Sealing what was not changed gives the bytes that were read.
// Source: btree_io.c (bset_encrypt, btree_nonce).

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport

struct NodeEditor {
  /// A block: the header with the first keys, or a later one.
  struct Block {
    let start: Int
    let bsetStart: Int
    let keys: Range<Int>
  }

  /// A key that is there, with where it stands.
  struct Place {
    let key: BKey
    let isPacked: Bool
    /// The header, packed or not.
    let header: Range<Int>
    let value: Range<Int>
  }

  var bytes: [UInt8]
  let blockBytes: Int
  let key: EncryptionKey?
  private(set) var blocks: [Block] = []
  private(set) var places: [Place] = []

  /// Takes apart what was written of a node.
  ///
  /// - Throws: what a node that is right never gives.
  init(_ bytes: [UInt8], blockBytes: Int, key: EncryptionKey?) throws(FormatError) {
    self.bytes = bytes
    self.blockBytes = blockBytes
    self.key = key
    var start = 0
    var sequence: UInt64 = 0
    while start < bytes.count {
      let bsetStart = start + (start == 0 ? BTreeNodeHeader.Layout.bset : 16)
      guard bsetStart + BSetHeader.Layout.byteCount <= bytes.count else { break }
      let bset = BSetHeader(decoding: bytes.rawBytes, at: bsetStart)
      if start == 0 { sequence = bset.sequence }
      let keysStart = bsetStart + BSetHeader.Layout.byteCount
      let keys = keysStart..<keysStart + Int(bset.u64s) * 8
      guard bset.sequence == sequence, keys.upperBound <= bytes.count else { break }
      let block = Block(start: start, bsetStart: bsetStart, keys: keys)
      crypt(block)
      blocks.append(block)
      start = (keys.upperBound + blockBytes - 1) / blockBytes * blockBytes
    }
    let format = try BTreeNodeHeader(decoding: self.bytes.rawBytes).format
    var found: [Place] = []
    for block in blocks { found += try keys(in: block, format) }
    places = found
  }

  private func keys(in block: Block, _ format: BKeyFormat) throws(FormatError) -> [Place] {
    let keys = bytes.rawBytes.extracting(block.keys)
    var iterator = PackedKeyIterator(keys: keys, format: format)
    var found: [Place] = []
    while let entry = try iterator.nextEntry() {
      let start = block.keys.lowerBound + entry.byteOffset
      let value = block.keys.lowerBound + entry.valueByteOffset
      found.append(
        Place(
          key: entry.key, isPacked: entry.isPacked, header: start..<value,
          value: value..<value + entry.key.valueByteCount))
    }
    return found
  }

  /// Every block encrypted and with the right checksum.
  func sealed() -> [UInt8] {
    var copy = self
    for block in blocks { copy.seal(block) }
    return copy.bytes
  }

  private func bset(_ block: Block) -> BSetHeader {
    BSetHeader(decoding: bytes.rawBytes, at: block.bsetStart)
  }

  private func type(_ block: Block) -> ChecksumType {
    ChecksumType(rawValue: bset(block).checksumType)
  }

  /// Encrypts or decrypts.
  private mutating func crypt(_ block: Block) {
    guard type(block).isEncryption, let key else { return }
    let bset = bset(block)
    var span = bytes.mutableRawBytes
    NodeCipher.apply(key, to: &span, blockAt: block.start, bset, keys: block.keys)
  }

  /// As many keys as the header says now, if they fit.
  private mutating func seal(_ block: Block) {
    let end = min(block.keys.lowerBound + Int(bset(block).u64s) * 8, bytes.count)
    let now = Block(
      start: block.start, bsetStart: block.bsetStart, keys: block.keys.lowerBound..<end)
    crypt(now)
    let checksum = mayFail { () throws(ChecksumError) in
      try type(now).checksum(
        bytes.rawBytes.extracting(now.start + 16..<end), key: key,
        nonce: bset(now).nonce(ofBlockAt: now.start))
    }
    guard let checksum else { return }
    bytes.put(checksum.lo, at: now.start)
    bytes.put(checksum.hi, at: now.start + 8)
  }
}
