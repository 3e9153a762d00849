// SPDX-License-Identifier: GPL-2.0

internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

/// A regular file of the host, whatever its name: device and inode as in `HostStat`.
public struct HostFileIdentity: Hashable, Sendable {
  public let device: UInt64
  public let inode: UInt64

  /// The regular file at `path`, links followed; nil where there is none.
  public init?(path: String) {
    guard let status = SystemText.status(path), status.st_mode & S_IFMT == S_IFREG else {
      return nil
    }
    let major = linux_device_major(status.st_dev)
    device = UInt64(major) << 32 | UInt64(linux_device_minor(status.st_dev))
    inode = UInt64(status.st_ino)
  }
}
