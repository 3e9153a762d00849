// SPDX-License-Identifier: GPL-2.0

public import BcachefsFormat

/// What kind of file something is (`S_IFMT` of its mode).
public enum FileKind: UInt16, Sendable {
  case fifo = 0x1000
  case characterDevice = 0x2000
  case directory = 0x4000
  case blockDevice = 0x6000
  case regular = 0x8000
  case symbolicLink = 0xa000
  case socket = 0xc000

  /// The kind of a file; nil if its mode says none, which is damage.
  public init?(_ inode: Inode) { self.init(rawValue: inode.fileType) }

  /// The kind that a name says it leads to (`d_type`); nil if that is none.
  public init?(direntType: UInt8) {
    let isSubvolume = direntType == Dirent.subvolumeType
    self.init(rawValue: isSubvolume ? FileKind.directory.rawValue : UInt16(direntType) << 12)
  }

  /// Whether it is a device node: `Inode.deviceMajor` and `deviceMinor` say of which device.
  public var isDevice: Bool { self == .characterDevice || self == .blockDevice }
}
