// SPDX-License-Identifier: GPL-2.0
// A btree node in memory: its bytes as read (decrypted), and a sorted index over all of its bsets.
//
// How it works
//   1. On disk a node is a log of sorted bsets; a later bset's key hides an earlier one's at
//      exactly the same position, and a deleted key hides without showing.
//   2. When a node is read, all bsets are merged once into `entries`: positions unpacked, 24 bytes
//      each, with the offset of the key they stand for. Searches never touch packed keys.
//   3. The key itself and its value stay where they are in `image` and are unpacked when asked for.
// Invariants
//   (1) Positions in `entries` ascend strictly and lie within minKey ... maxKey.
//   (2) Every entry's offset names a key that lies wholly within `image` (proven by the decoder).
// Locks: immutable after it was made, so it may be shared without any.
// Source: bset.c, btree_io.c (bch2_btree_node_read_done), bkey_sort.c.

internal import BcachefsFormat
internal import BcachefsSupport

/// A key's position, and where in the node the key is.
struct NodeEntry {
  let inode: UInt64
  let offset: UInt64
  let snapshot: UInt32
  /// Bytes from the start of the node's image.
  let imageOffset: UInt32

  init(_ position: BPos, imageOffset: Int) {
    inode = position.inode
    offset = position.offset
    snapshot = position.snapshot
    self.imageOffset = UInt32(truncatingIfNeeded: imageOffset)
  }

  var position: BPos { BPos(inode, offset, snapshot) }

  @inline(__always)
  func isBefore(_ position: BPos) -> Bool {
    if inode != position.inode { return inode < position.inode }
    if offset != position.offset { return offset < position.offset }
    return snapshot < position.snapshot
  }
}

/// A key found somewhere, with the memory that its value lies in.
struct KeyReference {
  let key: BKey
  let storage: HeapBuffer
  /// Where the value lies in `storage`.
  let valueStart: Int

  var valueRange: Range<Int> { valueStart..<valueStart + key.valueByteCount }

  /// Calls `body` with the key's value.
  @inline(__always)
  func withValue<Result, Failure: Error>(
    _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let storage = self.storage
    return try body(storage.bytes.extracting(valueRange))
  }

  /// The same where `body` decodes the value: what contradicts the format is the volume's error.
  func decoded<Result>(
    _ body: (RawSpan) throws(FormatError) -> Result
  ) throws(VolumeError) -> Result {
    do throws(FormatError) {
      return try withValue(body)
    } catch {
      throw VolumeError(error)
    }
  }
}

final class BTreeNode: Sendable {
  let btree: BTreeID
  let level: Int
  let minKey: BPos
  let maxKey: BPos
  /// Of nodes that cover the same the one with the higher number is newer (`BTREE_NODE_SEQ`).
  let sequence: UInt32
  let format: BKeyFormat
  let image: HeapBuffer
  let entries: [NodeEntry]

  init(
    header: BTreeNodeHeader, minKey: BPos, maxKey: BPos, image: HeapBuffer, entries: [NodeEntry]
  ) {
    btree = header.btree
    level = header.level
    sequence = header.nodeSequence
    format = header.format
    self.minKey = minKey
    self.maxKey = maxKey
    self.image = image
    self.entries = entries
  }

  /// What the node costs in memory, in bytes.
  var memoryBytes: Int { image.byteCount + entries.count * MemoryLayout<NodeEntry>.stride }

  /// Whether a key at `position` would be in this node.
  @inline(__always)
  func covers(_ position: BPos) -> Bool { minKey <= position && position <= maxKey }

  /// What the pointer at an index below `entries.count` of an interior node leads to; nil if that
  /// is no pointer.
  func childIdentity(at index: Int) -> NodeIdentity? {
    let offset = Int(entries[index].imageOffset)
    let image = self.image
    let bytes = image.bytes
    let isPacked = bytes[LEField<UInt8>(offset &+ 1)] & 0x7f == BKey.packedFormat
    let value = offset &+ (isPacked ? Int(format.keyU64s) &* 8 : BKey.Layout.byteCount)
    let end = offset &+ Int(bytes[LEField<UInt8>(offset)]) &* 8
    return NodeIdentity(
      BKeyType(rawValue: bytes[LEField<UInt8>(offset &+ 2)]), bytes.extracting(value..<end))
  }

  /// The key at an index below `entries.count`.
  func reference(at index: Int) -> KeyReference {
    let offset = Int(entries[index].imageOffset)
    let image = self.image
    let bytes = image.bytes
    let isPacked = bytes[LEField<UInt8>(offset &+ 1)] & 0x7f == BKey.packedFormat
    if isPacked {
      return KeyReference(
        key: format.unpack(bytes, at: offset), storage: image,
        valueStart: offset &+ Int(format.keyU64s) &* 8)
    }
    return KeyReference(
      key: BKey(uncheckedUnpacked: bytes, at: offset), storage: image,
      valueStart: offset &+ BKey.Layout.byteCount)
  }
}
