// SPDX-License-Identifier: GPL-2.0
// Volumes that are filled to the last sector by each kind of operation, emptied, and filled again:
// whatever was taken comes back, and is counted as free.
//
// How it works
//   1. Of what is counted everything has to be as it was, but for btree nodes: those that are left
//      half empty stay. Their number is bounded: it must not grow from round to round.
//   2. What stays in btrees is counted too, key by key.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import FileModel
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct FilledVolumeTests {
  struct Volume: Sendable, CustomTestStringConvertible {
    let volume: FreshVolume
    var withThreads = false
    /// Another one for each, so that in the short run they are filled by other kinds.
    let seed: UInt64
    var testDescription: String { volume.testDescription }

    init(
      _ name: String, seed: UInt64, withThreads: Bool = false,
      _ change: (inout FreshVolume) -> Void = { _ in }
    ) {
      volume = FreshVolume(testDescription: name) {
        $0.sizes = [24 << 20]
        change(&$0)
      }
      self.withThreads = withThreads
      self.seed = seed
    }
  }

  static let volumes: [Volume] = [
    Volume("plain", seed: 1),
    Volume("zstd, small nodes", seed: 2) {
      $0.sizes = [16 << 20]
      $0.build.bucketBytes = 32 << 10
      $0.build.options[.btreeNodeSize] = 8 << 10
      $0.build.options[.compression] = 3
      $0.build.options[.encodedExtentMax] = 16 << 10
    },
    Volume("two replicas of three devices", seed: 3) {
      $0.sizes = [18 << 20, 18 << 20, 24 << 20]
      $0.build.options[.dataReplicas] = 2
      $0.build.options[.metadataReplicas] = 2
    },
    Volume("small buckets", seed: 5) {
      $0.sizes = [12 << 20]
      $0.build.bucketBytes = 16 << 10
      $0.build.options[.btreeNodeSize] = 4 << 10
    },
    Volume("encrypted, lz4, threads", seed: 4, withThreads: true) {
      $0.build.encryption = .passphrase(Array("secret".utf8))
      $0.passphrase = "secret"
      $0.build.options[.compression] = 1
    },
  ]

  private func open(
    _ setting: Volume, _ devices: [SimulatedDevice], seed: UInt64
  ) throws -> FileSystem {
    let engine = try setting.volume.engine(on: devices, seed: seed).engine
    if setting.withThreads { engine.startThreads() }
    return FileSystem(engine, dirtyLimitBytes: 128 << 10)
  }

  /// Moving what is behind an inserted range took the last nodes, which left none to those who
  /// write nodes: the volume took no more writes, and could not be emptied.
  @Test func rangesAreNotInsertedWhereThereIsNoRoom() throws {
    let setting = Self.volumes[0]
    let devices = try setting.volume.format()
    let files = try open(setting, devices, seed: 1)
    var filler = FullVolumeFiller(
      files, top: try files.makeDirectory("top"), replicas: 1, seed: 5)
    _ = try filler.leave(bytes: 1 << 20)
    let count = try #require(try filler.fill(.insertedRanges))
    #expect(count > 10)
    try filler.empty()
    try files.close()
    try setting.volume.expectSound(devices, "closed", ofFiles: true)
  }

  /// What is counted; of threads that write nodes meanwhile it is what they come to rest with.
  private func counts(
    _ setting: Volume, _ files: FileSystem, like before: VolumeCounts
  ) throws -> VolumeCounts {
    for _ in 0..<(setting.withThreads ? 20 : 0) {
      let found = try VolumeCounts(files)
      if found.differences(from: before) == [] { return found }
    }
    return try VolumeCounts(files)
  }

  @Test(arguments: volumes)
  func whatFilledAVolumeComesBackWhole(setting: Volume) throws {
    let (kinds, seed) = (FullVolumeFiller.Kind.allCases, setting.seed)
    let devices = try setting.volume.format()
    var random = SplitMix64(seed: seed)
    var files = try open(setting, devices, seed: seed)
    let top = try files.makeDirectory("top")
    try files.sync()
    let before = try VolumeCounts(files)
    var mostNodes: [(sectors: Int, text: String)] = []
    let rounds = runsLongTests ? 20 : 2
    var progress = Progress("full volume, \(setting.testDescription)", of: rounds * kinds.count)
    for round in 0..<rounds {
      mostNodes.append((0, ""))
      // In the short run a round has some of the kinds, the next one the others.
      let here = kinds.shuffled(using: &random).enumerated()
        .filter { runsLongTests || $0.offset % 11 == round }.map(\.element)
      for (index, kind) in here.enumerated() {
        progress.reached(round * kinds.count + index)
        let comment: Comment = "seed \(seed), round \(round), \(kind), after \(here[..<index])"
        var filler = FullVolumeFiller(
          files, top: top, replicas: setting.volume.build.options[.dataReplicas] ?? 1,
          seed: seed &* 1000 &+ UInt64(round * 100 + index))
        do {
          let hasRoom =
            kind.isOfNames || !runsLongTests ? try filler.leave(bytes: 1 << 20) : true
          let count = try #require(try filler.fill(kind), comment)
          #expect(count > 0 || !hasRoom, comment)
          // What other kinds still find they may take.
          for other in kinds { _ = try filler.fill(other, limit: 2) }
          try filler.empty()
        } catch {
          let isStopped = (try? files.engine.checkWritable()) == nil
          Issue.record(
            "\(error), \(filler.stateText), takes no writes: \(isStopped): \(comment)")
          throw error
        }
        let after = try counts(setting, files, like: before)
        try #require(after.differences(from: before) == [], comment)
        if after.nodeSectors > mostNodes[round].sectors {
          let places = after.sectorsOfNodes.sorted { $0.value > $1.value }.prefix(4)
          mostNodes[round] = (
            after.nodeSectors, places.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
          )
        }
      }
      try files.close()
      try setting.volume.expectSound(devices, "seed \(seed), round \(round)", ofFiles: true)
      files = try open(setting, devices, seed: seed &+ UInt64(round) &+ 1)
      let differences = try VolumeCounts(files).differences(from: before)
      #expect(differences == [], "opened again, seed \(seed), round \(round)")
    }
    // Emptied nodes go by and by: there are never more of them than a small part of the volume.
    let first = mostNodes[..<min(4, rounds)].map(\.sectors).max() ?? 0
    #expect(
      mostNodes.allSatisfy { $0.sectors <= first * 3 / 2 }, "sectors of nodes: \(mostNodes)")
    try files.close()
  }
}

