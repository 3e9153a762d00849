// SPDX-License-Identifier: GPL-2.0
// Transactions on one btree, beside the C engine's own perf_test in the guest and LMDB without
// sync: one for each operation, keys of 20 bytes with a word of value, one thread and two.
//
// How it works
//   1. For each number of threads everybody gets an empty volume (or database) in memory, and does
//      the operations one after the other: each finds the keys that the one before left.
//   2. Nanoseconds an operation are a thread's: time, times threads, by operations; as perf_test
//      prints them. Rounds go round all of them, and the median counts.
//   3. Bytes written are what the process gave to the kernel (here, LMDB writes through a map) or
//      the guest's device saw, by the bytes of keys and values as they are stored.
// Invariants
//   (1) Whoever is not there is named, and left out.

@_spi(Benchmarks) internal import Bcachefs
internal import BcachefsSupport
internal import CReference

#if canImport(Glibc)
internal import Glibc
#endif

struct BTreeBench {
  private let options: BenchOptions
  private let folder = Program.scratchFolder
  /// Of a position, and a word of value.
  static let keyBytes = 28.0

  init(_ options: BenchOptions) { self.options = options }

  /// One operation's figures, of one contender.
  struct Figure {
    var nanoseconds: [Double] = []
    var writtenBytes: [Double] = []

    var median: Double? { nanoseconds.isEmpty ? nil : Comparison.median(nanoseconds) }
    var written: Double? { writtenBytes.isEmpty ? nil : Comparison.median(writtenBytes) }
  }

  private typealias Figures = [String: [KeyWork: Figure]]

  func run() {
    Program.requireRelease()
    _ = unsafe mkdir(folder, 0o755)
    defer { Program.remove(folder) }
    let hasDriver = Program.environment("BCACHEFS_TEST_KERNEL") != nil
    if !hasDriver { print("without the C engine: BCACHEFS_TEST_KERNEL names no kernel") }
    for threads in [1, 2] {
      var figures: Figures = [:]
      for round in 0..<max(1, min(options.runs, options.isSmoke ? 1 : 3)) {
        measureHere(threads, round, &figures)
        if hasDriver { measureDriver(threads, &figures) }
        measureLMDB(threads, round, &figures)
      }
      report(figures, threads)
    }
    measureAllocations()
  }

  // MARK: - Contenders

  private func formatted(_ name: String) -> String? {
    let image = "\(folder)/\(name).img"
    Program.remove(image)
    let size = options.keyCount < 2_000_000 ? "4G" : "24G"
    guard Program.run(["truncate", "-s", size, image]) != nil,
      Program.run([Program.bcachefs, "format", "--quiet", image]) != nil
    else {
      print("no volume could be formatted")
      return nil
    }
    return image
  }

  private func measureHere(_ threads: Int, _ round: Int, _ figures: inout Figures) {
    guard let image = formatted("here") else { return }
    do throws(VolumeError) {
      let engine = try BenchedEngine(paths: [image], cacheBytes: 1 << 30, seed: UInt64(round + 1))
      for work in KeyWork.allCases {
        let written = Program.bytesWritten
        let nanoseconds = Workers.time(threads) { thread in
          var random = SplitMix64(seed: UInt64(round * 100 + work.hashValue & 63 + thread * 7))
          return (try? engine.perform(work, options.keyCount / threads, &random)) ?? -1
        }
        guard let nanoseconds else { return print("\(work.rawValue) failed here") }
        add(nanoseconds, threads, work, "here", &figures)
        figures["here"]?[work]?.writtenBytes.append(Double(Program.bytesWritten - written))
      }
      try engine.close()
    } catch {
      print("the engine failed: \(error)")
    }
    Program.remove(image)
  }

