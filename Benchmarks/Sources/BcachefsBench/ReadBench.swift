// SPDX-License-Identifier: GPL-2.0
// Reading through FUSE beside libfuse's passthrough_ll over tmpfs, squashfuse and fuse2fs; and
// `get` beside unsquashfs.
//
// How it works
//   1. A tree of small files and a large one is made in memory; each filesystem gets an image of
//      it, beside it in memory. passthrough_ll shows the tree itself.
//   2. Every measurement has a mount of its own: neither the kernel nor the server has anything
//      cached. Only the work is timed, not mounting. In each round all take turns, and the median
//      of the rounds' ratios counts.
// Invariants
//   (1) All see the same files in the same order, and read the same bytes: it is checked.

internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

struct ReadBench {
  private let options: BenchOptions
  private let folder = Program.scratchFolder
  private var tree: String { "\(folder)/tree" }
  private var mount: String { "\(folder)/mount" }
  private var largeBytes: Int { options.isSmoke ? 8 << 20 : 1 << 30 }

  init(_ options: BenchOptions) { self.options = options }

  func run() {
    Program.requireRelease()
    defer { Program.remove(folder) }
    let sample = SampleTree(folder: tree, files: options.treeFiles)
    sample.create()
    _ = unsafe mkdir(mount, 0o755)
    runGet()
    sample.addLargeFile(byteCount: largeBytes)
    let work = ReadWork(
      paths: sample.paths.prefix(10_000).map { $0 }, large: SampleTree.largeName,
      largeBytes: largeBytes, randomReads: options.isSmoke ? 100 : 20_000)
    runMounts(work)
  }

  // MARK: - Mounts

  private func runMounts(_ work: ReadWork) {
    let contenders = MountContender.all(
      tree: tree, folder: folder, mount: mount, treeBytes: options.treeBytes + largeBytes
    ).filter { $0.prepare() }
    print(
      "\nmounts: \(work.paths.count) small files, one of \(largeBytes >> 20) MiB, in \(folder); "
        + "each measurement on a new mount, read-ahead \(MountContender.readAheadKiB) KiB for all")
    print("seconds: median of \(options.runs) runs; ratio: its time to ours in the same round")
    for kind in ReadWork.Kind.allCases where isWanted(kind.rawValue) {
      print("\(kind.rawValue)  (passthrough_ll is to reach: \(kind.target))")
      var results: [[ReadWork.Result]] = contenders.map { _ in [] }
      for _ in 0..<options.runs {
        for (index, contender) in contenders.enumerated() {
          let result = contender.withMount(at: mount) { work.run(kind, in: mount) }
          if let result { results[index].append(result) }
        }
      }
      for (index, contender) in contenders.enumerated() {
        report(contender.name, results[index], beside: results[0])
      }
    }
  }

  private func isWanted(_ name: String) -> Bool {
    options.names.isEmpty || options.names.contains { name.contains($0) }
  }

  private func report(
    _ name: String, _ results: [ReadWork.Result], beside ours: [ReadWork.Result]
  ) {
    guard results.count == options.runs, ours.count == options.runs else {
      return print(Comparison.row("  \(name)", "failed"))
    }
    guard zip(results, ours).allSatisfy({ $0.byteCount == $1.byteCount }) else {
      return print(Comparison.row("  \(name)", "read other bytes"))
    }
    let ratios = zip(results, ours).map { $0.seconds / $1.seconds }
    print(
      Comparison.row(
        "  \(name)", "\(Comparison.thousandths(Comparison.median(results.map(\.seconds))))",
        Comparison.fixed(Comparison.median(ratios))))
  }

  // MARK: - get

  private func runGet() {
    guard isWanted("get") else { return }
    let (ours, squash, target) = ("\(folder)/g.img", "\(folder)/g.squash", "\(folder)/target")
    let commands: [(name: String, make: [String], get: [String])] = [
      (
        "bcachefs get",
        [Program.bcachefs, "image", "create", "--quiet", "--source=\(tree)", ours],
        [Program.bcachefs, "get", ours, "/", target]
      ),
      (
        "unsquashfs",
        [
          "mksquashfs", tree, squash, "-quiet", "-no-progress", "-noI", "-noD", "-noF", "-noX",
        ],
        ["unsquashfs", "-quiet", "-no-progress", "-dest", target, squash]
      ),
    ]
    guard commands.allSatisfy({ Program.run($0.make) != nil }) else {
      return print("get: an image could not be built")
    }
    var seconds: [[Double]] = commands.map { _ in [] }
    for _ in 0..<options.runs {
      for (index, command) in commands.enumerated() {
        let start = Clocks.system.monotonicNanoseconds()
        guard Program.run(command.get) != nil else { continue }
        seconds[index].append(Double(Clocks.system.monotonicNanoseconds() - start) / 1e9)
        Program.remove(target)
      }
    }
    print("all \(options.treeFiles) files out of an image  (to reach: 1.00)")
    for (index, command) in commands.enumerated() {
      guard seconds[index].count == options.runs, seconds[0].count == options.runs else {
        print(Comparison.row("  \(command.name)", "failed"))
        continue
      }
      let ratios = zip(seconds[index], seconds[0]).map { $0 / $1 }
      print(
        Comparison.row(
          "  \(command.name)", Comparison.thousandths(Comparison.median(seconds[index])),
          Comparison.fixed(Comparison.median(ratios))))
    }
    for path in [ours, squash] { Program.remove(path) }
  }
}
