// SPDX-License-Identifier: GPL-2.0
// Small texts that the kernel offers in /proc and /sys, and directory listings.

internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

enum SystemText {
  /// More than any machine's mountinfo or lock table: reading stops here.
  static let byteCountMax = 16 << 20

  /// The whole text at `path`, or nil where there is none. Invalid UTF-8 is repaired.
  static func read(_ path: String) -> String? {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { _ = close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 14)
    while bytes.count < byteCountMax {
      let count = unsafe Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { break }
      bytes.append(contentsOf: chunk[..<count])
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The text at `path` without the newline at its end.
  static func line(_ path: String) -> String? {
    guard var text = read(path) else { return nil }
    while text.last == "\n" { text.removeLast() }
    return text
  }

  /// The names in the directory at `path`, sorted, without `.` and `..`; nil when it cannot be
  /// read.
  static func names(in path: String) -> [String]? {
    guard let directory = unsafe opendir(path) else { return nil }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { tuple in
        unsafe tuple.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// `status` of what `path` names, links followed.
  static func status(_ path: String) -> stat? {
    var result = stat()
    return unsafe stat(path, &result) == 0 ? result : nil
  }

  /// `MAJOR:MINOR` in decimal, as in mountinfo and below /sys/dev/block.
  static func numbers(_ device: dev_t) -> String {
    "\(linux_device_major(device)):\(linux_device_minor(device))"
  }

  /// Undoes the octal escapes (`\040` is a space) of /proc/self/mountinfo and /proc/swaps.
  static func unescaped(_ text: Substring) -> String {
    guard text.utf8.contains(UInt8(ascii: "\\")) else { return String(text) }
    var bytes: [UInt8] = []
    let source = Array(text.utf8)
    var index = 0
    while index < source.count {
      if source[index] == UInt8(ascii: "\\"), index + 3 < source.count,
        let value = UInt8(String(decoding: source[index + 1...index + 3], as: UTF8.self), radix: 8)
      {
        bytes.append(value)
        index += 4
      } else {
        bytes.append(source[index])
        index += 1
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