  private func measureDriver(_ threads: Int, _ figures: inout Figures) {
    guard let image = formatted("driver") else { return }
    defer { Program.remove(image) }
    let guest = "Tests/KernelTests/guest"
    let output = Program.output(
      ["\(guest)/run", "\(guest)/perf.sh", image],
      environment: [
        "JOB_TESTS": KeyWork.allCases.map(\.rawValue).joined(separator: " "),
        "JOB_COUNT": "\(options.keyCount)", "JOB_THREADS": "\(threads)", "GUEST_MEMORY": "4G",
        "GUEST_TIMEOUT": "1800",
      ])
    guard let output else { return print("the C engine's benchmark failed") }
    for line in output.split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 3, let work = KeyWork(rawValue: String(words[0])),
        let nanoseconds = Double(words[1]), let sectors = Double(words[2])
      else { continue }
      figures["C engine", default: [:]][work, default: Figure()].nanoseconds.append(nanoseconds)
      figures["C engine"]?[work]?.writtenBytes.append(sectors * 512)
    }
  }

  private func measureLMDB(_ threads: Int, _ round: Int, _ figures: inout Figures) {
    let folder = "\(self.folder)/lmdb"
    Program.remove(folder)
    _ = unsafe mkdir(folder, 0o755)
    guard let opened = unsafe lmdb_store_open(folder, 32 << 30) else { return print("no LMDB") }
    let store = unsafe UncheckedPointer(opened)
    for work in KeyWork.allCases {
      let nanoseconds = Workers.time(threads) { thread in
        unsafe Int(
          lmdb_store_perform(
            store.pointer, work.rawValue, UInt64(options.keyCount / threads),
            UInt64(round * 100 + thread)))
      }
      guard let nanoseconds else { return print("\(work.rawValue) failed in LMDB") }
      add(nanoseconds, threads, work, "LMDB", &figures)
    }
    unsafe lmdb_store_close(opened)
    Program.remove(folder)
  }

  private func add(
    _ nanoseconds: Double, _ threads: Int, _ work: KeyWork, _ name: String,
    _ figures: inout Figures
  ) {
    figures[name, default: [:]][work, default: Figure()].nanoseconds
      .append(nanoseconds * Double(threads) / Double(options.keyCount))
  }

  // MARK: - Reporting

  private func report(_ figures: Figures, _ threads: Int) {
    print("\n\(options.keyCount) keys, \(threads) thread(s); nanoseconds an operation, median")
    print(Comparison.row("", "here", "C engine", "LMDB", "here/C", "here/LMDB"))
    for work in KeyWork.allCases {
      let values = ["here", "C engine", "LMDB"].map { figures[$0]?[work]?.median }
      func ratio(_ other: Double?) -> String {
        guard let here = values[0], let other, other > 0 else { return "-" }
        return Comparison.fixed(here / other)
      }
      let columns = values.map { $0.map { "\(Int($0.rounded()))" } ?? "-" }
      print(
        Comparison.row(
          work.rawValue, columns[0], columns[1], columns[2], ratio(values[1]), ratio(values[2])))
    }
    guard threads == 1 else { return }
    let bytes = Double(options.keyCount) * Self.keyBytes
    for work in [KeyWork.randInsert, .seqInsert] {
      let amounts = ["here", "C engine"].map { name in
        (figures[name]?[work]?.written).map { Comparison.fixed($0 / bytes) } ?? "-"
      }
      print(Comparison.row("\(work.rawValue), bytes/byte", amounts[0], amounts[1]))
    }
  }

  // MARK: - Allocations

  /// How often a thread asks for memory, in batches of 100 operations.
  private func measureAllocations() {
    guard let image = formatted("counted") else { return }
    print("\nallocations: in a batch of 100 operations (median), and for each operation")
    do throws(VolumeError) {
      let engine = try BenchedEngine(paths: [image], cacheBytes: 1 << 30, seed: 9)
      var random = SplitMix64(seed: 9)
      for work in [KeyWork.randInsert, .randLookup, .randMixed, .randDelete, .seqInsert] {
        var counts: [Double] = []
        for batch in 0..<max(1, options.keyCount / 100) {
          let before = allocation_count()
          try engine.perform(work, 100, first: UInt64(batch * 100), &random)
          counts.append(Double(allocation_count() - before))
        }
        let each = counts.reduce(0, +) / Double(counts.count * 100)
        print(
          Comparison.row(
            work.rawValue, Comparison.fixed(Comparison.median(counts)), Comparison.fixed(each)))
      }
      try engine.close()
    } catch {
      print("counting failed: \(error)")
    }
    Program.remove(image)
  }
}

/// A pointer that threads share; what it points to allows that.
@unsafe struct UncheckedPointer: @unchecked Sendable {
  // Safety: the store that it points to is made to be shared by threads.
  let pointer: OpaquePointer

  init(_ pointer: OpaquePointer) { unsafe self.pointer = pointer }
}
