// SPDX-License-Identifier: GPL-2.0
// Attributes: owners, permissions, times, flags, and the options that a file has for itself.
//
// How it works
//   1. With the permissions an access ACL changes too: neither says anything that the other does
//      not.
//   2. An option that is set on a file counts there until it is taken back; others follow the
//      directory whenever the file gets a name in another one (`Inode.inheritOptions`). What is in
//      a directory keeps its options when the directory's change, until somebody asks for that name
//      (`inheritOptions(of:in:)`): so no operation walks over a tree.
//   3. Where an option says that data is to be elsewhere, or compressed otherwise, a cookie in
//      rebalance_work has the driver look through the file.
// Source: fs.c (bch2_setattr_nonsize, bch2_setattr_copy), xattr.c (bch2_xattr_bcachefs_set),
// fs-ioctl.c (bch2_ioc_reinherit_attrs), rebalance.c (bch2_set_rebalance_needs_scan).

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// Changes attributes of a file.
  ///
  /// - Parameter time: What the volume has for nanoseconds.
  /// - Returns: its inode, as it will be.
  /// - Throws: `.notFound`; `.readOnly`; `.notPermitted` for what an immutable file keeps;
  ///   `.invalid` for a project that there cannot be.
  func change(
    _ id: FileID, _ change: AttributeChange, _ time: VolumeTime, _ setting: OperationSetting
  ) throws(TransactionError) -> Inode {
    var (snapshot, inode) = try inodeToChange(id)
    if change.isRefused(by: inode.flags) { throw .failed(VolumeError(.notPermitted)) }
    if let uid = change.uid { inode.uid = uid }
    if let gid = change.gid { inode.gid = gid }
    if let access = change.accessTime { inode.atime = time.units(access) }
    if let modification = change.modificationTime { inode.mtime = time.units(modification) }
    inode.ctime = change.changeTime.map(time.units) ?? setting.now
    if let flags = change.flags {
      let settable = AttributeChange.settableFlags
      inode.flags = inode.flags.subtracting(settable).union(flags.intersection(settable))
    }
    if change.project != nil || change.keepsProject != nil {
      guard
        inode.setOption(
          .project, to: change.project.map(UInt64.init) ?? inode.value(of: .project),
          isSetHere: change.keepsProject ?? inode.isSetHere(.project))
      else { throw .failed(VolumeError(.invalid)) }
    }
    if let permissions = change.permissions {
      inode.mode = inode.fileType | permissions & 0o7777
      if var list = try acl(.aclAccess, inode, snapshot, .intent) {
        list.follow(inode.mode)
        try put(list, .aclAccess, inode, snapshot)
      }
    }
    put(inode, snapshot)
    return inode
  }

  // MARK: - Options

  /// Sets an option of a file, or has it follow its directory again.
  ///
  /// - Parameter value: nil: what the directory has.
  /// - Throws: `.notFound`; `.readOnly`; `.invalid` for a value that the inode has no room for.
  func setOption(
    _ option: InodeOption, of id: FileID, to value: UInt64?, _ setting: OperationSetting
  ) throws(TransactionError) {
    var (snapshot, inode) = try inodeToChange(id)
    try inode.checkMayChange()
    var stored = value
    if value == nil, let parent = try parent(of: id) {
      let above = try self.inode(parent.inode, subvolume(parent.subvolume).snapshot)
      stored = above.value(of: option)
    }
    guard inode.setOption(option, to: stored, isSetHere: value != nil) else {
      throw .failed(VolumeError(.invalid))
    }
    inode.ctime = setting.now
    put(inode, snapshot)
    let hasOwnBackground = inode.value(of: .backgroundCompression) != nil
    if value != nil,
      option == .backgroundTarget || option == .backgroundCompression
        || option == .compression && !hasOwnBackground
    {
      try askForRebalance(of: id.inode)
    }
  }

  /// Has whoever rebalances look through a file.
  private func askForRebalance(of number: UInt64) throws(TransactionError) {
    let position = BPos(number, Self.rebalanceScanOffset, .max)
    var cookie: UInt64 = 0
    if let found = try lookup(.rebalanceWork, position, .intent), found.key.type == .cookie {
      cookie = found.withValue { $0.byteCount >= 8 ? $0[LEField<UInt64>(0)] : 0 }
    }
    put(.rebalanceWork, .cookie, position, 1) { $0[LEField<UInt64>(0)] = cookie &+ 1 }
  }

  /// `REBALANCE_WORK_SCAN_OFFSET`
  private static var rebalanceScanOffset: UInt64 { .max - 1 }

  /// Gives the file of a name the options of its directory, but those that were set on it.
  ///
  /// - Returns: whether that changed any, and the file: what is in it may have to follow.
  /// - Throws: `.notFound`; `.readOnly`.
  func inheritOptions(
    of parent: FileID, for name: [UInt8], _ setting: OperationSetting
  ) throws(TransactionError) -> (id: FileID, isChanged: Bool) {
    let directory = try directory(parent, subvolume(parent.subvolume).snapshot, .read)
    let found = try self.name(name, in: directory, .read)
    let id = try fileID(of: found.target, in: parent.subvolume)
    var (snapshot, inode) = try inodeToChange(id)
    guard inode.inheritOptions(of: directory.inode) else { return (id, false) }
    inode.ctime = setting.now
    put(inode, snapshot)
    return (id, true)
  }
}