extension FullVolumeFiller.Kind {
  /// Takes so little each time that a whole volume would take long.
  fileprivate var isOfNames: Bool {
    switch self {
    case .largeWrites, .compressibleWrites, .allocatedRanges, .zeroedRanges, .smallWrites: false
    default: true
    }
  }
}

/// All that is counted of a volume, and what is in its btrees.
private struct VolumeCounts {
  private var counts: [String: [Int64]] = [:]
  private(set) var sectorsOfNodes: [String: Int] = [:]
  var nodeSectors: Int { sectorsOfNodes.values.reduce(0, +) }

  init(_ files: FileSystem) throws {
    try files.sync()
    let engine = files.engine
    // Nodes that are written count when they are, and what is counted goes to the write buffer.
    repeat {
      engine.nodeWrites.drain(engine)
      try engine.flushWriteBuffer()
    } while engine.nodeWrites.count > 0 || !engine.writeBuffer.isEmpty
    let isSwapped = engine.media.superblock.swapsAccountingPositions
    let accounting = try engine.run("test_counts") { (transaction) throws(TransactionError) in
      var result: [BPos: [Int64]] = [:]
      var walk = KeyWalk(.accounting, from: .min)
      while let found = try transaction.next(&walk) {
        guard found.key.type == .accounting else { continue }
        result[found.key.position] = found.withValue { value in
          (0..<value.byteCount / 8).map { value[LEField<Int64>($0 * 8)] }
        }
      }
      return result
    }
    for (position, values) in accounting {
      guard let key = AccountingKey(position, isByteSwapped: isSwapped) else { continue }
      add(key, values)
    }
    let usage = engine.usage
    counts["promised"] = [Int64(usage.promisedSectors)]
    counts["used, but for nodes"] = [Int64(usage.used) - Int64(nodeSectors)]
    counts["inodes in memory"] = [Int64(usage.inodeCount)]
    for btree in [
      BTreeID.extents, .inodes, .dirents, .xattrs, .reflink, .snapshots, .subvolumes,
      .deletedInodes, .loggedOps, .snapshotTrees, .rebalanceWork, .quotas,
    ] where engine.trees.root(btree) != nil {
      counts["keys of \(btree)"] = [
        try engine.run("test_keys") { (transaction) throws(TransactionError) in
          var count: Int64 = 0
          var walk = KeyWalk(btree, from: .min)
          while let found = try transaction.next(&walk) {
            // What stays of an inode, so that its number is told from the next one's.
            if found.key.type != .inodeGeneration { count += 1 }
          }
          return count
        }
      ]
    }
  }

  /// Adds what stays whatever was done; nodes apart.
  private mutating func add(_ key: AccountingKey, _ values: [Int64]) {
    switch key {
    case .btree(let id):
      sectorsOfNodes["\(BTreeID(rawValue: UInt8(truncatingIfNeeded: id)))"] =
        Int(values.first ?? 0)
    case .replicas(let entry) where entry.dataType == DataType.btree.rawValue: break
    case .deviceDataType(_, let type):
      // The journal grows where it was short of buckets.
      let types: [DataType] = [.free, .needDiscard, .needGcGens, .btree, .journal]
      if !types.contains(where: { $0.rawValue == type }) { counts["\(key)"] = values }
    case .snapshot: counts["snapshots"] = values
    default: counts["\(key)"] = values
    }
  }

  func differences(from before: VolumeCounts) -> [String] {
    Set(counts.keys).union(before.counts.keys).sorted().compactMap { key in
      let (here, there) = (counts[key] ?? [], before.counts[key] ?? [])
      let isSame = here == there || (here + there).allSatisfy { $0 == 0 }
      return isSame ? nil : "\(key): \(here), not \(there)"
    }
  }
}
