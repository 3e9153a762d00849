// SPDX-License-Identifier: GPL-2.0
// A real directory for a test, made and removed with calls that do not go through what is tested.

import BcachefsIO
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// Removed with all that is in it when it is released.
final class HostFixture {
  let path: String

  init() throws {
    var template = Array("/var/tmp/bcachefs-host-XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else { throw Failure(call: "mkdtemp", number: errno) }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { _ = try? Self.run("/bin/rm", ["-rf", path]) }

  struct Failure: Error {
    let call: String
    let number: Int32
  }

  static func check(_ result: Int32, _ call: String) throws {
    if result < 0 { throw Failure(call: call, number: errno) }
  }

  func tree() throws -> HostTree { try HostTree(path) }
  func root() throws -> HostDirectory { try tree().directory(at: .root) }

  /// Writes `bytes` at `offset` of the file `name`, made if it is not there.
  func write(_ name: String, _ bytes: [UInt8], at offset: Int = 0) throws {
    let descriptor = unsafe open("\(path)/\(name)", O_WRONLY | O_CREAT, 0o644)
    try Self.check(descriptor, "open \(name)")
    defer { _ = close(descriptor) }
    let count = unsafe pwrite(descriptor, bytes, bytes.count, off_t(offset))
    try Self.check(Int32(count == bytes.count ? 0 : -1), "pwrite \(name)")
  }

  func run(_ program: String, _ arguments: [String]) throws -> Bool {
    try Self.run(program, arguments)
  }

  /// Whether `program` (an absolute path) ended with 0. It runs in the test's directory.
  @discardableResult
  static func run(_ program: String, _ arguments: [String]) throws -> Bool {
    var words: [UnsafeMutablePointer<CChar>?] = unsafe ([program] + arguments).map {
      unsafe strdup($0)
    }
    unsafe words.append(nil)
    defer { unsafe words.forEach { unsafe free($0) } }
    var child: pid_t = 0
    let result = unsafe posix_spawn(&child, program, nil, nil, words, environ)
    if result != 0 { throw Failure(call: "posix_spawn \(program)", number: result) }
    var status: Int32 = 0
    while unsafe waitpid(child, &status, 0) < 0 && errno == EINTR {}
    return status == 0
  }
}

/// The contents of `file` by reads of `blockByteCount` bytes.
func contents(of file: HostFile, blockByteCount: Int = 4096) throws -> [UInt8] {
  var result: [UInt8] = []
  var block = [UInt8](repeating: 0, count: blockByteCount)
  while true {
    var bytes = block.mutableSpan
    var raw = unsafe bytes.mutableBytes
    let count = try file.read(into: &raw, atByte: UInt64(result.count))
    result += block[..<count]
    if count < blockByteCount { return result }
  }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
