// SPDX-License-Identifier: GPL-2.0
// Flags and project of a file: as chattr(1) and lsattr(1) ask for the flags (FS_IOC_GETFLAGS and
// FS_IOC_SETFLAGS), and as xfs_quota does for both (FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR).
//
// How it works
//   The kernel knows these ioctls, and hands them on as they are. Kernels before 5.13 did not look
//   who asks: so the owner, or root, has to.
// Source: fs-ioctl.c (bch2_ioc_getflags, bch2_ioc_fsgetxattr, ...); linux/fs.h (`struct fsxattr`,
// `FS_*_FL`).

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc

/// What these ioctls carry: `struct fsxattr`, or one word of flags alone.
struct FileFlags {
  private enum Layout {
    static var flags: LEField<UInt32> { .init(0) }
    static var project: LEField<UInt32> { .init(12) }
    static var byteCount: Int { 28 }
  }

  static let getCommand = IoctlNumber.read(31, byteCount: Layout.byteCount, letter: 0x58)
  static let setCommand = IoctlNumber.write(32, byteCount: Layout.byteCount, letter: 0x58)
  /// They name a `long`; what the kernel hands on is an `int`.
  static let getPlainCommand = IoctlNumber.read(1, byteCount: 8, letter: 0x66)
  static let setPlainCommand = IoctlNumber.write(2, byteCount: 8, letter: 0x66)

  /// `FS_XFLAG_PROJINHERIT`: the file keeps its project, whatever its directory has.
  private static var keepsProject: UInt32 { 0x200 }
  /// `FS_XFLAG_*` and `FS_*_FL`, and what the format has for them (`bch_flags_to_xflags`,
  /// `bch_flags_to_uflags`).
  private static let table: [Row] = [
    (0x08, 0x10, .immutable), (0x10, 0x20, .append), (0x20, 0x08, .sync), (0x40, 0x80, .noatime),
    (0x80, 0x40, .nodump),
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
    let bits = bytes[Layout.flags]
    keepsProject = bits & Self.keepsProject != 0
    project = bytes[Layout.project]
    take(bits & ~Self.keepsProject) { $0.bit }
  }

  private typealias Row = (bit: UInt32, plainBit: UInt32, flag: InodeFlags)

  /// Takes the flags that bits stand for.
  private mutating func take(_ bits: UInt32, _ bit: (Row) -> UInt32) {
    (flags, unknownBits) = ([], bits)
    for row in Self.table where bits & bit(row) != 0 {
      flags.insert(row.flag)
      unknownBits &= ~bit(row)
    }
  }

  private func bits(_ bit: (Row) -> UInt32) -> UInt32 {
    Self.table.reduce(0) { $0 | (flags.contains($1.flag) ? bit($1) : 0) }
  }

  /// The same with other flags. Nil where it is too short.
  func with(plain bytes: RawSpan) -> FileFlags? {
    guard bytes.byteCount >= 4 else { return nil }
    var result = self
    result.take(bytes[LEField<UInt32>(0)]) { $0.plainBit }
    return result
  }

  var encodedPlain: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4)
    var span = bytes.mutableRawBytes
    span[LEField<UInt32>(0)] = bits { $0.plainBit }
    return bytes
  }

  var encoded: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Layout.byteCount)
    var span = bytes.mutableRawBytes
    span[Layout.flags] = bits { $0.bit } | (keepsProject ? Self.keepsProject : 0)
    span[Layout.project] = project
    return bytes
  }
}

extension FileServer {
  /// - Parameter isPlain: Whether flags alone are asked for.
  func getFlags(_ request: Request, of node: UInt64, isPlain: Bool) {
    answer(request, node) { (file) throws(VolumeError) in
      let flags = FileFlags(try system.attributes(of: file).inode)
      request.reply(result: isPlain ? flags.encodedPlain : flags.encoded)
    }
  }

  func setFlags(_ request: Request, of node: UInt64, _ argument: RawSpan, isPlain: Bool) {
    answer(request, node) { (file) throws(VolumeError) in
      let inode = try system.attributes(of: file).inode
      let decoded =
        isPlain ? FileFlags(inode).with(plain: argument) : FileFlags(decoding: argument)
      guard let wanted = decoded else { return request.fail(EINVAL) }
      guard wanted.unknownBits == 0 else { return request.fail(EOPNOTSUPP) }
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
