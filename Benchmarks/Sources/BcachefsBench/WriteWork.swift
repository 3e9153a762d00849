// SPDX-License-Identifier: GPL-2.0
// What is done to a mount by plain system calls on one thread, step after step.

internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

/// Steps that each need what the ones before have left.
struct WriteWork {
  enum Step: String, CaseIterable {
    case writeLarge = "sequential write in pieces of 1 MiB, and fsync"
    case readLarge = "sequential read of it"
    case writeRandomly = "random write of 4 KiB, and fsync"
    case create = "create small files"
    case status = "stat of each"
    case read = "open, read and close each"
    case rename = "rename each"
    case unlink = "unlink each"
    case durable = "append 4 KiB, and fsync, each time"
    case copyTree = "copy a tree in (cp -a), and sync"

    /// What passthrough_ll's time is to be to ours, at least.
    var target: String {
      switch self {
      case .writeLarge, .readLarge: "0.90"
      case .create, .status, .read, .rename, .unlink: "1.00, fuse2fs 2.00"
      case .writeRandomly, .durable, .copyTree: "to be seen"
      }
    }
  }

  /// What is copied in.
  let tree: String
  let largeBytes: Int
  let smallFiles: Int
  let smallBytes = 2048
  let durableWrites: Int

  /// Seconds of each step; no number from the first on that fails.
  func run(in folder: String) -> [Double] {
    var result: [Double] = []
    for step in Step.allCases {
      let start = Clocks.system.monotonicNanoseconds()
      guard run(step, folder) else { break }
      result.append(Double(Clocks.system.monotonicNanoseconds() - start) / 1e9)
      // What one step left to be written is not the next one's.
      if step != .status && step != .read { sync() }
    }
    return result + [Double](repeating: .nan, count: Step.allCases.count - result.count)
  }

  private func run(_ step: Step, _ folder: String) -> Bool {
    let large = "\(folder)/large"
    switch step {
    case .writeLarge: return write(large, pieces: largeBytes >> 20, of: 1 << 20, O_CREAT)
    case .readLarge: return readAll(large, 1 << 20) == largeBytes
    case .writeRandomly: return writeRandomly(large)
    case .create:
      return eachName(folder) { name in write(name, pieces: 1, of: smallBytes, O_CREAT | O_EXCL) }
    case .status:
      return eachName(folder) { name in
        var status = stat()
        return unsafe lstat(name, &status) == 0 && status.st_size == smallBytes
      }
    case .read: return eachName(folder) { readAll($0, smallBytes) == smallBytes }
    case .rename: return eachName(folder) { unsafe Glibc.rename($0, "\($0).new") == 0 }
    case .unlink: return eachName(folder) { unsafe Glibc.unlink("\($0).new") == 0 }
    case .durable: return appendDurably("\(folder)/durable")
    case .copyTree:
      guard Program.run(["cp", "-a", tree, "\(folder)/tree"]) != nil else { return false }
      sync()
      return true
    }
  }

  private func eachName(_ folder: String, _ body: (String) -> Bool) -> Bool {
    for number in 0..<smallFiles {
      let part = "\(folder)/part\(number / 1000)"
      if number % 1000 == 0 { _ = unsafe mkdir(part, 0o755) }
      guard body("\(part)/file\(number)") else { return false }
    }
    return true
  }

  private func write(_ path: String, pieces: Int, of byteCount: Int, _ flags: Int32) -> Bool {
    let descriptor = unsafe open(path, O_WRONLY | flags, 0o600)
    guard descriptor >= 0 else { return false }
    defer { _ = close(descriptor) }
    let buffer = [UInt8](repeating: 0x5a, count: byteCount)
    for _ in 0..<pieces {
      guard unsafe Glibc.write(descriptor, buffer, byteCount) == byteCount else { return false }
    }
    return pieces == 1 || fsync(descriptor) == 0
  }

  private func readAll(_ path: String, _ pieceBytes: Int) -> Int {
    let descriptor = unsafe open(path, O_RDONLY)
    guard descriptor >= 0 else { return -1 }
    defer { _ = close(descriptor) }
    // The kernel keeps what was written.
    if pieceBytes == 1 << 20 { _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) }
    var buffer = [UInt8](repeating: 0, count: pieceBytes)
    var sum = 0
    while true {
      let count = unsafe Glibc.read(descriptor, &buffer, pieceBytes)
      guard count > 0 else { return count < 0 ? -1 : sum }
      sum += count
    }
  }

  private func writeRandomly(_ path: String) -> Bool {
    let descriptor = unsafe open(path, O_WRONLY)
    guard descriptor >= 0 else { return false }
    defer { _ = close(descriptor) }
    var random = Xoshiro256(seed: 11)
    let buffer = [UInt8](repeating: 0xa5, count: 4096)
    for _ in 0..<largeBytes / 4096 / 32 {
      let offset = Int(random.next() % UInt64(largeBytes / 4096)) * 4096
      guard unsafe pwrite(descriptor, buffer, 4096, offset) == 4096 else { return false }
    }
    return fsync(descriptor) == 0
  }

  private func appendDurably(_ path: String) -> Bool {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
    guard descriptor >= 0 else { return false }
    defer { _ = close(descriptor) }
    let buffer = [UInt8](repeating: 1, count: 4096)
    for _ in 0..<durableWrites {
      guard unsafe Glibc.write(descriptor, buffer, 4096) == 4096, fsync(descriptor) == 0 else {
        return false
      }
    }
    return true
  }
}
