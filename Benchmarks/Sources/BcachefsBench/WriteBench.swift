// SPDX-License-Identifier: GPL-2.0
// Mounts that are written to, beside libfuse's passthrough_ll over tmpfs, fuse2fs, and the kernel's
// ext4 and btrfs on loop devices.
//
// How it works
//   1. All images are in memory. Each measurement has a new filesystem and a mount of its own, and
//      goes through all steps (WriteWork). In each round all take turns, and the median of the
//      rounds' ratios counts.
//   2. passthrough_ll shows a folder of the same memory, its kernel side set as ours is: it has
//      extended attributes, and the kernel checks permissions, for which it asks for a directory's
//      attributes after each change in it.
// Invariants
//   (1) All do the same calls; what is read back is as long as what was written.

internal import Bcachefs
internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

struct WriteBench {
  private let options: BenchOptions
  private let folder = Program.scratchFolder
  private var mount: String { "\(folder)/mount" }
  private var largeBytes: Int { options.isSmoke ? 8 << 20 : 1 << 30 }

  init(_ options: BenchOptions) { self.options = options }

  private func contenders() -> [MountContender] {
    let imageBytes = 4 * largeBytes + 256 << 20
    func image(_ name: String, make: [String], mount command: [String]) -> MountContender {
      let path = "\(folder)/\(name).img"
      return MountContender(
        name: name, preparation: make + [path], imageBytes: imageBytes, image: path,
        command: command + [path, mount])
    }
    var result = [
      image(
        "bcachefs", make: [Program.bcachefs, "format", "--force"],
        mount: [Program.bcachefs, "mount"])
    ]
    if let passthrough = Program.environment("BENCH_PASSTHROUGH") {
      let source = "\(folder)/source"
      result.append(
        MountContender(
          name: "passthrough_ll",
          preparation: ["sh", "-c", "rm -rf \(source); mkdir \(source)"],
          command: [
            passthrough, "-o",
            "source=\(source),cache=always,writeback,xattr,default_permissions", mount,
          ]))
    }
    return result + [
      image("fuse2fs", make: ["mke2fs", "-q", "-F"], mount: ["fuse2fs", "-o", "fakeroot"]),
      image("ext4", make: ["mke2fs", "-q", "-F", "-t", "ext4"], mount: ["mount", "-o", "loop"]),
      image("btrfs", make: ["mkfs.btrfs", "-q", "-f"], mount: ["mount", "-o", "loop"]),
    ]
  }

  func run() {
    Program.requireRelease()
    // passthrough_ll has a descriptor for each file that the kernel knows.
    Program.allowDescriptors(1 << 17)
    defer { Program.remove(folder) }
    _ = unsafe mkdir(folder, 0o755)
    _ = unsafe mkdir(mount, 0o755)
    let tree = SampleTree(folder: "\(folder)/tree", files: options.treeFiles)
    tree.create()
    let work = WriteWork(
      tree: tree.folder, largeBytes: largeBytes, smallFiles: options.isSmoke ? 100 : 10_000,
      durableWrites: options.isSmoke ? 10 : 500)
    let contenders = contenders()
    var results: [[[Double]]] = contenders.map { _ in [] }
    var memory: [Int] = contenders.map { _ in 0 }
    for _ in 0..<options.runs {
      for (index, contender) in contenders.enumerated() where contender.prepare() {
        let result = contender.withMount(at: mount) {
          let seconds = work.run(in: mount)
          memory[index] = max(memory[index], MountContender.peakMemory(ofServing: mount) ?? 0)
          return seconds
        }
        if let result { results[index].append(result) }
        if !contender.image.isEmpty { Program.remove(contender.image) }
      }
    }
    report(work, contenders.map(\.name), results)
    print("peak memory of who serves, MiB  (ours is to stay below \(Self.memoryLimitMiB))")
    for (contender, peak) in zip(contenders, memory) where peak > 0 {
      print(Comparison.row("  \(contender.name)", "\(peak)"))
    }
  }

  /// What a mount may have: its nodes, what is not written yet, and what a hundred requests and
  /// writes in flight take.
  private static var memoryLimitMiB: Int {
    let options = FileSystemOptions(seed: 0)
    return (options.cacheBytes + options.dirtyLimitBytes) >> 20 + 100
  }

  private func report(_ work: WriteWork, _ names: [String], _ results: [[[Double]]]) {
    print(
      "\nmounts that are written to: one file of \(largeBytes >> 20) MiB, \(work.smallFiles) of "
        + "\(work.smallBytes) bytes, \(work.durableWrites) fsyncs, a tree of "
        + "\(options.treeFiles) files; in \(folder)")
    print("seconds: median of \(options.runs) runs; ratio: its time to ours in the same round")
    for (step, kind) in WriteWork.Step.allCases.enumerated() {
      print("\(kind.rawValue)  (passthrough_ll is to reach: \(kind.target))")
      for (index, name) in names.enumerated() {
        guard results[index].count == options.runs, results[0].count == options.runs else {
          print(Comparison.row("  \(name)", "failed"))
          continue
        }
        let seconds = results[index].map { $0[step] }
        guard !seconds.contains(where: \.isNaN) else {
          print(Comparison.row("  \(name)", "failed"))
          continue
        }
        let ratios = zip(seconds, results[0]).map { $0 / $1[step] }
        print(
          Comparison.row(
            "  \(name)", Comparison.thousandths(Comparison.median(seconds)),
            Comparison.fixed(Comparison.median(ratios))))
      }
    }
  }
}
