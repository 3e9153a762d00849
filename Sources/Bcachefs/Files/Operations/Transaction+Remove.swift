// SPDX-License-Identifier: GPL-2.0
// Names that go, and files with their last one.
//
// How it works
//   1. A file without a name is marked as unlinked; the trigger of inodes puts it into
//      deleted_inodes. It goes when nobody has it open any more (FileSystem+Holding.swift), or when
//      the volume is opened again.
// Invariants
//   (1) Name, the directory's count and times, and the file's links change in one transaction.
// Source: fs-common.c (bch2_unlink_trans), linux/namei.c (may_delete).

internal import BcachefsFormat
internal import BcachefsSupport

/// A file that lost a name.
struct RemovedName {
  let id: FileID
  /// The snapshot of its inode's version.
  let snapshot: UInt32
  /// Whether that was its last one.
  let isUnlinked: Bool
}

extension Transaction {
  /// Takes a name from a file, or from an empty directory.
  ///
  /// - Parameter removesDirectories: Whether a directory is asked for, or anything else.
  /// - Returns: nil, and nothing is changed, for the root of a subvolume: it goes as one.
  /// - Throws: `.notFound`; `.isADirectory` and `.notADirectory` where the other is asked for;
  ///   `.notEmpty`; `.notPermitted` for what is immutable or may only grow; and what
  ///   `directoryToChange` throws.
  func removeName(
    _ name: [UInt8], from parent: FileID, removesDirectories: Bool, _ setting: OperationSetting
  ) throws(TransactionError) -> RemovedName? {
    var directory = try directoryToChange(parent)
    guard !directory.inode.flags.contains(.append) else {
      throw .failed(VolumeError(.notPermitted))
    }
    let found = try self.name(name, in: directory, .intent)
    guard case .inode(let number) = found.target else {
      guard removesDirectories else { throw .failed(VolumeError(.isADirectory)) }
      return nil
    }
    var inode = try inode(number, directory.snapshot, .intent)
    guard inode.isDirectory == removesDirectories else {
      throw .failed(VolumeError(inode.isDirectory ? .isADirectory : .notADirectory))
    }
    try inode.checkMayChange()
    if inode.isDirectory {
      guard try isEmpty(number, subvolume: parent.subvolume, directory.snapshot) else {
        throw .failed(VolumeError(.notEmpty))
      }
      try directory.inode.countSubdirectories(by: -1)
    }
    try inode.removeLink()
    inode.forgetName(in: parent.inode, at: found.position.offset)
    inode.ctime = setting.now
    directory.inode.mtime = setting.now
    directory.inode.ctime = setting.now
    try remove(found, from: directory)
    put(directory.inode, directory.snapshot)
    put(inode, directory.snapshot)
    return RemovedName(
      id: FileID(subvolume: parent.subvolume, inode: number), snapshot: directory.snapshot,
      isUnlinked: inode.flags.contains(.unlinked))
  }
}

extension Inode {
  /// Does not point back to a name any more, if it did.
  mutating func forgetName(in directory: UInt64, at offset: UInt64) {
    guard self.directory == directory, directoryOffset == offset else { return }
    self.directory = 0
    directoryOffset = 0
  }
}
