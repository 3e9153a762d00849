// SPDX-License-Identifier: GPL-2.0
// What every built volume holds to, whatever its shape: looked at node by node and key by key.
//
// Invariants under test
//   (1) Nodes of a btree's level cover the key space without gap, in order; a pointer says what its
//       node is.
//   (2) Keys of a btree ascend.
//   (3) Every pointer has its backpointer, every backpointer its pointer; sectors add up to what
//       the alloc keys say, and free buckets to what the freespace btree says.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

struct ImageInvariantTests {
  /// Shapes that are awkward for btrees which describe their own nodes.
  static let shapes: [(name: String, setting: BuildSetting)] = [
    ("defaults", BuildSetting()),
    ("nodes of 4 KiB", BuildSetting(options: [.btreeNodeSize: 4096])),
    ("nodes of 16 KiB", BuildSetting(options: [.btreeNodeSize: 16 << 10])),
    ("sixteen devices", BuildSetting(options: [.btreeNodeSize: 4096], deviceCount: 16)),
    (
      "three replicas on five devices",
      BuildSetting(
        options: [.btreeNodeSize: 8192, .dataReplicas: 3, .metadataReplicas: 3], deviceCount: 5)
    ),
    (
      "small chunks, no checksums",
      BuildSetting(options: [
        .btreeNodeSize: 4096, .encodedExtentMax: 4096, .dataChecksum: 0,
        .compression: 1,
      ])
    ),
    (
      "a fixed size", BuildSetting(options: [.btreeNodeSize: 4096], byteCount: (40 << 20) + 512)
    ),
    ("large buckets", BuildSetting(bucketBytes: 4 << 20)),
    (
      "buckets of one node",
      BuildSetting(options: [.btreeNodeSize: 16 << 10], bucketBytes: 16 << 10)
    ),
  ]

