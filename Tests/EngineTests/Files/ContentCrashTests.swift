// SPDX-License-Identifier: GPL-2.0
// Power fails at any moment while files are written, cut off, renamed over each other and deleted:
// what is found is what was there after some operation, not before the last fsync that returned.
//
// Each operation is one transaction: what it wrote is flushed, though not made durable, before the
// next one. So the whole tree tells after which operation it was.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct ContentCrashTests {
  private typealias Tree = [String: [UInt8]]

  private static let setting = FreshVolume(testDescription: "files") {
    $0.build.options[.compression] = 1
    $0.build.bucketBytes = 64 << 10
  }

  private struct Run {
    let device: SimulatedDevice
    /// After each operation, from none on.
    var trees: [Tree] = [[:]]
    /// After each operation: what the device had done.
    var operations: [UInt64] = []
    /// Fsyncs that returned: what the device had done, and how many operations they cover.
    var fsyncs: [(operations: UInt64, count: Int)] = []
  }

  private static func run(seed: UInt64, count: Int) throws -> Run {
    var random = SplitMix64(seed: seed)
    let devices = try setting.format(recorded: true)
    let bare = try setting.engine(on: devices, seed: seed)
    let system = FileSystem(bare.engine)
    var run = Run(device: devices[0])
    try system.sync()
    run.fsyncs.append((run.device.operationCount, 0))
    run.operations.append(run.device.operationCount)
    var tree: Tree = [:]
    for number in 1...count {
      try step(system, &tree, &random)
      run.trees.append(tree)
      run.operations.append(run.device.operationCount)
      switch random.next() % 8 {
      case 0:
        try system.fsync(system.root)
        run.fsyncs.append((run.device.operationCount, number))
      case 1: bare.engine.journal.writeStep()
      case 2: try bare.engine.discardBuckets()
      case 3 where random.next() % 4 == 0: try bare.engine.writeAllNodes()
      default: break
      }
    }
    return run
  }

  private static func step(
    _ system: FileSystem, _ tree: inout Tree, _ random: inout SplitMix64
  ) throws {
    let name = "file \(random.next() % 6)"
    guard let old = tree[name] else {
      _ = try system.create(
        Array(name.utf8), in: system.root, FileCreation(.regular, permissions: 0o600))
      tree[name] = []
      return
    }
    let id = try system.lookup(Array(name.utf8), in: system.root).id
    switch random.next() % 8 {
    case 0:
      let size = Int(random.next() % 100_000)
      try system.truncate(id, to: UInt64(size))
      let more = [UInt8](repeating: 0, count: max(size - old.count, 0))
      tree[name] = Array(old.prefix(size)) + more
    case 1:
      try system.unlink(Array(name.utf8), in: system.root)
      tree[name] = nil
    case 2:
      let other = "file \(random.next() % 6)"
      guard other != name else { return }
      try system.rename(
        Array(name.utf8), in: system.root, to: Array(other.utf8), in: system.root)
      tree[other] = old
      tree[name] = nil
    default:
      let isAppended = random.next() % 2 == 0 && old.count < 90_000
      let start = isAppended ? old.count : Int(random.next() % 90_000)
      let length = 1 + Int(random.next() % 30_000)
      let first = UInt8(truncatingIfNeeded: random.next())
      let bytes = (0..<length).map { first &+ UInt8(truncatingIfNeeded: $0 / 100) }
      try system.write(id, bytes.rawBytes, at: UInt64(start))
      try system.contents.find(id)?.flush()
      var new = old + [UInt8](repeating: 0, count: max(start + length - old.count, 0))
      new.replaceSubrange(start..<start + length, with: bytes)
      tree[name] = new
    }
  }

  /// What is in the root directory of a volume that nobody recovered.
  private static func tree(_ image: SimulatedDevice) throws -> Tree {
    var found: Tree = [:]
    try setting.withVolume([image]) { volume in
      for entry in try volume.entries(of: volume.root) where entry.text != "lost+found" {
        found[entry.text] = try volume.allBytes(of: entry.id)
      }
    }
    return found
  }

  @Test(arguments: [UInt64(1), 2])
  func whatIsFoundWasThereAtSomeMoment(seed: UInt64) throws {
    let run = try Self.run(seed: seed, count: 600)
    var random = SplitMix64(seed: seed &* 77)
    let states = runsLongTests ? 10_000 : 150
    let start = run.operations[0]
    for state in 0..<states {
      let operation = start + random.next() % (run.device.operationCount - start + 1)
      let comment: Comment = "seed \(seed), state \(state), operation \(operation)"
      let image = try #require(
        run.device.crashImage(
          beforeOperation: operation, .random(&random), recordsContents: true), comment)
      let least = run.fsyncs.last { $0.operations <= operation }?.count ?? 0
      let most = run.operations.firstIndex { $0 >= operation } ?? run.trees.count - 1
      let found = try Self.tree(image)
      #expect(
        run.trees[least...min(most, run.trees.count - 1)].contains(found),
        "\(comment): not as after any of \(least)...\(most)")
      try Self.setting.expectSound([image], comment)
      guard state % 4 == 0 else { continue }
      // Recovered, it is the same, and nothing of what was deleted is left.
      let again = try Self.setting.engine(on: [image], seed: operation)
      try again.engine.close()
      try Self.setting.letGo(again)
      try Self.setting.expectSound([image], "\(comment), recovered")
      #expect(try Self.tree(image) == found, "\(comment), recovered")
    }
  }
}
