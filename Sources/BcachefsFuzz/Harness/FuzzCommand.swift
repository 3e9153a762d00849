// SPDX-License-Identifier: GPL-2.0
// The command line: which fuzzers run, with which seed, how many cases.
//
// How it works
//   Case number n of a run with seed s gets the generator `Xoshiro256(seed: s ^ n * odd)`: any case
//   can be repeated without those before it, by `NAME SEED --case N`.
// Invariants
//   (1) The seed is printed before the first case.

internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

/// `bcachefs-fuzz list | smoke [SEED] | all [SEED] | NAME [SEED]`.
struct FuzzCommand {
  static let usage = """
    bcachefs-fuzz list                    what there is
    bcachefs-fuzz smoke [SEED]            every fuzzer, briefly
    bcachefs-fuzz all [SEED]              every fuzzer, for a while
    bcachefs-fuzz NAME [SEED]             one of them
      --count N      cases (of each fuzzer)
      --case N       only this case
      --from N       from this case on
      --corpus DIR   the folder Tests of the source tree; default: ./Tests, then that of the build
      --images DIR   volumes for the fuzzer `volume`: NAME.img.zst, or NAME.0.img.zst and so on
    """

  private var mode = ""
  private var seed: UInt64?
  private var count: UInt64?
  private var onlyCase: UInt64?
  private var firstCase: UInt64 = 0
  private var corpusPath: String?
  private var imagesPath: String?

  /// - Returns: exit status: 0, 1 for a finding, 64 for a wrong command line.
  static func run(_ arguments: [String]) -> Int32 {
    var command = FuzzCommand()
    guard command.parse(arguments) else {
      print(usage)
      return 64
    }
    if command.mode == "list" {
      for entry in FuzzerEntry.all {
        let padding = String(repeating: " ", count: max(1, 16 - entry.name.utf8.count))
        print("\(entry.name)\(padding)\(entry.about)")
      }
      return 0
    }
    return command.runFuzzers()
  }

  private mutating func parse(_ arguments: [String]) -> Bool {
    var rest = arguments[...]
    guard let mode = rest.popFirst() else { return false }
    self.mode = mode
    while let argument = rest.popFirst() {
      switch argument {
      case "--corpus", "--images":
        guard let value = rest.popFirst() else { return false }
        if argument == "--corpus" { corpusPath = value } else { imagesPath = value }
      case "--count", "--case", "--from":
        guard let value = rest.popFirst(), let number = UInt64(value) else { return false }
        switch argument {
        case "--count": count = number
        case "--case": onlyCase = number
        default: firstCase = number
        }
      default:
        guard let number = UInt64(argument), seed == nil else { return false }
        seed = number
      }
    }
    let isKnown = FuzzerEntry.all.contains { $0.name == mode }
    return ["list", "smoke", "all"].contains(mode) || isKnown
  }

  private func runFuzzers() -> Int32 {
    var system = RandomSource.system
    let seed = seed ?? system.next() >> 1
    print("bcachefs-fuzz: seed \(seed)")
    fflush(nil)
    limitMemory()
    CurrentCase.watch()
    let corpus: Corpus
    do throws(FuzzFailure) {
      corpus = try Corpus(path: corpusPath, imagesPath: imagesPath)
    } catch {
      print("bcachefs-fuzz: \(error)")
      return 66
    }
    for entry in FuzzerEntry.all where mode == "smoke" || mode == "all" || mode == entry.name {
      let cases = count ?? (mode == "smoke" ? entry.smokeCount : entry.smokeCount * 100)
      if run(entry, corpus, seed: seed, cases: cases) { return 1 }
    }
    return 0
  }

  /// Four gigabytes of addresses: what needs more was told so by bytes, and traps.
  private func limitMemory() {
    var limit = rlimit(rlim_cur: 4 << 30, rlim_max: 4 << 30)
    _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
  }

  /// - Returns: whether something was found.
  private func run(
    _ entry: FuzzerEntry, _ corpus: Corpus, seed: UInt64, cases: UInt64
  ) -> Bool {
    CurrentCase.enter(entry.name, seed: seed)
    defer { CurrentCase.leave() }
    let numbers = onlyCase.map { $0..<$0 + 1 } ?? firstCase..<firstCase + cases
    let start = Self.now()
    var number = numbers.lowerBound
    var summary: String?
    do throws(FuzzFailure) {
      let fuzzer = try entry.make(corpus)
      while number < numbers.upperBound {
        CurrentCase.start(number)
        var random = Xoshiro256(seed: seed ^ number &* 0xd129_0d3c_f3b1_a9c5)
        try fuzzer.run(&random)
        number += 1
      }
      summary = fuzzer.summary
    } catch {
      print("bcachefs-fuzz: \(entry.name): \(error)")
      print("repeat: bcachefs-fuzz \(entry.name) \(seed) --case \(number)")
      return true
    }
    let milliseconds = (Self.now() - start) / 1_000_000
    let details = summary.map { " (\($0))" } ?? ""
    print("\(entry.name): \(numbers.count) cases in \(milliseconds) ms, nothing found\(details)")
    fflush(nil)
    return false
  }

  private static func now() -> UInt64 {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
