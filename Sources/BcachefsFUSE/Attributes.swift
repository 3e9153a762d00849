// SPDX-License-Identifier: GPL-2.0
// What stat(2) shows, from what the engine knows.

internal import Bcachefs
internal import BcachefsFormat
internal import CFUSE
internal import Glibc

extension FileAttributes {
  /// As `struct stat`.
  ///
  /// - Parameter blockBytes: The volume's block size.
  /// - Source: bch2_getattr, bch2_inode_update_after_write (fs.c).
  func status(blockBytes: Int) -> stat {
    var status = stat()
    status.st_ino = UInt(NodeTable.visibleNumber(id))
    status.st_mode = UInt32(mode)
    status.st_nlink = numericCast(linkCount)
    status.st_uid = inode.uid
    status.st_gid = inode.gid
    status.st_rdev = cfuse_device(inode.deviceMajor, inode.deviceMinor)
    status.st_size = Int(clamping: byteCount)
    status.st_blksize = numericCast(blockBytes)
    status.st_blocks = Int(clamping: inode.sectors)
    status.st_atim = timespec(nanoseconds: accessTime)
    status.st_mtim = timespec(nanoseconds: modificationTime)
    status.st_ctim = timespec(nanoseconds: changeTime)
    return status
  }
}

extension fuse_entry_param {
  /// Seconds: until it is unmounted.
  static let timeoutSeconds = 1e9

  /// What the kernel gets with a name. It keeps the name.
  ///
  /// - Parameter attributesTimeout: How long it may keep attributes, in seconds.
  init(
    node: UInt64, _ attributes: FileAttributes, blockBytes: Int,
    attributesTimeout: Double = timeoutSeconds
  ) {
    self.init()
    ino = node
    generation = UInt64(attributes.inode.generation)
    attr = attributes.status(blockBytes: blockBytes)
    attr_timeout = attributesTimeout
    entry_timeout = Self.timeoutSeconds
  }

  /// Node id 0: there is no such name, and that may be remembered.
  static var missing: fuse_entry_param {
    var entry = fuse_entry_param()
    entry.entry_timeout = timeoutSeconds
    return entry
  }

  /// A name alone, without a node: to look it up then fails.
  static func name(_ name: DirectoryEntry) -> fuse_entry_param {
    var entry = fuse_entry_param()
    entry.attr = EntryList.status(of: name)
    return entry
  }
}

extension timespec {
  /// Nanoseconds since 1970, before it too.
  init(nanoseconds: Int64) {
    let second: Int64 = 1_000_000_000
    let rest = nanoseconds % second
    let fraction = rest < 0 ? rest + second : rest
    self.init()
    tv_sec = Int(nanoseconds / second - (rest < 0 ? 1 : 0))
    tv_nsec = Int(fraction)
  }
}
