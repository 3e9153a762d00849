// SPDX-License-Identifier: GPL-2.0
// Mounts that are gone, and whose volume is not closed yet: umount(8) does not wait for that.

internal import Bcachefs
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
    guard let stream = unsafe fopen("/proc/mounts", "re") else { return false }
    defer { _ = unsafe fclose(stream) }
    var line: UnsafeMutablePointer<CChar>?
    var room = 0
    defer { unsafe free(line) }
    while unsafe getline(&line, &room, stream) > 0, let text = unsafe line {
      let words = unsafe String(cString: text).split(separator: " ")
      if words.count > 2, words[0] == source, words[2] == "fuse.bcachefs" { return true }
    }
    return false
  }
}
