// SPDX-License-Identifier: GPL-2.0
// The tree of files that images are built from and that is read.

internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

/// A reproducible tree like a home directory's: sizes log-normal around 4 KiB, two thirds of it
/// text.
struct SampleTree {
  let folder: String
  let files: Int
  static let largeName = "large"

  /// The files, below the folder.
  var paths: [String] { (0..<files).map { "\(directory(of: $0))/file-\($0)" } }

  private func directory(of index: Int) -> String { "d\(index % 200)/s\(index % 7)" }

  /// A file of noise, beside the others.
  func addLargeFile(byteCount: Int) {
    var random = Xoshiro256(seed: 5)
    let descriptor = unsafe open("\(folder)/\(Self.largeName)", O_CREAT | O_WRONLY, 0o644)
    defer { _ = close(descriptor) }
    var piece = [UInt64](repeating: 0, count: 1 << 17)
    var left = byteCount
    while left > 0 {
      for index in piece.indices { piece[index] = random.next() }
      let count = min(left, 8 * piece.count)
      _ = unsafe piece.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, count) }
      left -= count
    }
  }

  func create() {
    var random = Xoshiro256(seed: 7)
    let words = ["extent ", "bucket ", "journal ", "snapshot ", "btree ", "key\n"].map {
      Array($0.utf8)
    }
    var text: [UInt8] = []
    while text.count < 3 << 20 { text += words[Int(random.next() % 6)] }
    let noise = (0..<3 << 20).map { _ in UInt8(truncatingIfNeeded: random.next() >> 32) }
    _ = unsafe mkdir((folder as String).parentFolder, 0o755)
    _ = unsafe mkdir(folder, 0o755)
    for index in 0..<files {
      let below = "\(folder)/\(directory(of: index))"
      _ = unsafe mkdir(below.parentFolder, 0o755)
      _ = unsafe mkdir(below, 0o755)
      let source = index % 3 == 0 ? noise : text
      let size = size(&random)
      let start = Int(random.next() % UInt64(source.count - size))
      write(source[start..<start + size], to: "\(below)/file-\(index)")
    }
  }

  private func size(_ random: inout Xoshiro256) -> Int {
    // The sum of uniform numbers is close enough to a normal one.
    var sum = 0.0
    for _ in 0..<12 { sum += Double(random.next() >> 11) / Double(1 << 53) }
    return min(Int(exp(8.3 + 1.35 * (sum - 6))), 2 << 20)
  }

  private func write(_ bytes: ArraySlice<UInt8>, to path: String) {
    let descriptor = unsafe open(path, O_CREAT | O_WRONLY | O_TRUNC, 0o644)
    _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
    _ = close(descriptor)
  }
}

extension String {
  fileprivate var parentFolder: String {
    String(self[..<(lastIndex(of: "/") ?? startIndex)])
  }
}
