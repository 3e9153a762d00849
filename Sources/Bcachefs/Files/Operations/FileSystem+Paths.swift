// SPDX-License-Identifier: GPL-2.0
// Files by their paths, and what a mount asks of the volume as a whole.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

extension FileSystem {
  /// The file that a path from the volume's root names.
  ///
  /// - Parameter followsLast: Whether the last name may be a symbolic link that is followed.
  /// - Throws: `.notFound`, `.notADirectory`, `.limit` for circles of links.
  public func resolve(
    _ path: String, followsLast: Bool = true
  ) throws(VolumeError) -> FileAttributes {
    try resolve(Array(path.utf8), followsLast: followsLast)
  }

  /// The same for a path whose names need not be UTF-8.
  public func resolve(
    _ path: [UInt8], followsLast: Bool = true
  ) throws(VolumeError) -> FileAttributes {
    let id = try PathResolver.resolve(path, from: root, followsLast: followsLast) {
      (name, directory) throws(VolumeError) in
      let found = try lookup(name, in: directory)
      return (found.id, found.kind == .symbolicLink)
    } readLink: { (link) throws(VolumeError) in
      try target(of: link)
    }
    return try attributes(of: id)
  }

  /// What was noticed while opening and did not prevent it, a line each.
  public var warnings: [String] { engine.media.warnings }

  /// What files can still take, in bytes; all copies counted. No I/O.
  public var availableBytes: UInt64 { engine.usage.available * 512 }

  /// What files and nodes can take together, in bytes; all copies counted. No I/O.
  public var capacityBytes: UInt64 { engine.usage.capacity * 512 }

  /// Bytes of a block: what files take room in.
  public var blockBytes: Int { Int(engine.media.superblock.blockSizeSectors) * 512 }

  /// What times are told in, in nanoseconds, 1 or more.
  public var timePrecisionNanoseconds: UInt32 { max(engine.media.superblock.timePrecision, 1) }

  /// The time of the volume's clock, in nanoseconds since 1970.
  public var nowNanoseconds: Int64 { engine.media.clocks.wallNanoseconds() }

  /// Holds a file that was just seen, as `hold` does, without a look whether it is there still.
  public func holdSeen(_ id: FileID) { openFiles.hold(id) }

  /// Whether a file's contents may be changed.
  ///
  /// - Parameter onlyGrows: Whether what is there stays.
  /// - Throws: `.readOnly` in a subvolume that nobody may change; `.notPermitted` for an immutable
  ///   file, and for one that may only grow, unless it does; `.notFound`.
  public func checkMayChange(_ id: FileID, onlyGrows: Bool = false) throws(VolumeError) {
    try engine.run("open") { (transaction) throws(TransactionError) in
      let (_, inode) = try transaction.inodeToChange(id)
      guard !inode.flags.contains(.immutable), onlyGrows || !inode.flags.contains(.append) else {
        throw .failed(VolumeError(.notPermitted))
      }
    }
  }
}