  @Test(arguments: shapes.indices)
  func builtVolumeHoldsTogether(shape: Int) throws {
    let (name, setting) = Self.shapes[shape]
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", seed: 3, scale: .tiny, files: 200)
      let image = try BuiltImage(tree.path, setting)
      try expectNodesCoverKeySpace(image, name)
      try expectBackpointersMatch(image, name)
      try expectSpaceAddsUp(image, name)
    }
  }

  /// The driver gives a journal to a device without one at the first mount, over whatever stands in
  /// its first buckets.
  @Test func everyDeviceHasAJournalWhateverItMayHold() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", seed: 3, scale: .tiny, files: 20)
      let setting = BuildSetting(
        deviceCount: 2, dataAllowed: [0: [.journal, .btree], 1: [.user]])
      let image = try BuiltImage(tree.path, setting)
      for device in image.devices {
        let superblock = try SuperblockCopies.read(device, searching: false).superblock
        let section = superblock.section(of: JournalBucketRangesSection.self)
        #expect((section?.ranges ?? []).reduce(0) { $0 + $1.count } >= 8, "\(device.name)")
      }
      try expectBackpointersMatch(image, "data apart")
      try expectSpaceAddsUp(image, "data apart")
    }
  }

  /// Number of keys from none to several levels, at every size around a full node.
  @Test func everyNumberOfFilesHasAPlanThatFits() throws {
    try withTemporaryFolder { folder in
      for count in [0, 1, 2, 5, 33, 120] {
        let tree = try SourceTree.make(
          at: "\(folder)/\(count)",
          script: "for ((i = 0; i < \(count); i++)); do head -c 5000 /dev/zero >$i; done")
        for nodeBytes in [4096, 8192] as [UInt64] {
          let setting = BuildSetting(options: [.btreeNodeSize: nodeBytes], deviceCount: 3)
          let image = try BuiltImage(tree.path, setting)
          try expectNodesCoverKeySpace(image, "\(count) files, nodes of \(nodeBytes)")
          try expectSpaceAddsUp(image, "\(count) files, nodes of \(nodeBytes)")
        }
      }
    }
  }

  // MARK: - Checks

  private func expectNodesCoverKeySpace(_ image: BuiltImage, _ name: String) throws {
    for (btree, nodes) in image.nodes {
      let top = try #require(nodes.last)
      for level in 0...top.level {
        var next: BPos? = BPos.min
        for node in nodes where node.level == level {
          #expect(node.header.btree == btree && node.header.level == level, "\(name)")
          #expect(node.header.minKey == next, "\(name): \(btree) has a gap at \(level)")
          #expect(node.key.position == node.header.maxKey, "\(name): \(btree)")
          let pointer = try BTreePtrV2(decoding: node.value.rawBytes)
          #expect(pointer.minKey == node.header.minKey, "\(name): \(btree)")
          #expect(pointer.seq == node.header.bset.sequence, "\(name): \(btree)")
          #expect(pointer.seq != 0, "\(name): \(btree)")
          next = node.header.maxKey.successor
        }
        #expect(nodes.last { $0.level == level }?.header.maxKey == .max, "\(name): \(btree)")
      }
      let positions = (image.keys[btree] ?? []).map(\.key.position)
      #expect(zip(positions, positions.dropFirst()).allSatisfy { $0 < $1 }, "\(name): \(btree)")
    }
  }

  /// A pointer, wherever it is from.
  private struct Place: Hashable {
    let device: UInt8
    let sector: UInt64
    let sectors: UInt64
    let position: BPos
    let btree: BTreeID
  }

  private func places(_ image: BuiltImage) throws -> Set<Place> {
    var result: Set<Place> = []
    let nodeSectors = VolumeOptions(superblock: image.superblock.optionWords)[.btreeNodeSize] / 512
    for (btree, nodes) in image.nodes {
      for node in nodes {
        for pointer in try image.pointers(node.key, node.value) {
          result.insert(
            Place(
              device: pointer.device, sector: pointer.offset, sectors: nodeSectors,
              position: node.key.position, btree: btree))
        }
      }
    }
    for extent in image.keys[.extents] ?? [] where extent.key.type == .extent {
      var iterator = try ExtentEntries(key: extent.key, value: extent.value.rawBytes).pointers
      while let pointer = iterator.next() {
        result.insert(
          Place(
            device: pointer.ptr.device, sector: pointer.ptr.offset,
            sectors: UInt64(pointer.crc.compressedSize), position: extent.key.position,
            btree: .extents))
      }
    }
    return result
  }

  private func expectBackpointersMatch(_ image: BuiltImage, _ name: String) throws {
    var found: Set<Place> = []
    let keys = image.keys[.backpointers] ?? []
    for entry in keys {
      let value = try Backpointer(decoding: entry.value.rawBytes)
      let device = UInt8(entry.key.position.inode)
      let bucketSectors = UInt64(image.superblock.members[Int(device)].bucketSizeSectors)
      let bucket = Positions.bucket(
        ofBackpointer: entry.key.position, bucketSizeSectors: UInt32(bucketSectors))
      found.insert(
        Place(
          device: device,
          sector: bucket.offset * bucketSectors
            + value.bucketOffset >> Positions.compressRatioShift,
          sectors: UInt64(value.bucketLength), position: value.position, btree: value.btree))
    }
    #expect(found.count == keys.count, "\(name)")
    #expect(found == (try places(image)), "\(name)")
  }

  private func expectSpaceAddsUp(_ image: BuiltImage, _ name: String) throws {
    var used: [BPos: UInt64] = [:]
    for place in try places(image) {
      let bucketSectors = UInt64(image.superblock.members[Int(place.device)].bucketSizeSectors)
      let first = place.sector / bucketSectors
      #expect((place.sector + place.sectors - 1) / bucketSectors == first, "\(name)")
      used[Positions.bucket(device: place.device, bucket: first), default: 0] += place.sectors
    }
    var taken = 0
    for entry in image.keys[.alloc] ?? [] {
      let value = try AllocV4(decoding: entry.value.rawBytes)
      taken += 1
      let type = DataType(rawValue: value.dataType)
      guard type == .btree || type == .user else { continue }
      #expect(UInt64(value.dirtySectors) == used[entry.key.position], "\(name): \(entry.key)")
      used[entry.key.position] = nil
    }
    #expect(used.isEmpty, "\(name): buckets without alloc key")
    let free = (image.keys[.freespace] ?? []).reduce(0) { $0 + UInt64($1.key.size) }
    let total = image.superblock.members.reduce(0) { $0 + $1.bucketCount }
    #expect(free + UInt64(taken) == total, "\(name)")
  }
}
