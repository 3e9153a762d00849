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

  /// The form of Linux's attributes, from text. Users and groups are numbers, or names of this
  /// machine; a fourth field with the number prevails, as star writes it.
  ///
  /// - Returns: nil for what is no ACL.
  static func value(_ text: String) -> [UInt8]? {
    var entries: [(tag: UInt16, permissions: UInt16, id: UInt32)] = []
    for line in text.split(whereSeparator: { $0 == "," || $0 == "\n" }) {
      let part = line.prefix { $0 != "#" }.filter { $0 != " " && $0 != "\t" }
      if part.isEmpty { continue }
      let fields = part.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
      guard fields.count == 3 || fields.count == 4, let rights = permissions(fields[2]) else {
        return nil
      }
      let isNamed = !fields[1].isEmpty
      let tag: UInt16
      var id: UInt32? = .max
      switch fields[0] {
      case "user", "u":
        tag = isNamed ? 0x02 : 0x01
        if isNamed { id = Caller.userID(fields.count == 4 ? fields[3] : fields[1]) }
      case "group", "g":
        tag = isNamed ? 0x08 : 0x04
        if isNamed { id = Caller.groupID(fields.count == 4 ? fields[3] : fields[1]) }
      case "mask", "m": tag = 0x10
      case "other", "o": tag = 0x20
      default: return nil
      }
      guard let id else { return nil }
      entries.append((tag, rights, id))
    }
    // The order that Linux wants: by tag, then by number.
    entries.sort { ($0.tag, $0.id) < ($1.tag, $1.id) }
    var words: [UInt32] = [2]
    for entry in entries {
      words.append(UInt32(entry.tag) | UInt32(entry.permissions) << 16)
      words.append(entry.id)
    }
    return words.flatMap { word in
      (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * UInt32($0))) }
    }
  }

  private static func permissions(_ text: String) -> UInt16? {
    var bits: UInt16 = 0
    for letter in text {
      switch letter {
      case "r": bits |= 4
      case "w": bits |= 2
      case "x": bits |= 1
      case "-": continue
      default: return nil
      }
    }
    return bits
  }
}
