// SPDX-License-Identifier: GPL-2.0
// What callers say of files that are to be made or changed.

public import BcachefsFormat

/// A file, directory or anything else that is to be made.
public struct FileCreation: Sendable {
  /// What it is to be.
  public var kind: FileKind
  /// The lower twelve bits of `st_mode`, before the umask.
  public var permissions: UInt16
  /// Bits that are taken away, unless the directory has a default ACL, which then says so.
  public var umask: UInt16 = 0
  /// The owner.
  public var uid: UInt32 = 0
  /// The group; a directory with the set-group-ID bit gives its own instead.
  public var gid: UInt32 = 0
  /// Of a device node, below 4096.
  public var deviceMajor: UInt32 = 0
  /// Of a device node, below 2^20.
  public var deviceMinor: UInt32 = 0

  /// A file of a kind, with permissions; the rest is zero.
  public init(_ kind: FileKind, permissions: UInt16) {
    self.kind = kind
    self.permissions = permissions
  }
}

/// Attributes of a file that are to change; nil ones stay. Who may do so is the caller's to know.
public struct AttributeChange: Sendable {
  /// The lower twelve bits of `st_mode`; an access ACL follows them.
  public var permissions: UInt16?
  /// The owner.
  public var uid: UInt32?
  /// The group.
  public var gid: UInt32?
  /// Nanoseconds since 1970.
  public var accessTime: Int64?
  /// Nanoseconds since 1970.
  public var modificationTime: Int64?
  /// Nanoseconds since 1970; nil: now.
  public var changeTime: Int64?
  /// Those of `immutable`, `append`, `nodump`, `noatime` and `sync` that it shall have.
  public var flags: InodeFlags?
  /// The project that the file counts for, below 2^32 - 1.
  public var project: UInt32?
  /// Whether it stays in its project where it gets a name in a directory of another one.
  public var keepsProject: Bool?
  /// Whether the times are of writing that was allowed when it was done: what flags say now does
  /// not count.
  public var isOfWriting = false
  /// Whether all that changes is times, to now: a file that may only grow takes that.
  public var setsTimesToNow = false

  /// Nothing changes.
  public init() {}

  /// Flags that a caller may set and clear (`bch_flags_to_uflags`).
  static let settableFlags: InodeFlags = [.immutable, .append, .nodump, .noatime, .sync]

  /// Whether a file with some flags keeps what it changes.
  func isRefused(by flags: InodeFlags) -> Bool {
    let isOwners = permissions != nil || uid != nil || gid != nil
    guard isOwners || accessTime != nil || modificationTime != nil else { return false }
    if !isOwners, isOfWriting { return false }
    return flags.contains(.immutable)
      || flags.contains(.append) && (isOwners || !setsTimesToNow)
  }
}

/// How a file is to be renamed; as the flags of renameat2(2).
public struct RenameFlags: OptionSet, Sendable {
  /// As in `RENAME_*`.
  public let rawValue: UInt32

  /// Flags by their bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// `RENAME_NOREPLACE`: only where nothing has the new name.
  public static let noReplace = RenameFlags(rawValue: 1)
  /// `RENAME_EXCHANGE`: both names are there, and change places.
  public static let exchange = RenameFlags(rawValue: 2)
  /// `RENAME_WHITEOUT`: the old name stays, as that of a whiteout of overlayfs.
  public static let whiteout = RenameFlags(rawValue: 4)
}

/// Whether an attribute has to be new, or there, when it is set.
public enum XattrCondition: Sendable {
  /// Either way.
  case any
  /// `XATTR_CREATE`: it has to be new.
  case new
  /// `XATTR_REPLACE`: it has to be there.
  case present
}

/// What operations are given from outside: time, randomness, and what the volume has for all.
struct OperationSetting {
  /// In the volume's units.
  let now: UInt64
  /// The secret of a new inode's hashes.
  let hashSeed: UInt64
  /// A new inode's: tells it from one that had its number before.
  let generation: UInt32
  /// How new inodes hash names.
  let stringHash: UInt8
  let usesACLs: Bool
  let numbers: InodeNumbers
}
