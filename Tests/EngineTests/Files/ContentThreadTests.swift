// SPDX-License-Identifier: GPL-2.0
// Threads at one file, each in parts of it that are its own: each finds there what it wrote, while
// others make the file longer, and nobody ends it early.

internal import BcachefsFormat
internal import BcachefsSupport
internal import FileModel
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct ContentThreadTests {
  private static let threads = 4
  /// Of a part: some blocks and a bit, so that parts of different threads share blocks no more than
  /// windows do, and begin in the middle of both.
  private static let partBytes = 24 << 10
  private static let partCount = 8

  /// A thread's parts, and what is in them.
  private struct Parts {
    let thread: Int
    var random: SplitMix64
    var bytes = [[UInt8]](
      repeating: [UInt8](repeating: 0, count: partBytes), count: partCount)
    /// Up to where the file reaches for what this thread did.
    var end = 0

    mutating func below(_ limit: Int) -> Int {
      Int(truncatingIfNeeded: random.next() % UInt64(limit))
    }

    func start(of part: Int) -> Int { (part * threads + thread) * partBytes }

    mutating func fill(_ part: Int, _ range: Range<Int>, _ value: UInt8) {
      bytes[part].replaceSubrange(range, with: [UInt8](repeating: value, count: range.count))
    }

    mutating func step(_ files: FileSystem, _ file: FileID) throws(VolumeError) -> Bool {
      let part = below(partCount)
      let first = below(partBytes)
      let last = first + 1 + below(partBytes - first)
      let range = UInt64(start(of: part) + first)..<UInt64(start(of: part) + last)
      switch below(10) {
      case 0...4:
        let value = UInt8(truncatingIfNeeded: random.next())
        try files.write(
          file, [UInt8](repeating: value, count: range.count).rawBytes, at: range.lowerBound)
        fill(part, first..<last, value)
        end = max(end, Int(range.upperBound))
      case 5:
        try files.change(file, range, .punch, keepsSize: true)
        fill(part, first..<last, 0)
      case 6:
        try files.change(file, range, .zero, keepsSize: true)
        fill(part, first..<last, 0)
      case 7:
        try files.change(file, range, .allocate)
        end = max(end, Int(range.upperBound))
      case 8: try files.fsync(file)
      default: return try isRight(part, files, file)
      }
      return true
    }

    /// Whether a part is as it should be, as far as the file reaches for sure.
    func isRight(
      _ part: Int, _ files: FileSystem, _ file: FileID
    ) throws(VolumeError) -> Bool {
      var seen = [UInt8](repeating: 0, count: partBytes)
      var span = seen.mutableRawBytes
      let count = try files.read(file, from: UInt64(start(of: part)), into: &span)
      return count >= min(partBytes, end - start(of: part)) && seen == bytes[part]
    }
  }

  @Test(arguments: [UInt64(1), 2, 3])
  func whatThreadsWriteToTheirPartsOfAFileStays(seed: UInt64) throws {
    let disk = try OpenFileSystem { $0.sizes = [256 << 20] }
    let files = try disk.open(seed: seed, withThreads: true)
    // Most files are small when they meet: it is at its end that they do.
    let steps = 60
    for round in 0..<(runsLongTests ? 2000 : 20) {
      let file = try files.makeFile("file \(round)")
      let all = Mutex([Int: Parts]())
      let wrong = Atomic<Int>(0)
      onThreads(Self.threads) { thread in
        var parts = Parts(
          thread: thread, random: SplitMix64(seed: seed &* 100 &+ UInt64(round * 10 + thread)))
        do throws(VolumeError) {
          for _ in 0..<steps {
            if try !parts.step(files, file) { wrong.add(1, ordering: .relaxed) }
          }
        } catch {
          Issue.record(error, "seed \(seed), round \(round)")
        }
        all.withLock { $0[thread] = parts }
      }
      #expect(wrong.load(ordering: .relaxed) == 0, "seed \(seed), round \(round)")
      let parts = all.withLock { $0 }
      let end = parts.values.reduce(0) { max($0, $1.end) }
      var expected = [UInt8](repeating: 0, count: Self.partCount * Self.threads * Self.partBytes)
      for mine in parts.values {
        for (part, bytes) in mine.bytes.enumerated() {
          expected.replaceSubrange(
            mine.start(of: part)..<mine.start(of: part) + bytes.count, with: bytes)
        }
      }
      #expect(try files.allBytes(of: file) == Array(expected.prefix(end)), "seed \(seed)")
      try files.fsync(file)
      #expect(try files.attributes(of: file).inode.size == UInt64(end), "seed \(seed)")
      try files.unlink(Array("file \(round)".utf8), in: files.root)
    }
    try files.close()
    try expectSound(disk.device, "seed \(seed)")
  }
}
