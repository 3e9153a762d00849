// SPDX-License-Identifier: GPL-2.0
// How time and memory grow with the number of keys, from 10^5 to 10^7.
//
// How it works
//   Each size runs in a process of its own, so that its peak of memory is its own; the cache may
//   hold all nodes. Up to 10^6 keys LMDB does the same beside it; its memory is the map, and is not
//   counted.

@_spi(Benchmarks) internal import Bcachefs
internal import BcachefsSupport
internal import CReference

#if canImport(Glibc)
internal import Glibc
#endif

struct GrowthBench {
  private let options: BenchOptions
  private let folder = Program.scratchFolder
  private static let works: [KeyWork] = [
    .randInsert, .randLookup, .randMixed, .seqLookup, .seqOverwrite, .randDelete,
  ]

  /// Beyond this LMDB takes minutes for each kind of work.
  private static let lmdbMax = 1_000_000

  init(_ options: BenchOptions) { self.options = options }

  /// Runs this program again for each size.
  func run() {
    Program.requireRelease()
    let sizes = options.isSmoke ? [1000, 10_000] : [100_000, 1_000_000, 10_000_000]
    let program = CommandLine.arguments[0]
    print("\ngrowth; nanoseconds an operation, here/LMDB; memory of the whole process at its peak")
    print(
      Comparison.row(
        "keys", Self.works[0].rawValue, Self.works[1].rawValue, Self.works[2].rawValue,
        "scan", "overwrite", Self.works[5].rawValue, "peak MiB", "bytes/key"))
    _ = unsafe mkdir(folder, 0o755)
    defer { Program.remove(folder) }
    for size in sizes {
      let line = Program.output([program, "growth-of", "--keys", "\(size)"], environment: [:])
      print(line?.split(separator: "\n").last.map(String.init) ?? "\(size) keys failed")
    }
  }

  /// One size, in a process of its own; prints one line.
  func runOnce() {
    _ = unsafe mkdir(folder, 0o755)
    defer { Program.remove(folder) }
    let image = "\(folder)/growth.img"
    guard Program.run(["truncate", "-s", "24G", image]) != nil,
      Program.run([Program.bcachefs, "format", "--quiet", image]) != nil
    else { return print("no volume could be formatted") }
    do throws(VolumeError) {
      let engine = try BenchedEngine(paths: [image], cacheBytes: 8 << 30, seed: 1)
      var random = SplitMix64(seed: 1)
      var here: [Double] = []
      for work in Self.works {
        let start = Clocks.system.monotonicNanoseconds()
        try engine.perform(work, options.keyCount, &random)
        here.append(Double(Clocks.system.monotonicNanoseconds() - start))
      }
      let peak = Program.peakMemoryMiB
      try engine.close()
      let lmdb = options.keyCount <= Self.lmdbMax ? measureLMDB() : nil
      let columns = here.enumerated().map { index, value in
        let ours = Int(value / Double(options.keyCount))
        return lmdb.map { "\(ours)/\(Int($0[index] / Double(options.keyCount)))" } ?? "\(ours)"
      }
      print(
        Comparison.row(
          "\(options.keyCount)", columns[0], columns[1], columns[2], columns[3], columns[4],
          columns[5], "\(peak)", "\((peak << 20) / options.keyCount)"))
    } catch {
      print("growth failed: \(error)")
    }
  }

  private func measureLMDB() -> [Double]? {
    let folder = "\(self.folder)/lmdb"
    _ = unsafe mkdir(folder, 0o755)
    guard let store = unsafe lmdb_store_open(folder, 32 << 30) else { return nil }
    defer { unsafe lmdb_store_close(store) }
    var times: [Double] = []
    for work in Self.works {
      let start = Clocks.system.monotonicNanoseconds()
      let met = unsafe lmdb_store_perform(store, work.rawValue, UInt64(options.keyCount), 1)
      guard met >= 0 else { return nil }
      times.append(Double(Clocks.system.monotonicNanoseconds() - start))
    }
    return times
  }
}
