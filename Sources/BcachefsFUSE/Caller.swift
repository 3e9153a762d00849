// SPDX-License-Identifier: GPL-2.0
// Who asks: where the kernel leaves it to the filesystem what he may.

internal import Bcachefs
internal import BcachefsFormat
internal import CFUSE

struct Caller: Sendable {
  let uid: UInt32
  let gid: UInt32
  let groups: [UInt32]

  init(_ request: Request) {
    let context = unsafe fuse_req_ctx(request.handle)
    uid = unsafe context?.pointee.uid ?? .max
    gid = unsafe context?.pointee.gid ?? .max
    var list = [gid_t](repeating: 0, count: 256)
    let count = unsafe fuse_req_getgroups(request.handle, Int32(list.count), &list)
    groups = list.prefix(Int(max(0, min(count, 256)))).map { UInt32($0) }
  }

  func isIn(group: UInt32) -> Bool { gid == group || groups.contains(group) }

  /// Whether a directory's mode lets the caller change names in it. Where an access control list
  /// says more, it is not asked.
  func mayChange(_ directory: FileAttributes) -> Bool {
    if uid == 0 { return true }
    let inode = directory.inode
    let shift: UInt16 = inode.uid == uid ? 6 : isIn(group: inode.gid) ? 3 : 0
    return directory.mode >> shift & 0o3 == 0o3
  }
}
