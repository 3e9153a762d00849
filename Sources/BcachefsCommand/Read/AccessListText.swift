// SPDX-License-Identifier: GPL-2.0

internal import BcachefsFormat
internal import BcachefsSupport

/// POSIX ACLs as acl_to_text(3) writes them, from the form of Linux's attributes.
enum AccessListText {
  /// `user::rwx,user:1000:r--,group::r-x,mask::rwx,other::---`; nil if it is no ACL.
  static func text(_ value: [UInt8]) -> String? {
    let bytes = value.rawBytes
    guard bytes.byteCount >= 4, (bytes.byteCount - 4) % 8 == 0, bytes[LEField<UInt32>(0)] == 2
    else { return nil }
    var entries: [String] = []
    for offset in stride(from: 4, to: bytes.byteCount, by: 8) {
      let id = bytes[LEField<UInt32>(offset + 4)]
      let who: String
      switch bytes[LEField<UInt16>(offset)] {
      case 0x01: who = "user:"
      case 0x02: who = "user:\(id)"
      case 0x04: who = "group:"
      case 0x08: who = "group:\(id)"
      case 0x10: who = "mask:"
      case 0x20: who = "other:"
      default: return nil
      }
      let bits = bytes[LEField<UInt16>(offset + 2)]
      let rights = [(UInt16(4), "r"), (2, "w"), (1, "x")].map { bits & $0.0 != 0 ? $0.1 : "-" }
      entries.append("\(who):\(rights.joined())")
    }
    return entries.joined(separator: ",")
  }
}
