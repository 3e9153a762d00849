// SPDX-License-Identifier: GPL-2.0
// Access control lists: the form that Linux hands out as an xattr, and the form on disk.
//
// Linux: a 32-bit version (2), then per entry tag (16), permissions (16), id (32). On disk: a
// 32-bit version (1), and the id only for entries that name a user or a group.
// Source: acl.c (bch2_acl_to_xattr, bch2_acl_from_disk), linux/posix_acl_xattr.h.

internal import BcachefsFormat
internal import BcachefsSupport

enum PosixACL {
  private static let linuxVersion: UInt32 = 2
  private static let diskVersion: UInt32 = 1
  private static let userTag: UInt16 = 0x02
  private static let groupTag: UInt16 = 0x08
  private static let shortTags: Set<UInt16> = [0x01, 0x04, 0x10, 0x20]

  /// The on-disk form of the value of `system.posix_acl_access` or `_default`, nil if that is not
  /// an ACL.
  static func diskForm(ofLinux bytes: [UInt8]) -> [UInt8]? {
    let span = bytes.rawBytes
    guard span.byteCount >= 4, (span.byteCount - 4) % 8 == 0,
      span[LEField<UInt32>(0)] == linuxVersion
    else { return nil }
    var result: [UInt8] = []
    append(diskVersion, to: &result)
    for offset in stride(from: 4, to: span.byteCount, by: 8) {
      let tag = span[LEField<UInt16>(offset)]
      append(tag, to: &result)
      append(span[LEField<UInt16>(offset + 2)], to: &result)
      if tag == userTag || tag == groupTag {
        append(span[LEField<UInt32>(offset + 4)], to: &result)
      } else if !shortTags.contains(tag) {
        return nil
      }
    }
    return result
  }

  /// The form that Linux hands out, nil if `bytes` are not an ACL as it stands on disk.
  static func linuxForm(ofDisk bytes: [UInt8]) -> [UInt8]? {
    let span = bytes.rawBytes
    guard span.byteCount >= 4, span[LEField<UInt32>(0)] == diskVersion else { return nil }
    var result: [UInt8] = []
    append(linuxVersion, to: &result)
    var offset = 4
    while offset < span.byteCount {
      guard span.byteCount - offset >= 4 else { return nil }
      let tag = span[LEField<UInt16>(offset)]
      append(tag, to: &result)
      append(span[LEField<UInt16>(offset + 2)], to: &result)
      offset += 4
      if tag == userTag || tag == groupTag {
        guard span.byteCount - offset >= 4 else { return nil }
        append(span[LEField<UInt32>(offset)], to: &result)
        offset += 4
      } else if shortTags.contains(tag) {
        append(UInt32.max, to: &result)
      } else {
        return nil
      }
    }
    return result
  }

  private static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
    for index in 0..<value.bitWidth / 8 {
      bytes.append(UInt8(truncatingIfNeeded: value >> (index * 8)))
    }
  }
}
