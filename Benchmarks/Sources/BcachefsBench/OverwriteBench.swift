// SPDX-License-Identifier: GPL-2.0
// Random overwrites of blocks of 4 KiB, in a volume that is half full and in one that is 90% full:
// what moving data costs those who write.
//
// How it works
//   A file is filled from front to back, then as much is overwritten as it has, before it is
//   measured, so that its buckets are as mixed as they will ever be.

internal import Bcachefs
internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

struct OverwriteBench {
  private static let blockBytes = 4096
  private let options: BenchOptions
  private let folder = Program.scratchFolder

  init(_ options: BenchOptions) { self.options = options }

  func run() {
    Program.requireRelease()
    _ = unsafe mkdir(folder, 0o755)
    defer { Program.remove(folder) }
    print("\nrandom overwrites of 4 KiB: microseconds each, median")
    print(Comparison.row("", "microseconds", "a second"))
    for percent in [50, 90] {
      var times: [Double] = []
      for round in 0..<min(options.runs, 3) {
        do throws(VolumeError) { times.append(try measure(percent, round)) } catch {
          return print("overwrites failed: \(error)")
        }
      }
      let median = Comparison.median(times)
      print(
        Comparison.row(
          "\(percent)% full", Comparison.fixed(median / 1000), "\(Int(1e9 / max(median, 1)))"))
    }
  }

  /// - Returns: nanoseconds an overwrite.
  private func measure(_ percent: Int, _ round: Int) throws(VolumeError) -> Double {
    let image = "\(folder)/overwrite.img"
    defer { Program.remove(image) }
    guard Program.run(["truncate", "-s", options.isSmoke ? "64M" : "1G", image]) != nil,
      Program.run([Program.bcachefs, "format", "--quiet", "--bucket=128k", image]) != nil
    else { throw VolumeError(.device, "no volume could be formatted") }
    let files = try FileSystem.open(
      VolumeSources(paths: [image]), FileSystemOptions(seed: UInt64(round + 1)))
    let id = try files.create(
      Array("data".utf8), in: files.root, FileCreation(.regular, permissions: 0o644)
    ).id
    let usage = files.usage
    let free = usage.capacitySectors - usage.usedSectors
    let blocks = Int(free) * 512 / 65 * 64 / 100 * percent / Self.blockBytes
    let large = HeapBuffer(byteCount: 1 << 20)
    let end = blocks * Self.blockBytes
    for start in stride(from: 0, to: end, by: 1 << 20) {
      try files.write(
        id, large.bytes.extracting(0..<min(1 << 20, end - start)), at: UInt64(start))
    }
    var random = SplitMix64(seed: UInt64(round))
    try overwrite(id, blocks, blocks, files, &random)
    let count = options.isSmoke ? 1000 : 50_000
    let start = Clocks.system.monotonicNanoseconds()
    try overwrite(id, blocks, count, files, &random)
    try files.sync()
    let time = Clocks.system.monotonicNanoseconds() - start
    try files.close()
    return Double(time) / Double(count)
  }

  private func overwrite(
    _ id: FileID, _ blocks: Int, _ count: Int, _ files: FileSystem, _ random: inout SplitMix64
  ) throws(VolumeError) {
    let block = HeapBuffer(byteCount: Self.blockBytes)
    for _ in 0..<count {
      var bytes = block.mutableBytes
      bytes.storeBytes(of: random.next(), as: UInt64.self)
      let place = random.next() % UInt64(blocks)
      try files.write(id, block.bytes, at: place * UInt64(Self.blockBytes))
    }
  }
}
