// SPDX-License-Identifier: GPL-2.0
// What the kernel says is mounted (/proc/self/mountinfo), without asking the mounts themselves.

internal import Glibc

/// A mount, as this process sees it.
public struct MountEntry: Sendable, Equatable {
  /// `MAJOR:MINOR`.
  public let device: String
  /// Such as `fuse.bcachefs`.
  public let type: String
  /// What was named to be mounted.
  public let source: String

  /// Whether a mount of this program.
  public var isServedByUs: Bool { type == "fuse.bcachefs" }

  /// The topmost mount at a directory, named as realpath(3) does; nil if there is none.
  public static func at(_ directory: String) -> MountEntry? {
    let escaped = escaped(directory)
    return lines().last { $0.count > 4 && $0[4] == escaped }.flatMap(MountEntry.init)
  }

  /// All mounts.
  public static var all: [MountEntry] { lines().compactMap(MountEntry.init) }

  /// - Parameter fields: id, parent, device, root, mount point, options, tags..., "-", type,
  ///   source.
  private init?(_ fields: [Substring]) {
    guard let dash = fields.firstIndex(of: "-"), dash > 5, fields.count > dash + 2 else {
      return nil
    }
    device = String(fields[2])
    type = String(fields[dash + 1])
    source = Self.unescaped(fields[dash + 2])
  }

  private static func lines() -> [[Substring]] {
    guard let file = unsafe fopen("/proc/self/mountinfo", "re") else { return [] }
    defer { unsafe fclose(file) }
    var text: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = unsafe fread(&part, 1, part.count, file)
      guard count > 0 else { break }
      text += part[..<count]
    }
    return String(decoding: text, as: UTF8.self).split(separator: "\n").map {
      $0.split(separator: " ")
    }
  }

  /// Odd bytes are octal there, as in \\040.
  private static func escaped(_ text: String) -> String {
    text.utf8.reduce(into: "") { result, byte in
      switch byte {
      case 9, 10, 32, 92: result += "\\0" + String(byte, radix: 8)
      default: result.unicodeScalars.append(Unicode.Scalar(byte))
      }
    }
  }

  private static func unescaped(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = text.utf8
    while let byte = rest.popFirst() {
      if byte == 92, let code = UInt8(String(Substring(rest.prefix(3))), radix: 8) {
        bytes.append(code)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
