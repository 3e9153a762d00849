// SPDX-License-Identifier: GPL-2.0
// What is read from a mount, by plain system calls on one thread.

internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

struct ReadWork {
  enum Kind: String, CaseIterable {
    case sequential = "sequential read in pieces of 1 MiB"
    case random = "random read of 4 KiB"
    case status = "stat of each small file"
    case small = "open, read and close each small file"

    /// What passthrough_ll's time is to be to ours, at least. At random, to ours of data without
    /// checksums: a checksum covers an extent of 128 KiB, which has to be read for each 4 KiB.
    var target: String {
      switch self {
      case .sequential: "0.90"
      case .random: "1.00 for unchecked data"
      case .status, .small: "1.00"
      }
    }
  }

  struct Result {
    let seconds: Double
    let byteCount: Int
  }

  let paths: [String]
  let large: String
  let largeBytes: Int
  let randomReads: Int

  /// nil if anything fails.
  func run(_ kind: Kind, in folder: String) -> Result? {
    let names = paths.map { "\(folder)/\($0)" }
    let start = Clocks.system.monotonicNanoseconds()
    let byteCount: Int? =
      switch kind {
      case .sequential: readAll("\(folder)/\(large)")
      case .random: readRandomly("\(folder)/\(large)")
      case .status: statEach(names)
      case .small: readEach(names)
      }
    let seconds = Double(Clocks.system.monotonicNanoseconds() - start) / 1e9
    return byteCount.map { Result(seconds: seconds, byteCount: $0) }
  }

  private func readAll(_ path: String) -> Int? {
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    return readAll(path, &buffer)
  }

  private func readAll(_ path: String, _ buffer: inout [UInt8]) -> Int? {
    let descriptor = unsafe open(path, O_RDONLY)
    guard descriptor >= 0 else { return nil }
    defer { _ = close(descriptor) }
    var sum = 0
    while true {
      let count = unsafe read(descriptor, &buffer, buffer.count)
      guard count >= 0 else { return nil }
      if count == 0 { return sum }
      sum += count
    }
  }

  private func readRandomly(_ path: String) -> Int? {
    let descriptor = unsafe open(path, O_RDONLY)
    guard descriptor >= 0 else { return nil }
    defer { _ = close(descriptor) }
    _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_RANDOM)
    var random = Xoshiro256(seed: 11)
    var buffer = [UInt8](repeating: 0, count: 4096)
    var sum = 0
    for _ in 0..<randomReads {
      let offset = Int(random.next() % UInt64(largeBytes / 4096)) * 4096
      let count = unsafe pread(descriptor, &buffer, buffer.count, offset)
      guard count > 0 else { return nil }
      sum += count
    }
    return sum
  }

  private func statEach(_ names: [String]) -> Int? {
    var sum = 0
    for name in names {
      var status = stat()
      guard unsafe lstat(name, &status) == 0 else { return nil }
      sum += status.st_size
    }
    return sum
  }

  private func readEach(_ names: [String]) -> Int? {
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    var sum = 0
    for name in names {
      guard let count = readAll(name, &buffer) else { return nil }
      sum += count
    }
    return sum
  }
}
