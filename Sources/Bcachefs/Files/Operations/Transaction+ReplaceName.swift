// SPDX-License-Identifier: GPL-2.0
// A name that leads to another file from now on.
//
// Invariants
//   (1) Whoever looks for the name finds the one file or the other, at every moment.
// Source: what rename does (fs-common.c, bch2_rename_trans), with a source that may have no name.

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// Gives a file a name, in place of whatever has it.
  ///
  /// - Returns: its inode, as it will be; what had the name before, and lost it, or nil.
  /// - Throws: as `link`, but `.exists`; `.isADirectory` where a directory has the name.
  func replace(
    _ place: NamedPlace, with id: FileID, _ setting: OperationSetting
  ) throws(TransactionError) -> (inode: Inode, removed: RemovedName?) {
    try FileName.check(place.name)
    let parent = place.parent
    guard id.subvolume == parent.subvolume else { throw .failed(VolumeError(.crossSubvolume)) }
    var directory = try directoryToChange(parent)
    var inode = try inode(id.inode, directory.snapshot, .intent)
    guard !inode.isDirectory else { throw .failed(VolumeError(.notPermitted)) }
    try inode.checkMayChange()
    guard !inode.inheritOptions(of: directory.inode) else {
      throw .failed(VolumeError(.crossSubvolume))
    }
    let offset: UInt64
    var removed: RemovedName?
    switch try search(place.name, in: directory, .intent) {
    case .free(let free): offset = free
    case .found(let found):
      if case .inode(id.inode) = found.target { return (inode, nil) }
      offset = found.position.offset
      removed = try unlinkReplaced(found, in: directory, setting)
    }
    inode.ctime = setting.now
    try inode.addLink()
    inode.directory = parent.inode
    inode.directoryOffset = offset
    directory.inode.mtime = setting.now
    directory.inode.ctime = setting.now
    put(directory.inode, directory.snapshot)
    try put(
      place.name, .inode(inode.number), type: UInt8(inode.mode >> 12), at: offset, in: directory)
    put(inode, directory.snapshot)
    return (inode, removed)
  }

  /// Takes a link from the file whose name goes to another one.
  private func unlinkReplaced(
    _ found: FoundName, in directory: DirectoryState, _ setting: OperationSetting
  ) throws(TransactionError) -> RemovedName {
    guard !directory.inode.flags.contains(.append) else {
      throw .failed(VolumeError(.notPermitted))
    }
    guard case .inode(let number) = found.target else { throw .failed(VolumeError(.isADirectory)) }
    var inode = try inode(number, directory.snapshot, .intent)
    guard !inode.isDirectory else { throw .failed(VolumeError(.isADirectory)) }
    try inode.checkMayChange()
    try inode.removeLink()
    inode.forgetName(in: directory.id.inode, at: found.position.offset)
    inode.ctime = setting.now
    put(inode, directory.snapshot)
    return RemovedName(
      id: FileID(subvolume: directory.id.subvolume, inode: number), snapshot: directory.snapshot,
      isUnlinked: inode.flags.contains(.unlinked))
  }
}
