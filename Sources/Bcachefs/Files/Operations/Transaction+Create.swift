// SPDX-License-Identifier: GPL-2.0
// New files: with a name, without one, or with one more.
//
// How it works
//   1. A new inode takes the options and, with the set-group-ID bit, the group of its directory. A
//      default ACL of the directory becomes its own, and that of a new directory too.
//   2. It points back to the directory and place of its newest name. Files with several names point
//      to one of them; nobody counts on that.
//   3. Without a name it is marked as unlinked from the beginning, so that it goes if nobody gives
//      it one; the first name takes the mark away.
// Invariants
//   (1) Inode, name and the directory's count and times change in one transaction.
// Source: fs-common.c (bch2_create_trans, bch2_link_trans), inode.c (bch2_inode_init_late), fs.c
// (__bch2_create), linux/posix_acl.c (posix_acl_create).

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// Makes a file.
  ///
  /// - Parameter name: nil: without a name.
  /// - Returns: its inode, as it will be.
  /// - Throws: `.exists`; `.notFound` for a directory that is not there, or is going; and what
  ///   `directoryToChange` throws.
  func create(
    _ name: [UInt8]?, in parent: FileID, _ creation: FileCreation, _ setting: OperationSetting
  ) throws(TransactionError) -> Inode {
    if let name { try FileName.check(name) }
    var directory = try directoryToChange(parent)
    var inode = Self.newInode(creation, in: directory.inode, setting)
    let offset: UInt64? =
      if let name { try place(for: name, in: directory) } else { nil }
    inode.number = try freeInodeNumber(setting.numbers)
    inode.snapshot = directory.snapshot
    try inheritACL(&inode, creation, from: directory, setting)
    guard let name, let offset else {
      inode.flags.insert(.unlinked)
      put(inode, directory.snapshot)
      return inode
    }
    if inode.isDirectory { try directory.inode.countSubdirectories(by: 1) }
    directory.inode.mtime = setting.now
    directory.inode.ctime = setting.now
    put(directory.inode, directory.snapshot)
    try put(
      name, .inode(inode.number), type: UInt8(inode.mode >> 12), at: offset, in: directory)
    inode.directory = parent.inode
    inode.directoryOffset = offset
    put(inode, directory.snapshot)
    return inode
  }

  static func newInode(
    _ creation: FileCreation, in directory: Inode, _ setting: OperationSetting
  ) -> Inode {
    var inode = Inode()
    inode.hashSeed = setting.hashSeed
    inode.generation = setting.generation
    inode.stringHash = setting.stringHash
    inode.mode = creation.kind.rawValue | creation.permissions & 0o7777
    inode.uid = creation.uid
    inode.gid = creation.gid
    if creation.kind.isDevice {
      inode.setDevice(major: creation.deviceMajor, minor: creation.deviceMinor)
    }
    inode.atime = setting.now
    inode.mtime = setting.now
    inode.ctime = setting.now
    inode.otime = setting.now
    if directory.mode & 0o2000 != 0 {
      inode.gid = directory.gid
      if inode.isDirectory { inode.mode |= 0o2000 }
    }
    inode.takeOptions(of: directory)
    return inode
  }

  /// Gives a new file the lists that its directory has for it; without any, the umask counts.
  func inheritACL(
    _ inode: inout Inode, _ creation: FileCreation, from directory: DirectoryState,
    _ setting: OperationSetting
  ) throws(TransactionError) {
    guard creation.kind != .symbolicLink else { return }
    guard setting.usesACLs,
      let list = try acl(.aclDefault, directory.inode, directory.snapshot, .read)
    else {
      inode.mode &= ~(creation.umask & 0o777)
      return
    }
    var own = list
    inode.mode = own.limit(to: inode.mode)
    if inode.isDirectory { try put(list, .aclDefault, inode, inode.snapshot) }
    if !own.isMode { try put(own, .aclAccess, inode, inode.snapshot) }
  }

  // MARK: - Links

  /// Gives a file one more name, or one that has none its first.
  ///
  /// - Returns: its inode, as it will be.
  /// - Throws: `.exists`; `.crossSubvolume` where the directory is in another subvolume, or has
  ///   options that the file has not; `.notPermitted` for directories; `.tooManyLinks`; and what
  ///   `directoryToChange` throws.
  func link(
    _ id: FileID, as name: [UInt8], in parent: FileID, _ setting: OperationSetting
  ) throws(TransactionError) -> Inode {
    try FileName.check(name)
    guard id.subvolume == parent.subvolume else { throw .failed(VolumeError(.crossSubvolume)) }
    var directory = try directoryToChange(parent)
    var inode = try inode(id.inode, directory.snapshot, .intent)
    guard !inode.isDirectory else { throw .failed(VolumeError(.notPermitted)) }
    try inode.checkMayChange()
    let offset = try place(for: name, in: directory)
    guard !inode.inheritOptions(of: directory.inode) else {
      throw .failed(VolumeError(.crossSubvolume))
    }
    inode.ctime = setting.now
    try inode.addLink()
    directory.inode.mtime = setting.now
    directory.inode.ctime = setting.now
    put(directory.inode, directory.snapshot)
    try put(
      name, .inode(inode.number), type: UInt8(inode.mode >> 12), at: offset, in: directory)
    inode.directory = parent.inode
    inode.directoryOffset = offset
    put(inode, directory.snapshot)
    return inode
  }

  // MARK: - Symbolic links

  /// Gives a new symbolic link its target, in a key of the extents btree that holds the bytes
  /// themselves.
  ///
  /// - Parameters:
  ///   - inode: As `create` made it; gets the size.
  ///   - blockBytes: Of which the volume counts a file's sectors.
  func putInlineTarget(
    _ target: [UInt8], _ inode: inout Inode, blockBytes: Int
  ) throws(TransactionError) {
    let sectors = (target.count + blockBytes - 1) / blockBytes * blockBytes / 512
    let key = BKey(
      type: .inlineData,
      position: Positions.extent(
        inode: inode.number, end: UInt64(sectors), snapshot: inode.snapshot),
      size: UInt32(truncatingIfNeeded: sectors), valueU64s: (target.count + 7) / 8)
    let padded = target + [UInt8](repeating: 0, count: key.valueByteCount - target.count)
    update(.extents, key, padded.rawBytes)
    inode.size = UInt64(target.count)
    inode.sectors = UInt64(sectors)
    put(inode, inode.snapshot)
  }

  /// A target that is in a key; nil for one that is not.
  func inlineTarget(
    of inode: Inode, _ snapshot: UInt32
  ) throws(TransactionError) -> [UInt8]? {
    var walk = SnapshotWalk(.extents, inode.number, from: 0, snapshot: snapshot)
    guard let found = try next(&walk), found.key.type == .inlineData, found.key.start.offset == 0
    else { return nil }
    return found.withValue { value in
      value.extracting(0..<min(value.byteCount, Int(clamping: inode.size))).copiedBytes
    }
  }
}
