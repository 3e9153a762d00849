// SPDX-License-Identifier: GPL-2.0
// Flags and project of a file, as chattr(1) and xfs_quota ask for them (FS_IOC_FSGETXATTR and
// FS_IOC_FSSETXATTR).
//
// How it works
//   The kernel knows these ioctls, and hands them on as they are. Kernels before 5.13 did not look
//   who asks: so the owner, or root, has to.
// Source: fs-ioctl.c (bch2_ioc_fsgetxattr, bch2_ioc_fssetxattr); linux/fs.h (`struct fsxattr`).

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc

/// What the two ioctls carry (`struct fsxattr`).
struct FileFlags {
  private enum Layout {
    static var flags: LEField<UInt32> { .init(0) }
    static var project: LEField<UInt32> { .init(12) }
    static var byteCount: Int { 28 }
  }

  static let getCommand = IoctlNumber.read(31, byteCount: Layout.byteCount, letter: 0x58)
  static let setCommand = IoctlNumber.write(32, byteCount: Layout.byteCount, letter: 0x58)

  /// `FS_XFLAG_PROJINHERIT`: the file keeps its project, whatever its directory has.
  private static var keepsProject: UInt32 { 0x200 }
  /// `FS_XFLAG_*`, and what the format has for them (`bch_flags_to_xflags`).
  private static let table: [(bit: UInt32, flag: InodeFlags)] = [
    (0x08, .immutable), (0x10, .append), (0x20, .sync), (0x40, .noatime), (0x80, .nodump),
  ]

  var flags: InodeFlags = []
  var keepsProject: Bool
  var project: UInt32
  /// Bits that stand for nothing here.
  private(set) var unknownBits: UInt32 = 0

  /// Those of a file.
  init(_ inode: Inode) {
    for row in Self.table where inode.flags.contains(row.flag) { flags.insert(row.flag) }
    keepsProject = inode.isSetHere(.project)
    project = UInt32(truncatingIfNeeded: inode.value(of: .project) ?? 0)
  }

  /// Nil where it is too short.
  init?(decoding bytes: RawSpan) {
    guard bytes.byteCount >= Layout.byteCount else { return nil }
    var bits = bytes[Layout.flags]
    keepsProject = bits & Self.keepsProject != 0
    bits &= ~Self.keepsProject
    for row in Self.table where bits & row.bit != 0 {
      flags.insert(row.flag)
      bits &= ~row.bit
    }
    unknownBits = bits
    project = bytes[Layout.project]
  }

  var encoded: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Layout.byteCount)
    var span = bytes.mutableRawBytes
    var bits = keepsProject ? Self.keepsProject : 0
    for row in Self.table where flags.contains(row.flag) { bits |= row.bit }
    span[Layout.flags] = bits
    span[Layout.project] = project
    return bytes
  }
}

extension FileServer {
  func getFlags(_ request: Request, of node: UInt64) {
    answer(request, node) { (file) throws(VolumeError) in
      request.reply(result: FileFlags(try system.attributes(of: file).inode).encoded)
    }
  }

  func setFlags(_ request: Request, of node: UInt64, _ argument: RawSpan) {
    guard let wanted = FileFlags(decoding: argument) else { return request.fail(EINVAL) }
    guard wanted.unknownBits == 0 else { return request.fail(EOPNOTSUPP) }
    answer(request, node) { (file) throws(VolumeError) in
      let inode = try system.attributes(of: file).inode
      let isOwner = unsafe fuse_req_ctx(request.handle)?.pointee.uid == inode.uid
      guard request.isFromRoot || isOwner else { throw VolumeError(.accessDenied) }
      let roots: InodeFlags = [.immutable, .append]
      let isRoots = wanted.flags.intersection(roots) != inode.flags.intersection(roots)
      guard request.isFromRoot || !isRoots else { throw VolumeError(.notPermitted) }
      var change = AttributeChange()
      change.flags = wanted.flags
      if wanted.project != FileFlags(inode).project { change.project = wanted.project }
      change.keepsProject = wanted.keepsProject
      _ = try system.change(file, change, quotas: request.quotaRule)
      request.reply(result: [])
    }
  }
}
