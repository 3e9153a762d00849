// SPDX-License-Identifier: GPL-2.0
// Who runs the command: the owner of what it makes.

#if canImport(Glibc)
internal import Glibc
#endif

enum Caller {
  static var uid: UInt32 { geteuid() }
  static var gid: UInt32 { getegid() }

  /// The permissions that new files do not get. There is no way to ask for it but to set it: only
  /// while there is one thread.
  static var umask: UInt16 {
    let mask = Glibc.umask(0o22)
    _ = Glibc.umask(mask)
    return UInt16(truncatingIfNeeded: mask & 0o777)
  }

  /// The number of a user that a name stands for on this machine; a number is itself.
  static func userID(_ text: String) -> UInt32? {
    if let number = number(text) { return number }
    guard let entry = unsafe getpwnam(text) else { return nil }
    return unsafe entry.pointee.pw_uid
  }

  /// The number of a group that a name stands for on this machine; a number is itself.
  static func groupID(_ text: String) -> UInt32? {
    if let number = number(text) { return number }
    guard let entry = unsafe getgrnam(text) else { return nil }
    return unsafe entry.pointee.gr_gid
  }

  /// The main group of a user.
  static func mainGroupID(ofUser uid: UInt32) -> UInt32? {
    guard let entry = unsafe getpwuid(uid) else { return nil }
    return unsafe entry.pointee.pw_gid
  }

  /// The largest number is no owner: it stands for none.
  private static func number(_ text: String) -> UInt32? {
    guard !text.isEmpty, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
    return UInt32(text).flatMap { $0 == .max ? nil : $0 }
  }
}
