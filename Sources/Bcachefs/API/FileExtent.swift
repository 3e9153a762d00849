// SPDX-License-Identifier: GPL-2.0
// Where the contents of a file are: for those who map, measure or copy files without reading them.

public import BcachefsFormat
public import BcachefsSupport

/// A piece of a file that is kept in one way, in one place a copy.
public struct FileExtent: Sendable, Equatable {
  /// What a piece of a file is.
  public enum Kind: String, Sendable {
    /// Stored on devices: `copies` says where.
    case data
    /// Stored in the metadata itself, without a place of its own on any device.
    case inline
    /// Space is reserved, and perhaps given out (`copies`); it reads as zeros.
    case unwritten
    /// Nothing is stored; it reads as zeros.
    case hole
    /// Was lost before, or points to something that is not there: reads fail.
    case lost
  }

  /// One copy of a piece on a device.
  public struct Copy: Sendable, Equatable {
    /// Index of the member.
    public let device: UInt8
    /// The sector (of 512 bytes) of the device where the piece begins; of a compressed piece, where
    /// what is stored begins.
    public let sector: UInt64
    /// Of the bucket, when this was written: what is only cached counts while they are equal.
    public let generation: UInt8
    /// Only a cache: dropped when its space is needed.
    public let isCached: Bool
    /// Sectors that the extent takes on the device, of which the piece may be a part.
    public let storedSectors: UInt32
    /// Sectors of the whole extent's contents.
    public let contentSectors: UInt32
    /// The sector of the whole extent's contents at which the piece begins.
    public let offsetSectors: UInt32
    /// Of what is stored; `.none` where nothing guards it.
    public let checksumType: ChecksumType
    /// Of what is stored; `.incompressible` where it was tried in vain.
    public let compressionType: CompressionType
    /// The stripe that it is a block of, in the stripes btree; nil if it is in none.
    public let stripe: UInt64?

    /// Whether what is stored is encrypted.
    public var isEncrypted: Bool { checksumType.isEncryption }
    /// Whether what is stored is not the contents as they are.
    public var isCompressed: Bool { compressionType.isCompressed }
  }

  /// Bytes of the file.
  public let range: Range<UInt64>
  /// What it is.
  public let kind: Kind
  /// Whether other files, or other places of this one, may use it too (a reflink).
  public let isShared: Bool
  /// In the order in which the format has them.
  public let copies: [Copy]
}

extension FileHandle {
  /// Calls `body` with the pieces of the file in order, holes too; false ends it.
  ///
  /// Pieces adjoin one another, from the sector of `offset` on. What is reserved beyond the end of
  /// the file is among them; a hole ends with the file.
  ///
  /// - Parameters:
  ///   - offset: A byte of the file.
  ///   - onLost: Takes ranges of which nobody knows what they are, and why, and the walk goes on;
  ///     without it that is thrown.
  /// - Throws: what reading a node throws (`.allCopiesBad`, `.corrupt`, `.device`), and what `body`
  ///   throws.
  /// - Complexity: one walk over the file's extents; no contents are read, and no memory grows.
  public func forEachExtent(
    from offset: UInt64 = 0, onLost: ((Range<UInt64>, VolumeError) -> Void)? = nil,
    _ body: (FileExtent) throws(VolumeError) -> Bool
  ) throws(VolumeError) {
    try reader.forEachExtent(inode, from: offset, onLost: onLost, body)
  }
}
