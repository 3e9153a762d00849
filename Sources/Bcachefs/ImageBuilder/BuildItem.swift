// SPDX-License-Identifier: GPL-2.0
// What travels through a build: from the scanner to the readers, and on to the assembler.
//
// How it works
//   1. The scanner walks the source in the one order that everything follows from, and cuts it into
//      batches of about a megabyte of file data.
//   2. Readers fill batches, several at a time: xattrs, symlink targets, encoded file data.
//   3. The assembler takes the filled batches in their order, gives data its place, writes it, and
//      hands keys to the btree builders.
// Invariants
//   (1) A batch belongs to one thread at a time: scanner, then a reader, then the assembler.
//   (2) What a batch holds depends on the source alone, never on which thread filled it when.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// A name in a directory, with its place in the dirents btree.
struct DirentRecord: Sendable {
  let slot: UInt64
  let name: [UInt8]
  let target: UInt64
  let type: UInt8
}

/// An extended attribute in its on-disk terms, with its place in the xattrs btree.
struct XattrRecord: Sendable {
  let slot: UInt64
  let type: UInt8
  let name: [UInt8]
  let value: [UInt8]
}

/// An inode, or a part of a large file's data.
struct BuildItem: Sendable {
  /// All fields but size in sectors.
  var inode: Inode
  let stat: HostStat?
  /// The directory that holds it and its name there; nil for inodes that the build makes up.
  let parent: HostDirectory?
  let name: [UInt8]
  /// Bytes of the file that this item covers; a symlink's are its target's.
  let dataRange: Range<UInt64>
  /// The first part reads the xattrs, the last one carries the inode's key.
  let isFirstPart: Bool
  let isLastPart: Bool
  /// The root's xattrs, which no parent can be asked for.
  let hostXattrs: [HostXattr]

  // Filled by a reader.
  var xattrs: [XattrRecord] = []
  /// Chunks of the batch that are this item's.
  var chunks: Range<Int> = 0..<0
  /// Inline data within the batch's buffer.
  var inlineData: Range<Int>?
}

enum BuildStep: Sendable {
  case inode(BuildItem)
  case dirents(directory: UInt64, [DirentRecord])
}

/// A unit of work for a reader.
final class BuildBatch: @unchecked Sendable {
  // Safety: invariant (1): the queues between the threads hand a batch from one to the next.
  let index: Int
  var steps: [BuildStep] = []
  var chunks: [EncodedChunk] = []
  var buffer: HeapBuffer
  var usedBytes = 0
  var error: ImageError?
  var warnings: [String] = []

  /// Data that a batch holds at most, in bytes as stored without compression.
  static let dataBytes = 1 << 20
  /// Steps that a batch holds at most.
  static let stepLimit = 256

  init(index: Int) {
    self.index = index
    buffer = HeapBuffer(byteCount: 0)
  }
}
