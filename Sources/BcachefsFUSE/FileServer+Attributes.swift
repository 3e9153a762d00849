// SPDX-License-Identifier: GPL-2.0
// Attributes of files and of the volume.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc

extension FileServer {
  func getAttributes(_ request: Request, of node: UInt64, handle: UInt64?) {
    answer(request, node) { (file) throws(VolumeError) in
      if let reason = try whyOutOfRoom(node, file, handle: handle) { return request.fail(reason) }
      reply(request, attributes: try system.attributes(of: file), of: node)
    }
  }

  private func reply(_ request: Request, attributes: FileAttributes, of node: UInt64) {
    let timeout = timeout(of: attributes)
    writers.noteTold(node, sectors: attributes.inode.sectors, isKept: timeout > 0)
    request.reply(attributes.status(blockBytes: blockBytes), timeoutSeconds: timeout)
  }

  /// - Parameter which: As in `FUSE_SET_ATTR_*`.
  func setAttributes(_ request: Request, of node: UInt64, _ status: stat, which: Int32) {
    answer(request, node) { (file) throws(VolumeError) in
      func isSet(_ flag: Int32) -> Bool { which & flag != 0 }
      if isSet(FUSE_SET_ATTR_SIZE) {
        guard let size = UInt64(exactly: status.st_size) else { return request.fail(EINVAL) }
        try system.truncate(file, to: size)
      }
      var change = AttributeChange()
      if isSet(FUSE_SET_ATTR_MODE) {
        change.permissions = UInt16(truncatingIfNeeded: status.st_mode & 0o7777)
      }
      if isSet(FUSE_SET_ATTR_UID) { change.uid = status.st_uid }
      if isSet(FUSE_SET_ATTR_GID) { change.gid = status.st_gid }
      let now = system.nowNanoseconds
      if isSet(FUSE_SET_ATTR_ATIME) { change.accessTime = status.st_atim.nanoseconds }
      if isSet(FUSE_SET_ATTR_ATIME_NOW) { change.accessTime = now }
      if isSet(FUSE_SET_ATTR_MTIME) { change.modificationTime = status.st_mtim.nanoseconds }
      if isSet(FUSE_SET_ATTR_MTIME_NOW) { change.modificationTime = now }
      if isSet(FUSE_SET_ATTR_CTIME) { change.changeTime = status.st_ctim.nanoseconds }
      let ofWriting = FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME
      // The kernel has times of what it took when it was allowed, and tells them later.
      change.isOfWriting = which == ofWriting && writers.has(node)
      change.setsTimesToNow = isSet(FUSE_SET_ATTR_ATIME_NOW) || isSet(FUSE_SET_ATTR_MTIME_NOW)
      reply(
        request,
        attributes: which == FUSE_SET_ATTR_SIZE
          ? try system.attributes(of: file)
          : try system.change(file, change, quotas: request.quotaRule), of: node)
    }
  }

  // MARK: - Extended attributes

  func getXattr(_ request: Request, of node: UInt64, _ name: [UInt8], room: Int) {
    answer(request, node) { (file) throws(VolumeError) in
      request.reply(attribute: try system.xattr(name, of: file), room: room)
    }
  }

  func listXattrs(_ request: Request, of node: UInt64, room: Int) {
    answer(request, node) { (file) throws(VolumeError) in
      request.reply(attributes: try system.xattrNames(of: file), room: room)
    }
  }

  /// - Parameter flags: As of setxattr(2).
  func setXattr(
    _ request: Request, of node: UInt64, _ name: [UInt8], _ value: [UInt8], flags: Int32
  ) {
    answer(request, node) { (file) throws(VolumeError) in
      let condition: XattrCondition =
        flags & XATTR_CREATE != 0 ? .new : flags & XATTR_REPLACE != 0 ? .present : .any
      // As of chmod(2): who is not in a file's group does not make others run it as that one.
      var clearsSetGroup = false
      if name.elementsEqual("system.posix_acl_access".utf8), !request.isFromRoot {
        let group = try system.attributes(of: file).inode.gid
        clearsSetGroup = !Caller(request).isIn(group: group)
      }
      try system.setXattr(
        name, of: file, to: value, condition, clearsSetGroup: clearsSetGroup,
        quotas: request.quotaRule)
      request.fail(0)
    }
  }

  func removeXattr(_ request: Request, of node: UInt64, _ name: [UInt8]) {
    answer(request, node) { (file) throws(VolumeError) in
      try system.removeXattr(name, of: file, quotas: request.quotaRule)
      request.fail(0)
    }
  }

  // As in sys/xattr.h.
  private var XATTR_CREATE: Int32 { 1 }
  private var XATTR_REPLACE: Int32 { 2 }

  // MARK: - The volume

  func getUsage(_ request: Request) {
    request.reply(VolumeServer.status(of: system.usage, blockBytes: blockBytes))
  }
}

extension timespec {
  /// Nanoseconds since 1970.
  fileprivate var nanoseconds: Int64 {
    let (seconds, overflow) = Int64(tv_sec).multipliedReportingOverflow(by: 1_000_000_000)
    return overflow ? (tv_sec < 0 ? .min : .max) : seconds &+ Int64(tv_nsec)
  }
}
