// SPDX-License-Identifier: GPL-2.0
// Directories in themselves, snapshots in circles, paths without end: every walk ends.

internal import BcachefsCommand
internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct HostileTreeTests {
  private static let root = Positions.rootInode
  private static let most: UInt64 = 64 << 20

  /// A volume with an empty root directory, which says what the test wants.
  private func make(
    rootIn parent: UInt64 = 0, at offset: UInt64 = 0, subvolume: UInt32 = 0
  ) throws -> HostileVolume {
    let hostile = try HostileVolume()
    hostile.addSubvolume(1, snapshot: HostileVolume.snapshot, root: Self.root)
    hostile.addDirectory(Self.root, in: parent, at: offset) {
      $0.subvolume = 1
      $0.parentSubvolume = subvolume
    }
    return hostile
  }

  @Test(.timeLimit(.minutes(1)))
  func theRootBelowADirectoryOfItsOwnIsFoundToBeInTwoPlaces() throws {
    // Each of the two is where the other one says.
    let hostile = try make(rootIn: 5000, at: 20)
    hostile.addDirectory(5000, in: Self.root, at: 10)
    try hostile.addName("down", in: Self.root, at: 10, .inode(5000))
    try hostile.addName("up", in: 5000, at: 20, .inode(Self.root))
    #expect(QuietRead.export(try hostile.open(), upTo: Self.most) == 1)
  }

  @Test(.timeLimit(.minutes(1)))
  func aCircleOfDirectoriesIsEnteredOnce() throws {
    let hostile = try make()
    hostile.addDirectory(5000, in: 5001, at: 20)
    hostile.addDirectory(5001, in: 5000, at: 10)
    try hostile.addName("way in", in: Self.root, at: 10, .inode(5000))
    try hostile.addName("a", in: 5000, at: 10, .inode(5001))
    try hostile.addName("b", in: 5001, at: 20, .inode(5000))
    #expect(QuietRead.export(try hostile.open(), upTo: Self.most) == 1)
  }

  @Test(.timeLimit(.minutes(1)))
  func aSubvolumeWithinItselfIsEnteredOnce() throws {
    // Both subvolumes have a directory 5000 with a name for subvolume 2; its root says that it
    // stands in directory 5000, which is true of either.
    let hostile = try make()
    hostile.addDirectory(5000, in: Self.root, at: 10)
    try hostile.addName("d", in: Self.root, at: 10, .inode(5000))
    try hostile.addName("s", in: 5000, at: 20, .subvolume(child: 2, parent: 1), type: 16)
    hostile.addSubvolume(2, snapshot: .max - 1, root: 6000, parent: 1)
    hostile.addDirectory(6000, in: 5000, at: 20, snapshot: .max - 1) {
      $0.subvolume = 2
      $0.parentSubvolume = 2
    }
    hostile.addDirectory(5000, in: 6000, at: 10, snapshot: .max - 1)
    try hostile.addName("d", in: 6000, at: 10, .inode(5000), snapshot: .max - 1)
    try hostile.addName(
      "s", in: 5000, at: 20, .subvolume(child: 2, parent: 2), type: 16, snapshot: .max - 1)
    let volume = try hostile.open()
    #expect(QuietRead.export(volume, upTo: Self.most) == 1)
    // The path of a subvolume that stands in itself leads nowhere.
    #expect(try volume.subvolumes().map(\.path) == [[], nil])
  }

  @Test func namesThatLeadElsewhereAreLeftOut() throws {
    let hostile = try make()
    // The journal's keys are validated, a node's are not.
    var names: [HostileVolume.Key] = []
    for (offset, name) in ["..", "/etc/passwd", "a\0b", "."].enumerated() {
      names.append(
        try HostileVolume.name(name, in: Self.root, at: UInt64(10 + offset), .inode(5000)))
    }
    try hostile.addLeaf(.dirents, names)
    hostile.addDirectory(5000, in: Self.root, at: 30)
    try hostile.addName("good", in: Self.root, at: 30, .inode(5000))
    #expect(QuietRead.export(try hostile.open(), upTo: Self.most) == 4)
  }

  @Test(.timeLimit(.minutes(1)))
  func snapshotsWhoseChildrenAreTheSameAreDrawnOnce() throws {
    let hostile = try make()
    let top: UInt32 = 1_000_000
    for step in 0..<60 as Range<UInt32> {
      var node = Snapshot()
      node.parent = step == 0 ? 0 : top - step + 1
      node.child0 = top - step - 1
      node.child1 = node.child0
      hostile.addSnapshot(top - step, node)
    }
    let texts = try QuietRead.texts(of: try hostile.open())
    #expect(texts.allSatisfy { $0.utf8.count < 100_000 })
  }

  @Test(arguments: 0..<20 as Range<UInt64>)
  func ancestorsAreThoseThatClimbingFinds(seed: UInt64) throws {
    var random = RandomSource(seed: seed)
    let hostile = try make()
    var parents: [UInt32: UInt32] = [:]
    for id in 1...60 as ClosedRange<UInt32> {
      // Missing parents, parents below, itself: all of them.
      let parent = random.next() % 4 == 0 ? 0 : UInt32(random.next() % 70)
      if random.next() % 5 == 0 { continue }
      parents[id] = parent
      var node = Snapshot()
      node.parent = parent
      hostile.addSnapshot(id, node)
    }
    let table = try hostile.open().snapshots
    // The journal's keys are validated: what contradicts the format never counted.
    let known = parents.filter { table[$0.key] != nil }
    for id in 1...70 as ClosedRange<UInt32> {
      var climbed: Set<UInt32> = [id]
      var current = id
      while let parent = known[current], parent > current {
        climbed.insert(parent)
        current = parent
      }
      for other in 1...70 as ClosedRange<UInt32> {
        #expect(table.isAncestor(other, of: id) == climbed.contains(other), "\(other) of \(id)")
      }
    }
  }

  @Test func anExtentThatStartsBeforeItsFileIsLostAndTheRestIsRead() throws {
    let hostile = try make()
    var inode = Inode()
    inode.number = 5000
    inode.mode = 0o100644
    inode.size = 3 * 512
    hostile.addInode(inode)
    let snapshot = HostileVolume.snapshot
    let sector = [UInt8](repeating: 9, count: 512)
    try hostile.addLeaf(
      .extents,
      [
        // Two sectors that end at the first.
        HostileVolume.key(
          .extents, .inlineData, BPos(5000, 1, snapshot), size: 2, value: Array(sector.prefix(8))),
        HostileVolume.key(
          .extents, .inlineData, BPos(5000, 2, snapshot), size: 1, value: sector),
      ])
    let file = try hostile.open().open(FileID(subvolume: 1, inode: 5000))
    var bytes = [UInt8](repeating: 0xee, count: 3 * 512)
    var lost: [Range<UInt64>] = []
    var span = bytes.mutableRawBytes
    let count = try file.read(from: 0, into: &span) { (range, _) in lost.append(range) }
    #expect(count == 3 * 512)
    #expect(lost == [0..<512])
    #expect(Array(bytes[0..<512]) == [UInt8](repeating: 0, count: 512))
    #expect(Array(bytes[512..<1024]) == sector)
    lost = []
    let ranges = try file.dataRanges { (range, _) in lost.append(range) }
    #expect(lost == [0..<512])
    #expect(ranges == [512..<1024])
    var whole = bytes.mutableRawBytes
    #expect(throws: VolumeError.self) { try file.read(from: 0, into: &whole) }
  }
}
