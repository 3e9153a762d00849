// SPDX-License-Identifier: GPL-2.0
// What the kernel says is mounted (/proc/self/mountinfo), without asking the mounts themselves.

internal import Glibc

/// A mount, as this process sees it.
public struct MountEntry: Sendable, Equatable {
  /// `MAJOR:MINOR`; of a mount that is seen in several places it is the same.
  public let device: String
  /// Where it is.
  public let directory: String
  /// Such as `fuse.bcachefs`.
  public let type: String
  /// What was named to be mounted.
  public let source: String
  /// Of a FUSE mount: the user whose process serves it.
  public let userID: UInt32?

  /// Whether a mount of this program.
  public var isServedByUs: Bool { type == "fuse.bcachefs" }

  /// The topmost mount at a directory, named as realpath(3) does; nil if there is none.
  public static func at(_ directory: String) -> MountEntry? {
    // Names are bytes: that two look alike does not count.
    all.last { $0.directory.utf8.elementsEqual(directory.utf8) }
  }

  /// All mounts, in the order in which they were made.
  public static var all: [MountEntry] {
    contents(of: "/proc/self/mountinfo").split(separator: 10).compactMap { MountEntry(line: $0) }
  }

  /// - Parameter line: id, parent, device, root, mount point, options, tags, a dash, type, source,
  ///   and options of all that is mounted.
  init?(line: ArraySlice<UInt8>) {
    let fields = line.split(separator: 32)
    guard let dash = fields.firstIndex(where: { $0.elementsEqual([45]) }), dash > 5,
      fields.count > dash + 2
    else { return nil }
    func text(_ index: Int) -> String {
      String(decoding: Self.unescaped(fields[index]), as: UTF8.self)
    }
    device = text(2)
    directory = text(4)
    type = text(dash + 1)
    source = text(dash + 2)
    let options = fields.count > dash + 3 ? text(dash + 3) : ""
    let user = options.split(separator: ",").first { $0.hasPrefix("user_id=") }
    userID = user.flatMap { UInt32($0.dropFirst(8)) }
  }

  /// Odd bytes are octal there, as in \\040.
  private static func unescaped(_ text: ArraySlice<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = text
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      if byte == 92, digits.count == 3, digits.allSatisfy({ (48...55).contains($0) }) {
        bytes.append(digits.reduce(0) { $0 &* 8 &+ ($1 - 48) })
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return bytes
  }

  private static func contents(of path: String) -> [UInt8] {
    guard let file = unsafe fopen(path, "re") else { return [] }
    defer { unsafe fclose(file) }
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = unsafe fread(&part, 1, part.count, file)
      guard count > 0 else { return bytes }
      bytes += part[..<count]
    }
  }
}
