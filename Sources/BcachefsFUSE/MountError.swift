// SPDX-License-Identifier: GPL-2.0
// Why a mount does not come about, and what system calls on a mount fail with.

internal import Bcachefs
internal import CFUSE
internal import Glibc

/// A mount failed.
public struct MountError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What kind of failure: mount(8) has an exit code for each.
  public enum Reason: Sendable {
    /// The options or operands are wrong.
    case usage
    /// A system call failed: no memory, no threads, no FUSE.
    case system
    /// The kernel or fusermount3 did not mount.
    case mount
  }

  public let reason: Reason
  public let description: String

  init(_ reason: Reason, _ description: String) {
    self.reason = reason
    self.description = description
  }

  /// The exit code that mount(8) has for it.
  public var exitCode: Int32 {
    switch reason {
    case .usage: 1
    case .system: 2
    case .mount: 32
    }
  }
}

extension VolumeError.Code {
  /// The errno that system calls fail with. Whatever contradicts the format is EUCLEAN, as with
  /// other filesystems; what is lost is EIO.
  var errno: Int32 {
    switch self {
    case .notFound: ENOENT
    case .notADirectory: ENOTDIR
    case .isADirectory: EISDIR
    case .wrongType: EINVAL
    case .nameTooLong: ENAMETOOLONG
    case .notAVolume: EUCLEAN
    case .foreignMember: ENXIO
    case .missingMembers: ENXIO
    case .splitBrain: ENXIO
    case .unsupported: EOPNOTSUPP
    case .locked: ENOKEY
    case .corrupt: EUCLEAN
    case .allCopiesBad, .poisoned: EIO
    case .device: EIO
    case .limit: EOVERFLOW
    case .noSpace: ENOSPC
    case .cancelled: EINTR
    case .exists: EEXIST
    case .notEmpty: ENOTEMPTY
    case .crossSubvolume: EXDEV
    case .loop, .invalid: EINVAL
    case .readOnly: EROFS
    case .tooManyLinks: EMLINK
    case .noAttribute: ENODATA
    case .tooLarge: ERANGE
    case .fileTooLarge: EFBIG
    case .accessDenied: EACCES
    case .notPermitted: EPERM
    case .quotaExceeded: EDQUOT
    }
  }
}
