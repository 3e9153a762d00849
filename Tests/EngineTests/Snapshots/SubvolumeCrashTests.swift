// SPDX-License-Identifier: GPL-2.0
// Power fails while snapshots are taken and deleted, and while what is left of them is cleaned up:
// what is found then is as it was after some operation, and checks find nothing.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import FileModel
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct SubvolumeCrashTests {
  /// A run, with the model as it was after each step.
  struct Run {
    let disk: OpenFileSystem
    var states: [SubvolumeModel] = []
    /// After each: what the device had done.
    var operations: [UInt64] = []
    /// What the device had done when all was made durable, and after how many steps.
    var flushes: [(operations: UInt64, states: Int)] = []
  }

  static func run(seed: UInt64, steps: Int) throws -> Run {
    let disk = try OpenFileSystem({ $0.sizes = [128 << 20] }, recorded: true)
    let files = try disk.open(seed: seed)
    try files.sync()
    var model = SubvolumeModel(files, seed: seed, subvolumesMax: 8)
    var run = Run(disk: disk)
    var random = SplitMix64(seed: seed)
    func note() {
      run.states.append(model)
      run.operations.append(disk.device.operationCount)
    }
    note()
    run.flushes.append((disk.device.operationCount, 0))
    for number in 1...steps {
      // What is in memory alone would be lost: each step is to be a state of its own.
      let what = try model.step(files)
      files.contents.writeAll()
      note()
      switch random.next() % 10 {
      case 0:
        try files.sync()
        run.flushes.append((disk.device.operationCount, number))
      case 1:
        for node in files.engine.trees.cache.allNodes.prefix(4) { try files.engine.flush(node) }
      case 2: files.engine.nodeWrites.drain(files.engine, to: Int(random.next() % 4))
      case 3, 4: files.engine.journal.writeStep()
      default: break
      }
      if what == "clean" { try files.sync() }
      run.operations[number] = disk.device.operationCount
    }
    try disk.letGo(files)
    return run
  }

  @Test(arguments: [UInt64(1), 2, 3])
  func subvolumesAfterACrashAreThoseOfSomeMoment(seed: UInt64) throws {
    let steps = 250
    let run = try Self.run(seed: seed, steps: steps)
    var random = SplitMix64(seed: seed &* 31)
    let start = try #require(run.operations.first)
    let end = try #require(run.operations.last)
    let states = runsLongTests ? 2000 : 40
    var progress = Progress("crash of subvolumes, seed \(seed)", of: states)
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
      // Steps that changed nothing have the operation of those before them.
      let last = max(first, run.operations.firstIndex { $0 >= operation } ?? steps)
      var nearest: [String]?
      let isFound = try (first...min(last + 1, steps)).contains { number in
        try ([run.states[number]] + run.states[number].between).contains { model in
          let differences = try model.differences(in: files, afterCrash: true)
          if differences.count < nearest?.count ?? .max { nearest = differences }
          return differences == []
        }
      }
      #expect(isFound, "\(comment): no state of \(first)...\(last): \(nearest ?? [])")
      guard state % 3 != 0 else {
        try left.letGo(files)
        continue
      }
      try files.cleanSnapshots()
      #expect(try !files.hasDeadSnapshots(), comment)
      #expect(try !files.hasDeletedInodes(), comment)
      try files.close()
      try expectSound(image, "\(comment), cleaned and closed")
    }
  }
}
