// SPDX-License-Identifier: GPL-2.0
// Power fails while files are made, renamed and removed: what is found then is the tree as it was
// after some operation, not before the last one that was made durable.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import FileModel
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct FileCrashTests {
  /// A run, with the model as it was after each operation.
  private struct Run {
    let disk: OpenFileSystem
    let top: FileID
    var states: [FileModelRun] = []
    /// After each: what the device had done.
    var operations: [UInt64] = []
    /// What the device had done when something was made durable, and after how many operations.
    var flushes: [(operations: UInt64, states: Int)] = []
  }

  private func run(seed: UInt64, steps: Int) throws -> Run {
    let disk = try OpenFileSystem(recorded: true)
    let files = try disk.open(seed: seed)
    let top = try files.makeDirectory("top")
    try files.sync()
    var model = FileModelRun(top: top, seed: seed)
    var run = Run(disk: disk, top: top)
    var random = SplitMix64(seed: seed)
    run.states.append(model)
    run.operations.append(disk.device.operationCount)
    run.flushes.append((disk.device.operationCount, 0))
    for number in 1...steps {
      try model.step(files)
      run.states.append(model)
      switch random.next() % 12 {
      case 0:
        try files.sync()
        run.flushes.append((disk.device.operationCount, number))
      case 1:
        for node in files.engine.trees.cache.allNodes.prefix(4) { try files.engine.flush(node) }
      case 2: files.engine.nodeWrites.drain(files.engine, to: Int(random.next() % 4))
      case 3: files.engine.journal.writeStep()
      case 4 where random.next() % 4 == 0: try files.engine.flushWriteBuffer()
      default: break
      }
      run.operations.append(disk.device.operationCount)
    }
    try disk.letGo(files)
    return run
  }

  @Test(arguments: [UInt64(1), 2])
  func theTreeAfterACrashIsThatOfSomeMoment(seed: UInt64) throws {
    let steps = 400
    let run = try run(seed: seed, steps: steps)
    var random = SplitMix64(seed: seed &* 31)
    let start = try #require(run.operations.first)
    let end = try #require(run.operations.last)
    let states = runsLongTests ? 2000 : 40
    var progress = Progress("crash of files, seed \(seed)", of: states)
    for state in 0..<states {
      progress.reached(state)
      let operation = start + random.next() % (end - start + 1)
      let comment: Comment = "seed \(seed), state \(state), operation \(operation)"
      let image = try #require(
        run.disk.device.crashImage(beforeOperation: operation, .random(&random)), comment)
      try expectSound(image, comment)
      let left = OpenFileSystem(on: image)
      let files = try left.open(seed: 9)
      let first = run.flushes.last { $0.operations <= operation }?.states ?? 0
      // Steps that were refused did nothing to the device: the flush may be behind some of them.
      let seen = run.operations.firstIndex { $0 >= operation } ?? steps
      let last = max(first, min(seen + 1, steps))
      let isFound = try (first...last).contains { number in
        try run.states[number].differences(in: files, top: run.top) == []
      }
      #expect(isFound, "\(comment): no state of \(first)...\(last)")
      let isLeft = try files.hasDeletedInodes()
      #expect(!isLeft, comment)
      if state % 4 == 0 {
        try files.close()
        try expectSound(image, "\(comment), closed")
        try left.read { volume in
          let violations = try TreeInvariants.violations(in: volume)
          #expect(violations == [], comment)
        }
      } else {
        try left.letGo(files)
      }
    }
  }
}
