// SPDX-License-Identifier: GPL-2.0
// Building an image from a directory, beside the tools that do the same for other filesystems:
// whole processes, in turns, on one tree.

internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

struct ImageBench {
  private let options: BenchOptions
  /// Where tree and images go.
  private let folder = Program.scratchFolder

  init(_ options: BenchOptions) { self.options = options }

  /// One program that makes an image of the tree.
  private struct Contender {
    let name: String
    /// What its time is compared with: the contender of this name.
    let against: String?
    let arguments: [String]
    /// Bytes that the image file must have before; nil: it must not exist.
    var imageBytes: Int?
  }

  private var contenders: [Contender] {
    let (tree, image) = ("\(folder)/tree", "\(folder)/image")
    let ours = [Program.bcachefs, "image", "create", "--quiet", "--source=\(tree)"]
    let squash = ["mksquashfs", tree, image, "-quiet", "-no-progress"]
    let size = 2 * options.treeBytes + 64 << 20
    return [
      Contender(name: "bcachefs", against: nil, arguments: ours + [image]),
      Contender(
        name: "mke2fs -d", against: "bcachefs",
        arguments: ["mke2fs", "-q", "-F", "-d", tree, image],
        imageBytes: size),
      Contender(
        name: "mkfs.btrfs --rootdir", against: "bcachefs",
        arguments: ["mkfs.btrfs", "-q", "-f", "--rootdir", tree, image], imageBytes: size),
      Contender(
        name: "mksquashfs, stored", against: "bcachefs",
        arguments: squash + ["-noI", "-noD", "-noF", "-noX"]),
      Contender(name: "tar", against: "bcachefs", arguments: ["tar", "cf", image, tree]),
      Contender(
        name: "bcachefs lz4", against: nil, arguments: ours + ["--compression=lz4", image]),
      Contender(
        name: "mksquashfs lz4", against: "bcachefs lz4", arguments: squash + ["-comp", "lz4"]),
      Contender(
        name: "bcachefs zstd", against: nil, arguments: ours + ["--compression=zstd", image]),
      Contender(
        name: "mksquashfs zstd", against: "bcachefs zstd",
        arguments: squash + ["-comp", "zstd", "-Xcompression-level", "3"]),
    ].filter { contender in
      options.names.isEmpty || options.names.contains { contender.name.contains($0) }
    }
  }

  func run() {
    Program.requireRelease()
    SampleTree(folder: "\(folder)/tree", files: options.treeFiles).create()
    print("a tree of \(options.treeFiles) files in \(folder)")
    print("seconds: median of \(options.runs) runs; ratio: its time to ours in the same round")
    var seconds: [String: [Double]] = [:]
    var peakMiB: [String: Int] = [:]
    for _ in 0..<options.runs {
      for contender in contenders {
        guard let result = measure(contender) else { continue }
        seconds[contender.name, default: []].append(result.seconds)
        peakMiB[contender.name] = max(peakMiB[contender.name] ?? 0, result.peakMiB)
      }
    }
    for contender in contenders { report(contender, seconds, peakMiB) }
    Program.remove(folder)
  }

  private func report(
    _ contender: Contender, _ seconds: [String: [Double]], _ peakMiB: [String: Int]
  ) {
    let name = contender.name + String(repeating: " ", count: max(1, 24 - contender.name.count))
    guard let own = seconds[contender.name], let peak = peakMiB[contender.name] else {
      print("\(name)not there, or failed")
      return
    }
    var line = "\(name)\(Comparison.fixed(Comparison.median(own))) s  \(peak) MiB"
    if let reference = contender.against.flatMap({ seconds[$0] }), reference.count == own.count {
      let ratios = zip(own, reference).map { $0 / $1 }
      line += "  ratio \(Comparison.fixed(Comparison.median(ratios)))"
    }
    print(line)
  }

  private func measure(_ contender: Contender) -> (seconds: Double, peakMiB: Int)? {
    let image = "\(folder)/image"
    _ = unsafe unlink(image)
    if let bytes = contender.imageBytes {
      let descriptor = unsafe open(image, O_CREAT | O_WRONLY, 0o600)
      _ = ftruncate(descriptor, bytes)
      _ = close(descriptor)
    }
    let start = Clocks.system.monotonicNanoseconds()
    guard let peak = Program.run(contender.arguments) else { return nil }
    return (Double(Clocks.system.monotonicNanoseconds() - start) / 1e9, peak)
  }
}
