// SPDX-License-Identifier: GPL-2.0
// Random operations beside a model: what the filesystem says and holds is what the model does, also
// when it is opened again, and by whoever reads it.

internal import BcachefsFormat
internal import BcachefsSupport
internal import FileModel
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct FileModelTests {
  /// - Parameter names: Of the files in a directory.
  private func run(
    seed: UInt64, steps: Int,
    names: (Inode) -> [[UInt8]] = { _ in FileModelRun.shortNames },
    _ change: (inout FreshVolume) -> Void = { _ in }
  ) throws {
    let disk = try OpenFileSystem(change)
    let first = try disk.open(seed: seed)
    let top = try first.makeDirectory("top")
    var run = FileModelRun(
      top: top, seed: seed, names: names(try first.attributes(of: top).inode))
    for _ in 0..<steps { try run.step(first) }
    #expect(try run.differences(in: first, top: top) == [], "seed \(seed)")
    #expect(run.refusals > steps / 10 && run.refusals < steps * 9 / 10, "seed \(seed)")
    try run.letGoOfAll(first)
    try first.close()
    try expectSound(disk.device, "seed \(seed)")
    try disk.read { volume in
      let differences = try run.differences(in: volume, top: top)
      #expect(differences == [], "seed \(seed)")
    }
    let again = try disk.open(seed: seed + 1)
    #expect(again.engine.wasClean)
    #expect(again.engine.deadInodeCount.load(ordering: .relaxed) == 0)
    for _ in 0..<steps / 4 { try run.step(again) }
    #expect(try run.differences(in: again, top: top) == [], "seed \(seed), again")
    // Files that are held, and have no name, go with the volume's end.
    try again.close()
    try expectSound(disk.device, "seed \(seed), again")
    let last = try disk.open(seed: seed + 2)
    #expect(try run.differences(in: last, top: top) == [], "seed \(seed), closed")
    let isLeft = try last.hasDeletedInodes()
    #expect(!isLeft)
    #expect(last.engine.deadInodeCount.load(ordering: .relaxed) == 0)
    try last.close()
  }

  @Test(arguments: [UInt64(1), 2, 3])
  func operationsDoWhatAModelDoes(seed: UInt64) throws {
    try run(seed: seed, steps: runsLongTests ? 200_000 : 4000)
  }

  /// crc32c of names that were made for it: in the top directory they are in runs of places one
  /// behind the other.
  @Test(arguments: [UInt64(4), 5, 6])
  func operationsOnNamesWithTheSameHashDoWhatAModelDoes(seed: UInt64) throws {
    try run(
      seed: seed, steps: runsLongTests ? 100_000 : 3000,
      names: { inode in
        let maker = NamesOfHash(seed: inode.hashSeed)
        var random = SplitMix64(seed: seed)
        let names = (0..<14).map { number in
          maker.name(of: 1000 + [0, 0, 0, 0, 1, 1, 2, 4][number % 8], &random)
        }
        #expect(Set(names).count == 14)
        for name in names {
          #expect(NameHash(inode).dirent(name.span) == UInt64(maker.hash(name)))
        }
        return names
      }
    ) { $0.build.options[.strHash] = 0 }
  }

  @Test func namesOfFullLengthDoWhatAModelDoes() throws {
    let names = (0..<10).map { number in
      [UInt8](repeating: 0x61 + UInt8(number), count: 254) + [0x7a]
    }
    try run(seed: 7, steps: 1500, names: { _ in names })
  }
}
