// SPDX-License-Identifier: GPL-2.0
// Mounts that are gone, and whose volume is not closed yet: nobody waited for that who does not
// unmount by this program, or its helper for umount(8).

internal import Bcachefs
internal import BcachefsFUSE
internal import BcachefsIO

#if canImport(Glibc)
internal import Glibc
#endif

enum ClosingMount {
  private static let patienceSeconds = 30

  /// Opens a volume; where another process of this program is about to close it, when it has.
  ///
  /// - Parameter source: As the volume is named for mount.
  static func waiting<Opened>(
    for source: String, _ open: () throws(VolumeError) -> Opened
  ) throws(VolumeError) -> Opened {
    for _ in 0..<patienceSeconds * 10 {
      do throws(VolumeError) {
        return try open()
      } catch {
        guard isClosing(error), !isMounted(source) else { throw error }
        usleep(100_000)
      }
    }
    return try open()
  }

  /// Whether only processes of this program are in the way.
  private static func isClosing(_ error: VolumeError) -> Bool {
    guard case .inUse(let conflicts)? = error.deviceError?.reason else { return false }
    return conflicts.allSatisfy { conflict in
      if case .locked(_?, let process?) = conflict { process.hasPrefix("bcachefs") } else { false }
    }
  }

  private static func isMounted(_ source: String) -> Bool {
    MountEntry.all.contains { $0.isServedByUs && $0.source == source }
  }
}
