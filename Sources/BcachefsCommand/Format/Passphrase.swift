// SPDX-License-Identifier: GPL-2.0
// Where the passphrase of a new volume comes from, and small files that hold secrets.

internal import BcachefsIO

#if canImport(Glibc)
internal import Glibc
#endif

enum Passphrase {
  /// From the terminal, asked for twice, or the first line of standard input.
  static func readNew() throws(CommandFailure) -> [UInt8] {
    guard Terminal.inputIsTerminal else {
      guard let line = Terminal.readLineBytes() else {
        throw CommandFailure(.noInput, "standard input has no passphrase")
      }
      return try checked(line)
    }
    guard let first = Terminal.readHidden("Enter passphrase: "),
      let second = Terminal.readHidden("Enter same passphrase again: ")
    else { throw CommandFailure(.noInput, "no passphrase was given") }
    guard first == second else { throw CommandFailure(.badData, "the passphrases do not match") }
    return try checked(first)
  }

  /// The first line of a file.
  static func read(file path: String) throws(CommandFailure) -> [UInt8] {
    let bytes = try SmallFile.read(path)
    return try checked(Array(bytes.prefix { $0 != UInt8(ascii: "\n") }))
  }

  private static func checked(_ bytes: [UInt8]) throws(CommandFailure) -> [UInt8] {
    guard !bytes.isEmpty else {
      throw CommandFailure(
        .badData, "the passphrase is empty",
        advice: "--no_passphrase makes an encrypted volume that needs none.")
    }
    guard !bytes.contains(0) else {
      throw CommandFailure(.badData, "a passphrase cannot hold a zero byte")
    }
    return bytes
  }
}

enum SmallFile {
  private static let byteCountMax = 1 << 16

  /// All bytes of a file of at most 64 KiB.
  static func read(_ path: String) throws(CommandFailure) -> [UInt8] {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(path) }
    defer { _ = close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw failure(path) }
      if count == 0 { return bytes }
      bytes.append(contentsOf: chunk[..<count])
      guard bytes.count <= byteCountMax else {
        throw CommandFailure(.badData, "\(path): longer than \(byteCountMax) bytes")
      }
    }
  }

  private static func failure(_ path: String) -> CommandFailure {
    CommandFailure(DeviceError(.open, .system(errno), device: path))
  }
}
