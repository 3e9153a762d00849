// SPDX-License-Identifier: GPL-2.0
// What of a live node is written next: the whole node, or a bset behind what is there.
//
// How it works
//   1. A node that was never written gives one block with all of its keys; any other one a block
//      with the dirty ones. Records are copied as they stand, in order.
//   2. The image is made under the lock and written without it: whatever changes meanwhile is dirty
//      again.
// Invariants
//   (1) No key is in an image that the journal does not have: a bset names the newest entry it
//       holds keys of, and is ignored when that was lost.
//   (2) Addresses of this process never get to the disk.
// Source: btree_io.c (__bch2_btree_node_write).

internal import BcachefsFormat
internal import BcachefsSupport

/// Bytes of a node on their way to the disk.
struct NodeImage: Sendable {
  let bytes: HeapBuffer
  /// Of the node, where they belong.
  let startBytes: Int
}

extension LiveNode {
  /// Makes the next image, sealed; the node's keys then count as written.
  ///
  /// - Precondition: write-locked; `hasRoom(words: 0)`.
  /// - Throws: when the checksum cannot be made.
  func takeImage(_ parameters: MetadataParameters) throws(VolumeError) -> NodeImage {
    expensiveCheck { check() }
    let isFirst = writtenBytes == 0
    let start = isFirst ? BTreeNodeHeader.Layout.keys : BTreeNodeHeader.EntryLayout.keys
    let words = isFirst ? liveWords : dirtyWords
    let end = start + words * 8
    let block = parameters.blockBytes
    let image = HeapBuffer(byteCount: (end + block - 1) / block * block)
    invariant(writtenBytes + image.byteCount <= nodeBytes, "what is written fits the node")
    var bytes = image.mutableBytes
    copyRecords(to: &bytes, from: start, all: isFirst)
    var bset = BSetHeader(
      sequence: sequence, journalSequence: journalSequence, version: parameters.version,
      u64s: UInt16(words))
    bset.checksumType = parameters.checksumType.rawValue
    bset.offsetSectors = writtenBytes / 512
    if isFirst {
      let header = BTreeNodeHeader(
        magic: parameters.superblockMagic ^ BTreeNodeHeader.magicBase, btree: btree, level: level,
        minKey: minKey, maxKey: maxKey, format: format, bset: bset)
      header.encode(into: &bytes)
    } else {
      bset.encode(into: &bytes, at: BTreeNodeHeader.EntryLayout.bset)
    }
    do throws(ChecksumError) {
      try NodeSeal.apply(
        to: &bytes, blockAt: writtenBytes, bset, keys: start..<end, key: parameters.key)
    } catch {
      throw VolumeError(error)
    }
    let startBytes = writtenBytes
    writtenBytes += image.byteCount
    forgetDirt()
    return NodeImage(bytes: image, startBytes: startBytes)
  }

  /// Copies the records that are dirty, or all that show.
  private func copyRecords(to bytes: inout MutableRawSpan, from start: Int, all: Bool) {
    var target = start
    var slot = index.start
    while slot.row < index.rowCount {
      let entry = index[slot]
      slot = index.after(slot)
      guard all ? type(of: entry) != .deleted : entry.place.isDirty else { continue }
      let words = self.words(of: entry)
      let record = unsafe RawSpan(
        _unsafeStart: UnsafeRawPointer(arena + entry.place.word), byteCount: words &* 8)
      bytes.copy(record, to: target)
      if level > 0 { eraseAddress(&bytes, at: target) }
      target &+= words &* 8
    }
    invariant(target == start + (all ? liveWords : dirtyWords) * 8, "a node's words are counted")
  }

  /// Erases the address of the child that a pointer's value begins with.
  private func eraseAddress(_ bytes: inout MutableRawSpan, at record: Int) {
    guard bytes[LEField<UInt8>(record + 2)] == BKeyType.btreePtrV2.rawValue else { return }
    let isPacked = bytes[LEField<UInt8>(record + 1)] & 0x7f == BKey.packedFormat
    let value = record + (isPacked ? Int(format.keyU64s) * 8 : BKey.Layout.byteCount)
    bytes[LEField<UInt64>(value + BTreePtrV2.Layout.memoryPointer.offset)] = 0
  }
}
