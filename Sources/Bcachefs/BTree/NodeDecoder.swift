// SPDX-License-Identifier: GPL-2.0
// From a node's bytes on disk to a `BTreeNode`: checksums, decryption, order, merging.
//
// How it works
//   1. The first block has the node's header; later blocks (`btree_node_entry`) follow at the next
//      block boundary for as long as they carry the node's sequence number.
//   2. Each block is checksummed as stored, then decrypted in place.
//   3. A bset whose journal entry never made it to disk (blacklisted) is left out: the journal is
//      what orders updates, and there its keys do not exist.
//   4. Keys of each bset must ascend; bsets are merged (NodeEntryRuns), the later one winning.
// Invariants
//   (1) Nothing read from disk is used as an offset before it was checked against the node's size.
//   (2) Work is linear in the node's bytes times the logarithm of the number of its bsets.
// Source: btree_io.c (bch2_btree_node_read_done, validate_bset, validate_bset_keys).

internal import BcachefsFormat
internal import BcachefsSupport

/// What is expected of a node before it is read: its parent's pointer says it.
struct NodeExpectation {
  let btree: BTreeID
  let level: Int
  /// nil with pointers of the oldest type.
  let sequence: UInt64?
  let minKey: BPos?
  let maxKey: BPos
  /// 0: not known, all blocks of the node's sequence count.
  let sectorsWritten: Int
  /// The parent's bounds prevail over the node's own.
  let isRangeUpdated: Bool
}

struct NodeDecoder {
  let superblockMagic: UInt64
  let key: EncryptionKey?
  let blockBytes: Int
  let nodeBytes: Int
  /// Whether a bset with this journal sequence number is to be ignored.
  let isBlacklisted: @Sendable (UInt64) -> Bool

  /// A block that was verified: where its keys are.
  struct Block {
    let bset: BSetHeader
    let keys: Range<Int>
  }

  /// Verifies and decodes.
  ///
  /// - Parameter image: `nodeBytes` of it as read; decrypted in place.
  func decode(
    _ image: HeapBuffer, expecting expected: NodeExpectation
  ) throws(VolumeError) -> BTreeNode {
    do throws(FormatError) {
      return try decodeFormat(image, expecting: expected)
    } catch {
      throw VolumeError(error)
    }
  }

  private func decodeFormat(
    _ image: HeapBuffer, expecting expected: NodeExpectation
  ) throws(FormatError) -> BTreeNode {
    let writtenBytes = expected.sectorsWritten * 512
    guard writtenBytes <= image.byteCount else {
      throw FormatError(
        .tooLarge, "bch_btree_ptr_v2", "sectors_written", found: UInt64(writtenBytes / 512),
        expected: UInt64(image.byteCount / 512), fsckError: .bset_past_end_of_btree_node)
    }
    let limit = writtenBytes == 0 ? image.byteCount : writtenBytes
    let first = try readBlock(image, at: 0, limit: limit)
    let header = try BTreeNodeHeader(decoding: image.bytes)
    try check(header, expected)
    var runs = NodeEntryRuns()
    runs.append(try entries(of: first, image, header.format))
    var position = roundedToBlock(first.keys.upperBound)
    while position < limit {
      guard let block = try nextBlock(image, at: position, limit: limit, after: first.bset) else {
        break
      }
      if !isBlacklisted(block.bset.journalSequence) {
        runs.append(try entries(of: block, image, header.format))
      }
      position = roundedToBlock(block.keys.upperBound)
    }
    guard writtenBytes == 0 || position >= limit else {
      throw FormatError(
        .truncated, "btree_node", "sectors_written", found: UInt64(position / 512),
        expected: UInt64(limit / 512), fsckError: .btree_node_data_missing)
    }
    let minKey = expected.isRangeUpdated ? expected.minKey ?? header.minKey : header.minKey
    let maxKey = expected.isRangeUpdated ? expected.maxKey : header.maxKey
    let visible = runs.finish().filter { entry in
      type(of: entry, image) != .deleted && !entry.isBefore(minKey)
        && !(maxKey < entry.position)
    }
    return BTreeNode(
      header: header, minKey: minKey, maxKey: maxKey, image: image, entries: visible)
  }

  func roundedToBlock(_ byteOffset: Int) -> Int {
    (byteOffset + blockBytes - 1) / blockBytes * blockBytes
  }

  private func check(
    _ header: BTreeNodeHeader, _ expected: NodeExpectation
  ) throws(FormatError) {
    guard header.magic == superblockMagic ^ BTreeNodeHeader.magicBase else {
      throw FormatError(
        .badMagic, "btree_node", "magic", found: header.magic,
        expected: superblockMagic ^ BTreeNodeHeader.magicBase, fsckError: .btree_node_bad_magic)
    }
    if let sequence = expected.sequence, header.bset.sequence != sequence {
      throw FormatError(
        .inconsistent, "btree_node", "seq", found: header.bset.sequence, expected: sequence,
        fsckError: .btree_node_bad_seq)
    }
    guard header.btree == expected.btree else {
      throw FormatError(
        .inconsistent, "btree_node", "btree_id", found: UInt64(header.btree.rawValue),
        expected: UInt64(expected.btree.rawValue), fsckError: .btree_node_bad_btree)
    }
    guard header.level == expected.level else {
      throw FormatError(
        .inconsistent, "btree_node", "level", found: UInt64(header.level),
        expected: UInt64(expected.level), fsckError: .btree_node_bad_level)
    }
    guard !expected.isRangeUpdated else { return }
    if let minKey = expected.minKey, header.minKey != minKey {
      throw FormatError(.inconsistent, "btree_node", "min_key", fsckError: .btree_node_bad_min_key)
    }
    guard header.maxKey == expected.maxKey else {
      throw FormatError(.inconsistent, "btree_node", "max_key", fsckError: .btree_node_bad_max_key)
    }
  }

