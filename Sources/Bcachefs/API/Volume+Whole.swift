// SPDX-License-Identifier: GPL-2.0
// Whole directories and whole files at once, for programs that have the memory.

internal import BcachefsFormat
internal import BcachefsSupport

extension Volume {
  /// All names of a directory, in hash order, without `.` and `..`.
  ///
  /// - Throws: `.notFound`, `.notADirectory`, and what reading a node throws: `.allCopiesBad`,
  ///   `.corrupt`, `.device`. `list` with `onLost` goes on past damage.
  /// - Complexity: one walk over the directory's names; all of them are in memory.
  public func entries(of id: FileID) throws(VolumeError) -> [DirectoryEntry] {
    var entries: [DirectoryEntry] = []
    try list(id) {
      entries.append($0)
      return true
    }
    return entries
  }

  /// All bytes of a file, holes as zeros.
  ///
  /// - Parameters:
  ///   - maxByteCount: A larger file is an error; a sparse one may say any size.
  /// - Throws: `.limit` for a file that is too large; what `open` and `FileHandle.read` throw.
  public func contents(
    of id: FileID, maxByteCount: Int = 64 << 20
  ) throws(VolumeError) -> [UInt8] {
    let file = try open(id)
    guard file.inode.size <= UInt64(max(maxByteCount, 0)) else {
      throw VolumeError(
        .limit, "inode \(id.inode) has \(file.inode.size) bytes, more than \(maxByteCount)")
    }
    return try file.read(from: 0, byteCount: Int(file.inode.size))
  }
}

extension FileHandle {
  /// Bytes of the file from `offset` on: `byteCount` of them, or what is left of the file.
  ///
  /// - Throws: as the other `read`.
  public func read(from offset: UInt64, byteCount: Int) throws(VolumeError) -> [UInt8] {
    let left = inode.size - min(offset, inode.size)
    var bytes = [UInt8](repeating: 0, count: Int(min(UInt64(max(byteCount, 0)), left)))
    var span = bytes.mutableRawBytes
    let count = try read(from: offset, into: &span)
    bytes.removeSubrange(count...)
    return bytes
  }
}
