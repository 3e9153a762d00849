// SPDX-License-Identifier: GPL-2.0
// How files are shown: modes, types, times, names; for people and as JSON.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

extension FileKind {
  /// The first letter of `ls -l`.
  var letter: Character {
    switch self {
    case .fifo: "p"
    case .characterDevice: "c"
    case .directory: "d"
    case .blockDevice: "b"
    case .regular: "-"
    case .symbolicLink: "l"
    case .socket: "s"
    }
  }

  var name: String {
    switch self {
    case .fifo: "fifo"
    case .characterDevice: "character device"
    case .directory: "directory"
    case .blockDevice: "block device"
    case .regular: "regular file"
    case .symbolicLink: "symbolic link"
    case .socket: "socket"
    }
  }
}

enum FileText {
  /// `drwxr-x--T`
  static func mode(_ inode: Inode) -> String {
    let mode = inode.mode
    var text = [FileKind(inode)?.letter ?? "?"]
    for (shift, special, letter) in [(6, 0o4000, "s"), (3, 0o2000, "s"), (0, 0o1000, "t")] {
      let bits = Int(mode) >> shift
      text.append(bits & 4 != 0 ? "r" : "-")
      text.append(bits & 2 != 0 ? "w" : "-")
      let runs = bits & 1 != 0
      if Int(mode) & special != 0 {
        text.append(contentsOf: runs ? letter : letter.uppercased())
      } else {
        text.append(runs ? "x" : "-")
      }
    }
    return String(text)
  }

  /// `0750`
  static func octalMode(_ inode: Inode) -> String {
    let digits = String(inode.mode & 0o7777, radix: 8)
    return String(repeating: "0", count: max(4 - digits.count, 0)) + digits
  }

  /// Local time: `2026-11-22 11:16`, and with seconds `2026-11-22 11:16:49.123456789 +0100`.
  static func time(_ nanoseconds: Int64, isLong: Bool) -> String {
    let (seconds, fraction) = split(nanoseconds)
    var moment = time_t(seconds)
    var fields = unsafe tm()
    guard unsafe localtime_r(&moment, &fields) != nil else { return "\(seconds)" }
    let (year, month, day, hour, minute, second, offset) = unsafe (
      Int(fields.tm_year) + 1900, Int(fields.tm_mon) + 1, Int(fields.tm_mday),
      Int(fields.tm_hour), Int(fields.tm_min), Int(fields.tm_sec), fields.tm_gmtoff
    )
    let date =
      "\(padded(year, 4))-\(padded(month))-\(padded(day)) \(padded(hour)):\(padded(minute))"
    guard isLong else { return date }
    let east = abs(offset) / 60
    return "\(date):\(padded(second)).\(padded(Int(fraction), 9)) "
      + "\(offset < 0 ? "-" : "+")\(padded(east / 60))\(padded(east % 60))"
  }

  /// Whole seconds, rounded down, and the nanoseconds above them.
  static func split(_ nanoseconds: Int64) -> (seconds: Int64, nanoseconds: Int64) {
    var (seconds, fraction) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    if fraction < 0 {
      seconds -= 1
      fraction += 1_000_000_000
    }
    return (seconds, fraction)
  }

  static func padded(_ number: Int, _ columns: Int = 2) -> String {
    let text = "\(number)"
    return String(repeating: "0", count: max(columns - text.count, 0)) + text
  }

  /// What `ls --json`, `stat --json` and `tree --json` say of a file.
  static func members(_ attributes: FileAttributes, target: [UInt8]?) -> [JSONValue.Member] {
    let inode = attributes.inode
    var members: [JSONValue.Member] = [
      .init("type", .string(FileKind(inode)?.name ?? "unknown")),
      .init("mode", .string(octalMode(inode))),
      .init("links", .number(attributes.linkCount)),
      .init("uid", .number(inode.uid)),
      .init("gid", .number(inode.gid)),
      .init("size", .integer(attributes.byteCount)),
      .init("sectors", .integer(inode.sectors)),
      .init("inode", .integer(inode.number)),
      .init("subvolume", .number(attributes.id.subvolume)),
      .init("mtime_ns", .signed(attributes.modificationTime)),
    ]
    if FileKind(inode)?.isDevice == true {
      members.append(.init("device", .string("\(inode.deviceMajor):\(inode.deviceMinor)")))
    }
    if let target { members += NameText.members("target", target) }
    return members
  }
}

/// Names are bytes: JSON cannot hold them all.
enum NameText {
  /// The name as text, and in hexadecimal too if it is not UTF-8.
  static func members(_ key: String, _ name: [UInt8]) -> [JSONValue.Member] {
    let text = String(decoding: name, as: UTF8.self)
    let members = [JSONValue.Member(key, .string(text))]
    if Array(text.utf8) == name { return members }
    return members + [.init("\(key)_hex", .string(name.hexadecimal))]
  }
}