  // MARK: - Blocks

  /// The next block, nil where something else stands there.
  func nextBlock(
    _ image: HeapBuffer, at start: Int, limit: Int, after first: BSetHeader
  ) throws(FormatError) -> Block? {
    guard limit - start >= BTreeNodeHeader.EntryLayout.keys else { return nil }
    let sequence = image.bytes[
      LEField<UInt64>(start + BTreeNodeHeader.EntryLayout.bset)]
    guard sequence == first.sequence else { return nil }
    return try readBlock(image, at: start, limit: limit)
  }

  /// Verifies the checksum of the block at `start` and decrypts it.
  func readBlock(
    _ image: HeapBuffer, at start: Int, limit: Int
  ) throws(FormatError) -> Block {
    let isFirst = start == 0
    let bsetStart =
      start + (isFirst ? BTreeNodeHeader.Layout.bset : BTreeNodeHeader.EntryLayout.bset)
    let keysStart =
      start + (isFirst ? BTreeNodeHeader.Layout.keys : BTreeNodeHeader.EntryLayout.keys)
    guard keysStart <= limit else {
      throw FormatError(
        .truncated, "btree_node", found: UInt64(limit), expected: UInt64(keysStart))
    }
    let bset = BSetHeader(decoding: image.bytes, at: bsetStart)
    let keys = keysStart..<keysStart + Int(bset.u64s) * 8
    guard keys.upperBound <= limit else {
      throw FormatError(
        .tooLarge, "bset", "u64s", found: UInt64(bset.u64s),
        expected: UInt64((limit - keysStart) / 8), fsckError: .bset_past_end_of_btree_node)
    }
    guard !bset.isBigEndian, !bset.hasSeparateWhiteouts else {
      throw FormatError(
        .unsupported, "bset", "flags", found: UInt64(bset.flags),
        fsckError: .btree_node_unsupported_version)
    }
    guard bset.offsetSectors == 0 || bset.offsetSectors * 512 == start else {
      throw FormatError(
        .inconsistent, "bset", "offset", found: UInt64(bset.offsetSectors),
        expected: UInt64(start / 512), fsckError: .bset_wrong_sector_offset)
    }
    try verify(image, bset, start: start, end: keys.upperBound)
    decrypt(image, bset, start: start, keys: keys)
    return Block(bset: bset, keys: keys)
  }

  private func verify(
    _ image: HeapBuffer, _ bset: BSetHeader, start: Int, end: Int
  ) throws(FormatError) {
    let type = ChecksumType(rawValue: bset.checksumType)
    let computed: Checksum128
    do throws(ChecksumError) {
      computed = try type.checksum(
        image.bytes.extracting(start + 16..<end), key: key, nonce: bset.nonce(ofBlockAt: start))
    } catch {
      throw FormatError(
        type.isEncryption ? .encryption : .unsupported, "bset", "csum_type",
        found: UInt64(bset.checksumType), fsckError: .bset_unknown_csum)
    }
    let stored = Checksum128(
      lo: image.bytes[LEField<UInt64>(start)], hi: image.bytes[LEField<UInt64>(start + 8)])
    guard stored.matches(computed) else {
      throw FormatError(
        .badChecksum, "btree_node", "csum", found: computed.lo, expected: stored.lo,
        fsckError: .bset_bad_csum)
    }
  }

  private func decrypt(_ image: HeapBuffer, _ bset: BSetHeader, start: Int, keys: Range<Int>) {
    guard ChecksumType(rawValue: bset.checksumType).isEncryption, let key else { return }
    var bytes = image.mutableBytes
    NodeCipher.apply(key, to: &bytes, blockAt: start, bset, keys: keys)
  }

  // MARK: - Keys

  private func entries(
    of block: Block, _ image: HeapBuffer, _ format: BKeyFormat
  ) throws(FormatError) -> [NodeEntry] {
    var result: [NodeEntry] = []
    result.reserveCapacity(block.keys.count / 40)
    let keys = image.bytes.extracting(block.keys)
    var iterator = PackedKeyIterator(keys: keys, format: format)
    var last: BPos?
    while let found = try iterator.nextEntry() {
      if let last, found.key.position < last {
        throw FormatError(.outOfOrder, "bset", "key", fsckError: .btree_node_bkey_out_of_order)
      }
      // Two keys of one position in one bset: a deleted one made room for the other. Of two that
      // are not, which nobody writes, the later one counts.
      if last == found.key.position {
        guard found.key.type != .deleted else { continue }
        result.removeLast()
      }
      result.append(
        NodeEntry(found.key.position, imageOffset: block.keys.lowerBound + found.byteOffset))
      last = found.key.position
    }
    return result
  }

  private func type(of entry: NodeEntry, _ image: HeapBuffer) -> BKeyType {
    BKeyType(rawValue: image.bytes[LEField<UInt8>(Int(entry.imageOffset) + 2)])
  }
}
