// SPDX-License-Identifier: GPL-2.0
// What a filesystem's transactions are like: extents with all the keys that follow from them, with
// the write buffer and without; and a few keys that everybody overwrites.
//
// How it works
//   1. Extents of 4 KiB get places from the allocator, but no data is written: what is measured is
//      the engine. The cache holds all nodes, or a part of them.
//   2. Without a write buffer means one that is always full: every transaction first puts into
//      their leaves what the one before left.

@_spi(Benchmarks) internal import Bcachefs
internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

struct DerivedBench {
  private let options: BenchOptions
  private let folder = Program.scratchFolder

  init(_ options: BenchOptions) { self.options = options }

  func run() {
    Program.requireRelease()
    _ = unsafe mkdir(folder, 0o755)
    defer { Program.remove(folder) }
    print("\nnanoseconds an operation, median")
    print(Comparison.row("", "1 thread", "2 threads"))
    report("a few keys overwritten") { engine, count, thread in
      var random = SplitMix64(seed: UInt64(thread))
      try engine.overwriteFew(count, of: 1000, &random)
    }
    for (name, bytes) in [("with", 8 << 20), ("without", 1)] {
      report("extents, \(name) write buffer", bufferBytes: bytes) { engine, count, thread in
        try engine.appendExtents(count, firstFile: UInt64(5000 + thread * count))
      }
    }
  }

  private func report(
    _ name: String, bufferBytes: Int = 8 << 20,
    _ body: @escaping @Sendable (BenchedEngine, Int, Int) throws -> Void
  ) {
    let count = options.keyCount / 5
    let medians = [1, 2].map { threads in
      let times = (0..<min(options.runs, 3)).compactMap { _ in
        time(threads, count, bufferBytes, body)
      }
      return times.isEmpty ? "-" : "\(Int(Comparison.median(times)))"
    }
    print(Comparison.row(name, medians[0], medians[1]))
  }

  private func time(
    _ threads: Int, _ count: Int, _ bufferBytes: Int,
    _ body: @escaping @Sendable (BenchedEngine, Int, Int) throws -> Void
  ) -> Double? {
    let image = "\(folder)/derived.img"
    defer { Program.remove(image) }
    guard Program.run(["truncate", "-s", "8G", image]) != nil,
      Program.run([Program.bcachefs, "format", "--quiet", image]) != nil,
      let engine = try? BenchedEngine(
        paths: [image], cacheBytes: 1 << 30, writeBufferBytes: bufferBytes, seed: 1)
    else { return nil }
    let nanoseconds = Workers.time(threads) { thread in
      (try? body(engine, count / threads, thread)).map { count } ?? -1
    }
    try? engine.close()
    return nanoseconds.map { $0 * Double(threads) / Double(count) }
  }
}
