// SPDX-License-Identifier: GPL-2.0
// Durable commits a second, beside SQLite (journal_mode=WAL, synchronous=FULL): each thread inserts
// keys, one in a transaction, and waits until it is on the disk.
//
// How it works
//   Both write to files in the same folder of a real disk, in turns, and are flushed by the same
//   calls. What threads wait for at a time is written together, where a contender can do that.

@_spi(Benchmarks) internal import Bcachefs
internal import BcachefsSupport
internal import CReference

#if canImport(Glibc)
internal import Glibc
#endif

struct CommitBench {
  private let options: BenchOptions
  /// Below the build folder: memory would flush at once.
  private let folder = ".build/commit-bench.\(getpid())"

  init(_ options: BenchOptions) { self.options = options }

  func run() {
    Program.requireRelease()
    _ = unsafe mkdir(folder, 0o755)
    defer { Program.remove(folder) }
    print("\ndurable commits a second, median")
    print(Comparison.row("", "here", "SQLite", "ratio"))
    for threads in [1, 16] {
      let count = options.isSmoke ? 16 : 4000
      var (here, there): ([Double], [Double]) = ([], [])
      for round in 0..<options.runs {
        guard let ours = measureHere(threads, count, round),
          let theirs = measureSQLite(threads, count, round)
        else { return print("commits failed") }
        here.append(Double(count) * 1e9 / ours)
        there.append(Double(count) * 1e9 / theirs)
      }
      let ratios = zip(here, there).map { $0 / $1 }
      print(
        Comparison.row(
          "\(threads) thread(s)", "\(Int(Comparison.median(here)))",
          "\(Int(Comparison.median(there)))", Comparison.fixed(Comparison.median(ratios))))
    }
  }

  private func measureHere(_ threads: Int, _ count: Int, _ round: Int) -> Double? {
    let image = "\(folder)/here.img"
    defer { Program.remove(image) }
    // Blocks that are there, as a disk's are: nobody waits for the host's allocation.
    let zeros = ["dd", "if=/dev/zero", "of=\(image)", "bs=1M", "count=256", "conv=fsync"]
    guard Program.run(zeros) != nil,
      Program.run([Program.bcachefs, "format", "--quiet", image]) != nil,
      let engine = try? BenchedEngine(
        paths: [image], cacheBytes: 256 << 20, seed: UInt64(round + 1))
    else { return nil }
    let nanoseconds = Workers.time(threads) { thread in
      for number in 0..<count / threads {
        let position = UInt64(thread * count + number)
        guard (try? engine.putDurably(position)) != nil else { return -1 }
      }
      return count
    }
    try? engine.close()
    return nanoseconds
  }

  private func measureSQLite(_ threads: Int, _ count: Int, _ round: Int) -> Double? {
    let file = "\(folder)/keys\(round).db"
    defer { for ending in ["", "-wal", "-shm"] { Program.remove(file + ending) } }
    // The first call makes the table.
    guard unsafe sqlite_insert_durably(file, 1 << 40, 1) == 0 else { return nil }
    return Workers.time(threads) { thread in
      unsafe sqlite_insert_durably(
        file, UInt64(thread * count), UInt64(count / threads)) == 0 ? count : -1
    }
  }
}
