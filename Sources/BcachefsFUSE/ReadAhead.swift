// SPDX-License-Identifier: GPL-2.0
// How far the kernel reads ahead on a mount. It is a setting of the mount's backing device, which
// only root may change; a mount that may not reads in smaller pieces.

internal import CFUSE
internal import Glibc

enum ReadAhead {
  /// Sets what the kernel reads ahead on the mount at `directory`, if it lets us.
  static func raise(for directory: String, toBytes byteCount: Int) {
    guard let device = device(ofMount: directory) else { return }
    write("\(byteCount >> 10)", to: "/sys/class/bdi/\(device)/read_ahead_kb")
  }

  /// `MAJOR:MINOR` of the last mount at a directory. Not by stat(2), which would ask the mount.
  private static func device(ofMount directory: String) -> String? {
    guard let text = contents(of: "/proc/self/mountinfo") else { return nil }
    // Fields: id, parent, device, root, mount point, ...; odd bytes are octal, as in \\040.
    let escaped = directory.utf8.reduce(into: "") { result, byte in
      switch byte {
      case 9, 10, 32, 92: result += "\\0" + String(byte, radix: 8)
      default: result.unicodeScalars.append(Unicode.Scalar(byte))
      }
    }
    let lines = text.split(separator: "\n").map { $0.split(separator: " ") }
    return lines.last { $0.count > 4 && $0[4] == escaped }.map { String($0[2]) }
  }

  private static func contents(of path: String) -> String? {
    guard let file = unsafe fopen(path, "re") else { return nil }
    defer { unsafe fclose(file) }
    var result: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = unsafe fread(&part, 1, part.count, file)
      guard count > 0 else { break }
      result += part[..<count]
    }
    return String(decoding: result, as: UTF8.self)
  }

  private static func write(_ text: String, to path: String) {
    guard let file = unsafe fopen(path, "we") else { return }
    _ = unsafe fputs(text, file)
    _ = unsafe fclose(file)
  }
}
